"""Compares list prices with a bill: prices a provider's usage export from the catalogue and divides what was billed.

Providers' exports differ and change. A row is a sum over some time: model, tokens, dollars, and requests if the export
has them. Columns are recognised by name, in any order, including those of OpenAI's and Anthropic's exports; others are
ignored. Sums hide the size of single calls: context tiers are applied to a row's mean call if requests are given, and
not at all if they are not. The ratio covers the rows that could be priced; the dollars of the others are reported
beside it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal, InvalidOperation
from fractions import Fraction
from typing import Final, Literal

from farthing.errors import ConfigError, DataError
from farthing.meter.money import MOST_DECIMALS, MOST_DIGITS
from farthing.meter.prices import PriceBasis, PriceList
from farthing.meter.rates import Call, Rates

ExportField = Literal[
    "model", "input", "uncached", "cached", "written", "output", "requests", "batch", "usd", "cents", "currency"
]

# Names of columns, lower case, with _ for spaces. "input" counts cached tokens too, "uncached" does not.
COLUMNS: Final[Mapping[ExportField, tuple[str, ...]]] = {
    "model": ("model", "model_version", "model_name", "snapshot_id", "line_item"),
    "input": ("input_tokens", "prompt_tokens", "n_context_tokens_total", "context_tokens"),
    "uncached": (
        "usage_input_tokens_no_cache", "uncached_input_tokens", "input_tokens_no_cache", "input_uncached_tokens",
    ),
    "cached": (
        "input_cached_tokens", "cached_input_tokens", "cached_tokens", "cache_read_input_tokens",
        "usage_input_tokens_cache_read", "n_cached_context_tokens_total",
    ),
    "written": (
        "cache_creation_input_tokens", "usage_input_tokens_cache_write_5m", "input_cache_write_tokens",
        "cache_write_tokens",
    ),
    "output": (
        "output_tokens", "completion_tokens", "usage_output_tokens", "n_generated_tokens_total", "generated_tokens",
    ),
    "requests": ("num_model_requests", "requests", "num_requests", "n_requests", "request_count"),
    "batch": ("batch", "service_tier", "usage_type", "processing"),
    "usd": ("cost_usd", "amount_usd", "billed_usd", "amount_value", "cost", "amount", "cost_in_usd"),
    "cents": ("amount_cents", "cost_cents"),
    "currency": ("currency", "amount_currency"),
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class ModelBill:
    """All rows of one model."""

    model: str
    rows: int
    list_usd: Fraction
    billed_usd: Fraction
    basis: PriceBasis

    @property
    def list_to_bill(self) -> Fraction | None:
        """Billed over list; None when the list price is nothing."""
        return None if not self.list_usd else self.billed_usd / self.list_usd


@dataclass(frozen=True, slots=True)
class Calibration:
    """The result for an export. ``unpriced`` are rows whose model has no list price: their models and dollars."""

    source: str
    models: tuple[ModelBill, ...]
    unpriced_rows: int
    unpriced_usd: Fraction
    unpriced_models: tuple[str, ...]
    tiers_by_mean_call: bool

    @property
    def list_usd(self) -> Fraction:
        """List price of all rows that could be priced."""
        return sum((bill.list_usd for bill in self.models), Fraction(0))

    @property
    def billed_usd(self) -> Fraction:
        """What was billed for these rows."""
        return sum((bill.billed_usd for bill in self.models), Fraction(0))

    @property
    def list_to_bill(self) -> Fraction | None:
        """Billed over list price for these rows, the factor for estimates at list price; None if undefined."""
        return None if not self.list_usd else self.billed_usd / self.list_usd

    def ratio_for(self, model: str) -> Fraction | None:
        """Return the model's own ratio if the export has the model, else the ratio of all; None if undefined."""
        own = next((bill.list_to_bill for bill in self.models if bill.model == model), None)
        return own if own is not None else self.list_to_bill


def read_export(
    lines: Iterable[tuple[int, Mapping[str, object]]], source: str, provider: str, prices: PriceList
) -> Calibration:
    """Price a usage export.

    Parameters
    ----------
    lines:
        The export's rows: the line that each begins on, and its cells by column.
    source:
        The export's name, for messages and to show beside the ratio.
    provider:
        The catalogue's provider for all rows whose model does not name one.
    prices:
        Where list prices come from.

    Raises
    ------
    DataError
        A required column is missing, a row cannot be read, or the bill is not in dollars; the message says what to do.
    """
    at: dict[ExportField, str] = {}
    columns: Sequence[str] | None = None
    sums = _Sums(provider, prices)
    for number, row in lines:
        if columns is None or row.keys() != set(columns):
            columns, at = tuple(row), _columns(tuple(row), source)
        if not any(_text(cell).strip() for cell in row.values()):
            continue
        sums.add(_Row(row, at, f"{source} line {number}"))
    if not sums.bills and not sums.unpriced_rows:
        raise DataError(f"{source}: has a header but no rows")
    return Calibration(
        source,
        tuple(sums.bills[model] for model in sorted(sums.bills)),
        sums.unpriced_rows,
        sum(sums.unpriced_usd.values(), Fraction(0)),
        tuple(sorted(sums.unpriced_usd)),
        "requests" in at,
    )


class _Sums:
    """Adds up an export's rows: a bill for each model, and the dollars of models without a price."""

    def __init__(self, provider: str, prices: PriceList) -> None:
        self._provider, self._prices = provider, prices
        self.bills: dict[str, ModelBill] = {}
        self.unpriced_usd: dict[str, Fraction] = {}
        self.unpriced_rows = 0

    def add(self, cells: _Row) -> None:
        """Add a row: the dollars that were billed for a number of tokens of a model."""
        billed, name = cells.dollars(), cells.text("model")
        try:
            prices = self._prices.prices(name if ":" in name else f"{self._provider}:{name}")
        except ConfigError:
            self._add_unpriced(name, billed)
            return
        rates = prices.batch if cells.is_batch() else prices.standard
        if rates is None:
            self._add_unpriced(f"{name} (batch)", billed)
            return
        bill = self.bills.get(prices.model, ModelBill(prices.model, 0, Fraction(0), Fraction(0), prices.basis))
        self.bills[prices.model] = replace(
            bill,
            rows=bill.rows + 1,
            list_usd=bill.list_usd + _list_price(rates, cells),
            billed_usd=bill.billed_usd + billed,
        )

    def _add_unpriced(self, name: str, billed: Fraction) -> None:
        self.unpriced_usd[name] = self.unpriced_usd.get(name, Fraction(0)) + billed
        self.unpriced_rows += 1


def _columns(header: Sequence[str], source: str) -> dict[ExportField, str]:
    names = [name.strip().lower().replace(" ", "_") for name in header]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise DataError(f"{source}: the header names {', '.join(twice)} twice; rename or remove one of the two")
    at: dict[ExportField, str] = {}
    for field, aliases in COLUMNS.items():
        place = next((header[names.index(name)] for name in aliases if name in names), None)
        if place is not None:
            at[field] = place
    missing = [field for field in ("model", "output") if field not in at]
    if "input" not in at and "uncached" not in at:
        missing.append("input")
    if "usd" not in at and "cents" not in at:
        missing.append("usd")
    if missing:
        needed = "; ".join(f"{field}: one of {', '.join(COLUMNS[field])}" for field in missing)  # type: ignore[index]
        raise DataError(
            f"{source}: columns are missing. Found {', '.join(names) or 'none'}. Needed: {needed}. "
            "Join the provider's usage and cost exports by model and day, or rename columns"
        )
    return at


def _list_price(rates: Rates, cells: _Row) -> Fraction:
    cached, written = cells.count("cached"), cells.count("written")
    sent = cells.count("input") if cells.has("input") else cells.count("uncached") + cached + written
    answered = cells.count("output")
    if cached + written > sent:
        raise DataError(f"{cells.place}: {cached + written} cached and written tokens of {sent} input tokens")
    if cached and rates.cached is None:
        raise DataError(f"{cells.place}: {cached} cached tokens, but no price for cached input is known")
    calls = cells.count("requests") if cells.has("requests") else 0
    if calls:
        mean = Call(*(Fraction(n, calls) for n in (sent, answered, cached, written)))
        return calls * rates.call_usd(mean)
    lowest = _without_tiers(rates)
    return lowest.call_usd(Call(Fraction(sent), Fraction(answered), Fraction(cached), Fraction(written)))


def _without_tiers(rates: Rates) -> Rates:
    return Rates(
        replace(rates.input, tiers=()),
        replace(rates.output, tiers=()),
        None if rates.cached is None else replace(rates.cached, tiers=()),
        None if rates.cache_write is None else replace(rates.cache_write, tiers=()),
    )


_COUNT: Final = re.compile(r"\d{1,3}(?:,\d{3})+")
_GROUPED: Final = re.compile(r"-?\d{1,3}(?:(?:,\d{3}){2,}(?:\.\d+)?|,\d{3}\.\d+)")
"""Numbers whose commas surely separate thousands: there are two or more, or a point comes after one."""


def _text(cell: object) -> str:
    return cell if isinstance(cell, str) else "" if cell is None else str(cell)


class _Row:
    """One row's cells by field, with errors that name the place."""

    def __init__(self, cells: Mapping[str, object], at: Mapping[ExportField, str], place: str) -> None:
        self._cells, self._at, self.place = cells, at, place

    def has(self, field: ExportField) -> bool:
        return field in self._at

    def text(self, field: ExportField) -> str:
        return _text(self._cells[self._at[field]]).strip() if field in self._at else ""

    def count(self, field: ExportField) -> int:
        text = self.text(field)
        if not text:
            return 0
        if _COUNT.fullmatch(text):  # tokens have no decimals, so commas separate thousands
            text = text.replace(",", "")
        number = self._number(field, text)
        if number != int(number) or number < 0:
            raise DataError(f"{self.place}: {field} is {text!r}, not a count")
        return int(number)

    def dollars(self) -> Fraction:
        currency = self.text("currency").lower()
        if currency not in ("", "usd"):
            raise DataError(
                f"{self.place}: billed in {currency!r}; list prices are US dollars: convert the export first"
            )
        if self.has("usd"):
            return Fraction(self._number("usd", self.text("usd").removeprefix("$") or "0"))
        return Fraction(self._number("cents", self.text("cents") or "0")) / 100

    def is_batch(self) -> bool:
        return self.text("batch").lower() in ("true", "1", "batch")

    def _number(self, field: ExportField, text: str) -> Decimal:
        if "," in text and not _GROUPED.fullmatch(text):
            raise DataError(
                f"{self.place}: {field} (column {self._at[field]}) is {text!r}: its comma may separate thousands or "
                "decimals; write the number without one, with a point before decimals"
            )
        try:
            number = Decimal(text.replace(",", ""))
        except InvalidOperation as error:
            raise DataError(f"{self.place}: {field} is {text!r}, not a number") from error
        if not number.is_finite():
            raise DataError(f"{self.place}: {field} is {text!r}")
        if number.adjusted() > MOST_DIGITS or int(number.as_tuple().exponent) < -MOST_DECIMALS:
            raise DataError(f"{self.place}: {field} is {text!r}, which is no number of tokens or dollars")
        return number
