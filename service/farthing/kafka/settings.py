"""How to reach the broker, in aiokafka's terms. Built from the configuration; passwords never show in ``repr``."""

from __future__ import annotations

import math
import ssl
from dataclasses import dataclass, field
from typing import Any

from aiokafka.helpers import create_ssl_context

from farthing.errors import ConfigError

NO_POLL_LIMIT_MS = math.inf
"""aiokafka leaves the group for good when nobody polls for max_poll_interval_ms, and a raw fetch never polls; the most
that 32 bits hold would be 25 days. Our own watchdog looks for progress instead (``worker.stall_timeout_ms``)."""


@dataclass(frozen=True, slots=True)
class KafkaSettings:
    """Connection, security and limits. Times are milliseconds, sizes bytes."""

    bootstrap_servers: tuple[str, ...] = ("localhost:9092",)
    group_id: str = "farthing"
    client_id: str = "farthing"
    group_instance_id: str | None = None
    isolation_level: str = "read_committed"
    auto_offset_reset: str = "earliest"
    session_timeout_ms: int = 45_000
    heartbeat_interval_ms: int = 3_000
    rebalance_timeout_ms: int = 60_000
    request_timeout_ms: int = 30_000
    metadata_max_age_ms: int = 30_000
    fetch_max_bytes: int = 4 << 20
    max_partition_fetch_bytes: int = 1 << 20
    fetch_max_wait_ms: int = 250
    delivery_timeout_ms: int = 30_000
    security_protocol: str = "PLAINTEXT"
    ssl_cafile: str | None = None
    ssl_certfile: str | None = None
    ssl_keyfile: str | None = None
    ssl_password: str | None = field(default=None, repr=False)
    sasl_mechanism: str | None = None
    sasl_plain_username: str | None = None
    sasl_plain_password: str | None = field(default=None, repr=False)

    def client_options(self) -> dict[str, Any]:
        """Keyword arguments that every aiokafka client takes.

        Raises
        ------
        ConfigError
            A certificate or key cannot be read.
        """
        options: dict[str, Any] = {
            "bootstrap_servers": list(self.bootstrap_servers),
            "client_id": self.client_id,
            "request_timeout_ms": self.request_timeout_ms,
            "metadata_max_age_ms": self.metadata_max_age_ms,
            "security_protocol": self.security_protocol,
        }
        if self.security_protocol.endswith("SSL"):
            options["ssl_context"] = self._ssl_context()
        if self.security_protocol.startswith("SASL"):
            options["sasl_mechanism"] = self.sasl_mechanism
            options["sasl_plain_username"] = self.sasl_plain_username
            options["sasl_plain_password"] = self.sasl_plain_password
        return options

    def consumer_options(self) -> dict[str, Any]:
        """Keyword arguments of AIOKafkaConsumer: no automatic commit, nothing skipped unless it was asked for."""
        return {
            **self.client_options(),
            "group_id": self.group_id,
            "group_instance_id": self.group_instance_id,
            "enable_auto_commit": False,
            "auto_offset_reset": self.auto_offset_reset,
            "isolation_level": self.isolation_level,
            "session_timeout_ms": self.session_timeout_ms,
            "heartbeat_interval_ms": self.heartbeat_interval_ms,
            "rebalance_timeout_ms": self.rebalance_timeout_ms,
            "max_poll_interval_ms": NO_POLL_LIMIT_MS,
        }

    def _ssl_context(self) -> ssl.SSLContext:
        try:
            context: ssl.SSLContext = create_ssl_context(
                cafile=self.ssl_cafile,
                certfile=self.ssl_certfile,
                keyfile=self.ssl_keyfile,
                password=self.ssl_password,
            )
        except (OSError, ssl.SSLError) as error:
            raise ConfigError(
                f"kafka.ssl_cafile = {self.ssl_cafile!r}, kafka.ssl_certfile = {self.ssl_certfile!r}, "
                f"kafka.ssl_keyfile = {self.ssl_keyfile!r}: cannot be loaded ({error}); check paths, formats (PEM) and "
                "the key's password"
            ) from error
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        return context
