"""Reads everything that dollars are computed from, as the settings say: a day's prices, terms, prompts, a bill."""

from __future__ import annotations

import datetime
from pathlib import Path

from farthing.config import Settings
from farthing.errors import ConfigError
from farthing.files import read_rows
from farthing.ledger.statement import PriceBook
from farthing.meter.calibration import read_export
from farthing.meter.facts import load_facts
from farthing.meter.prices import PriceList
from farthing.meter.prompts import load_prompts


def load_book(settings: Settings, day: datetime.date) -> PriceBook:
    """Read everything that dollars are computed from: prices of ``day``, providers' terms, prompts, the bill.

    Raises
    ------
    ConfigError
        A file that the settings name cannot be read or is not valid.
    """
    meter = settings.meter
    prices = PriceList(day, meter.price_file)
    bill = None
    if meter.usage_export is not None:
        provider = meter.compare_with[0].partition(":")[0]
        try:
            rows = [(row.line, row.values) for row in read_rows(meter.usage_export)]
        except ConfigError as error:
            raise ConfigError(f"meter.usage_export: {error}") from error
        bill = read_export(rows, meter.usage_export.name, provider, prices)
    system_text = _text(meter.system_prompt_file, "meter.system_prompt_file")
    return PriceBook(meter, prices, load_facts(meter.facts_file), load_prompts(), system_text, bill)


def _text(path: Path | None, setting: str) -> str | None:
    try:
        return None if path is None else path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{setting} = {str(path)!r}: cannot be read ({error}); fix the path") from error
