"""The section ``[kafka]`` of the settings, and its translation to aiokafka's: one class for every client here.

Settings that cannot work are refused, with the reason, before anything starts. Secrets are read from their files when a
client is made, and are kept nowhere else.
"""

from __future__ import annotations

import json
import math
import re
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator
from pydantic_settings import NoDecode

from farthing.errors import ConfigError
from farthing.kafka import security
from farthing.process.secrets import read_secret

Codec = Literal["none", "gzip", "snappy", "lz4", "zstd"]

SASL_REFUSED: Final = {
    "GSSAPI": "it needs Kerberos tickets, and there are no settings for them; use SCRAM-SHA-512 over SASL_SSL, or "
    "client certificates over SSL",
}
"""Kafka's mechanisms that do not work here, each with the reason."""

NO_POLL_LIMIT_MS: Final = math.inf
"""aiokafka leaves the group for good when nobody polls for max_poll_interval_ms, and a raw fetch never polls. So this
is the longest time that fits into 32 bits, 25 days; our own watchdog checks for progress instead
(``worker.stall_timeout_ms``)."""

MOST_MS: Final = 2**31 - 1
"""The longest time in Kafka's protocol, which has 32 bits for one."""

MOST_FETCH_BYTES: Final = 1_000 << 20
"""Leaves room for names and numbers, so that a response stays below the longest frame (``frames.MOST_BYTES``)."""

_SERVER: Final = re.compile(r"(?:\[[0-9A-Fa-f.]*:[0-9A-Fa-f:.]*\]|[^\s:/\[\],]+)(?::(\d{1,5}))?")
"""A name, an IPv4 address or an IPv6 address in brackets, and perhaps a port."""


class KafkaSettings(BaseModel):
    """How to reach the brokers, and how the consumer group behaves. Security settings are those of aiokafka."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    bootstrap_servers: Annotated[tuple[str, ...], NoDecode] = Field(
        ("localhost:9092",),
        min_length=1,
        description="host:port of one or more brokers; in an environment variable, separated by commas",
    )
    group_id: str = Field("farthing", min_length=1, description="consumer group that all workers join")
    client_id: str = Field("farthing", min_length=1, description="name of this client in the brokers' logs and quotas")
    group_instance_id: str | None = Field(
        None,
        max_length=240,
        pattern=r"^[A-Za-z0-9_-][A-Za-z0-9._-]*$",
        description="static member id, one per worker (KIP-345)",
    )
    delivery: Literal["at_least_once", "exactly_once"] = Field(
        "at_least_once",
        description="'at_least_once' commits offsets after scores are acknowledged, so a crash repeats some; "
        "'exactly_once' commits both in one transaction, for readers with isolation.level=read_committed",
    )
    transaction_timeout_ms: int = Field(
        10_000,
        ge=1_000,
        le=MOST_MS,
        description="ms after which the broker aborts a transaction that a dead worker left open; at least twice "
        "worker.commit_interval_ms",
    )
    isolation_level: Literal["read_committed", "read_uncommitted"] = Field(
        "read_committed", description="'read_committed' leaves out events of open and aborted transactions"
    )
    auto_offset_reset: Literal["earliest", "latest", "none"] = Field(
        "earliest",
        description="where to begin in a partition without a valid committed offset; 'latest' skips what is there, "
        "'none' is an error",
    )
    on_new_log: Literal["earliest", "latest", "halt"] = Field(
        "earliest",
        description="where to go on when a source's log is not the one that was read: its topic was deleted and "
        "created again, or an unclean election cut it; 'latest' skips what is there, 'halt' holds the partition",
    )
    session_timeout_ms: int = Field(
        45_000, ge=1_000, le=1_800_000, description="ms without a heartbeat after which the group drops a worker"
    )
    heartbeat_interval_ms: int = Field(
        3_000, ge=100, le=MOST_MS, description="ms between heartbeats; at most a third of session_timeout_ms"
    )
    rebalance_timeout_ms: int = Field(
        60_000, ge=1_000, le=MOST_MS, description="ms that a rebalance waits for this worker"
    )
    request_timeout_ms: int = Field(30_000, ge=1_000, le=MOST_MS, description="ms to wait for a broker's response")
    metadata_max_age_ms: int = Field(
        30_000, ge=1_000, le=MOST_MS, description="ms within which new partitions are noticed"
    )
    fetch_max_bytes: int = Field(
        8 << 20, ge=1 << 16, le=MOST_FETCH_BYTES, description="bytes at most from one broker in one fetch"
    )
    max_partition_fetch_bytes: int = Field(
        4 << 20, ge=1 << 16, le=MOST_FETCH_BYTES, description="bytes at most from one partition in one fetch"
    )
    fetch_max_wait_ms: int = Field(
        250,
        ge=1,
        le=MOST_MS,
        description="ms that a broker may hold a fetch while it has no data; under request_timeout_ms",
    )
    delivery_timeout_ms: int = Field(
        30_000, ge=1_000, le=MOST_MS, description="ms within which a batch must be acknowledged, retries included"
    )
    compression: Codec = Field("none", description="compression of score and dead-letter batches")
    security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = Field(
        "PLAINTEXT", description="whether connections are encrypted (SSL) and log in (SASL)"
    )
    allow_insecure: bool = Field(False, description="allow SASL_PLAINTEXT, on test networks only")
    ssl_cafile: Path | None = Field(
        None, description="PEM file with the certificate authorities to trust; default: the system's"
    )
    ssl_certfile: Path | None = Field(None, description="PEM file with the client's certificate")
    ssl_keyfile: Path | None = Field(None, description="PEM file with the client's key; default: it is in ssl_certfile")
    ssl_password_file: Path | None = Field(None, description="file with the password of the client's key")
    sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512", "OAUTHBEARER"] | None = Field(
        None, description="how to log in; required with SASL"
    )
    sasl_plain_username: str | None = Field(None, min_length=1, description="user name, for PLAIN and SCRAM")
    sasl_plain_password_file: Path | None = Field(
        None, description="file with the user's password, for PLAIN and SCRAM"
    )
    sasl_oauth_token_file: Path | None = Field(
        None, description="for OAUTHBEARER: file with a token that something else renews; read at each connection"
    )
    sasl_oauth_token_url: str | None = Field(
        None,
        description="for OAUTHBEARER: token endpoint of an OpenID Connect provider (client credentials grant); https, "
        "or http on loopback",
    )
    sasl_oauth_client_id: str | None = Field(None, min_length=1, description="client id at the token endpoint")
    sasl_oauth_client_secret_file: Path | None = Field(None, description="file with the client's secret there")
    sasl_oauth_scope: str | None = Field(None, min_length=1, description="scope to ask for, if the endpoint wants one")
    sasl_oauth_cafile: Path | None = Field(
        None, description="PEM file with the authorities to trust for the token endpoint; default: the system's"
    )
    sasl_oauth_aws_region: str | None = Field(
        None,
        pattern="^[a-z0-9-]+$",
        description="for OAUTHBEARER with Amazon MSK: region for which tokens are signed with the AWS credentials of "
        "the environment (extra msk)",
    )

    def for_worker(self, index: int | None) -> Self:
        """Return the settings with this worker's own static member id; ``index`` is None for the only worker."""
        if self.group_instance_id is None or index is None:
            return self
        return self.model_copy(update={"group_instance_id": f"{self.group_instance_id}-{index}"})

    @property
    def sasl_plain_password(self) -> str | None:
        """The user's password. Raises ConfigError when its file cannot be read."""
        file = self.sasl_plain_password_file
        return None if file is None else read_secret(file, "kafka.sasl_plain_password_file")

    def client_options(self) -> dict[str, Any]:
        """Keyword arguments that every aiokafka client takes.

        Raises
        ------
        ConfigError
            A certificate, key or secret cannot be read.
        """
        options: dict[str, Any] = {
            "bootstrap_servers": list(self.bootstrap_servers),
            "client_id": self.client_id,
            "request_timeout_ms": self.request_timeout_ms,
            "metadata_max_age_ms": self.metadata_max_age_ms,
            "security_protocol": self.security_protocol,
        }
        if self.security_protocol.endswith("SSL"):
            options["ssl_context"] = security.RenewedContext.of(self)
        if self.sasl_mechanism == "OAUTHBEARER":
            options["sasl_mechanism"] = self.sasl_mechanism
            options["sasl_oauth_token_provider"] = self._token_provider()
        elif self.security_protocol.startswith("SASL"):
            options["sasl_mechanism"] = self.sasl_mechanism
            options["sasl_plain_username"] = self.sasl_plain_username
            options["sasl_plain_password"] = self.sasl_plain_password
        return options

    def consumer_options(self) -> dict[str, Any]:
        """Keyword arguments of AIOKafkaConsumer: no automatic commit; nothing is skipped unless the settings say so."""
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

    def _token_provider(self) -> Any:
        from farthing.kafka import (
            oauth_sources,
        )  # it needs aiokafka, which is slow to load, and most commands read settings

        client = (self.sasl_oauth_client_id, self.sasl_oauth_client_secret_file, self.sasl_oauth_scope)
        return oauth_sources.provider(
            self.sasl_oauth_token_file,
            self.sasl_oauth_token_url,
            (*client, self.sasl_oauth_cafile),
            self.sasl_oauth_aws_region,
        )

    @field_validator("bootstrap_servers", mode="before")
    @classmethod
    def _split_servers(cls, value: object) -> object:
        if isinstance(value, str):
            try:
                return json.loads(value) if value.startswith("[") and '"' in value else value.split(",")
            except ValueError as error:
                raise ValueError(f"is no JSON list ({error}); write host:port,host:port") from error
        return value

    @field_validator("bootstrap_servers")
    @classmethod
    def _check_servers(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(map(_checked, value))

    @field_validator("sasl_mechanism", mode="before")
    @classmethod
    def _refuse_mechanism(cls, value: object) -> object:
        reason = SASL_REFUSED.get(value.upper()) if isinstance(value, str) else None
        if reason is not None:
            raise ValueError(f"{value} is not offered: {reason}")
        return value

    @model_validator(mode="after")
    def _check_times(self) -> Self:
        if self.heartbeat_interval_ms * 3 > self.session_timeout_ms:
            raise ValueError(
                f"heartbeat_interval_ms ({self.heartbeat_interval_ms}) must be at most a third of session_timeout_ms "
                f"({self.session_timeout_ms}), or one late heartbeat loses the membership"
            )
        if self.fetch_max_wait_ms >= self.request_timeout_ms:
            raise ValueError(
                f"fetch_max_wait_ms ({self.fetch_max_wait_ms}) must be under request_timeout_ms "
                f"({self.request_timeout_ms}), or a fetch from a quiet topic counts as failed"
            )
        return self

    @model_validator(mode="after")
    def _check_security(self) -> Self:
        security.check(self)
        return self


def read_servers(text: str, setting: str) -> tuple[str, ...]:
    """Read addresses separated by commas. Raises ConfigError, with the setting, when one is not host:port."""
    try:
        return tuple(map(_checked, text.split(",")))
    except ValueError as error:
        raise ConfigError(f"{setting} = {text!r}: {error}") from error


def _checked(server: str) -> str:
    server = server.strip()
    match = _SERVER.fullmatch(server)
    if match is None or not 0 < int(match[1] or 9092) < 1 << 16 or not _is_host(server):
        raise ValueError(f"{server!r} is not host:port, such as broker1:9092 or [::1]:9092")
    return server


def _is_host(server: str) -> bool:
    """Whether the name can be looked up: an empty label, or one that is too long, ends in UnicodeError there."""
    host = server if server.startswith("[") else server.partition(":")[0]
    try:
        host.encode("idna")
    except UnicodeError:
        return False
    return host.isprintable()
