"""The certificate of an HTTP port; one that is renewed on disk is used from the next connection on."""

from __future__ import annotations

import ssl
from pathlib import Path

import structlog

from farthing.errors import ConfigError
from farthing.process.secrets import ChangingFiles

log = structlog.get_logger()


class ServerCertificate:
    """Certificate and key of a server, from PEM files (``key`` None: it is in the certificate's)."""

    def __init__(self, section: str, certificate: Path, key: Path | None) -> None:
        """Raise ConfigError when they cannot be loaded. ``section`` is that of the settings."""
        self._names = f"{section}.tls_certfile = {str(certificate)!r}, {section}.tls_keyfile = {str(key)!r}"
        self._certificate, self._key = certificate, key
        self._files = ChangingFiles(certificate, *([] if key is None else [key]))
        self._files.changed()
        try:
            self._context = self._load()
        except (OSError, ssl.SSLError) as error:
            raise ConfigError(
                f"{self._names}: cannot be loaded ({error}); check paths and formats (PEM), and use a key without a "
                "password"
            ) from error

    def context(self) -> ssl.SSLContext:
        """Return the context for a new connection."""
        if self._files.changed():
            try:
                self._context = self._load()
            except (OSError, ssl.SSLError) as error:
                log.warning("certificate_not_read", files=self._names, error=str(error), note="the last one is used")
        return self._context

    def _load(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        # Never None: OpenSSL would ask for an encrypted key's password at the terminal and wait.
        context.load_cert_chain(self._certificate, self._key, password="")
        return context
