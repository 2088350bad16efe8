"""Exact numbers and intervals of them; nothing is rounded before the last step.

Floats are refused as input, because 0.1 as a float is not a tenth. Dollars are rounded once, to the nano-dollar, half
to even, when they are shown or written (:func:`usd`).
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import ROUND_HALF_EVEN, Context, Decimal
from fractions import Fraction
from typing import Annotated, Final, Literal

from pydantic import Field

Scenario = Literal["low", "mid", "high"]
SCENARIOS: Final[tuple[Scenario, ...]] = ("low", "mid", "high")
Exact = int | Fraction | Decimal | str

MOST_DIGITS, MOST_DECIMALS = 18, 60  # more: 1e999999999 would take hours and all memory as an integer
Number = Annotated[
    Decimal,
    Field(max_digits=MOST_DIGITS + MOST_DECIMALS, decimal_places=MOST_DECIMALS, allow_inf_nan=False),
]
"""A number as users write it into settings and files: small enough to calculate with exactly."""
Count = Annotated[int, Field(le=10**MOST_DIGITS)]

NANO_DOLLAR: Final = Decimal("1e-9")
_CONTEXT: Final = Context(prec=60, rounding=ROUND_HALF_EVEN)


def exact(value: Exact) -> Fraction:
    """Return ``value`` as a fraction.

    Raises
    ------
    TypeError
        ``value`` is a float: write it as a string or a Decimal.
    ValueError
        ``value`` is not a number.
    """
    if isinstance(value, bool) or not isinstance(value, int | Fraction | Decimal | str):
        raise TypeError(f"{value!r} is a {type(value).__name__}: money and counts are int, Decimal, Fraction or text")
    return Fraction(value)


def usd(value: Fraction) -> Decimal:
    """Return dollars as a Decimal, rounded to the nano-dollar, half to even. The one place where money is rounded."""
    whole, rest = divmod(value * 1_000_000_000, 1)
    up = rest > Fraction(1, 2) or (rest == Fraction(1, 2) and whole % 2 == 1)
    return (Decimal(int(whole) + int(up)) * NANO_DOLLAR).quantize(NANO_DOLLAR, context=_CONTEXT)


@dataclass(frozen=True, slots=True)
class Interval:
    """An estimate: ``low <= mid <= high``. The bounds are stated as plausible; they are not a confidence interval."""

    low: Fraction
    mid: Fraction
    high: Fraction

    def __post_init__(self) -> None:
        if not self.low <= self.mid <= self.high:
            raise ValueError(f"not an interval: low {self.low}, mid {self.mid}, high {self.high}")

    @classmethod
    def of(cls, low: Exact, mid: Exact | None = None, high: Exact | None = None) -> Interval:
        """Make an interval from three numbers, or an exact one from one number."""
        if mid is None or high is None:
            return cls(exact(low), exact(low), exact(low))
        return cls(exact(low), exact(mid), exact(high))

    def at(self, scenario: Scenario) -> Fraction:
        """Return the low, mid or high."""
        return {"low": self.low, "mid": self.mid, "high": self.high}[scenario]

    @property
    def is_exact(self) -> bool:
        """Whether low and high are equal."""
        return self.low == self.high

    def __add__(self, other: Interval) -> Interval:
        return Interval(self.low + other.low, self.mid + other.mid, self.high + other.high)

    def times(self, factor: Exact | Interval) -> Interval:
        """Multiply by a number or an interval; neither may be negative, because the bounds would swap."""
        by = factor if isinstance(factor, Interval) else Interval.of(factor)
        if by.low < 0 or self.low < 0:
            raise ValueError(f"a negative factor would swap the interval's bounds: {self} times {by}")
        return Interval(self.low * by.low, self.mid * by.mid, self.high * by.high)

    def usd(self) -> dict[str, Decimal]:
        """Return the three as dollars, rounded to the nano-dollar."""
        return {"low": usd(self.low), "mid": usd(self.mid), "high": usd(self.high)}


def json_text(value: object) -> str:
    """Write JSON in which a Decimal keeps its digits (``json`` would need a float).

    Accepts None, bool, int, str, Decimal, date, Interval (as dollars), mappings with string keys and sequences.

    Raises
    ------
    TypeError
        For anything else, floats included.
    """
    if value is None or isinstance(value, bool | int | str):
        return json.dumps(value, ensure_ascii=False)
    if isinstance(value, Decimal):
        return format(value.normalize(_CONTEXT), "f")
    if isinstance(value, date):
        return json.dumps(value.isoformat())
    if isinstance(value, Interval):
        return json_text(value.usd())
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{json.dumps(str(k))}: {json_text(v)}" for k, v in value.items()) + "}"
    if isinstance(value, Sequence) and not isinstance(value, bytes | bytearray):
        return "[" + ", ".join(json_text(v) for v in value) + "]"
    raise TypeError(f"{value!r} is a {type(value).__name__}: it has no exact form in JSON here")
