"""The sections of the settings: each setting is stated once, here, with its unit, range and default.

``[meter]`` and ``[ledger]`` stand in :mod:`farthing.meter.settings`. Where values come from is :mod:`farthing.config`.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from farthing.errors import ConfigError
from farthing.kafka.settings import KafkaSettings
from farthing.meter.settings import Ledger, Meter
from farthing.payload.paths import parse_path

Codec = Literal["none", "gzip", "snappy", "lz4", "zstd"]

EXACTLY_ONCE_REFUSED = (
    "exactly_once is not offered: aiokafka cannot send group metadata with a transaction (KIP-447), so after a "
    "rebalance a stalled worker could still commit. Use 'at_least_once': a repeated score carries the same bytes and "
    "the same farthing.offset header, so a reader can drop it"
)


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Kafka(_Section):
    """How to reach the broker, and what the consumer group promises. Security settings are aiokafka's."""

    bootstrap_servers: Annotated[tuple[str, ...], NoDecode] = Field(
        ("localhost:9092",), min_length=1, description="host:port of some brokers; separated by commas in a variable"
    )
    group_id: str = Field("farthing", min_length=1, description="consumer group")
    client_id: str = Field("farthing", min_length=1)
    group_instance_id: str | None = Field(None, description="static member id (one per worker), as of KIP-345")
    delivery: Literal["at_least_once"] = Field("at_least_once", description="commit only after scores are acked")
    isolation_level: Literal["read_committed", "read_uncommitted"] = "read_committed"
    auto_offset_reset: Literal["earliest", "latest", "none"] = Field(
        "earliest", description="where a partition with no committed offset begins; 'latest' skips what is there"
    )
    session_timeout_ms: int = Field(45_000, ge=1_000, le=1_800_000, description="ms")
    heartbeat_interval_ms: int = Field(3_000, ge=100, description="ms; under a third of session_timeout_ms")
    rebalance_timeout_ms: int = Field(60_000, ge=1_000, description="ms a rebalance waits for this member")
    request_timeout_ms: int = Field(30_000, ge=1_000, description="ms")
    metadata_max_age_ms: int = Field(30_000, ge=1_000, description="ms; new partitions are seen within this time")
    fetch_max_bytes: int = Field(8 << 20, ge=1 << 16, description="bytes asked of one broker in one fetch")
    max_partition_fetch_bytes: int = Field(4 << 20, ge=1 << 16, description="bytes asked of one partition in one fetch")
    fetch_max_wait_ms: int = Field(250, ge=1, description="ms the broker may hold a fetch that has no data")
    delivery_timeout_ms: int = Field(30_000, ge=1_000, description="ms until a batch is acked, with retries")
    compression: Codec = Field("none", description="of score and dead-letter batches")
    security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = "PLAINTEXT"
    allow_insecure: bool = Field(False, description="allow SASL over plaintext (test networks only)")
    ssl_cafile: Path | None = None
    ssl_certfile: Path | None = None
    ssl_keyfile: Path | None = None
    ssl_password_file: Path | None = Field(None, description="file with the key's password")
    sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512", "GSSAPI", "OAUTHBEARER"] | None = None
    sasl_plain_username: str | None = None
    sasl_plain_password_file: Path | None = Field(None, description="file with the password")

    def client_settings(self, *, index: int | None = None) -> KafkaSettings:
        """Give the settings in the Kafka layer's terms; ``index`` tells this worker's static id from its siblings'.

        Raises
        ------
        ConfigError
            A secret file cannot be read.
        """
        values = self.model_dump(
            exclude={"delivery", "compression", "allow_insecure", "ssl_password_file", "sasl_plain_password_file"}
        )
        for name in ("ssl_cafile", "ssl_certfile", "ssl_keyfile"):
            values[name] = None if values[name] is None else str(values[name])
        if self.group_instance_id is not None and index is not None:
            values["group_instance_id"] = f"{self.group_instance_id}-{index}"
        if self.ssl_password_file is not None:
            values["ssl_password"] = read_secret(self.ssl_password_file, "kafka.ssl_password_file")
        if self.sasl_plain_password_file is not None:
            values["sasl_plain_password"] = read_secret(self.sasl_plain_password_file, "kafka.sasl_plain_password_file")
        return KafkaSettings(**values)

    @field_validator("bootstrap_servers", mode="before")
    @classmethod
    def _split_servers(cls, value: object) -> object:
        if isinstance(value, str):
            return json.loads(value) if value.startswith("[") else [part.strip() for part in value.split(",")]
        return value

    @field_validator("delivery", mode="before")
    @classmethod
    def _refuse_exactly_once(cls, value: object) -> object:
        if value == "exactly_once":
            raise ValueError(EXACTLY_ONCE_REFUSED)
        return value

    @model_validator(mode="after")
    def _check(self) -> Kafka:
        if self.heartbeat_interval_ms * 3 > self.session_timeout_ms:
            raise ValueError(
                f"heartbeat_interval_ms ({self.heartbeat_interval_ms}) must be at most a third of session_timeout_ms "
                f"({self.session_timeout_ms}), or one late heartbeat loses the membership"
            )
        if self.security_protocol.startswith("SASL") and self.sasl_mechanism is None:
            raise ValueError(f"security_protocol is {self.security_protocol} but sasl_mechanism is not set")
        if self.security_protocol == "SASL_PLAINTEXT" and not self.allow_insecure:
            raise ValueError(
                "SASL_PLAINTEXT sends credentials unencrypted: use SASL_SSL, "
                "or set allow_insecure = true on a test network"
            )
        return self


class Campaign(_Section):
    """What a bidding route bids for, in place of the campaign in its bundle. Money is in units of ``currency``."""

    campaign: str = Field(min_length=1, description="its name: the key in the pacing topic")
    currency: str = Field("USD", pattern="^[A-Z]{3}$", description="ISO 4217")
    value_per_click: float = Field(gt=0, le=1e6, description="units of currency")
    crid: str = Field(min_length=1, description="creative id")
    adomain: tuple[str, ...] = Field((), description="advertiser domains, compared with a request's badv")
    seat: str | None = Field(None, description="buyer seat")
    offers: tuple[str, ...] = Field((), description="impression fields of the plan, one of which must be there")
    strategy: Literal["linear", "ortb"] = Field("linear", description="how a value becomes a price")
    c: float | None = Field(None, gt=0, le=1e6, description="ortb: units of currency per thousand, fitted to prices")
    lambda_: float | None = Field(None, gt=0, le=1e6, alias="lambda", description="ortb: solved for the budget")
    max_cpm: float | None = Field(None, gt=0, le=1e6, description="highest price, units per thousand impressions")


class Route(_Section):
    """Input topic -> bundle -> output topic."""

    bundle: str = Field(description="folder of a bundle, or the name of one that is shipped")
    source: str = Field(min_length=1, description="topic with events")
    sink: str = Field(min_length=1, description="topic for scores; at least as many partitions as source")
    dead_letters: str = Field(min_length=1, description="topic for events that cannot be scored")
    max_event_bytes: int = Field(1 << 20, ge=16, description="bytes; longer values are dead letters")
    max_header_bytes: int = Field(
        4096, ge=0, le=1 << 16, description="bytes of an event's own headers that travel to its score; 0: none do"
    )
    fields: dict[str, str] = Field(
        {},
        description="where fields of the bundle's plan lie in the events, as text = 'comment.text'; a dot that is part "
        "of a key is written \\. (in TOML within single quotes)",
    )
    tenant: str | None = Field(
        None,
        min_length=1,
        description="field that names an event's tenant, as 'account' or 'user.account'; none: no tenants",
    )
    pacing: str | None = Field(None, min_length=1, description="bidding: compacted topic, campaign -> multiplier")
    campaign: Campaign | None = Field(None, description="bidding: in place of the bundle's campaign")

    @field_validator("fields", mode="before")
    @classmethod
    def _refuse_tables(cls, value: object) -> object:
        tables = [name for name, path in value.items() if isinstance(path, dict)] if isinstance(value, dict) else []
        if tables:
            raise ValueError(
                f"{tables[0]} is a table, for TOML takes a key with a dot apart; put such a name between quotes: "
                f'"{tables[0]}.{next(iter(value[tables[0]]), "...")}" = "..."'  # type: ignore[index]
            )
        return value

    @field_validator("fields")
    @classmethod
    def _check_paths(cls, fields: dict[str, str]) -> dict[str, str]:
        for name, path in fields.items():
            try:
                parse_path(path)
            except ConfigError as error:
                raise ValueError(f"{name}: {error}") from error
        return fields

    @model_validator(mode="after")
    def _check(self) -> Route:
        if self.pacing in (self.source, self.sink, self.dead_letters):
            raise ValueError(f"pacing ({self.pacing}) must be a topic of its own")
        if len({self.source, self.sink, self.dead_letters}) != 3:
            raise ValueError(
                f"source ({self.source}), sink ({self.sink}) and dead_letters ({self.dead_letters}) "
                "must be three topics"
            )
        return self


class Worker(_Section):
    """How a worker process does its work."""

    workers: int = Field(1, ge=1, le=256, description="processes in the consumer group")
    threads: int = Field(1, ge=1, le=64, description="ONNX Runtime threads of one worker")
    cores: int = Field(1, ge=1, le=256, description="cores reserved for each worker process, busy or not: what you pay")
    commit_interval_ms: int = Field(1_000, ge=10, description="ms between offset commits")
    drain_timeout_ms: int = Field(20_000, ge=500, le=24_000, description="ms to finish and commit after SIGTERM")
    stall_timeout_ms: int = Field(60_000, ge=1_000, description="ms with lag and no progress before /ready fails")
    on_corrupt_batch: Literal["halt", "skip"] = Field(
        "halt", description="halt: stop that partition; skip: its raw bytes go to dead_letters and scoring goes on"
    )


class Http(_Section):
    """Where /live, /ready and /metrics are served. Loopback unless configured; port 0 takes a free one."""

    host: str = "127.0.0.1"
    port: int = Field(9464, ge=0, le=65_535)


class Settings(BaseSettings):
    """All settings of a worker."""

    model_config = SettingsConfigDict(
        env_prefix="FARTHING_", env_nested_delimiter="__", extra="forbid", frozen=True, case_sensitive=False
    )
    kafka: Kafka = Field(default_factory=lambda: Kafka())
    route: tuple[Route, ...] = Field(description="one or more routes")
    worker: Worker = Field(default_factory=lambda: Worker())
    http: Http = Field(default_factory=lambda: Http())
    meter: Meter = Field(default_factory=lambda: Meter())
    ledger: Ledger = Field(default_factory=lambda: Ledger())

    @model_validator(mode="after")
    def _check(self) -> Settings:
        if not self.route and type(self).model_fields["route"].is_required():
            raise ValueError("no [[route]] is configured: there is nothing to score")
        sources = [r.source for r in self.route]
        if len(set(sources)) != len(sources):
            raise ValueError(f"two routes read the same source topic ({', '.join(sources)})")
        loops = set(sources) & ({r.sink for r in self.route} | {r.dead_letters for r in self.route})
        if loops:
            raise ValueError(f"topic {sorted(loops)[0]} is written and read by routes: scores would be scored for ever")
        return self


class Assumptions(Settings):
    """Settings for commands that only reckon: no route need be given."""

    route: tuple[Route, ...] = ()


def read_secret(path: Path, setting: str) -> str:
    """Read a secret file, without its final newline; ConfigError names the setting when it cannot be read."""
    try:
        return path.read_text(encoding="utf-8").rstrip("\r\n")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(
            f"{setting} = {str(path)!r}: the file cannot be read ({error}); mount it or fix the path"
        ) from error
