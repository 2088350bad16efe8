"""Looks at a server before aiokafka does, and says in words why it is not the broker that the settings describe.

aiokafka gives one reason for a wrong port, a wrong protocol and a missing certificate: the connection was closed. And
it waits out its request timeout for a server that speaks something else. Here one connection is made by hand, as far as
the first answer of Kafka's protocol, which needs no login.
"""

from __future__ import annotations

import socket
import ssl
import struct
import time
from dataclasses import dataclass
from typing import Final

from farthing.kafka.limited import limited

FIRST_ANSWER_S: Final = 6.0
"""How long a server may take until its first answer, in seconds: who waits for an error should have it within ten."""

_CORRELATION: Final = 0x46415254
_API_VERSIONS: Final = struct.pack(">ihhih", 10, 18, 0, _CORRELATION, -1)
"""ApiVersions v0 without a client id: size, API key, version, correlation id, length of the client id."""
_METADATA: Final = struct.pack(">ihhihi", 14, 3, 1, _CORRELATION, -1, 0)
"""Metadata v1 of no topics: what a broker answers only to those who are logged in, where it asks for a login."""
_MOST_BYTES: Final = 1 << 20
_GRACE_S: Final = 0.2
"""For who keeps the limit himself: only a name server's silence has none of its own."""
_TLS_ALERT: Final = b"\x15\x03"


@dataclass(frozen=True, slots=True)
class Fault:
    """What is wrong, and what to do about it."""

    what: str
    remedy: str
    of_security: bool = True
    """Whether ``[kafka]``'s security settings may be to blame: no, where no broker answers."""

    def __str__(self) -> str:
        return f"{self.what}; {self.remedy}"


class _Other(Exception):
    """It is a server of some other protocol; the first bytes of its answer."""


def look(
    server: str,
    context: ssl.SSLContext | None,
    *,
    protocol: str,
    token: str | None = None,
    limit_s: float = FIRST_ANSWER_S,
) -> Fault | None:
    """Connect to ``host:port`` under ``kafka.security_protocol = protocol``; returns what is wrong, None if nothing is.

    ``context`` is the one that the settings make, where there is TLS; with a ``token`` the login is tried too.
    """
    host, port = _address(server)
    deadline = time.monotonic() + limit_s

    def there() -> Fault | None:
        with _connect(host, port, deadline) as plain:
            if context is None:
                return _look_plain(plain, host, port, protocol, token, deadline)
            return _look_secure(plain, host, port, context, protocol, token, deadline)

    try:
        return limited(there, limit_s + _GRACE_S)
    except socket.gaierror as error:
        what, remedy = f"the name {host!r} is not known ({error.strerror or error})", "check the name and the DNS"
    except ConnectionRefusedError:
        what, remedy = f"nothing listens at port {port}", "check that a broker listens there"
    except TimeoutError:
        what = f"no answer within {limit_s:.0f} s"
        remedy = "check that a broker listens there, and that no firewall is between"
    except OSError as error:
        what, remedy = str(error.strerror or error) or type(error).__name__, "check that a broker listens there"
    except UnicodeError as error:  # a label of the name is empty or too long
        what, remedy = f"{host!r} is no host name ({error})", "check kafka.bootstrap_servers"
    return Fault(what, remedy, of_security=False)


def _look_plain(
    plain: socket.socket, host: str, port: int, protocol: str, token: str | None, deadline: float
) -> Fault | None:
    try:
        return _talk(plain, protocol, token, deadline)
    except _Other as other:
        return _foreign(other)
    except (ConnectionError, EOFError):
        if _speaks_tls(host, port, deadline):
            better = "SASL_SSL" if protocol.startswith("SASL") else "SSL or SASL_SSL"
            return Fault("this port speaks TLS", f"set kafka.security_protocol to {better}")
        return Fault("the connection was closed without an answer", "check that a broker listens there")


def _look_secure(
    plain: socket.socket,
    host: str,
    port: int,
    context: ssl.SSLContext,
    protocol: str,
    token: str | None,
    deadline: float,
) -> Fault | None:
    try:
        with context.wrap_socket(plain, server_hostname=host) as secure:
            return _talk(secure, protocol, token, deadline)
    except ssl.SSLCertVerificationError as error:
        return _unverified(error, host)
    except _Other as other:
        return _foreign(other)
    except (ssl.SSLError, ConnectionError, EOFError) as error:
        refused = _refused_certificate(error)
        if refused is not None:
            return refused
        if _speaks_plain_kafka(host, port, deadline):
            return Fault(
                "this port speaks Kafka's protocol without TLS (SSL)",
                "use the port of the TLS listener, or set kafka.security_protocol to PLAINTEXT",
            )
        reason = getattr(error, "reason", None) or str(error) or type(error).__name__
        return Fault(f"no TLS (SSL) connection: {reason}", "check that the broker's TLS listener is at this port")


def _talk(connection: socket.socket, protocol: str, token: str | None, deadline: float) -> Fault | None:
    """Ask for API versions, which any broker answers; then see whether it wants a login, or takes ours."""
    _ask(connection, _API_VERSIONS, deadline)
    if token is not None:
        return _login(connection, token, deadline)
    if protocol.startswith("SASL"):
        return None
    try:
        _ask(connection, _METADATA, deadline)
    except (ConnectionError, EOFError):
        better = "SASL_SSL" if protocol == "SSL" else "SASL_SSL at its TLS port (or SASL_PLAINTEXT at this one)"
        return Fault(
            "the broker asks for a login", f"set kafka.security_protocol to {better}, with kafka.sasl_mechanism"
        )
    return None


def _unverified(error: ssl.SSLCertVerificationError, host: str) -> Fault:
    text = f"certificate verify failed: {error.verify_message}"
    if error.verify_code in (62, 64):  # X509_V_ERR_HOSTNAME_MISMATCH, X509_V_ERR_IP_ADDRESS_MISMATCH
        return Fault(text, f"use a name that is in the broker's certificate, or have one issued for {host}")
    if error.verify_code in (9, 10):  # X509_V_ERR_CERT_NOT_YET_VALID, X509_V_ERR_CERT_HAS_EXPIRED
        return Fault(text, "renew the broker's certificate, or set this machine's clock")
    return Fault(text, "set kafka.ssl_cafile to the certificate authority that signed the broker's certificate")


def _refused_certificate(error: BaseException) -> Fault | None:
    """Read the broker's alert about our certificate, if it is one."""
    reason = str(getattr(error, "reason", "") or "").upper()
    if "CERTIFICATE_REQUIRED" in reason or ("HANDSHAKE_FAILURE" in reason and "CERTIFICATE" in reason):
        return Fault("the broker asks for a client certificate", "set kafka.ssl_certfile and kafka.ssl_keyfile")
    if "EXPIRED" in reason:
        return Fault("the broker refuses the client certificate: it has expired", "renew the one in kafka.ssl_certfile")
    if "ALERT" in reason and ("CERTIFICATE" in reason or "UNKNOWN_CA" in reason):
        words = reason.split("ALERT_")[-1].replace("_", " ").lower()
        return Fault(
            f"the broker refuses the client certificate ({words})",
            "use one in kafka.ssl_certfile that is valid now and signed by an authority that the broker trusts",
        )
    return None


def _foreign(other: _Other) -> Fault:
    start = bytes(other.args[0])
    if start.startswith(_TLS_ALERT):
        return Fault("this port speaks TLS", "set kafka.security_protocol to SSL or SASL_SSL")
    what = (
        "an HTTP server"
        if start.startswith(b"HTTP/")
        else "no Kafka broker (its answer begins with " + repr(start) + ")"
    )
    return Fault(f"this port has {what}", "check that a broker listens there: its port is often 9092")


def _address(server: str) -> tuple[str, int]:
    host, colon, port = server.rpartition(":")
    if not colon or server.endswith("]"):
        host, port = server, "9092"
    return host.strip("[]"), int(port)


def _connect(host: str, port: int, deadline: float) -> socket.socket:
    """Connect to one of the name's addresses; all that are left have an equal share of the time that is left."""
    places = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    for number, (family, kind, protocol, _, place) in enumerate(places):
        left = max(0.1, deadline - time.monotonic())
        connection = socket.socket(family, kind, protocol)
        try:
            connection.settimeout(left / (len(places) - number))
            connection.connect(place)
        except OSError:
            connection.close()
            if number == len(places) - 1:
                raise
        else:
            connection.settimeout(max(0.1, deadline - time.monotonic()))
            return connection
    raise OSError(f"the name {host!r} has no address")


def _login(connection: socket.socket, token: str, deadline: float) -> Fault | None:
    """Log in with a token (RFC 7628). aiokafka does not read the broker's answer to one that it refuses."""
    name = b"OAUTHBEARER"
    answer = _ask(connection, _request(17, 1, struct.pack(">h", len(name)) + name), deadline)
    (code,) = struct.unpack_from(">h", answer)
    if code:
        return None  # what the broker takes instead, aiokafka says
    first = b"n,,\x01auth=Bearer " + token.encode() + b"\x01\x01"
    answer = _ask(connection, _request(36, 0, struct.pack(">i", len(first)) + first), deadline)
    code, length = struct.unpack_from(">hh", answer)
    said = answer[4 : 4 + max(0, length)].decode("utf-8", "replace")
    challenge = answer[8 + max(0, length) :].decode("utf-8", "replace")  # after the length of its own
    if not code and not challenge:
        return None
    return Fault(
        f"SASL authentication failed, the broker refuses the token: {said or challenge}",
        "it may have expired, or its issuer, audience or scope is not what the broker expects; check where it is from "
        "(kafka.sasl_oauth_...)",
    )


def _request(key: int, version: int, body: bytes) -> bytes:
    head = struct.pack(">hhih", key, version, _CORRELATION, -1)
    return struct.pack(">i", len(head) + len(body)) + head + body


def _ask(connection: socket.socket, request: bytes, deadline: float) -> bytes:
    """Send a request and read the answer. Raises EOFError when the connection ends first, _Other when it is none."""
    connection.sendall(request)
    head = _read(connection, 8, deadline)
    size, correlation = struct.unpack(">ii", head)
    if correlation != _CORRELATION or not 4 <= size <= _MOST_BYTES:
        raise _Other(head)
    return _read(connection, size - 4, deadline)


def _read(connection: socket.socket, count: int, deadline: float) -> bytes:
    got = bytearray()
    while len(got) < count:
        left = deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError
        connection.settimeout(left)
        piece = connection.recv(count - len(got))
        if not piece:
            if got:
                raise _Other(bytes(got))
            raise EOFError
        got += piece
    return bytes(got)


def _speaks_tls(host: str, port: int, deadline: float) -> bool:
    """Whether a server takes a TLS handshake, whoever it is: nothing is sent to it."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    try:
        with _connect(host, port, deadline) as plain, context.wrap_socket(plain, server_hostname=host):
            return True
    except OSError:
        return False


def _speaks_plain_kafka(host: str, port: int, deadline: float) -> bool:
    try:
        with _connect(host, port, deadline) as plain:
            _ask(plain, _API_VERSIONS, deadline)
            return True
    except (OSError, EOFError, _Other):
        return False
