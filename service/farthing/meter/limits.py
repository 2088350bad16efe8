"""Compares the traffic with the providers' published limits, and with those of free endpoints.

A live stream needs room for its peak; deferred batches need room for a day's input in the queue. For a free endpoint
the best case is assumed: peaks may wait, so only the mean rate counts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Final

from farthing.meter.facts import FreeEndpoint, LimitFact, Tier
from farthing.meter.money import SCENARIOS, Interval
from farthing.meter.opponents import Offer, Traffic

MINUTES_A_DAY: Final = 24 * 60


@dataclass(frozen=True, slots=True)
class Demand:
    """What the traffic needs, and what one limit allows."""

    what: str  # "requests a minute", "tokens a minute", ...
    needed: Fraction
    allowed: int

    @property
    def times(self) -> Fraction:
        """Needed over allowed: above 1 the provider refuses some calls."""
        return self.needed / self.allowed


@dataclass(frozen=True, slots=True)
class Feasibility:
    """One pricing mode compared with one tier. ``demands`` is empty if the tier publishes no limit that applies."""

    tier: LimitFact
    demands: tuple[Demand, ...]

    @property
    def tightest(self) -> Demand | None:
        """The limit that is reached first."""
        return max(self.demands, key=lambda demand: demand.times, default=None)

    @property
    def fits(self) -> bool | None:
        """Whether all published limits hold; None when none is published."""
        tightest = self.tightest
        return None if tightest is None else tightest.times <= 1


def feasibility(
    offer: Offer, tiers: Sequence[LimitFact], events_per_day: int, peak_to_mean: Fraction
) -> tuple[Feasibility, ...]:
    """Compare one pricing mode of an alternative with each published tier, at the middle token counts."""
    return tuple(Feasibility(tier, _demands(offer, tier, events_per_day, peak_to_mean)) for tier in tiers)


def _demands(offer: Offer, tier: Tier, events_per_day: int, peak_to_mean: Fraction) -> tuple[Demand, ...]:
    bill = offer.bills["mid"]
    scale = Fraction(events_per_day, bill.events)
    if offer.mode.batch:
        queued = bill.input_tokens * scale
        return (
            () if tier.batch_queue_tokens is None else (Demand("input tokens queued", queued, tier.batch_queue_tokens),)
        )
    a_minute = scale * peak_to_mean / MINUTES_A_DAY
    counted = bill.input_tokens if tier.cached_reads_count else bill.input_tokens - bill.cached_tokens
    needs = (
        ("requests a minute", bill.calls * a_minute, tier.requests_per_min),
        ("tokens a minute", (counted + bill.output_tokens) * a_minute, tier.tokens_per_min),
        ("input tokens a minute", counted * a_minute, tier.input_tokens_per_min),
        ("output tokens a minute", bill.output_tokens * a_minute, tier.output_tokens_per_min),
        ("requests a day", bill.calls * scale, tier.requests_per_day),
    )
    return tuple(Demand(what, needed, allowed) for what, needed, allowed in needs if allowed is not None)


@dataclass(frozen=True, slots=True)
class FreeOffer:
    """A free endpoint at its highest tier: how many events a day it accepts. Low is the pessimistic estimate."""

    endpoint: FreeEndpoint
    events_per_day: Interval
    binding: str  # the limit that is reached first, in the middle estimate

    @property
    def tier(self) -> Tier:
        """The highest published tier."""
        return self.endpoint.tiers[-1]


def free_offer(endpoint: FreeEndpoint, traffic: Traffic, tokens_per_byte: Interval) -> FreeOffer:
    """Return how many events a day a free endpoint accepts at its highest tier.

    Parameters
    ----------
    endpoint:
        Its limits.
    traffic:
        Sizes of the events.
    tokens_per_byte:
        Of the payload, for the endpoint's model; the endpoint's own factor is applied in addition.
    """
    tier = endpoint.tiers[-1]
    per_event = tokens_per_byte.times(Interval.of(*endpoint.token_factor)).times(
        Fraction(traffic.prompt_bytes, traffic.events)
    )
    events_per_day: list[Fraction] = []
    binding = "requests a minute"
    for scenario in SCENARIOS:
        bounds: dict[str, Fraction] = {}
        if tier.tokens_per_min is not None and per_event.at(scenario):
            bounds["tokens a minute"] = tier.tokens_per_min * MINUTES_A_DAY / per_event.at(scenario)
        if tier.requests_per_min is not None:
            bounds["requests a minute"] = Fraction(tier.requests_per_min * MINUTES_A_DAY * endpoint.texts_per_request)
        if tier.requests_per_day is not None:
            bounds["requests a day"] = Fraction(tier.requests_per_day * endpoint.texts_per_request)
        if not bounds:
            raise ValueError(f"{endpoint.endpoint}: its highest tier states no limit")
        least = min(bounds, key=lambda what: bounds[what])
        events_per_day.append(bounds[least])
        if scenario == "mid":
            binding = least
    few, middle, many = sorted(events_per_day)
    return FreeOffer(endpoint, Interval(few, middle, many), binding)
