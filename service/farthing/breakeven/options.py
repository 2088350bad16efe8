"""The flags of ``farthing breakeven``. Those that are settings take their help and default from the settings."""

from __future__ import annotations

import re
from dataclasses import dataclass, fields
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Annotated, Final, Literal

from cyclopts import Parameter

from farthing.commands.flags import as_setting, within
from farthing.errors import ConfigError
from farthing.meter.settings import MeterSettings

_FACTORS: Final = {"": 1, "k": 10**3, "m": 10**6, "b": 10**9, "g": 10**9, "t": 10**12}
_VOLUME: Final = re.compile(r"([0-9][0-9_,]*(?:\.[0-9]+)?)\s*([kmbgt]?)\s*(/s|/min|/h|/d)?", re.IGNORECASE)
MOST: Final = 10**9
"""Largest size and number of rows of an event; more is a typing mistake."""
_A_DAY: Final = {None: 1, "/d": 1, "/h": 24, "/min": 1_440, "/s": 86_400}


def _setting(name: str, *, flag: str | None = None) -> Parameter:
    field = MeterSettings.model_fields[name]
    default = field.get_default()
    shown = ", ".join(map(str, default)) if isinstance(default, tuple) else default
    description = field.description or name.replace("_", " ").replace("usd", "dollars")
    return Parameter(
        name=flag,
        validator=as_setting(MeterSettings, name, called=f"meter.{name}"),
        help=f"{description} [meter.{name}: {'none' if shown is None else shown}]",
    )


def events_per_day(text: str) -> int:
    """Read a volume: ``2000000``, ``2M``, ``100/s``, ``1.5B``, ``300k/s``.

    Raises
    ------
    ConfigError
        It is not a volume, or is less than one event a day.
    """
    match = _VOLUME.fullmatch(text.strip())
    if match is None:
        raise ConfigError(f"--events-per-day {text}: write a number such as 2000000, 2M, 1.5B or 100/s")
    number, factor, per = match.groups()
    value = Fraction(number.replace("_", "").replace(",", ""))
    per_day = value * _FACTORS[factor.lower()] * _A_DAY[per.lower() if per else None]
    if per_day < 1:
        raise ConfigError(f"--events-per-day {text}: at least one event a day")
    return round(per_day)


_MODEL_HELP: Final = (
    "provider:model to compare with; the first one decides the verdict; may be repeated "
    f"[meter.compare_with: {', '.join(MeterSettings.model_fields['compare_with'].get_default())}]"
)


@dataclass(frozen=True, kw_only=True)
class BreakevenOptions:
    """What the command line may set; None leaves the value to the settings."""

    task: Annotated[
        Literal["moderation", "classify", "rerank", "bidding"] | None,
        Parameter(help="what is scored [the task of the first route's bundle, else moderation]"),
    ] = None
    events_per_day: Annotated[
        str | None, Parameter(help="volume: 2000000, 2M, 1.5B, 100/s [the ledger's busiest route, else 1M]")
    ] = None
    ledger: Annotated[
        str | None, Parameter(help="HTTP address of a running ledger; volume, sizes and scripts come from it")
    ] = None
    model: Annotated[tuple[str, ...], Parameter(negative="", show_default=False, help=_MODEL_HELP)] = ()
    payload_bytes: Annotated[
        int | None, Parameter(help="bytes of text in an event [usual for the task]", validator=within(1, MOST))
    ] = None
    rows: Annotated[
        int | None,
        Parameter(help="rows in an event: candidates of a query [usual for the task]", validator=within(1, MOST)),
    ] = None
    sample: Annotated[Path | None, Parameter(help="events (JSON lines) to measure sizes and scripts on")] = None
    tokenizer: Annotated[
        Path | None, Parameter(help="tokenizer file to count the sample's tokens with: *.json (tokenizers), *.tiktoken")
    ] = None
    tokenizer_of: Annotated[str | None, Parameter(help="provider:model that uses this tokenizer")] = None
    system_prompt_file: Annotated[Path | None, _setting("system_prompt_file")] = None
    system_prompt_tokens: Annotated[int | None, _setting("system_prompt_tokens")] = None
    pack_events: Annotated[int | None, _setting("pack_events")] = None
    answers_can_wait: Annotated[
        bool | None,
        Parameter(negative="--realtime", help="--realtime: leave out batch APIs, which may take a day to answer"),
    ] = None
    free_endpoint: Annotated[
        bool | None, Parameter(help="--no-free-endpoint: no free endpoint of a provider fits your task")
    ] = None
    core_hour_usd: Annotated[Decimal | None, _setting("core_hour_usd")] = None
    utilization: Annotated[Decimal | None, _setting("utilization")] = None
    min_worker_cores: Annotated[int | None, _setting("min_worker_cores")] = None
    people_usd_per_month: Annotated[Decimal | None, _setting("people_usd_per_month")] = None
    setup_usd: Annotated[Decimal | None, _setting("setup_usd")] = None
    training_usd: Annotated[Decimal | None, _setting("training_usd")] = None
    labels: Annotated[int | None, _setting("labels")] = None
    label_usd: Annotated[Decimal | None, _setting("label_usd")] = None
    horizon_days: Annotated[int | None, _setting("horizon_days")] = None
    price_fall_per_year: Annotated[Decimal | None, _setting("price_fall_per_year")] = None
    accuracy_gap: Annotated[Decimal | None, _setting("accuracy_gap")] = None
    error_usd: Annotated[Decimal | None, _setting("error_usd")] = None
    price_file: Annotated[Path | None, _setting("price_file")] = None
    facts_file: Annotated[Path | None, _setting("facts_file")] = None
    usage_export: Annotated[Path | None, _setting("usage_export")] = None
    apply_calibration: Annotated[
        bool | None, Parameter(negative="", help="multiply list prices by bill / list price")
    ] = None
    as_of: Annotated[str | None, Parameter(help="use the prices of this day, YYYY-MM-DD [today]")] = None
    plot: Annotated[Path | None, Parameter(help="write the chart as PNG (needs the extra evaluate)")] = None

    def conflicting(self) -> str | None:
        """Return a flag that does not go with ``--ledger``, if one was given."""
        given = (("--sample", self.sample), ("--payload-bytes", self.payload_bytes), ("--rows", self.rows))
        return next((name for name, value in given if value is not None), None)

    def settings(self) -> dict[str, object]:
        """Return the flags that are settings, by dotted name."""
        given = {
            field.name: getattr(self, field.name) for field in fields(self) if field.name in MeterSettings.model_fields
        }
        flags: dict[str, object] = {f"meter.{name}": value for name, value in given.items() if value is not None}
        if self.model:
            flags["meter.compare_with"] = list(self.model)
        return flags
