"""A campaign of the task bidding: what a click is worth, the strategy for prices, and what its bids state.

It is in a bundle's ``settings``, and a route may replace it. Money is stated in whole units of the currency
and kept in millionths (*micros*); a price is per thousand impressions (CPM), as in OpenRTB::

    "settings": {
      "campaign": "spring", "currency": "USD", "value_per_click": 0.8, "crid": "spring-320x50",
      "adomain": ["shop.example"], "seat": "12", "offers": ["banner_w", "banner_format"],
      "strategy": "ortb", "c": 0.039, "lambda": 1.7, "max_cpm": 20.0
    }
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from farthing.errors import BundleError

STRATEGIES: Final = ("linear", "ortb")
MICROS: Final = 1_000_000
LARGEST: Final = 1e6
"""Largest value per click and largest price, in units of the currency: a thousand times it in micros is below 2**53."""

_KEYS: Final = {
    "campaign", "currency", "value_per_click", "crid", "adomain", "seat", "offers",
    "strategy", "c", "lambda", "max_cpm",
}  # fmt: skip
_REQUIRED: Final = {"campaign", "currency", "value_per_click", "crid"}


@dataclass(frozen=True, slots=True)
class Campaign:
    """One campaign, checked."""

    name: str
    currency: str  # ISO 4217
    value_per_click_micros: int
    crid: str  # creative id
    adomain: tuple[str, ...]
    seat: str | None
    offers: tuple[str, ...]  # an impression must have one of these fields: the formats that the creative fits
    strategy: str
    c_micros: float  # ortb: half of the impressions have a market price below it (CPM, micros)
    multiplier: float  # ortb: lambda, the value that a unit of money must bring
    max_cpm_micros: int

    @classmethod
    def from_settings(cls, settings: Mapping[str, Any]) -> Campaign:
        """Read a campaign.

        Raises
        ------
        BundleError
            A key is missing or unknown, or its value is not allowed.
        """
        missing, unknown = sorted(_REQUIRED - settings.keys()), sorted(settings.keys() - _KEYS)
        if missing or unknown:
            raise BundleError(f"campaign settings: missing {missing}, unknown {unknown}; there are {sorted(_KEYS)}")
        strategy = settings.get("strategy", "linear")
        if strategy not in STRATEGIES:
            raise BundleError(f"campaign settings: strategy is {strategy!r}, expected one of {', '.join(STRATEGIES)}")
        given = {key for key in ("c", "lambda") if settings.get(key) is not None}
        if given != ({"c", "lambda"} if strategy == "ortb" else set()):
            raise BundleError(
                f"campaign settings: strategy {strategy} with {sorted(given) or 'neither c nor lambda'}; ortb needs "
                "both c (fitted to market prices) and lambda (solved for the budget), linear takes neither"
            )
        currency = _text(settings, "currency")
        if len(currency) != 3 or not currency.isascii() or not currency.isupper():
            raise BundleError(f"campaign settings: currency is {currency!r}, expected three capitals (ISO 4217)")
        seat = settings.get("seat")
        max_cpm = settings.get("max_cpm")
        return cls(
            name=_text(settings, "campaign"),
            currency=currency,
            value_per_click_micros=_micros(settings, "value_per_click"),
            crid=_text(settings, "crid"),
            adomain=_texts(settings, "adomain"),
            seat=None if seat is None else _text(settings, "seat"),
            offers=_texts(settings, "offers"),
            strategy=strategy,
            c_micros=_number(settings, "c") * MICROS if strategy == "ortb" else 0.0,
            multiplier=_number(settings, "lambda") if strategy == "ortb" else 1.0,
            max_cpm_micros=int(LARGEST) * MICROS if max_cpm is None else _micros(settings, "max_cpm"),
        )


def _text(settings: Mapping[str, Any], key: str) -> str:
    value = settings[key]
    if not isinstance(value, str) or not value:
        raise BundleError(f"campaign settings: {key} is {value!r}, expected a text that is not empty")
    return value


def _texts(settings: Mapping[str, Any], key: str) -> tuple[str, ...]:
    value = settings.get(key) or ()
    if not isinstance(value, list | tuple) or not all(isinstance(v, str) and v for v in value):
        raise BundleError(f"campaign settings: {key} is {value!r}, expected a list of texts")
    return tuple(value)


def _number(settings: Mapping[str, Any], key: str) -> float:
    value = settings[key]
    good = isinstance(value, int | float) and not isinstance(value, bool) and 1e-12 <= value <= LARGEST
    if not good or not math.isfinite(value):
        raise BundleError(f"campaign settings: {key} is {value!r}, expected a number over 0 and at most {LARGEST:,.0f}")
    return float(value)


def _micros(settings: Mapping[str, Any], key: str) -> int:
    micros = round(_number(settings, key) * MICROS)
    if micros < 1:
        raise BundleError(f"campaign settings: {key} is {settings[key]!r}, less than a millionth of the currency")
    return micros
