"""The price of one call: dollars per token by context tier, for input, cached input, cache writes and output."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction


@dataclass(frozen=True, slots=True)
class TieredRate:
    """Dollars per token. A tier, ``(above_input_tokens, rate)``, applies to all tokens of a call with longer input."""

    base: Fraction
    tiers: tuple[tuple[int, Fraction], ...] = ()

    def at(self, input_tokens: Fraction | int) -> Fraction:
        """Return the rate for a call with this many input tokens, cached ones included."""
        rate = self.base
        for above, price in self.tiers:
            if input_tokens > above:
                rate = price
        return rate

    def scaled(self, factor: Fraction) -> TieredRate:
        """Return all rates times ``factor``."""
        return TieredRate(self.base * factor, tuple((above, rate * factor) for above, rate in self.tiers))


@dataclass(frozen=True, slots=True)
class Call:
    """One API call in tokens. ``input_tokens`` is all input; cached reads and cache writes are parts of it."""

    input_tokens: Fraction
    output_tokens: Fraction
    cached_tokens: Fraction = Fraction(0)
    written_tokens: Fraction = Fraction(0)


@dataclass(frozen=True, slots=True)
class Rates:
    """Prices of one way to call a model. ``cached`` is None when there is no price for cached reads."""

    input: TieredRate
    output: TieredRate
    cached: TieredRate | None
    cache_write: TieredRate | None  # None: writing costs what input costs
    per_call: Fraction = Fraction(0)

    def call_usd(self, call: Call) -> Fraction:
        """Return the dollars for one call.

        Raises
        ------
        ValueError
            The call reads from a cache but there is no price for that: undefined is not zero.
        """
        size = call.input_tokens
        plain = size - call.cached_tokens - call.written_tokens
        if plain < 0:
            raise ValueError(f"cached and written tokens are part of the input: {call}")
        total = self.per_call + plain * self.input.at(size) + call.output_tokens * self.output.at(size)
        if call.cached_tokens:
            if self.cached is None:
                raise ValueError("no price is known for cached input")
            total += call.cached_tokens * self.cached.at(size)
        if call.written_tokens:
            total += call.written_tokens * (self.cache_write or self.input).at(size)
        return total

    def first_tier(self) -> int | None:
        """Input tokens above which a call costs more per token; None if it never does."""
        starts = [above for rate in (self.input, self.output) for above, _ in rate.tiers]
        return min(starts, default=None)

    def scaled(self, factor: Fraction) -> Rates:
        """Return all prices times ``factor``."""
        return Rates(
            self.input.scaled(factor),
            self.output.scaled(factor),
            None if self.cached is None else self.cached.scaled(factor),
            None if self.cache_write is None else self.cache_write.scaled(factor),
            self.per_call * factor,
        )
