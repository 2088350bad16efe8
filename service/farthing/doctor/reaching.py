"""Looks at the way to the brokers, step by step: names and ports, TLS, login, versions."""

from __future__ import annotations

import asyncio
import datetime
import ssl
import time
from contextlib import suppress
from typing import Any, Final

from farthing.doctor.checks import Row, failed, ok, skipped, warning
from farthing.errors import BrokerError, ConfigError
from farthing.kafka import KafkaSettings
from farthing.kafka.looking import LOOK_ERRORS, BrokerLook

CONNECT_TIMEOUT_S: Final = 3.0
LOGIN_TIMEOUT_S: Final = 6.0
EXPIRES_SOON_DAYS: Final = 14
SLOW_S: Final = 0.2


async def servers(kafka: KafkaSettings) -> list[Row]:
    """Connect to each server of ``kafka.bootstrap_servers``."""
    return list(await asyncio.gather(*(_server(server) for server in kafka.bootstrap_servers)))


async def _server(server: str) -> Row:
    check, (host, port) = f"broker {server}", address(server)
    began = time.monotonic()
    try:
        _, writer = await asyncio.wait_for(asyncio.open_connection(host, port), CONNECT_TIMEOUT_S)
    except TimeoutError:
        return failed(
            check, f"does not answer within {CONNECT_TIMEOUT_S:.0f} s", "look for a firewall, or a wrong address"
        )
    except (OSError, UnicodeError) as error:  # UnicodeError: the name has an empty label
        return failed(
            check, f"cannot be reached ({getattr(error, 'strerror', None) or error})",
            "start the broker, or mend kafka.bootstrap_servers",
        )  # fmt: skip
    await _close(writer)
    return ok(check, f"connects in {1000 * (time.monotonic() - began):.0f} ms")


def address(server: str) -> tuple[str, int]:
    """Split host and port; an IPv6 address has brackets."""
    host, colon, port = server.rpartition(":")
    if not colon or host.endswith(":") or (host.startswith("[") and not host.endswith("]")):
        host, port = server, "9092"
    return host.strip("[]"), int(port)


async def tls(kafka: KafkaSettings) -> list[Row]:
    """Shake hands with the first server that connects, and look at its certificate."""
    if not kafka.security_protocol.endswith("SSL"):
        note = f"kafka.security_protocol = {kafka.security_protocol}: connections are not encrypted"
        return [skipped("tls", note, "" if _only_local(kafka) else "use SSL or SASL_SSL outside a trusted network")]
    context: ssl.SSLContext = kafka.client_options()["ssl_context"]
    found: Row | None = None
    for server in kafka.bootstrap_servers:
        host, port = address(server)
        try:
            _, writer = await asyncio.wait_for(asyncio.open_connection(host, port, ssl=context), CONNECT_TIMEOUT_S)
        except ssl.SSLCertVerificationError as error:
            found = failed(
                "tls", f"{server}: its certificate is not trusted ({error.verify_message})",
                "set kafka.ssl_cafile to its authority, and name it in kafka.bootstrap_servers as its certificate does",
            )  # fmt: skip
        except ssl.SSLError as error:
            mend = "check kafka.security_protocol against the listener of this port, and kafka.ssl_certfile"
            found = failed("tls", f"{server}: {error.reason or error}", mend)
        except (OSError, UnicodeError) as error:
            found = found or failed("tls", f"{server}: no handshake ({type(error).__name__})", "see the row above")
        else:
            row = certificate(server, writer.get_extra_info("ssl_object"))
            await _close(writer)
            return [row]
    return [found] if found is not None else []


def certificate(server: str, connection: Any) -> Row:
    """Say until when the server's certificate is valid."""
    ends = ssl.cert_time_to_seconds(connection.getpeercert()["notAfter"])
    day = datetime.datetime.fromtimestamp(ends, datetime.UTC).date()
    days = (ends - time.time()) / 86_400
    found = f"{server}: {connection.version()}, certificate valid until {day}"
    if days < EXPIRES_SOON_DAYS:
        return warning("tls", found, "renew it, or every client fails on that day")
    return ok("tls", found)


async def login(kafka: KafkaSettings, look: BrokerLook) -> list[Row]:
    """Connect as a client: with it SASL is shown too."""
    check = "login" if kafka.security_protocol.startswith("SASL") else "client"
    who = f" as {kafka.sasl_plain_username}" if kafka.sasl_plain_username else ""
    try:
        async with asyncio.timeout(LOGIN_TIMEOUT_S):
            await look.connect()
            took = await look.round_trip_s()
    except (BrokerError, TimeoutError, *LOOK_ERRORS) as error:
        text = str(error) or f"no answer within {LOGIN_TIMEOUT_S:.0f} s"
        found, _, mend = text.partition("; check ")
        return [failed(check, found, f"check {mend}" if mend else "look at the broker's log")]
    found = f"connected{who}; an answer takes {1000 * took:.0f} ms"
    if took > SLOW_S:
        return [warning(check, found, "look at the load of the brokers, and at the network between")]
    return [ok(check, found)]


async def versions(look: BrokerLook) -> list[Row]:
    """Check that the broker speaks a version of each request that a worker sends."""
    missing = await look.unspoken()
    if missing:
        return [failed("versions", f"the broker does not speak {', '.join(missing)} as we do", "use Apache Kafka 2.1+")]
    return [ok("versions", "the broker speaks every request that a worker sends")]


def _only_local(kafka: KafkaSettings) -> bool:
    return all(address(server)[0] in ("localhost", "127.0.0.1", "::1") for server in kafka.bootstrap_servers)


async def _close(writer: asyncio.StreamWriter) -> None:
    writer.close()
    with suppress(OSError, TimeoutError, ssl.SSLError):
        await asyncio.wait_for(writer.wait_closed(), 1.0)


REACHING_ERRORS: Final = (ConfigError, *LOOK_ERRORS)
"""What these checks raise."""
