"""HTTP as every process of ours answers it: an aiohttp application on an address, its probes, an index of its paths."""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from importlib.metadata import version
from typing import Final

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.typedefs import Handler, Middleware

from farthing.errors import StartError
from farthing.process.access import Access
from farthing.process.certificate import ServerCertificate
from farthing.process.connections import MOST_CONNECTIONS, Connections
from farthing.process.guard import HEADERS, Guard

METRICS_CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
PROBES: Final = {
    "/live": "200 whenever the process responds at all",
    "/ready": "200 when events are being scored; otherwise 503 and the reason",
    "/metrics": "metrics for Prometheus",
}
LOCAL: Final = Access()


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A running HTTP endpoint."""

    host: str
    port: int
    _server: asyncio.Server
    _connections: Connections
    _runner: web.AppRunner

    async def close(self) -> None:
        """Stop listening."""
        self._server.close()
        await self._runner.cleanup()
        self._connections.close()


class _Protocol(web.RequestHandler):
    """aiohttp's, but it does not quote a request that it cannot read: the line may hold a token."""

    def handle_error(
        self, request: web.BaseRequest, status: int = 500, exc: BaseException | None = None, message: str | None = None
    ) -> web.StreamResponse:
        """Answer a request that cannot be read, or whose handler failed."""
        if isinstance(exc, HttpProcessingError):
            kind = type(exc).__name__
            self.logger.error("A request from %s cannot be read (%s)", request.remote, kind)
            response: web.StreamResponse = web.Response(text=f"the request cannot be read ({kind})\n", status=status)
            response.force_close()
        else:
            response = super().handle_error(request, status, exc, message)
        response.headers.update(HEADERS)
        return response


async def bind(app: web.Application, host: str, port: int, *, section: str, access: Access = LOCAL) -> Endpoint:
    """Serve an application to those whom it lets in, each within limits.

    ``section`` is the one of the settings that holds ``host``, ``port`` (0: a free one) and the access.

    Raises
    ------
    ConfigError
        A token, certificate or key cannot be read.
    StartError
        The address cannot be bound.
    """
    guard, certificate = admission(host, section=section, access=access)
    guard.warn()
    runner = web.AppRunner(app, shutdown_timeout=1.0)
    loop = asyncio.get_running_loop()

    def protocol() -> _Protocol:
        assert runner.server is not None  # there is one once it is up
        return _Protocol(runner.server, loop=loop, access_log=None, lingering_time=0.0)  # type: ignore[arg-type]

    connections = Connections(protocol, certificate)
    app.middlewares[:0] = [connections.watch, guard.check]
    await runner.setup()
    try:
        server = await loop.create_server(connections, host, port, backlog=MOST_CONNECTIONS)
    except OSError as error:
        await runner.cleanup()
        raise cannot_listen(section, host, port, error) from error
    bound_host, bound_port, *_ = server.sockets[0].getsockname()
    return Endpoint(str(bound_host), int(bound_port), server, connections, runner)


def admission(host: str, *, section: str, access: Access) -> tuple[Guard, Callable[[], ssl.SSLContext] | None]:
    """Read what a port needs to know whom to let in: token, certificate, key. Raises ConfigError."""
    guard = Guard(access, host, section=section)
    if access.tls_certfile is None:
        return guard, None
    return guard, ServerCertificate(section, access.tls_certfile, access.tls_keyfile).context


def cannot_listen(section: str, host: str, port: int, error: OSError) -> StartError:
    """Say that an address of the settings cannot be bound, and what to do."""
    return StartError(
        f"{section}.host = {host!r}, {section}.port = {port}: cannot listen there ({error.strerror or error}); "
        f"if the address is not this machine's, set {section}.host; if another process has the port, set {section}.port"
    )


def probe_routes(
    ready: Callable[[], Awaitable[tuple[bool, str]]], metrics: Callable[[], Awaitable[bytes]]
) -> list[web.RouteDef]:
    """Give the routes of :data:`PROBES`.

    ``/live`` answers 200 whenever the event loop turns. ``/ready`` answers 200 or 503 with a one-line reason.
    ``/metrics`` is Prometheus text.
    """

    async def get_live(_: web.Request) -> web.Response:
        return web.Response(text="live\n")

    async def get_ready(_: web.Request) -> web.Response:
        is_ready, reason = await ready()
        return web.Response(text=reason + "\n", status=200 if is_ready else 503)

    async def get_metrics(_: web.Request) -> web.Response:
        return web.Response(body=await metrics(), headers={"Content-Type": METRICS_CONTENT_TYPE})

    handlers = {"/live": get_live, "/ready": get_ready, "/metrics": get_metrics}
    return [web.get(path, handlers[path]) for path in PROBES]


def this_process(what: str) -> str:
    """Name the process in a line: what it is, its number and host, its version."""
    return f"Farthing {version('farthing')}: {what}; process {os.getpid()} on {socket.gethostname()}"


def index(who: str, paths: Mapping[str, str]) -> str:
    """Say which process answers here, and what: as plain text."""
    width = max(map(len, paths))
    return "\n".join([who, "", *(f"{path:{width}}  {what}" for path, what in paths.items()), ""])


def forgiving(who: str, paths: Mapping[str, str]) -> Middleware:
    """Make what answers ``/live/`` as ``/live``, and a path where nothing is with 404 and the index."""

    @web.middleware
    async def answer(request: web.Request, handler: Handler) -> web.StreamResponse:
        if not isinstance(request.match_info.http_exception, web.HTTPNotFound):
            return await handler(request)
        if request.path.endswith("/"):
            url = request.rel_url.with_path(request.path.rstrip("/") or "/").with_query(request.rel_url.query)
            shorter = request.clone(rel_url=url)
            match = await request.app.router.resolve(shorter)
            if not isinstance(match.http_exception, web.HTTPNotFound):
                return await match.handler(shorter)
        raise web.HTTPNotFound(text="nothing is here\n\n" + index(who, paths))

    return answer
