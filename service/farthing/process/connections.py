"""What one client may take of an HTTP port: time, bytes and connections, so that whoever asks next is answered too.

aiohttp waits for the rest of a request for as long as the client likes, and takes any number of connections. So each
connection is watched from outside: a protocol of our own stands between the transport and aiohttp's, counts what comes
in and has one deadline at a time. With TLS the handshake is under the same watch. Nothing but GET and HEAD is answered
here, so a request is its head.
"""

from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import Callable
from typing import Any, Final, Literal

from aiohttp import web
from aiohttp.typedefs import Handler

HEAD_TIMEOUT_S: Final = 5.0
"""From a request's first byte, or from the connection's beginning, to the end of its head; the TLS handshake too."""

ANSWER_TIMEOUT_S: Final = 60.0
"""To make an answer."""

IDLE_TIMEOUT_S: Final = 60.0
"""For the client to take the answer and to send its next request: longer than Prometheus' usual intervals."""

MOST_CONNECTIONS: Final = 128
"""Of one port. One more closes the oldest one that is not being answered: its client waits for nothing."""

MOST_HEAD_BYTES: Final = 1 << 15
"""Of a request, and of what a client sends before it has its answer."""

MOST_PIPELINED: Final = 16
"""Requests in one piece. No client of ours sends a second one before the first is answered."""

_LAST_WORDS_S: Final = 1.0  # for a refusal to leave, before the connection is cut
_REFUSALS: Final = {408: "Request Timeout", 431: "Request Header Fields Too Large"}

State = Literal["reading", "answering", "idle"]


class Connections:
    """The connections of one port. It is the protocol factory of the server, and watches through a middleware."""

    def __init__(
        self, make: Callable[[], asyncio.Protocol], certificate: Callable[[], ssl.SSLContext] | None = None
    ) -> None:
        """``make`` gives aiohttp's protocol for a connection; ``certificate`` the context for its TLS, if any."""
        self._make = make
        self.certificate = certificate
        self._open: dict[Any, Connection] = {}  # by transport, the oldest first

    def __call__(self) -> Connection:
        """Give the protocol of a new connection."""
        return Connection(self, self._make())

    def admit(self, connection: Connection) -> None:
        """Count a connection. If there are too many, close the one that has waited longest."""
        self._open[connection.transport] = connection
        if len(self._open) > MOST_CONNECTIONS:
            waiting = [one for one in self._open.values() if one.state != "answering"]
            min(waiting, key=lambda one: one.since, default=connection).cut()

    def replace(self, old: Any, connection: Connection) -> None:
        """Note that a connection has another transport from now on."""
        self._open.pop(old, None)
        self._open[connection.transport] = connection

    def forget(self, connection: Connection) -> None:
        """No longer count a connection."""
        self._open.pop(connection.transport, None)

    def close(self) -> None:
        """Cut what is still open."""
        for connection in list(self._open.values()):
            connection.cut()

    @web.middleware
    async def watch(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Tell the connection that its request is complete, and when the answer is ready."""
        connection = self._open.get(request.transport)
        if connection is not None:
            connection.enter("answering", ANSWER_TIMEOUT_S)
        try:
            return await handler(request)
        finally:
            if connection is not None:
                connection.enter("idle", IDLE_TIMEOUT_S)


class Connection(asyncio.Protocol):
    """One connection, between its transport and aiohttp's protocol."""

    def __init__(self, owner: Connections, inner: asyncio.Protocol) -> None:
        self._owner = owner
        self._inner = inner
        self._received = 0  # since the last answer
        self._early: list[bytes] | None = None  # decrypted before aiohttp's protocol knows its transport
        self._deadline: asyncio.TimerHandle | None = None
        self._handshake: asyncio.Task[None] | None = None
        self._connected = False
        self.transport: Any = None
        self.state: State = "reading"
        self.since = time.monotonic()

    def enter(self, state: State, timeout_s: float) -> None:
        """Change the state, with a new deadline; after it the connection is closed."""
        self.state, self.since, self._received = state, time.monotonic(), 0
        if self._deadline is not None:
            self._deadline.cancel()
        if not self.transport.is_closing():
            self._deadline = asyncio.get_running_loop().call_later(timeout_s, self._on_deadline)

    def _on_deadline(self) -> None:
        if self.state == "reading" and self._received:
            self._refuse(408)
        else:
            self.cut()

    def cut(self) -> None:
        """Close the connection at once."""
        self._owner.forget(self)
        self.transport.abort()

    def _refuse(self, status: int) -> None:
        """Say why, then close."""
        text = f"HTTP/1.1 {status} {_REFUSALS[status]}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
        self.transport.write(text.encode())
        self.transport.close()
        asyncio.get_running_loop().call_later(_LAST_WORDS_S, self.transport.abort)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin, with the handshake where there is TLS."""
        self.transport = transport
        self.enter("reading", HEAD_TIMEOUT_S)
        self._owner.admit(self)
        if self._owner.certificate is None:
            self._connected = True
            self._inner.connection_made(transport)
        else:
            self._early = []
            self.transport.pause_reading()
            self._handshake = asyncio.get_running_loop().create_task(self._secure(self._owner.certificate()))

    async def _secure(self, context: ssl.SSLContext) -> None:
        loop = asyncio.get_running_loop()
        plain = self.transport
        try:
            secured = await loop.start_tls(
                plain, self, context, server_side=True, ssl_handshake_timeout=HEAD_TIMEOUT_S,
                ssl_shutdown_timeout=_LAST_WORDS_S,
            )  # fmt: skip
        except (OSError, RuntimeError):  # the handshake failed or took too long, or the transport is closed
            secured = None
        if secured is None or plain not in self._owner._open:  # it failed, or was cut meanwhile
            self._owner.forget(self)
            plain.abort()
            self._end()
            return
        self.transport = secured
        self._owner.replace(plain, self)
        self._connected = True
        self._inner.connection_made(secured)
        early, self._early = self._early, None
        for data in early or ():
            self.data_received(data)

    def data_received(self, data: bytes) -> None:
        """Pass on what came, within the limits."""
        if self.transport.is_closing():
            return
        if self._early is not None:
            self._early.append(data)
            return
        if self.state == "idle":
            self.enter("reading", HEAD_TIMEOUT_S)
        self._received += len(data)
        if data.count(b"\r\n\r\n") + data.count(b"\n\n") > MOST_PIPELINED:
            self.cut()
        elif self._received > MOST_HEAD_BYTES:
            if self.state == "reading":
                self._refuse(431)
            else:
                self.cut()
        else:
            self._inner.data_received(data)

    def eof_received(self) -> bool | None:
        """Pass on that the client sends no more."""
        return self._inner.eof_received() if self._connected else None

    def pause_writing(self) -> None:
        """Pass on that the client is slow to read."""
        self._inner.pause_writing()

    def resume_writing(self) -> None:
        """Pass on that the client has caught up."""
        self._inner.resume_writing()

    def connection_lost(self, exc: Exception | None) -> None:
        """End."""
        self._owner.forget(self)
        self._end()
        if self._connected:
            self._connected = False
            self._inner.connection_lost(exc)

    def _end(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
