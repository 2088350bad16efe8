"""Asks a running ledger over HTTP, for ``farthing audit`` and ``farthing breakeven --ledger``."""

from __future__ import annotations

import http.client
import json
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any, Final

from farthing.errors import ConfigError, StartError
from farthing.process.access import authorization

TIMEOUT_S: Final = 30.0
MOST_BYTES: Final = 1 << 30


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """Follows nothing: the token is for the address that was given."""

    def redirect_request(self, *_: Any) -> None:
        """Leave the response as it is."""


def ask(address: str, path: str, token_file: Path | None = None) -> Any:
    """Get a JSON document from the ledger.

    Parameters
    ----------
    address:
        The ledger's address, such as ``http://127.0.0.1:9465``.
    path:
        A path with its query, such as ``/api/accounts``.
    token_file:
        The setting ``ledger.token_file``.

    Raises
    ------
    ConfigError
        It is not an HTTP address, the token is wrong or cannot be read, or what answers there is not a ledger.
    StartError
        Nothing answers there, or the ledger is still restoring its books.
    """
    url = address.rstrip("/") + path
    if not url.startswith(("http://", "https://")):
        raise ConfigError(f"--ledger {address}: write an address such as http://127.0.0.1:9465")
    request = urllib.request.Request(url, headers=authorization(token_file, "ledger.token_file"))
    try:
        with urllib.request.build_opener(_NoRedirect).open(request, timeout=TIMEOUT_S) as response:
            text = response.read(MOST_BYTES)
    except urllib.error.HTTPError as error:
        with error:
            reply = error.read(500).decode("utf-8", "replace").strip()
        if error.code == 503:
            raise StartError(f"the ledger at {address} is not ready ({reply}); ask again in a while") from error
        if error.code == 401:
            raise ConfigError(
                f"--ledger {address}: it asks for a token; set ledger.token_file to a file with the ledger's own"
            ) from error
        raise ConfigError(
            f"--ledger {address}: {path} returned {error.code} ({reply}); is that the address of `farthing ledger`?"
        ) from error
    except (OSError, ValueError, http.client.HTTPException) as error:
        reason = getattr(error, "reason", error)
        raise StartError(
            f"no ledger answers at {address} ({reason}); start `farthing ledger`, or give --ledger ADDRESS"
        ) from error
    try:
        return json.loads(text)
    except ValueError as error:
        raise ConfigError(
            f"--ledger {address}: {path} did not return JSON; is that the address of `farthing ledger`?"
        ) from error
