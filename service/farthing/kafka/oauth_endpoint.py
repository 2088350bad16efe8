"""Tokens from an OpenID Connect endpoint, by the client credentials grant (RFC 6749, section 4.4)."""

from __future__ import annotations

import base64
import http.client
import json
import socket
import ssl
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from farthing.errors import ConfigError
from farthing.kafka.limited import limited
from farthing.kafka.oauth import Token, TokenError, checked
from farthing.process.secrets import read_secret

TIMEOUT_S: Final = 2.5  # for one request, from the name server's answer to the last byte
ALL_TRIES_S: Final = 6.0  # together
RETRY_PAUSES_S: Final = (0.2, 0.5)  # after answers that another try may mend
MOST_BYTES: Final = 1 << 16
SHORTEST_S: Final = 5.0
"""Of a token's life: one that expires sooner is useless, since a connection takes a moment."""

_NAME: Final = "kafka.sasl_oauth_token_url"


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """Follows nothing: the secret is for this endpoint alone."""

    def redirect_request(self, *_: Any) -> None:
        """Leave the response as it is."""


class _Connections:
    """Opens connections for one request, and closes them under whoever waits for an answer that has no end."""

    def __init__(self, context: ssl.SSLContext) -> None:
        made: list[Any] = []

        def kept(kind: Callable[..., Any]) -> Any:
            def make(*arguments: Any, **options: Any) -> Any:
                made.append(kind(*arguments, **options))
                return made[-1]

            return make

        class Plain(urllib.request.HTTPHandler):
            def http_open(self, request: urllib.request.Request) -> http.client.HTTPResponse:
                return self.do_open(kept(http.client.HTTPConnection), request)

        class Secure(urllib.request.HTTPSHandler):
            def https_open(self, request: urllib.request.Request) -> http.client.HTTPResponse:
                return self.do_open(kept(http.client.HTTPSConnection), request, context=context)

        self._made = made
        self.opener = urllib.request.build_opener(Plain, Secure, _NoRedirect)

    def end(self) -> None:
        """Close the connections."""
        for connection in self._made:
            with suppress(OSError, AttributeError):  # there is no socket yet, or none any more
                connection.sock.shutdown(socket.SHUT_RDWR)


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
            self._context = ssl.create_default_context(cafile=None if cafile is None else str(cafile))
        except (OSError, ssl.SSLError) as error:
            raise ConfigError(
                f"kafka.sasl_oauth_cafile = {str(cafile)!r}: cannot be loaded ({error}); check the path and the format "
                "(PEM)"
            ) from error

    def fetch(self) -> Token:
        """Ask for a token, again where that may help. Raises TokenError."""
        pauses, deadline = iter(RETRY_PAUSES_S), time.monotonic() + ALL_TRIES_S
        while True:
            try:
                return self._ask(min(TIMEOUT_S, deadline - time.monotonic()))
            except _MayWork:
                pause_s = next(pauses, None)
                if pause_s is None or time.monotonic() + pause_s >= deadline:
                    raise
                time.sleep(pause_s)

    def _ask(self, limit_s: float) -> Token:
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
        began, connections = time.time(), _Connections(self._context)
        try:
            text = limited(lambda: self._answer(connections, request, limit_s), limit_s)
        except (OSError, http.client.HTTPException) as error:
            connections.end()
            reason = getattr(error, "reason", error)
            if isinstance(reason, ssl.SSLCertVerificationError):
                raise TokenError(
                    f"{self._place}: certificate verify failed ({reason.verify_message}); set kafka.sasl_oauth_cafile "
                    "to the authority that signed the endpoint's certificate"
                ) from None
            said = str(getattr(reason, "strerror", None) or reason) or f"no whole answer within {limit_s:.1f} s"
            raise _MayWork(
                f"{self._place}: no token endpoint answers there ({said}); check the address and the network"
            ) from None
        except (ValueError, OverflowError) as error:  # from IDNA's codec, http.client and getaddrinfo
            raise TokenError(
                f"{self._place}: that address cannot be asked ({error}); write one such as "
                "https://login.example.com/token"
            ) from None
        return self._read(text, began)

    def _answer(self, connections: _Connections, request: urllib.request.Request, limit_s: float) -> bytes:
        deadline = time.monotonic() + limit_s
        try:
            with connections.opener.open(request, timeout=limit_s) as response:
                return _whole(response, deadline)
        except urllib.error.HTTPError as error:
            with error:
                raise self._refusal(error, deadline) from None

    @property
    def _place(self) -> str:
        return f"{_NAME} = {self._url}"

    def _refusal(self, error: urllib.error.HTTPError, deadline: float) -> TokenError:
        """Say what the endpoint answered: its status and its error code, never its whole text."""
        try:
            answer = json.loads(_whole(error, deadline))
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
        except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError):
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


def _whole(response: Any, deadline: float) -> bytes:
    """Read an answer; one that drips ends with TimeoutError."""
    text = b""
    while len(text) < MOST_BYTES and (more := response.read1(MOST_BYTES - len(text))):
        text += more
        if time.monotonic() > deadline:
            raise TimeoutError
    return text
