"""What the security settings of ``[kafka]`` mean together, and the TLS context that they make.

Certificates and keys are read again when their files change: what is renewed on disk is used from the next connection
on, without a restart.
"""

from __future__ import annotations

import ipaddress
import ssl
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from farthing.errors import ConfigError
from farthing.process.secrets import ChangingFiles, read_secret

TLS: Final = ("ssl_cafile", "ssl_certfile", "ssl_keyfile", "ssl_password_file")
LOGIN: Final = ("sasl_plain_username", "sasl_plain_password_file")
SOURCES: Final = ("sasl_oauth_token_file", "sasl_oauth_token_url", "sasl_oauth_aws_region")
CLIENT: Final = ("sasl_oauth_client_id", "sasl_oauth_client_secret_file")
ENDPOINT: Final = (*CLIENT, "sasl_oauth_scope", "sasl_oauth_cafile")


def check(settings: Any) -> None:  # KafkaSettings, whose module imports this one
    """Refuse credentials that would not be sent, and a protocol whose credentials are missing. Raises ValueError."""
    protocol, mechanism = settings.security_protocol, settings.sasl_mechanism

    def given(*names: str) -> list[str]:
        return [name for name in names if getattr(settings, name) is not None]

    if protocol.startswith("SASL"):
        if mechanism is None:
            raise ValueError(
                f"security_protocol is {protocol} but sasl_mechanism is not set: "
                "use PLAIN, SCRAM-SHA-256, SCRAM-SHA-512 or OAUTHBEARER"
            )
        if mechanism == "OAUTHBEARER":
            _check_tokens(settings, given)
        else:
            missing = [name for name in LOGIN if name not in given(*LOGIN)]
            if missing:
                raise ValueError(f"sasl_mechanism is {mechanism} but {' and '.join(missing)} is not set")
            if useless := given(*SOURCES, *ENDPOINT):
                raise ValueError(
                    f"{', '.join(useless)} is set but sasl_mechanism is {mechanism}, which uses no token: set "
                    "sasl_mechanism to OAUTHBEARER, or remove it"
                )
    for useless, is_used, better in (
        (given("sasl_mechanism", *LOGIN, *SOURCES, *ENDPOINT), protocol.startswith("SASL"), "SASL_SSL"),
        (given(*TLS), protocol.endswith("SSL"), "SSL or SASL_SSL"),
    ):
        if useless and not is_used:
            raise ValueError(
                f"{', '.join(useless)} is set but security_protocol is {protocol}, which does not use it: "
                f"set security_protocol to {better}, or remove it"
            )
    if settings.ssl_certfile is None and given("ssl_keyfile", "ssl_password_file"):
        raise ValueError("ssl_keyfile and ssl_password_file need ssl_certfile: a key alone proves nothing")
    if protocol == "SASL_PLAINTEXT" and not settings.allow_insecure:
        raise ValueError(
            "SASL_PLAINTEXT sends credentials unencrypted: use SASL_SSL, or set allow_insecure = true on a test network"
        )


def _check_tokens(settings: Any, given: Any) -> None:
    sources = given(*SOURCES)
    if len(sources) != 1:
        found = " and ".join(sources) or "none of them"
        raise ValueError(f"sasl_mechanism is OAUTHBEARER: set one of {', '.join(SOURCES)} (found {found})")
    if useless := given(*LOGIN):
        raise ValueError(
            f"{', '.join(useless)} is set but sasl_mechanism is OAUTHBEARER, which does not use it: remove it"
        )
    url = settings.sasl_oauth_token_url
    if url is None:
        if useless := given(*ENDPOINT):
            raise ValueError(
                f"{', '.join(useless)} is set but sasl_oauth_token_url is not: set it, or remove the others"
            )
        return
    if missing := [name for name in CLIENT if name not in given(*CLIENT)]:
        raise ValueError(f"sasl_oauth_token_url is set but {' and '.join(missing)} is not set")
    parts = urlsplit(url)
    if parts.username is not None or parts.password is not None:
        raise ValueError(
            "sasl_oauth_token_url holds a login: use sasl_oauth_client_id and sasl_oauth_client_secret_file"
        )
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError(f"sasl_oauth_token_url is {url}: write an address such as https://login.example.com/token")
    if parts.scheme == "http" and not _is_loopback(parts.hostname):
        raise ValueError(f"sasl_oauth_token_url is {url}: it would send the secret unencrypted; use https")
    try:
        _ = parts.port  # it raises ValueError
        parts.hostname.encode("idna")
        url.partition(parts.netloc)[2].encode("ascii")
    except ValueError as error:
        raise ValueError(
            f"sasl_oauth_token_url is {url}: write an address such as https://login.example.com/token, with %XX for "
            f"what is not ASCII ({error})"
        ) from error


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


class RenewedContext(ssl.SSLContext):
    """A client's TLS context that looks, at each connection, whether its files have changed."""

    _settings: Any
    _files: ChangingFiles
    _inner: ssl.SSLContext

    @classmethod
    def of(cls, settings: Any) -> RenewedContext:
        """Make it. Raises ConfigError when a certificate, key or password cannot be read."""
        self = cls(ssl.PROTOCOL_TLS_CLIENT)
        paths: list[Path | None] = [getattr(settings, name) for name in TLS]
        self._settings = settings
        self._files = ChangingFiles(*(path for path in paths if path is not None))
        self._files.changed()
        self._inner = _load(settings)
        return self

    def wrap_bio(self, *args: Any, **options: Any) -> ssl.SSLObject:
        """Begin a connection of an event loop."""
        return self._current().wrap_bio(*args, **options)

    def wrap_socket(self, *args: Any, **options: Any) -> ssl.SSLSocket:
        """Begin a connection of a socket."""
        return self._current().wrap_socket(*args, **options)

    def _current(self) -> ssl.SSLContext:
        if self._files.changed():
            import structlog  # here, because commands that connect to nothing read the settings too

            log = structlog.get_logger()
            try:
                self._inner = _load(self._settings)
                log.info("certificates_renewed")
            except ConfigError as error:  # perhaps one of two files is written and the other is not yet
                log.warning("certificates_not_read", error=str(error), note="the last ones are used")
        return self._inner


def _load(settings: Any) -> ssl.SSLContext:
    cafile, certfile, keyfile = settings.ssl_cafile, settings.ssl_certfile, settings.ssl_keyfile
    password = None
    if settings.ssl_password_file is not None:
        password = read_secret(settings.ssl_password_file, "kafka.ssl_password_file")
    try:
        context = ssl.create_default_context(cafile=cafile)
        if certfile is not None:
            # Never None: OpenSSL would ask for an encrypted key's password at the terminal and wait.
            context.load_cert_chain(certfile, keyfile, password=password or "")
    except (OSError, ssl.SSLError) as error:
        cafile, certfile, keyfile = (None if path is None else str(path) for path in (cafile, certfile, keyfile))
        raise ConfigError(
            f"kafka.ssl_cafile = {cafile!r}, kafka.ssl_certfile = {certfile!r}, kafka.ssl_keyfile = {keyfile!r}: "
            f"cannot be loaded ({error}); check paths, formats (PEM) and the key's password"
        ) from error
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context
