"""Limits: what a minute needs, against each tier; how far a free endpoint carries."""

import datetime
from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from farthing.meter.facts import LimitFact, load_facts
from farthing.meter.limits import feasibility, free_offer
from farthing.meter.money import Interval
from farthing.meter.opponents import MODES, Opponent, Packing, Traffic
from farthing.meter.prices import PriceList
from farthing.meter.prompts import PromptModel

FACTS = load_facts()
PRICES = PriceList(datetime.date(2026, 11, 24)).prices("openai:gpt-5-nano")
(OMNI,) = FACTS.free_endpoints("moderation")
NOTHING = Interval.of(0)
PROMPT = PromptModel("moderation", Interval.of(190), "given", Interval.of(5), NOTHING, Interval.of(5), NOTHING)
OPPONENT = Opponent(PRICES, PROMPT, FACTS, Interval.of(Fraction(1, 4)), Packing(10, 10**6))


def tier(**numbers):
    return LimitFact(
        models=("*",), tier="T", source="made up", date=datetime.date(2026, 11, 24), certain=True, **numbers
    )


def found(mode, of, *, events=144_000, peak=Fraction(1)):
    offer = OPPONENT.offer(next(m for m in MODES if m.name == mode), Traffic.made_up(400))
    (one,) = feasibility(offer, [of], events, peak)
    return one


def test_a_minute_of_a_live_stream():
    """144,000 events a day are 100 a minute; each is 190 + 5 + 100 tokens in and 5 out."""
    one = found(
        "naive", tier(requests_per_min=200, tokens_per_min=30_000, output_tokens_per_min=250, requests_per_day=144_000)
    )
    needed = {demand.what: (demand.needed, demand.times) for demand in one.demands}
    assert needed == {
        "requests a minute": (100, Fraction(1, 2)),
        "tokens a minute": (30_000, 1),
        "output tokens a minute": (500, 2),
        "requests a day": (144_000, 1),
    }
    assert one.tightest.what == "output tokens a minute"
    assert one.fits is False
    assert found("naive", tier(tokens_per_min=30_000)).fits is True
    assert found("naive", tier(tokens_per_min=30_000), peak=Fraction(3)).tightest.times == 3


def test_packing_needs_fewer_requests_and_batches_need_a_queue():
    assert found("packed", tier(requests_per_min=10)).tightest.times == 1
    queue = found("batch", tier(batch_queue_tokens=10**6, requests_per_min=1))
    assert [d.what for d in queue.demands] == ["input tokens queued"]
    assert queue.demands[0].needed == 144_000 * 295


def test_what_is_not_published_is_not_unlimited():
    one = found("batch", tier(requests_per_min=1))
    assert one.demands == ()
    assert one.fits is None
    assert one.tightest is None


def test_cached_reads_count_only_where_the_provider_counts_them():
    long = PromptModel("moderation", Interval.of(2_048), "given", NOTHING, NOTHING, Interval.of(5), NOTHING)
    mine = Opponent(PRICES, long, FACTS, Interval.of(Fraction(1, 4)))
    offer = mine.offer(MODES[1], Traffic.made_up(400))
    counted, not_counted = (
        feasibility(offer, [tier(input_tokens_per_min=1, cached_reads_count=c)], 1_440, Fraction(1))[0]
        .demands[0]
        .needed
        for c in (True, False)
    )
    assert counted == 2_148
    assert not_counted == 2_148 - Fraction(9, 10) * 2_048


def test_the_free_endpoint_carries_167_events_a_second_of_50_tokens():
    exact = OMNI.model_copy(update={"token_factor": (Decimal(1),) * 3})
    offer = free_offer(exact, Traffic.made_up(200), Interval.of(Fraction(1, 4)))
    assert offer.events_per_day == Interval.of(500_000 * 1_440 // 50)
    assert offer.binding == "tokens a minute"
    assert round(offer.events_per_day.mid / 86_400) == 167
    tiny = free_offer(exact, Traffic.made_up(1), Interval.of(Fraction(1, 4)))
    assert tiny.binding == "requests a minute"
    assert tiny.events_per_day.mid == 5_000 * 1_440 * 32


@given(st.integers(1, 10**6), st.integers(1, 10**6))
def test_longer_texts_fit_less_often(a, b):
    short, long = sorted((a, b))
    per_byte = Interval.of("0.2", "0.25", "0.4")
    few, many = (free_offer(OMNI, Traffic.made_up(size), per_byte).events_per_day for size in (long, short))
    assert few.low <= many.low
    assert few.mid <= many.mid
    assert few.high <= many.high


def test_an_endpoint_without_limits_is_not_taken_as_boundless():
    bare = OMNI.model_copy(
        update={"tiers": (OMNI.tiers[-1].model_copy(update={"tokens_per_min": None, "requests_per_min": None}),)}
    )
    with pytest.raises(ValueError, match="states no limit"):
        free_offer(bare, Traffic.made_up(10), Interval.of(1))
