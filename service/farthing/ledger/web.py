"""Serves the ledger's page, its JSON, Prometheus metrics and the probes; on loopback unless configured otherwise.

Nothing here changes anything, so there is nothing to protect but the figures: :mod:`farthing.process.access` says who
may see them. The page needs no other host, and its policy allows none.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final, get_args

from aiohttp import web

from farthing.errors import ConfigError
from farthing.ledger.first_event import FirstEvent
from farthing.ledger.history import History
from farthing.ledger.ledger import Ledger
from farthing.ledger.series import cost_series
from farthing.ledger.statement import PriceBook, Statement, WindowName, make_statement
from farthing.ledger.statement_json import CHEAPEST, accounts, choice, statement_body
from farthing.meter.money import json_text
from farthing.process.access import Access
from farthing.process.http import LOCAL, PROBES, Endpoint, bind, cannot_listen, forgiving, probe_routes, this_process

PAGE: Final = Path(__file__).with_name("page")
FILES: Final = {
    "/": ("index.html", "text/html"),
    "/page.css": ("page.css", "text/css"),
    "/page.js": ("page.js", "text/javascript"),
    "/openapi.json": ("openapi.json", "application/json"),
    "/vendor/uPlot.iife.min.js": ("vendor/uPlot.iife.min.js", "text/javascript"),
    "/vendor/uPlot.min.css": ("vendor/uPlot.min.css", "text/css"),
}
PATHS: Final = {
    "/": "the page",
    "/api/statement": "costs and savings as JSON",
    "/api/history": "the same, minute by minute",
    "/api/accounts": "every count in the books",
    "/api/routes": "the topics that are read, and a command to send an event to each",
    "/openapi.json": "what these return",
    **PROBES,
    "/ready": "200 when the books are restored and a broker answers; otherwise 503",
}
STATEMENT_KEPT_MS: Final = 500
"""How long a statement is used again: one is made at most twice a second per window, however many pages are open."""


async def require_address(host: str, port: int) -> None:
    """Raise StartError if the address cannot be bound now; it is free again afterwards."""
    try:
        server = await asyncio.get_running_loop().create_server(asyncio.Protocol, host, port)
    except OSError as error:
        raise cannot_listen("ledger", host, port, error) from error
    server.close()
    await server.wait_closed()


class Pages:
    """Answers requests from the ledger's current books."""

    def __init__(
        self,
        books: Callable[[], tuple[Ledger, History]],
        book: PriceBook,
        *,
        ready: Callable[[], tuple[bool, str]],
        metrics: Callable[[], bytes],
        has_books: Callable[[], bool] | None = None,
        hosts: tuple[str, ...] = (),
        first_events: Sequence[FirstEvent] = (),
    ) -> None:
        """Make the pages of these books.

        The books are shown while ``has_books`` (by default while ``ready``), so also when no broker answers. ``hosts``
        are the names that requests may be addressed to; if none are given, addresses and localhost; ``*`` is any.
        ``first_events`` are shown while nothing has been scored.
        """
        self._books = books
        self._book = book
        self._ready = ready
        self._metrics = metrics
        self._hosts = hosts
        self._has_books = has_books
        self._first_events_of_routes = [first.as_dict() for first in first_events]
        self._made: dict[str, Statement] = {}
        self._making = asyncio.Lock()
        self._endpoint: Endpoint | None = None

    def application(self) -> web.Application:
        """Return the application: the page's files, the JSON under ``/api`` and the probes."""
        paths = forgiving(this_process("the ledger"), PATHS)
        app = web.Application(client_max_size=1 << 14, middlewares=[paths])
        app.add_routes(
            [
                *(web.get(path, _file(*file)) for path, file in FILES.items()),
                web.get("/api/statement", self._statement),
                web.get("/api/history", self._history),
                web.get("/api/accounts", self._accounts),
                web.get("/api/routes", self._first_events),
                *probe_routes(self._readiness, self._scrape),
            ]
        )
        return app

    async def listen(self, host: str, port: int, access: Access = LOCAL) -> tuple[str, int]:
        """Serve; returns the address that is bound. Raises ConfigError and StartError."""
        access = replace(access, hosts=self._hosts)
        self._endpoint = await bind(self.application(), host, port, section="ledger", access=access)
        return self._endpoint.host, self._endpoint.port

    async def close(self) -> None:
        """Stop listening."""
        if self._endpoint is not None:
            await self._endpoint.close()

    async def statement(self, window: WindowName) -> Statement:
        """Make a window's statement, or return the one that was just made."""
        async with self._making:
            now_ms = time.time_ns() // 1_000_000
            made = self._made.get(window)
            if made is None or not 0 <= now_ms - made.now_ms < STATEMENT_KEPT_MS:
                ledger, _ = self._books()
                made = await asyncio.to_thread(make_statement, ledger.copied(), self._book, window, now_ms)
                self._made[window] = made
            return made

    async def _statement(self, request: web.Request) -> web.Response:
        self._require_books()
        ledger, _ = self._books()
        statement = await self.statement(_window(request))
        models = self._book.meter.compare_with
        body = statement_body(
            ledger, statement, request.query.get("model"), request.query.get("mode", CHEAPEST), models
        )
        return web.Response(text=json_text(body), content_type="application/json")

    async def _history(self, request: web.Request) -> web.Response:
        """Serve own and avoided dollars since the window began, at each minute."""
        self._require_books()
        _, history = self._books()
        statement = await self.statement(_window(request))
        asked = request.query.get("model"), request.query.get("mode", CHEAPEST)
        model, form = choice(*asked, self._book.meter.compare_with)
        body = cost_series(statement, history.since(statement.from_ms), model, form)
        return web.Response(text=json_text(body), content_type="application/json")

    async def _accounts(self, _: web.Request) -> web.Response:
        self._require_books()
        ledger, _history = self._books()
        return web.Response(text=json.dumps(accounts(ledger.accounts)), content_type="application/json")

    async def _first_events(self, _: web.Request) -> web.Response:
        """Serve which topics are read and how to send an event to each, for an empty page."""
        return web.Response(text=json.dumps(self._first_events_of_routes), content_type="application/json")

    async def _readiness(self) -> tuple[bool, str]:
        return self._ready()

    async def _scrape(self) -> bytes:
        return await asyncio.to_thread(self._metrics)

    def _require_books(self) -> None:
        is_ready, reason = self._ready()
        if not (is_ready if self._has_books is None else self._has_books()):
            raise web.HTTPServiceUnavailable(text=reason + "\n")


def _file(name: str, content_type: str) -> Callable[[web.Request], Awaitable[web.Response]]:
    body = (PAGE / name).read_bytes()

    async def get(_: web.Request) -> web.Response:
        return web.Response(body=body, content_type=content_type, charset="utf-8")

    return get


def _window(request: web.Request) -> WindowName:
    name = request.query.get("window", "all")
    if name not in get_args(WindowName):
        raise ConfigError(f"window {name!r} is not known; one of {', '.join(get_args(WindowName))}")
    return name  # type: ignore[return-value]
