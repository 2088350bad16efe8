"""What a worker says of itself: ``/live``, ``/ready`` and ``/metrics`` over HTTP, on loopback unless configured."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from aiohttp import web

from farthing.process.access import Access
from farthing.process.http import LOCAL, PROBES, Endpoint, bind, forgiving, index, probe_routes, this_process

ENDS = ("draining", "failed", "stopped")
"""States of a process that is on its way out."""


class Health:
    """The state of one process, as the probes give it: ``state`` is one of :data:`farthing.serving.metrics.STATES`.

    The event loop alone sets it. State and reason change together, for whoever reads them in whatever thread.
    """

    def __init__(self) -> None:
        self.now = ("starting", "starting")
        """State and reason: a pair that is replaced, never changed."""

    def set(self, state: str, reason: str = "") -> None:
        """Say what the process does now and, when it is not ready, why and what would mend it.

        A process that drains only ends or fails: it is never ready again.
        """
        if self.state == "draining" and state not in ENDS:
            return
        self.now = (state, reason or state)

    @property
    def state(self) -> str:
        """What the process does now."""
        return self.now[0]

    @property
    def reason(self) -> str:
        """Why it is not ready, or what it does."""
        return self.now[1]

    @property
    def ready(self) -> bool:
        """Whether events are being scored."""
        return self.state == "running"


async def listen(
    host: str,
    port: int,
    *,
    ready: Callable[[], Awaitable[tuple[bool, str]]],
    metrics: Callable[[], Awaitable[bytes]],
    what: str = "a process",
    access: Access = LOCAL,
) -> Endpoint:
    """Serve the three probes, and at ``/`` a list of them that says ``what`` this process is.

    A slash at the end of a path changes nothing.

    Raises
    ------
    ConfigError
        A token, certificate or key cannot be read.
    StartError
        The address cannot be bound.
    """
    who = this_process(what)

    async def get_index(_: web.Request) -> web.Response:
        return web.Response(text=index(who, PROBES))

    app = web.Application(client_max_size=1 << 16, middlewares=[forgiving(who, PROBES)])
    app.add_routes([web.get("/", get_index), *probe_routes(ready, metrics)])
    return await bind(app, host, port, section="http", access=access)
