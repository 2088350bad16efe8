"""The sections ``[meter]`` and ``[ledger]`` of the settings: every assumption about money, and where books are kept.

Defaults are high for Farthing's costs and low for the API's, so that a verdict for a tuned model can be trusted.
"""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from farthing.meter.money import Count, Number

Usd = Annotated[Number, Field(ge=0)]


class MeterSettings(BaseModel):
    """What scoring costs you, and the models that it is compared with."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    enabled: bool = Field(True, description="false: workers publish no usage and no heartbeats")
    usage_topic: str = Field("farthing.usage", min_length=1, description="compacted topic with usage totals")
    heartbeat_topic: str = Field("farthing.heartbeats", min_length=1, description="compacted topic with heartbeats")
    tenants: int = Field(
        50, ge=0, le=1_000, description="tenants counted apart in each partition, fewer where names are long"
    )
    core_hour_usd: Usd = Field(Decimal("0.05"), description="price of one reserved core for an hour, in dollars")
    compare_with: tuple[str, ...] = Field(
        (
            "openai:gpt-5-nano",
            "anthropic:claude-haiku-5-5",
            "google:gemini-2.5-flash-lite",
            "groq:openai/gpt-oss-safeguard-20b",
        ),
        min_length=1,
        description="models to compare with, as provider:model; verdicts name the first",
    )
    price_file: Path | None = Field(None, description="TOML file with your own prices and contract discounts")
    facts_file: Path | None = Field(None, description="TOML file with your own limits, cache and batch terms")
    usage_export: Path | None = Field(
        None, description="CSV file exported by a provider: compares list prices with what was billed"
    )
    apply_calibration: bool = Field(False, description="multiply list prices by the ratio found in usage_export")
    system_prompt_file: Path | None = Field(
        None, description="file with the instructions that you would send to the API; default: the shipped ones"
    )
    system_prompt_tokens: Count | None = Field(
        None, ge=0, description="exact length of the instructions, if you have counted it"
    )
    pack_events: Count = Field(50, ge=1, description="events at most in one packed prompt")
    pack_input_tokens: Count = Field(16_000, ge=1, description="input tokens at most in one packed prompt")
    answers_can_wait: bool = Field(
        True, description="true: batch processing, which answers within a day, will do; false: it is left out"
    )
    free_endpoint: bool = Field(True, description="false: a provider's free endpoint does not do your task")
    events_per_s_per_core: tuple[Count, Count, Count] = Field(
        (100_000, 200_000, 400_000),
        description="comments of 138 bytes that a busy worker core scores a second: [low, middle, high], the last one "
        "measured; longer events and more rows count in proportion",
    )
    utilization: Number = Field(
        Decimal("0.3"), gt=0, le=1, description="share of the reserved cores' capacity that average traffic takes"
    )
    peak_to_mean: Number = Field(Decimal(3), ge=1, description="peak rate divided by mean rate, for rate limits")
    min_worker_cores: Count = Field(2, ge=1, description="worker cores at least: two, so that one may fail")
    broker_cores_per_worker_core: Number = Field(Decimal("0.5"), ge=0, description="broker cores for each worker core")
    ledger_cores: Count = Field(1, ge=0, description="cores reserved for the ledger")
    replicas: Count = Field(3, ge=1, description="copies of each record that the brokers keep")
    retention_days: Number = Field(Decimal(7), ge=0, description="days that the brokers keep events and scores")
    storage_usd_per_gb_month: Usd = Field(
        Decimal("0.10"), description="price of a gigabyte of broker storage for a month, in dollars"
    )
    network_usd_per_gb: Usd = Field(
        Decimal("0.02"),
        description="price of a gigabyte sent between zones, both ends, in dollars; egress where that is dearer",
    )
    people_usd_per_month: Usd = Field(
        Decimal(1_000), description="people's time to run it, in dollars a month: a day's work"
    )
    setup_usd: Usd = Field(Decimal(3_000), description="people's time to set it up, in dollars, once: three days' work")
    training_usd: Usd = Field(Decimal(10), description="computing for the training runs, in dollars")
    labels: Count = Field(20_000, ge=0, description="number of texts that the teacher labels")
    label_usd: Usd | None = Field(
        None, description="price of a label, in dollars; default: the teacher's price for one call"
    )
    teacher: str = Field("anthropic:claude-opus-5", description="model that labels the texts, as provider:model")
    horizon_days: Count = Field(365, ge=1, description="days over which training, labels and setup are spread")
    price_fall_per_year: Number = Field(
        Decimal("0.4"),
        ge=0,
        lt=1,
        description="share by which API prices fall in a year, for sensitivity and payback",
    )
    accuracy_gap: Number = Field(
        Decimal(0), ge=0, le=1, description="share of events that the tuned model gets wrong and the API would not"
    )
    error_usd: Usd = Field(Decimal(0), description="what one such error costs you, in dollars")

    @model_validator(mode="after")
    def _check(self) -> MeterSettings:
        low, middle, high = self.events_per_s_per_core
        if not 0 < low <= middle <= high:
            raise ValueError(f"events_per_s_per_core is [low, middle, high], not {list(self.events_per_s_per_core)}")
        if self.apply_calibration and self.usage_export is None:
            raise ValueError("apply_calibration needs usage_export: there is no bill to take a ratio from")
        return self


class LedgerSettings(BaseModel):
    """Where the books are kept and shown."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    host: str = Field("127.0.0.1", description="address to listen on; the default is this machine only")
    port: int = Field(
        9465,
        ge=0,
        le=65_535,
        description="port of the page, its JSON, /metrics and the probes; 0: any free one",
    )
    allowed_hosts: tuple[str, ...] = Field(
        (),
        description="names by which browsers may open the page, such as 'ledger.example.com'; none: addresses and "
        "localhost only; ['*']: any, behind a proxy that checks",
    )
    token_file: Path | None = Field(
        None,
        description="file with the token that the page, its JSON and /metrics ask for; required beyond loopback, or "
        "see allow_anonymous",
    )
    allow_anonymous: bool = Field(False, description="true: beyond loopback anyone who can connect may read the books")
    tls_certfile: Path | None = Field(None, description="PEM file with the port's certificate; none: no TLS")
    tls_keyfile: Path | None = Field(None, description="PEM file with its key; default: it is in tls_certfile")
    app_id: str = Field(
        "farthing-ledger", min_length=1, description="Faust's app id: names the consumer group and the changelogs"
    )
    store: Literal["memory", "rocksdb"] = Field(
        "memory", description="where tables are held; either way a changelog topic backs them up"
    )
    data_dir: Path = Field(
        Path("farthing-ledger"), description="folder for RocksDB and for checkpoints of the changelogs"
    )
    replication_factor: Count = Field(
        1, ge=1, description="replication factor of the usage, heartbeat and changelog topics, where they are created"
    )
