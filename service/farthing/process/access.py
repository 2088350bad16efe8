"""Who may read over HTTP, as settings say it; :mod:`farthing.process.guard` keeps to it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from farthing.process.secrets import read_secret


@dataclass(frozen=True, slots=True)
class Access:
    """Who may read from a port. ``hosts``: names that browsers may use; none: addresses and localhost."""

    token_file: Path | None = None
    allow_anonymous: bool = False
    hosts: tuple[str, ...] = ()
    tls_certfile: Path | None = None
    tls_keyfile: Path | None = None

    @property
    def scheme(self) -> str:
        """What an address begins with."""
        return "http" if self.tls_certfile is None else "https"


def authorization(token_file: Path | None, setting: str) -> dict[str, str]:
    """Give the header that sends the token of a file; none without one. Raises ConfigError."""
    return {} if token_file is None else bearer(read_secret(token_file, setting))


def bearer(token: str) -> dict[str, str]:
    """Give the header that sends a token."""
    return {"Authorization": f"Bearer {token}"}
