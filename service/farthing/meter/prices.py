"""Dollars per token of a model as of a date: from the ``genai-prices`` catalogue, or from the user's own price file.

Only the catalogue in the installed package is read; its updater, which would fetch a newer one over the network, is
never started. A provider's context tiers change the price of *every* token of a call once its input is longer than the
tier's start, so a price depends on the size of one call (:meth:`~farthing.meter.rates.Rates.call_usd`) and cannot be
computed for a sum. Where a price changes with the hour of the day, the cheapest hour counts, which favours the API.

A user's file overrides single models (``[[price]]``) or takes a contract's discount off all of a provider's list
prices (``[[discount]]``)::

    [[price]]
    model = "openai:gpt-5-nano"
    source = "contract 4711"
    date = 2026-11-01
    input_usd_per_mtok = 0.04
    cached_input_usd_per_mtok = 0.004        # absent: no cached price, so caching is not offered
    output_usd_per_mtok = 0.32
    tiers = [{ above_input_tokens = 200000, input_usd_per_mtok = 0.08, output_usd_per_mtok = 0.48 }]
    batch = { input_usd_per_mtok = 0.02, output_usd_per_mtok = 0.16 }

    [[discount]]
    models = ["openai:*"]
    percent = 12.5
    source = "contract 4711"
    date = 2026-11-01
"""

from __future__ import annotations

import datetime
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from fnmatch import fnmatchcase
from fractions import Fraction
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from farthing.errors import ConfigError
from farthing.meter.facts import explain, read_toml
from farthing.meter.money import Count, Number
from farthing.meter.rates import Rates, TieredRate

if TYPE_CHECKING:
    from genai_prices.types import ModelInfo, ModelPrice, Provider

PER_MTOK: Final = 1_000_000
_BATCH: Final = {"processing": "batch"}
_DATE: Final = re.compile(
    r"\b20\d\d-(?:0[1-9]|1[0-2])-(?:0[1-9]|1\d|2[0-8])\b"
)  # the last days of a month may not exist


@dataclass(frozen=True, slots=True)
class PriceBasis:
    """The origin of a price, shown beside every dollar."""

    model: str  # provider:model, as the catalogue calls it
    source: str  # "genai-prices 0.2.3", or the user's file
    source_date: datetime.date | None  # newest date that the source states, not after ``as_of``
    as_of: datetime.date
    notes: tuple[str, ...] = ()

    def __str__(self) -> str:
        stated = "date not stated" if self.source_date is None else f"newest entry {self.source_date}"
        return f"{self.model}, list price as of {self.as_of} ({self.source}, {stated})"


@dataclass(frozen=True, slots=True)
class ModelPrices:
    """All prices of a model as of a date. ``batch`` is None when the source has no batch price."""

    basis: PriceBasis
    standard: Rates
    batch: Rates | None
    context_window: int | None
    changes_on: tuple[datetime.date, ...] = ()  # later dates from which the source has other prices

    @property
    def model(self) -> str:
        """``provider:model``."""
        return self.basis.model


class _Entry(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


_Usd = Annotated[Number, Field(ge=0)]


class _Prices(_Entry):
    input_usd_per_mtok: _Usd
    output_usd_per_mtok: _Usd
    cached_input_usd_per_mtok: _Usd | None = None
    cache_write_usd_per_mtok: _Usd | None = None


class _Tier(_Prices):
    above_input_tokens: Count = Field(ge=1)


class _OwnPrice(_Prices):
    model: str
    source: str
    date: datetime.date
    tiers: tuple[_Tier, ...] = ()
    batch: _Prices | None = None
    context_window: Count | None = None


class _Discount(_Entry):
    models: tuple[str, ...]
    percent: Annotated[Number, Field(ge=0, lt=100)]
    source: str
    date: datetime.date


class _OwnFile(_Entry):
    price: tuple[_OwnPrice, ...] = ()
    discount: tuple[_Discount, ...] = ()


class PriceList:
    """Prices of all models as of one date.

    Parameters
    ----------
    as_of:
        The day whose prices count; a day in the future uses the prices that have been announced.
    own:
        The user's price file.

    Raises
    ------
    ConfigError
        The user's file cannot be read, or an entry is wrong.
    """

    def __init__(self, as_of: datetime.date, own: Path | None = None) -> None:
        self.as_of = as_of
        self._path = own
        self._cache: dict[str, ModelPrices] = {}  # look-ups are slow, because the catalogue is searched by patterns
        try:
            self._own = _OwnFile() if own is None else _OwnFile.model_validate(read_toml(own))
        except ValidationError as error:
            raise ConfigError(f"{own}: {explain(error)}") from error

    def prices(self, model: str) -> ModelPrices:
        """Return the prices of ``provider:model``.

        Raises
        ------
        ConfigError
            The model is unknown, or it has no price per token; the message names similar ones.
        """
        if model not in self._cache:
            self._cache[model] = self._look_up(model)
        return self._cache[model]

    def _look_up(self, model: str) -> ModelPrices:
        for entry in self._own.price:
            if entry.model == model:
                return self._from_own(entry)
        prices = self._from_catalogue(model)
        for discount in self._own.discount:
            if any(fnmatchcase(prices.model, pattern) for pattern in discount.models):
                return self._discounted(prices, discount)
        return prices

    def _from_own(self, entry: _OwnPrice) -> ModelPrices:
        basis = PriceBasis(entry.model, f"{self._path}: {entry.source}", entry.date, self.as_of, ("own price file",))
        batch = None if entry.batch is None else _own_rates(entry.batch, ())
        return ModelPrices(basis, _own_rates(entry, entry.tiers), batch, entry.context_window)

    def _discounted(self, prices: ModelPrices, discount: _Discount) -> ModelPrices:
        factor = 1 - Fraction(discount.percent) / 100
        note = f"less {discount.percent} % ({self._path}: {discount.source}, {discount.date})"
        return replace(
            prices,
            basis=replace(prices.basis, notes=(*prices.basis.notes, note)),
            standard=prices.standard.scaled(factor),
            batch=None if prices.batch is None else prices.batch.scaled(factor),
        )

    @cached_property
    def _source_date(self) -> datetime.date | None:
        from genai_prices.data import providers

        return newest_date(providers, self.as_of)

    def _from_catalogue(self, model: str) -> ModelPrices:
        import genai_prices
        from genai_prices.data import providers

        provider_id, _, name = model.partition(":")
        provider = next((p for p in providers if p.id == provider_id), None)
        if provider is None or not name:
            provider_ids = ", ".join(sorted(p.id for p in providers))
            raise ConfigError(f"{model!r}: write provider:model, the provider one of {provider_ids}")
        # An id of the catalogue always names itself: some models' patterns match providers' responses, but not the id.
        info = next((model for model in provider.models if model.id.lower() == name.lower()), None)
        info = info or provider.find_model(name.lower(), all_providers=providers)
        if info is None:
            raise ConfigError(
                f"{model!r}: not in genai-prices {genai_prices.__version__}. {_alike(name, provider)}"
                "Or give its prices in your own file (meter.price_file)"
            )
        hours = [
            datetime.datetime.combine(self.as_of, datetime.time(hour), datetime.UTC) for hour in range(24)
        ]  # deepseek has off-peak hours
        standard = _cheapest([info.get_prices(at) for at in hours], model)
        with_batch = _cheapest([info.get_prices(at, _BATCH) for at in hours], model)
        basis = PriceBasis(
            f"{provider.id}:{info.id}",
            f"genai-prices {genai_prices.__version__}",
            self._source_date,
            self.as_of,
            tuple(note for note in (info.price_comments,) if note),
        )
        # A variant without a start date, or one that has started, overrides; equal prices mean that there is none.
        batch = with_batch if with_batch != standard else None
        return ModelPrices(basis, standard, batch, info.context_window, _later_changes(info, self.as_of))


def _cheapest(prices: Sequence[ModelPrice], model: str) -> Rates:
    distinct = [price for n, price in enumerate(prices) if price not in prices[:n]]  # few models go by the hour
    rates = [_catalogue_rates(price, model) for price in distinct]
    return min(rates, key=lambda r: (r.input.base + r.output.base, r.input.base))


def _catalogue_rates(price: ModelPrice, model: str) -> Rates:
    if price.input_mtok is None or price.output_mtok is None:
        raise ConfigError(
            f"{model!r}: the catalogue has no price per input and output token for it: {str(price) or 'none is stated'}"
        )
    per_call = Fraction(price.requests_kcount) / 1_000 if isinstance(price.requests_kcount, Decimal) else Fraction(0)
    rate = _catalogue_rate
    return Rates(
        rate(price.input_mtok),
        rate(price.output_mtok),
        None if price.cache_read_mtok is None else rate(price.cache_read_mtok),
        None if price.cache_write_mtok is None else rate(price.cache_write_mtok),
        per_call,
    )


def _catalogue_rate(price: object) -> TieredRate:
    if isinstance(price, Decimal):
        return TieredRate(Fraction(price) / PER_MTOK)
    from genai_prices.types import TieredPrices

    if not isinstance(price, TieredPrices):
        raise TypeError(f"a price of the catalogue is {price!r}: neither a Decimal nor tiers")
    tiers = tuple((tier.start, Fraction(tier.price) / PER_MTOK) for tier in price.tiers)
    return TieredRate(Fraction(price.base) / PER_MTOK, tiers)


def _own_rates(prices: _Prices, tiers: Sequence[_Tier]) -> Rates:
    ordered = sorted(tiers, key=lambda tier: tier.above_input_tokens)

    def rate(name: str) -> TieredRate | None:
        base = getattr(prices, name)
        if base is None:
            return None
        steps = [(tier.above_input_tokens, getattr(tier, name)) for tier in ordered]
        return TieredRate(
            Fraction(base) / PER_MTOK, tuple((above, Fraction(p) / PER_MTOK) for above, p in steps if p is not None)
        )

    plain, output = rate("input_usd_per_mtok"), rate("output_usd_per_mtok")
    assert plain is not None and output is not None  # required by _Prices
    return Rates(plain, output, rate("cached_input_usd_per_mtok"), rate("cache_write_usd_per_mtok"))


def _later_changes(info: ModelInfo, as_of: datetime.date) -> tuple[datetime.date, ...]:
    starts = {
        start
        for entry in [*(info.prices if isinstance(info.prices, list) else ()), *(info.price_variants or ())]
        if (start := getattr(entry.constraint, "start_date", None)) is not None and start > as_of
    }
    return tuple(sorted(starts))


def newest_date(providers: Sequence[Provider], as_of: datetime.date) -> datetime.date | None:
    """Return the newest date up to ``as_of`` that any entry states, because the catalogue itself has no date.

    Entries say from when a price is valid, or in a comment when it was checked.
    """
    dates: set[datetime.date] = set()
    for provider in providers:
        for info in provider.models:
            entries = [*(info.prices if isinstance(info.prices, list) else ()), *(info.price_variants or ())]
            dates |= {start for e in entries if (start := getattr(e.constraint, "start_date", None)) is not None}
            dates |= {datetime.date.fromisoformat(text) for text in _DATE.findall(info.price_comments or "")}
    return max((date for date in dates if date <= as_of), default=None)


def _alike(name: str, provider: Provider) -> str:
    import difflib

    close = difflib.get_close_matches(name, [info.id for info in provider.models], n=3, cutoff=0.4)
    return f"Similar: {', '.join(f'{provider.id}:{id_}' for id_ in close)}. " if close else ""
