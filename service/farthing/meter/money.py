"""Exact numbers until the last step, and intervals that go with them.

A float is refused wherever a number comes in: 0.1 is not a tenth. Dollars are rounded once, to the nano-dollar, half
to even, when they leave (:func:`usd`).
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import ROUND_HALF_EVEN, Context, Decimal
from fractions import Fraction
from typing import Final, Literal

Scenario = Literal["low", "mid", "high"]
SCENARIOS: Final[tuple[Scenario, ...]] = ("low", "mid", "high")
Exact = int | Fraction | Decimal | str

NANO_DOLLAR: Final = Decimal("1e-9")
_CONTEXT: Final = Context(prec=60, rounding=ROUND_HALF_EVEN)


def exact(value: Exact) -> Fraction:
    """Give ``value`` as a fraction.

    Raises
    ------
    TypeError
        ``value`` is a float: write it as a string or a Decimal.
    ValueError
        ``value`` is no number.
    """
    if isinstance(value, bool) or not isinstance(value, int | Fraction | Decimal | str):
        raise TypeError(f"{value!r} is a {type(value).__name__}: money and counts are int, Decimal, Fraction or text")
    return Fraction(value)


def usd(value: Fraction) -> Decimal:
    """Give dollars as a Decimal, rounded to the nano-dollar, half to even. The one place where money is rounded."""
    whole, rest = divmod(value * 1_000_000_000, 1)
    up = rest > Fraction(1, 2) or (rest == Fraction(1, 2) and whole % 2 == 1)
    return (Decimal(int(whole) + int(up)) * NANO_DOLLAR).quantize(NANO_DOLLAR, context=_CONTEXT)


@dataclass(frozen=True, slots=True)
class Interval:
    """An estimate: ``low <= mid <= high``. Bounds are what is stated as plausible, not a confidence level."""

    low: Fraction
    mid: Fraction
    high: Fraction

    def __post_init__(self) -> None:
        if not self.low <= self.mid <= self.high:
            raise ValueError(f"not an interval: low {self.low}, mid {self.mid}, high {self.high}")

    @classmethod
    def of(cls, low: Exact, mid: Exact | None = None, high: Exact | None = None) -> Interval:
        """Make an interval of three numbers, or an exact one of one number."""
        if mid is None or high is None:
            return cls(exact(low), exact(low), exact(low))
        return cls(exact(low), exact(mid), exact(high))

    def at(self, scenario: Scenario) -> Fraction:
        """Give one of the three."""
        return {"low": self.low, "mid": self.mid, "high": self.high}[scenario]

    @property
    def is_exact(self) -> bool:
        """Whether nothing is uncertain."""
        return self.low == self.high

    def __add__(self, other: Interval) -> Interval:
        return Interval(self.low + other.low, self.mid + other.mid, self.high + other.high)

    def times(self, factor: Exact | Interval) -> Interval:
        """Multiply by a number or an interval; neither may be negative, or bounds would change places."""
        by = factor if isinstance(factor, Interval) else Interval.of(factor)
        if by.low < 0 or self.low < 0:
            raise ValueError(f"a negative factor would turn the interval round: {self} times {by}")
        return Interval(self.low * by.low, self.mid * by.mid, self.high * by.high)

    def usd(self) -> dict[str, Decimal]:
        """Give the three as dollars, rounded to the nano-dollar."""
        return {"low": usd(self.low), "mid": usd(self.mid), "high": usd(self.high)}


def json_text(value: object) -> str:
    """Write JSON where a Decimal stands with its own digits (``json`` would need a float).

    Takes None, bool, int, str, Decimal, date, Interval (as dollars), mappings with string keys and sequences.

    Raises
    ------
    TypeError
        For anything else; a float among them.
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
