"""What a worker tells the outside: ``/live``, ``/ready`` and ``/metrics`` over HTTP, on loopback unless configured."""

from __future__ import annotations

import os
import socket
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from importlib.metadata import version
from typing import Final

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from farthing.errors import StartError

METRICS_CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class Health:
    """The state of one process, as the probes tell it: ``state`` is one of :data:`farthing.serving.metrics.STATES`.

    The event loop alone sets it. State and reason change together, for whoever reads them in whatever thread.
    """

    def __init__(self) -> None:
        self.now = ("starting", "starting")
        """State and reason: a pair that is replaced, never changed."""

    def set(self, state: str, reason: str = "") -> None:
        """Say what the process does now and, when it is not ready, why and what would mend it."""
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


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A running HTTP endpoint."""

    host: str
    port: int
    _runner: web.AppRunner

    async def close(self) -> None:
        """Stop listening."""
        await self._runner.cleanup()


PROBES: Final = {
    "/live": "200 whenever the process answers at all",
    "/ready": "200 when events are being scored; else 503 and what it waits for",
    "/metrics": "figures for Prometheus",
}


def index(who: str, paths: Mapping[str, str]) -> str:
    """Say which process answers here, and what: as plain text."""
    width = max(map(len, paths))
    return "\n".join([who, "", *(f"{path:{width}}  {what}" for path, what in paths.items()), ""])


def this_process(what: str) -> str:
    """Name the process in a line: what it is, its number and host, its version."""
    return f"Farthing {version('farthing')}: {what}; process {os.getpid()} on {socket.gethostname()}"


def forgiving(who: str, paths: Mapping[str, str]) -> Middleware:
    """Make what answers ``/live/`` as ``/live``, and a path where nothing is with 404 and the index."""

    @web.middleware
    async def answer(request: web.Request, handler: Handler) -> web.StreamResponse:
        if not isinstance(request.match_info.http_exception, web.HTTPNotFound):
            return await handler(request)
        if request.path.endswith("/"):
            url = request.rel_url.with_path(request.path.rstrip("/") or "/").with_query(request.rel_url.query)
            shorter = request.clone(rel_url=url)
            found = await request.app.router.resolve(shorter)
            if not isinstance(found.http_exception, web.HTTPNotFound):
                return await found.handler(shorter)
        raise web.HTTPNotFound(text="nothing is here\n\n" + index(who, paths))

    return answer


async def listen(
    host: str,
    port: int,
    *,
    ready: Callable[[], Awaitable[tuple[bool, str]]],
    metrics: Callable[[], Awaitable[bytes]],
    what: str = "a process",
) -> Endpoint:
    """Serve the three probes, and at ``/`` a list of them that says ``what`` this process is.

    ``/live`` answers 200 whenever the event loop turns. ``/ready`` answers 200 or 503 with a one-line reason.
    ``/metrics`` is Prometheus text. A slash at the end changes nothing.

    Raises
    ------
    StartError
        The address cannot be bound.
    """

    async def get_live(_: web.Request) -> web.Response:
        return web.Response(text="live\n")

    async def get_ready(_: web.Request) -> web.Response:
        is_ready, reason = await ready()
        return web.Response(text=reason + "\n", status=200 if is_ready else 503)

    async def get_metrics(_: web.Request) -> web.Response:
        return web.Response(body=await metrics(), headers={"Content-Type": METRICS_CONTENT_TYPE})

    who = this_process(what)

    async def get_index(_: web.Request) -> web.Response:
        return web.Response(text=index(who, PROBES))

    app = web.Application(client_max_size=1 << 16, middlewares=[forgiving(who, PROBES)])
    handlers = {"/": get_index, "/live": get_live, "/ready": get_ready, "/metrics": get_metrics}
    app.add_routes([web.get(path, handler) for path, handler in handlers.items()])
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)
    await runner.setup()
    site = web.TCPSite(runner, host, port)
    try:
        await site.start()
    except OSError as error:
        await runner.cleanup()
        raise StartError(
            f"http.host = {host!r}, http.port = {port}: cannot listen there ({error.strerror or error}); "
            "another process has the port, or the address is not this machine's: set http.port"
        ) from error
    bound = runner.addresses[0]
    return Endpoint(str(bound[0]), int(bound[1]), runner)
