"""Who may read what over HTTP: names, origins, and a token for everything but the probes.

Nothing here can be changed over HTTP, so there are only figures to protect. A browser that can connect may be led here
by someone else's page: under that page's name, which resolves to our address (DNS rebinding), or by a request from its
origin. So requests under unknown names and from other origins are refused. ``/live`` and ``/ready`` answer whoever
asks, because a kubelet can send neither a name nor a token.

A port on loopback is open to whoever is on the machine. A port beyond loopback shows metrics and pages to those who
send the token of ``token_file``, or to everyone if ``allow_anonymous`` says so.
"""

from __future__ import annotations

import base64
import binascii
import hmac
import ipaddress
from pathlib import Path
from typing import Final

import structlog
from aiohttp import web
from aiohttp.typedefs import Handler

from farthing.errors import ConfigError
from farthing.process.access import Access
from farthing.process.secrets import ChangingFiles, read_secret

log = structlog.get_logger()

ANY_NAME: Final = "*"
FOR_EVERYONE: Final = frozenset({"/live", "/ready"})
METRICS: Final = "/metrics"
CHALLENGES: Final = ('Bearer realm="farthing"', 'Basic realm="farthing", charset="UTF-8"')
HEADERS: Final = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}
"""Of every answer. The policy is the ledger page's; it needs nothing inline and no other host."""


class ChangingSecret:
    """A secret that is renewed in its file; while a new one cannot be read, the old one holds."""

    def __init__(self, path: Path, setting: str) -> None:
        """Read the file that ``setting`` names. Raises ConfigError when it holds no secret."""
        self._path, self._setting = path, setting
        self._file = ChangingFiles(path)
        self._secret = ""
        self.now()

    def now(self) -> str:
        """Return the secret, read again if its file has changed."""
        if self._file.changed():
            try:
                self._secret = read_secret(self._path, self._setting)
            except ConfigError as error:
                if not self._secret:
                    raise
                log.warning("token_not_read", error=str(error), note="the last one holds")
        return self._secret


class Guard:
    """Checks each request of a port."""

    def __init__(self, access: Access, host: str, *, section: str) -> None:
        """``host`` is where it listens, ``section`` that of the settings. Raises ConfigError without a good token."""
        self._access, self._host, self._section = access, host, section
        self._on_loopback = _is_loopback(host)
        self._hosts = frozenset(host.lower().strip("[]") for host in access.hosts)
        file = access.token_file
        self._token = None if file is None else ChangingSecret(file, f"{section}.token_file")
        self._needs_token = access.token_file is not None or not (self._on_loopback or access.allow_anonymous)

    def warn(self) -> None:
        """Say at the start what nobody will be able to read."""
        if self._needs_token and self._token is None:
            log.warning("http_needs_token", section=self._section, host=self._host, note=self._advice())

    @web.middleware
    async def check(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Refuse what may not be asked, and add the headers to every answer."""
        try:
            self._check(request)
            response = await handler(request)
        except ConfigError as error:
            response = web.Response(text=f"{error}\n", status=400)
        except web.HTTPException as error:
            error.headers.update(HEADERS)
            raise
        response.headers.update(HEADERS)
        return response

    def _check(self, request: web.Request) -> None:
        path = request.path.rstrip("/")
        if path in FOR_EVERYONE:
            return
        # Prometheus asks under any name. On a port that is open to this machine alone, a browser may be led to do so.
        any_name = path == METRICS and (self._hosts or not self._on_loopback)
        if not any_name and not self._serves(_host_name(request.host)):
            raise web.HTTPForbidden(text=f"this host name is not allowed: {self._name_advice()}\n")
        origin = request.headers.get("Origin")
        if origin is not None and origin.partition("://")[2].lower() != request.host.lower():
            raise web.HTTPForbidden(text="pages of other origins may not read here\n")
        if self._needs_token and not self._knows_token(request):
            refusal = web.HTTPUnauthorized(text=f"a token is needed: {self._advice()}\n")
            for challenge in CHALLENGES:
                refusal.headers.add("WWW-Authenticate", challenge)
            raise refusal

    def _serves(self, name: str) -> bool:
        if self._hosts:
            return name in self._hosts or ANY_NAME in self._hosts
        return (
            name in ("localhost", self._host.lower() or "localhost") or name.endswith(".localhost") or _is_address(name)
        )

    def _knows_token(self, request: web.Request) -> bool:
        """Compare the token in constant time: as a bearer token, or as the password of a browser's login."""
        scheme, _, given = request.headers.get("Authorization", "").partition(" ")
        token = given.strip().encode("utf-8", "surrogateescape")
        if scheme.lower() == "basic":
            try:
                token = base64.b64decode(token, validate=True).partition(b":")[2]
            except (binascii.Error, ValueError):
                return False
        elif scheme.lower() != "bearer":
            return False
        return self._token is not None and hmac.compare_digest(token, self._token.now().encode())

    def _advice(self) -> str:
        name = self._section
        if self._access.token_file is not None:
            return f"send the one in {name}.token_file as `Authorization: Bearer TOKEN`"
        return (
            f"{name}.host = {self._host!r} is beyond loopback; set {name}.token_file, or {name}.allow_anonymous = true "
            "where the network keeps strangers out"
        )

    def _name_advice(self) -> str:
        if self._section == "ledger":
            return "add it to ledger.allowed_hosts, or use the address"
        return "use the address"


def _host_name(host: str) -> str:
    """Return the name or address in a Host header, without its port, and an IPv6 address without brackets."""
    name = host[1:].partition("]")[0] if host.startswith("[") else host.partition(":")[0]
    return name.lower()


def _is_loopback(host: str) -> bool:
    return ipaddress.ip_address(host).is_loopback if _is_address(host) else host == "localhost"


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
