"""The sections of the settings: each setting is defined once, here, with its unit, range and default.

``[kafka]`` is in :mod:`farthing.kafka.settings`, ``[meter]`` and ``[ledger]`` are in :mod:`farthing.meter.settings`.
:mod:`farthing.config` reads the values.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from farthing.errors import ConfigError
from farthing.kafka.settings import MOST_MS, KafkaSettings
from farthing.limits import MAX_BLOCK_BYTES, MAX_EVENT_BYTES
from farthing.meter.settings import LedgerSettings, MeterSettings
from farthing.payload.paths import parse_path
from farthing.process.access import Access
from farthing.process.exits import EXIT_TIMEOUT_S


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class CampaignSettings(_Section):
    """What a bidding route bids for, in place of the campaign in its bundle. Money is in units of ``currency``."""

    campaign: str = Field(min_length=1, description="name of the campaign: its key in the pacing topic")
    currency: str = Field("USD", pattern="^[A-Z]{3}$", description="currency of all its money (ISO 4217)")
    value_per_click: float = Field(gt=0, le=1e6, description="what a click is worth, in units of currency")
    crid: str = Field(min_length=1, description="creative id of its bids")
    adomain: tuple[str, ...] = Field((), description="advertiser domains; a request that blocks one (badv) gets no bid")
    seat: str | None = Field(None, description="buyer seat of its bids")
    offers: tuple[str, ...] = Field(
        (), description="fields of the plan, one of which an impression needs to get a bid; none: all get one"
    )
    strategy: Literal["linear", "ortb"] = Field("linear", description="how a value becomes a price")
    c: float | None = Field(
        None, gt=0, le=1e6, description="for ortb: units of currency per thousand impressions, fitted to past prices"
    )
    lambda_: float | None = Field(
        None, gt=0, le=1e6, alias="lambda", description="for ortb: Lagrange multiplier, solved for the budget"
    )
    max_cpm: float | None = Field(
        None, gt=0, le=1e6, description="highest price, in units of currency per thousand impressions"
    )


class RouteSettings(_Section):
    """Input topic -> bundle -> output topic."""

    bundle: str = Field(description="folder of a bundle, or name of a shipped one")
    source: str = Field(min_length=1, description="topic to read events from")
    sink: str = Field(min_length=1, description="topic to write scores to, with at least as many partitions as source")
    dead_letters: str = Field(
        min_length=1,
        description="topic for events that cannot be scored, with at least as many partitions as source",
    )
    max_event_bytes: int = Field(
        MAX_EVENT_BYTES, ge=16, le=2**31 - 1, description="bytes of an event's value; a longer one is a dead letter"
    )
    max_header_bytes: int = Field(
        4096, ge=0, le=1 << 16, description="bytes of an event's own headers that its score record carries; 0: none"
    )
    fields: dict[str, str] = Field(
        {},
        description="where the events have fields of the bundle's plan, such as text = 'comment.text'; a dot that is "
        "part of a key is written \\. (in TOML within single quotes)",
    )
    tenant: str | None = Field(
        None,
        min_length=1,
        description="path of the field that names an event's tenant, such as 'account' or 'user.account'; none: no "
        "tenants",
    )
    redact: tuple[str, ...] = Field(
        (),
        description="paths of fields whose values `farthing dead show` replaces, such as 'user.email'; a value that is "
        "not JSON is then not shown at all",
    )
    pacing: str | None = Field(
        None, min_length=1, description="for bidding: compacted topic with the campaign's pacing multiplier"
    )
    campaign: CampaignSettings | None = Field(None, description="for bidding: replaces the bundle's campaign")

    @field_validator("fields", mode="before")
    @classmethod
    def _refuse_tables(cls, value: object) -> object:
        tables = [name for name, path in value.items() if isinstance(path, dict)] if isinstance(value, dict) else []
        if tables:
            raise ValueError(
                f"{tables[0]} is a table: TOML splits a key at its dots; put such a name between quotes: "
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

    @field_validator("redact")
    @classmethod
    def _check_redacted(cls, paths: tuple[str, ...]) -> tuple[str, ...]:
        for path in paths:
            try:
                parse_path(path)
            except ConfigError as error:
                raise ValueError(str(error)) from error
        return paths

    @model_validator(mode="after")
    def _check(self) -> RouteSettings:
        if self.pacing in (self.source, self.sink, self.dead_letters):
            raise ValueError(f"pacing ({self.pacing}) must be a topic of its own")
        if len({self.source, self.sink, self.dead_letters}) != 3:
            raise ValueError(
                f"source ({self.source}), sink ({self.sink}) and dead_letters ({self.dead_letters}) "
                "must be three topics"
            )
        return self


def shared_topics(routes: Sequence[RouteSettings]) -> list[str]:
    """Return the topics to which several routes write: their records do not say which of them wrote them."""
    uses = Counter(topic for route in routes for topic in (route.sink, route.dead_letters))
    return sorted(topic for topic, n in uses.items() if n > 1)


class WorkerSettings(_Section):
    """How a worker process does its work."""

    workers: int = Field(1, ge=1, le=256, description="processes in the consumer group")
    threads: int = Field(1, ge=1, le=64, description="ONNX Runtime threads in each worker")
    cores: int = Field(
        1, ge=1, le=256, description="cores reserved for each worker process, busy or not: what you pay for"
    )
    commit_interval_ms: int = Field(1_000, ge=10, le=MOST_MS, description="ms between offset commits")
    linger_ms: int = Field(
        2, ge=0, le=1_000, description="ms to wait for more events after a fetch that brought few; 0: ask again at once"
    )
    drain_timeout_ms: int = Field(
        20_000, ge=500, le=int(EXIT_TIMEOUT_S * 1000), description="ms to finish, commit and leave after SIGTERM"
    )
    max_block_bytes: int = Field(
        MAX_BLOCK_BYTES,
        ge=1 << 20,
        le=1 << 30,
        description="bytes of uncompressed events that are scored at once; a longer record is a dead letter",
    )
    stall_timeout_ms: int = Field(
        60_000, ge=1_000, le=MOST_MS, description="ms with lag and without progress after which /ready fails"
    )
    on_corrupt_batch: Literal["halt", "skip"] = Field(
        "halt",
        description="'halt' stops the partition; 'skip' sends the batch's bytes to dead_letters and goes on after it",
    )


class ModelSettings(_Section):
    """Which bundles may be loaded."""

    trusted_keys: tuple[str, ...] = Field(
        (),
        description="PEM files of ed25519 public keys; every bundle must be signed with one of them; none: bundles "
        "need no signature",
    )


class HttpSettings(_Section):
    """Where /live, /ready and /metrics are served."""

    host: str = Field("127.0.0.1", description="address to listen on; the default is this machine only")
    port: int = Field(9464, ge=0, le=65_535, description="port to listen on; 0: any free one")
    token_file: Path | None = Field(
        None, description="file with the token that /metrics asks for; required beyond loopback, or see allow_anonymous"
    )
    allow_anonymous: bool = Field(False, description="true: beyond loopback anyone who can connect may read /metrics")
    tls_certfile: Path | None = Field(None, description="PEM file with the port's certificate; none: no TLS")
    tls_keyfile: Path | None = Field(None, description="PEM file with its key; default: it is in tls_certfile")

    @property
    def access(self) -> Access:
        """Who may come in."""
        return Access(self.token_file, self.allow_anonymous, (), self.tls_certfile, self.tls_keyfile)


class Settings(BaseSettings):
    """All settings of a worker."""

    model_config = SettingsConfigDict(
        env_prefix="FARTHING_", env_nested_delimiter="__", extra="forbid", frozen=True, case_sensitive=False
    )
    kafka: KafkaSettings = Field(default_factory=lambda: KafkaSettings(), description="brokers and consumer group")
    route: tuple[RouteSettings, ...] = Field(description="one or more routes")
    model: ModelSettings = Field(default_factory=lambda: ModelSettings(), description="which bundles may be loaded")
    worker: WorkerSettings = Field(default_factory=lambda: WorkerSettings(), description="worker processes")
    http: HttpSettings = Field(default_factory=lambda: HttpSettings(), description="probes and metrics")
    meter: MeterSettings = Field(default_factory=lambda: MeterSettings(), description="what scoring costs and saves")
    ledger: LedgerSettings = Field(default_factory=lambda: LedgerSettings(), description="where the books are kept")

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Take the given values alone: :mod:`farthing.config` has merged them, the environment's among them."""
        return (init_settings,)

    @model_validator(mode="after")
    def _check(self) -> Settings:
        if not self.route and type(self).model_fields["route"].is_required():
            raise ValueError("no [[route]] is configured: there is nothing to score")
        sources = [r.source for r in self.route]
        if len(set(sources)) != len(sources):
            raise ValueError(f"two routes read the same source topic ({', '.join(sources)})")
        open_ms = self.worker.commit_interval_ms
        if self.kafka.delivery == "exactly_once" and self.kafka.transaction_timeout_ms < 2 * open_ms:
            raise ValueError(
                f"kafka.transaction_timeout_ms ({self.kafka.transaction_timeout_ms}) must be at least twice "
                f"worker.commit_interval_ms ({open_ms}), or transactions are aborted before they end"
            )
        loops = set(sources) & ({r.sink for r in self.route} | {r.dead_letters for r in self.route})
        if loops:
            raise ValueError(
                f"topic {sorted(loops)[0]} is both written and read by routes: scores would be scored for ever"
            )
        shared = set(shared_topics(self.route)) & {r.sink for r in self.route}
        if shared:
            raise ValueError(
                f"several routes write to {', '.join(sorted(shared))}; their scores cannot be told apart, so give each "
                "route a sink of its own"
            )
        return self


class Assumptions(Settings):
    """Settings for commands that score nothing: a route is not required."""

    route: tuple[RouteSettings, ...] = ()
