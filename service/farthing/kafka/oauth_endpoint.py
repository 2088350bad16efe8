"""Tokens from an OpenID Connect endpoint, by the client credentials grant (RFC 6749, section 4.4)."""

from __future__ import annotations

import base64
import http.client
import json
import ssl
import time
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path
from typing import Any, Final

from farthing.errors import ConfigError
from farthing.kafka.oauth import Token, TokenError, checked
from farthing.process.secrets import read_secret

TIMEOUT_S: Final = 2.5  # for one request
RETRY_PAUSES_S: Final = (0.2, 0.5)  # after answers that another try may mend
MOST_BYTES: Final = 1 << 16
SHORTEST_S: Final = 5.0
"""Of a token's life: one that expires sooner is useless, since a connection takes a moment."""

_NAME: Final = "kafka.sasl_oauth_token_url"


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """Follows nothing: the secret is for this endpoint alone."""

    def redirect_request(self, *_: Any) -> None:
        """Leave the response as it is."""


class _MayWork(TokenError):
    """Another try may succeed."""


class EndpointSource:
    """Asks an endpoint with a client id and a secret from a file."""

    keeps = True

    def __init__(
        self, url: str, client_id: str | None, secret_file: Path | None, scope: str | None, cafile: Path | None
    ) -> None:
        """Raise ConfigError when the CA file cannot be loaded."""
        assert client_id is not None
        assert secret_file is not None
        self._url, self._client_id, self._secret_file, self._scope = url, client_id, secret_file, scope
        try:
            context = ssl.create_default_context(cafile=None if cafile is None else str(cafile))
        except (OSError, ssl.SSLError) as error:
            raise ConfigError(
                f"kafka.sasl_oauth_cafile = {str(cafile)!r}: cannot be loaded ({error}); check the path and the format "
                "(PEM)"
            ) from error
        self._opener = urllib.request.build_opener(urllib.request.HTTPSHandler(context=context), _NoRedirect)

    def fetch(self) -> Token:
        """Ask for a token, again where that may help. Raises TokenError."""
        for pause_s in RETRY_PAUSES_S:
            try:
                return self._ask()
            except _MayWork:
                time.sleep(pause_s)
        return self._ask()

    def _ask(self) -> Token:
        # The secret is read each time: it may have been renewed.
        try:
            secret = read_secret(self._secret_file, "kafka.sasl_oauth_client_secret_file")
        except ConfigError as error:
            raise TokenError(str(error)) from error
        login = ":".join(urllib.parse.quote_plus(part) for part in (self._client_id, secret))
        form = {"grant_type": "client_credentials"} | ({} if self._scope is None else {"scope": self._scope})
        request = urllib.request.Request(
            self._url,
            data=urllib.parse.urlencode(form).encode(),
            headers={
                "Authorization": "Basic " + base64.b64encode(login.encode()).decode(),
                "Accept": "application/json",
                "Content-Type": "application/x-www-form-urlencoded",
            },
        )
        began = time.time()
        try:
            with self._opener.open(request, timeout=TIMEOUT_S) as response:
                text = response.read(MOST_BYTES)
        except urllib.error.HTTPError as error:
            raise self._refusal(error) from None
        except (OSError, http.client.HTTPException) as error:
            reason = getattr(error, "reason", error)
            if isinstance(reason, ssl.SSLCertVerificationError):
                raise TokenError(
                    f"{self._place}: certificate verify failed ({reason.verify_message}); set kafka.sasl_oauth_cafile "
                    "to the authority that signed the endpoint's certificate"
                ) from None
            said = str(getattr(reason, "strerror", None) or reason) or type(reason).__name__
            raise _MayWork(
                f"{self._place}: no token endpoint answers there ({said}); check the address and the network"
            ) from None
        return self._read(text, began)

    @property
    def _place(self) -> str:
        return f"{_NAME} = {self._url}"

    def _refusal(self, error: urllib.error.HTTPError) -> TokenError:
        """Say what the endpoint answered: its status and its error code, never its whole text."""
        with error:
            try:
                answer = json.loads(error.read(MOST_BYTES))
                code = answer.get("error") if isinstance(answer, dict) else None
            except (OSError, ValueError, RecursionError):
                code = None
        said = f"it answered {error.code}" + (f" {code}" if isinstance(code, str) and len(code) < 100 else "")
        if error.code in (429, 500, 502, 503, 504):
            return _MayWork(f"{self._place}: {said}; ask again in a while")
        if error.code in (400, 401, 403):
            return TokenError(
                f"{self._place}: {said}; check kafka.sasl_oauth_client_id, the secret in "
                "kafka.sasl_oauth_client_secret_file and kafka.sasl_oauth_scope"
            )
        return TokenError(f"{self._place}: {said}; is that the address of a token endpoint?")

    def _read(self, text: bytes, began: float) -> Token:
        try:
            answer = json.loads(text)
            token, kind, life = answer["access_token"], answer.get("token_type", "Bearer"), answer.get("expires_in")
            life = None if life is None else float(life)
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            raise TokenError(
                f"{self._place}: it did not answer with a token (JSON with access_token and expires_in); is that the "
                "address of a token endpoint?"
            ) from None
        if not isinstance(token, str) or str(kind).lower() != "bearer":
            raise TokenError(f"{self._place}: it answered with no bearer token; Kafka takes no other")
        made = checked(token, self._place, expires_in=life, now=began)
        if made.expires_at is not None and not SHORTEST_S <= made.expires_at - began < 1e9:
            raise TokenError(
                f"{self._place}: its token lives for {made.expires_at - began:.0f} s; have it give longer ones"
            )
        return made
