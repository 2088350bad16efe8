"""Tokens for SASL OAUTHBEARER: where they come from, and when the next one is fetched.

Each new connection asks for a token. One that is fetched (not read from a file) is used again until four fifths of its
life are over, so that the next one is there before it expires; if fetching fails, the old one serves until then. Its
life is measured by a clock that nobody sets. Kafka closes a connection whose token has expired, at the next request,
and the clients here connect again.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import json
import re
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, Protocol

import structlog
from aiokafka.abc import AbstractTokenProvider
from aiokafka.errors import KafkaConnectionError

from farthing.kafka.limited import limited

log = structlog.get_logger()

USED_SHARE: Final = 0.8
"""Of a token's life, after which the next one is fetched."""

ASK_AGAIN_S: Final = 1.0
"""After a failed fetch: until then the same error is raised again."""

LONGEST_FETCH_S: Final = 8.0
"""Of any source: whoever wants to connect waits for it, behind a lock."""

_TOKEN: Final = re.compile(r"[A-Za-z0-9\-._~+/]+=*")  # RFC 6750; anything else would break the SASL message


class TokenError(KafkaConnectionError):  # type: ignore[misc]  # aiokafka is untyped
    """There is no token; aiokafka tries again with the connection. Its text holds neither token nor secret."""

    def __str__(self) -> str:
        return str(self.args[0])


@dataclass(frozen=True, slots=True, repr=False)
class Token:
    """A token, and when it expires (seconds since 1970; None: nothing says)."""

    text: str
    expires_at: float | None


class TokenSource(Protocol):
    """Where tokens come from; :meth:`fetch` may block for seconds and raises TokenError."""

    keeps: bool
    """Whether a token is used again until it is old; a file is read each time."""

    def fetch(self) -> Token:
        """Get a token."""


class TokenProvider(AbstractTokenProvider):  # type: ignore[misc]
    """Gives aiokafka's connections a token; every client of the process shares one, in whatever event loop."""

    def __init__(
        self,
        source: TokenSource,
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
    ) -> None:
        """``clock`` measures how long a token is kept; ``wall`` is read once for each, against its ``expires_at``."""
        self._source = source
        self._clock = clock
        self._wall = wall
        self._lock = threading.Lock()
        self._kept: str | None = None
        self._renew_at = 0.0
        self._over_at = 0.0
        self._failed: TokenError | None = None
        self._ask_again_at = 0.0

    async def token(self) -> str:
        """Return a token that is valid now. Raises TokenError."""
        return await asyncio.to_thread(self.current)

    def current(self) -> str:
        """Return a token that is valid now; may block for seconds. Raises TokenError."""
        with self._lock:
            now = self._clock()
            if self._kept is not None and now < self._renew_at:
                return self._kept
            if self._failed is None or now >= self._ask_again_at:
                try:
                    return self._fetch()
                except TokenError as error:
                    self._failed, self._ask_again_at = error, self._clock() + ASK_AGAIN_S
                    log.warning("token_not_fetched", error=str(error), again_in_s=ASK_AGAIN_S)
            if self._kept is not None and self._clock() < self._over_at:
                return self._kept
            raise self._failed

    def _fetch(self) -> str:
        try:
            token = limited(self._source.fetch, LONGEST_FETCH_S)
        except TimeoutError:
            raise TokenError(
                f"no token came within {LONGEST_FETCH_S:g} s; check where it is from (kafka.sasl_oauth_...)"
            ) from None
        self._failed = None
        self._kept = None
        if self._source.keeps and token.expires_at is not None:
            now, life_s = self._clock(), token.expires_at - self._wall()
            self._kept, self._renew_at, self._over_at = token.text, now + USED_SHARE * life_s, now + life_s
        return token.text


def checked(text: str, where: str, *, expires_in: float | None = None, now: float | None = None) -> Token:
    """Make a token of its text; without ``expires_in`` (seconds) its own claim ``exp`` says when it expires.

    Raises
    ------
    TokenError
        It is no bearer token.
    """
    if not _TOKEN.fullmatch(text):
        raise TokenError(f"{where}: what is there is no bearer token (RFC 6750): it has other characters; check it")
    if expires_in is not None:
        return Token(text, (time.time() if now is None else now) + expires_in)
    return Token(text, _expiry(text))


def _expiry(text: str) -> float | None:
    """Read the claim ``exp`` of a JSON Web Token; None when it is none, or has none. Nothing is verified here."""
    parts = text.split(".")
    if len(parts) != 3:
        return None
    try:
        claims: Any = json.loads(base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4)))
    except (ValueError, binascii.Error, RecursionError):
        return None
    expires = claims.get("exp") if isinstance(claims, dict) else None
    return float(expires) if isinstance(expires, int | float) and 0 < expires < 1e11 else None
