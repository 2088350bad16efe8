"""The alternatives: the same events on a frontier-model API, in every pricing mode that a careful buyer would try.

The modes are naive (one call an event), then prompt caching, batch discount and packing several events into one prompt,
each alone, then all of them combined. The rules:

1. *Packing comes first.* Up to ``pack_events`` events share one prompt, as long as its input stays within
   ``pack_input_tokens``, the context window and the first price tier. The instructions are sent once per prompt. Partly
   filled last prompts are not counted, which favours the API.
2. *Only the instructions are cached*, because calls have nothing else in common, and only when they reach the
   provider's minimum, in its steps. Shorter ones are padded to the minimum if that is cheaper than not caching. A call
   that misses the cache writes it, at the provider's price for writing if it has one.
3. *Batch prices* are the catalogue's; without one, a stated discount applies to input and output, and to cached reads
   only if the provider says so. Answers come within a day.
4. *All combined* is packed, in batches, and cached if that makes it cheaper.
5. The price tier of a call is that of its whole input, including cached tokens.

A mode that the provider does not offer has no price: it is None, not zero. Calls longer than the context window cannot
be made; they are left out of the dollars and of the events that the dollars pay for, and are counted.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Final, Literal

from farthing.meter.facts import Facts
from farthing.meter.money import SCENARIOS, Exact, Interval, Scenario, exact
from farthing.meter.prices import ModelPrices
from farthing.meter.prompts import CallShape, PromptModel
from farthing.meter.rates import Call, Rates
from farthing.meter.usage import SizeCount, UsageTotals

ModeName = Literal["naive", "cached", "batch", "packed", "combined"]


@dataclass(frozen=True, slots=True)
class Mode:
    """A pricing mode: a way to call the API. ``cached`` in ``combined`` is used only where it pays."""

    name: ModeName
    label: str
    cached: bool = False
    batch: bool = False
    packed: bool = False


MODES: Final[tuple[Mode, ...]] = (
    Mode("naive", "one call an event"),
    Mode("cached", "prompt caching", cached=True),
    Mode("batch", "batch discount", batch=True),
    Mode("packed", "packed prompts", packed=True),
    Mode("combined", "all combined", cached=True, batch=True, packed=True),
)


@dataclass(frozen=True, slots=True)
class Traffic:
    """Events as calls by size, and how many rows an event has."""

    calls: Mapping[int, SizeCount]
    rows_per_event: Fraction

    @classmethod
    def of(cls, usage: UsageTotals) -> Traffic:
        """Traffic that was scored; ValueError when nothing was."""
        if not usage.scored:
            raise ValueError("no event was scored: there is no traffic to price")
        return cls(usage.calls, Fraction(usage.rows, usage.scored))

    @classmethod
    def made_up(cls, payload_bytes: int, rows: int = 1, events: int = 1_000_000) -> Traffic:
        """Events of one size."""
        totals = SizeCount(events, events * payload_bytes)
        return cls({0: totals}, Fraction(rows))  # the class does not matter, only the sizes

    @property
    def events(self) -> int:
        """Number of events."""
        return sum(count.calls for count in self.calls.values())

    @property
    def prompt_bytes(self) -> int:
        """Bytes that the calls would send."""
        return sum(count.prompt_bytes for count in self.calls.values())


@dataclass(frozen=True, slots=True)
class Packing:
    """Limits of packing: the most events and the most input tokens in one prompt."""

    events: int = 50
    input_tokens: int = 16_000

    def __post_init__(self) -> None:
        if self.events < 1 or self.input_tokens < 1:
            raise ValueError(f"packing needs at least one event and one token: {self}")


@dataclass(frozen=True, slots=True)
class Bill:
    """The cost of one mode in one scenario for all of ``events``, and the calls and tokens that it takes."""

    usd: Fraction
    events: int  # events that the dollars pay for
    calls: Fraction
    input_tokens: Fraction
    cached_tokens: Fraction
    output_tokens: Fraction


@dataclass(frozen=True, slots=True)
class Offer:
    """One mode of an alternative: a bill for each scenario, of which low is the cheapest for the buyer."""

    mode: Mode
    bills: Mapping[Scenario, Bill]
    events_too_long: int
    notes: tuple[str, ...]

    @property
    def usd_per_event(self) -> Interval:
        """Dollars per event."""
        return Interval(*(self.bills[scenario].usd / self.bills[scenario].events for scenario in SCENARIOS))


class Opponent:
    """One alternative: a model on which the same traffic is priced.

    Parameters
    ----------
    prices, prompt, facts:
        The model's prices, what would be sent to it, and its provider's terms.
    tokens_per_byte:
        Of the payload, for this model.
    packing:
        Limits of packing.
    list_to_bill:
        Ratio of billed to list price, from a bill; 1 if there is none.
    """

    def __init__(
        self,
        prices: ModelPrices,
        prompt: PromptModel,
        facts: Facts,
        tokens_per_byte: Interval,
        packing: Packing | None = None,
        list_to_bill: Exact = 1,
    ) -> None:
        self.prices = prices
        self.prompt = prompt
        self.facts = facts
        self.tokens_per_byte = tokens_per_byte
        self.packing = packing if packing is not None else Packing()
        self.list_to_bill = exact(list_to_bill)

    @property
    def model(self) -> str:
        """``provider:model``."""
        return self.prices.model

    def offer(self, mode: Mode, traffic: Traffic) -> Offer | None:
        """Price the traffic in one mode; None when the provider does not offer it or no call is possible."""
        rates, notes = self._rates(mode)
        if rates is None:
            return None
        if mode.name == "cached" and (rates.cached is None or self.facts.cache(self.model) is None):
            return None
        # A call that is too long in the highest scenario is left out of all three, to keep them comparable.
        fitting = replace(traffic, calls={at: count for at, count in traffic.calls.items() if self._fits(count)})
        if not fitting.events:
            return None
        bills = {scenario: self._bill(mode, rates, fitting, scenario) for scenario in SCENARIOS}
        if mode.cached:
            notes.append(self._cache_note(mode, rates))
        return Offer(mode, bills, traffic.events - fitting.events, tuple(notes))

    def offers(self, traffic: Traffic, *, without_batch: bool = False) -> dict[ModeName, Offer | None]:
        """Price the traffic in all modes; ``without_batch`` if answers cannot wait for a day."""
        modes = [replace(mode, batch=False) for mode in MODES if mode.name != "batch"] if without_batch else MODES
        return {mode.name: self.offer(mode, traffic) for mode in modes}

    def _rates(self, mode: Mode) -> tuple[Rates | None, list[str]]:
        standard = self.prices.standard.scaled(self.list_to_bill)
        if not mode.batch:
            return standard, []
        if self.prices.batch is not None:
            return self.prices.batch.scaled(self.list_to_bill), ["batch price from the catalogue"]
        fact = self.facts.batch(self.model)
        if fact is None or not fact.offered:
            # Combined without a batch price is still packed and cached; batch alone is not offered.
            return (standard, ["no batch price"]) if mode.name == "combined" else (None, [])
        factor = 1 - exact(fact.discount)
        cached = standard.cached
        if cached is not None and fact.discount_on_cached:
            cached = cached.scaled(factor)
        rates = replace(standard.scaled(factor), cached=cached, per_call=standard.per_call)
        return rates, [f"batch: stated discount of {fact.discount:%} ({fact.source})"]

    def _bill(self, mode: Mode, rates: Rates, traffic: Traffic, scenario: Scenario) -> Bill:
        usd = calls = sent = cached = answered = Fraction(0)
        for count in traffic.calls.values():
            payload = self._payload_tokens(count, scenario)
            # Numbering the events can cost more than packing them saves: then they are sent one by one.
            ways = {1, self._pack(payload, rates, scenario)} if mode.packed else {1}
            priced = {
                n: self._price(mode, rates, self.prompt.shape(payload, traffic.rows_per_event, n, scenario), scenario)
                for n in sorted(ways)
            }
            packed = min(priced, key=lambda n: priced[n][0] / n)
            price, call = priced[packed]
            n_calls = Fraction(count.calls, packed)
            usd += n_calls * price
            calls += n_calls
            sent += n_calls * call.input_tokens
            cached += n_calls * call.cached_tokens
            answered += n_calls * call.output_tokens
        return Bill(usd, traffic.events, calls, sent, cached, answered)

    def _price(self, mode: Mode, rates: Rates, shape: CallShape, scenario: Scenario) -> tuple[Fraction, Call]:
        """Return the expected price of one call, and its expected tokens."""
        best_call = Call(shape.input, shape.output)
        best = rates.call_usd(best_call)
        hit_rate = self._hit_rate(mode, scenario)
        for prefix, read in self._cacheable(rates, shape.prefix) if mode.cached else ():
            size = prefix + shape.rest
            written = read if rates.cache_write is not None else Fraction(0)
            hit_usd = rates.call_usd(Call(size, shape.output, cached_tokens=read))
            miss_usd = rates.call_usd(Call(size, shape.output, written_tokens=written))
            usd = hit_rate * hit_usd + (1 - hit_rate) * miss_usd
            if usd < best:
                best, best_call = usd, Call(size, shape.output, cached_tokens=hit_rate * read)
        return best, best_call

    def _cacheable(self, rates: Rates, prefix: Fraction) -> list[tuple[Fraction, Fraction]]:
        """Return the ways to send the prefix: its length, perhaps padded, and how much of it can be cached."""
        fact = self.facts.cache(self.model)
        if fact is None or rates.cached is None:
            return []
        sent = max(prefix, Fraction(fact.min_tokens))
        whole = Fraction(fact.min_tokens + (sent - fact.min_tokens) // fact.step_tokens * fact.step_tokens)
        ways = [(sent, whole)]
        if whole < sent:
            ways.append((whole + fact.step_tokens, whole + fact.step_tokens))
        return ways

    def _hit_rate(self, mode: Mode, scenario: Scenario) -> Fraction:
        fact = self.facts.cache(self.model)
        if fact is None:
            return Fraction(0)
        fewest, middle, most = (exact(share) for share in (fact.batch_hit_rate if mode.batch else fact.hit_rate))
        return {"low": most, "mid": middle, "high": fewest}[scenario]  # most hits mean fewest dollars

    def _payload_tokens(self, count: SizeCount, scenario: Scenario) -> Fraction:
        return Fraction(count.prompt_bytes, count.calls) * self.tokens_per_byte.at(scenario)

    def _fits(self, count: SizeCount) -> bool:
        window = self.prices.context_window
        shape = self.prompt.shape(self._payload_tokens(count, "high"), Fraction(1), 1, "high")
        return window is None or shape.input <= window

    def _pack(self, payload: Fraction, rates: Rates, scenario: Scenario) -> int:
        bounds = [self.packing.input_tokens, self.prices.context_window, rates.first_tier()]
        room = min(bound for bound in bounds if bound is not None)
        frame = self.prompt.system.at(scenario) + self.prompt.framing.at(scenario)
        each = payload + self.prompt.item.at(scenario)
        fit = int((room - frame) // each) if each and room > frame else 1
        return max(1, min(self.packing.events, fit))

    def _cache_note(self, mode: Mode, rates: Rates) -> str:
        fact = self.facts.cache(self.model)
        if fact is None or rates.cached is None:
            return "no price for cached input"
        have = self.prompt.system.mid
        note = f"instructions of about {round(have):,} tokens; the cache takes {fact.min_tokens:,} or more"
        if have >= fact.min_tokens:
            return note
        _, call = self._price(mode, rates, self.prompt.shape(Fraction(0), Fraction(1), 1, "mid"), "mid")
        return f"{note}: {'padded to that' if call.cached_tokens else 'not cached, as padding would cost more'}"


def cheapest(offers: Sequence[Offer | None]) -> Offer | None:
    """Return the offer with the lowest middle price; None when there is none."""
    offered = [offer for offer in offers if offer is not None]
    return min(offered, key=lambda offer: offer.usd_per_event.mid, default=None)
