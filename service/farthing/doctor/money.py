"""Looks at the prices that savings are computed from."""

from __future__ import annotations

import datetime
from typing import Final

from farthing.doctor.checks import Row, failed, ok, skipped, warning
from farthing.errors import ConfigError
from farthing.ledger.price_book import load_book
from farthing.sections import Settings

OLD_DAYS: Final = 180


def prices(settings: Settings, today: datetime.date) -> list[Row]:
    """Check that every model to compare with has a price, and that prices are not old."""
    if not settings.meter.enabled:
        return [skipped("prices", "meter.enabled = false: nothing is compared")]
    try:
        book = load_book(settings, today)
        dates = {model: book.prices.prices(model).basis.source_date for model in settings.meter.compare_with}
    except ConfigError as error:
        found, _, mend = str(error).partition("; ")
        return [failed("prices", found, mend or "mend the [meter] section")]
    old = {model: date for model, date in dates.items() if date is None or (today - date).days > OLD_DAYS}
    if old:
        model, date = next(iter(old.items()))
        return [
            warning(
                "prices",
                f"that of {model} is {'of no stated date' if date is None else f'from {date}'}",
                "update the package genai-prices, or state the price in meter.price_file",
            )
        ]
    newest = max(date for date in dates.values() if date is not None)
    return [ok("prices", f"{len(dates)} models to compare with, newest price from {newest}")]
