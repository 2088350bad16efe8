"""Opponents: recounted by other code, every stacking rule by itself, and never dearer than what they are made of."""

import datetime
from dataclasses import replace
from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from farthing.meter.facts import CacheFact, load_facts
from farthing.meter.money import SCENARIOS, Interval, usd
from farthing.meter.opponents import MODES, Opponent, Packing, Traffic, cheapest
from farthing.meter.prices import ModelPrices, PriceBasis, PriceList
from farthing.meter.prompts import PromptModel
from farthing.meter.rates import Rates, TieredRate
from farthing.meter.usage import SizeCount, UsageTotals, size_class
from tests.meter.recount import nano_dollars, recount

DAY = datetime.date(2026, 11, 24)
FACTS = load_facts()
LIST = PriceList(DAY)
MODE = {mode.name: mode for mode in MODES}


def prompt(system=200, framing=0, item=0, row=5, number=0):
    as_interval = [
        Interval.of(*v) if isinstance(v, tuple) else Interval.of(v) for v in (system, framing, item, row, number)
    ]
    return PromptModel("moderation", as_interval[0], "given", *as_interval[1:])


def opponent(model, *, per_byte=Fraction(1, 4), packing=None, prompts=None, prices=None, facts=FACTS, ratio=1):
    return Opponent(
        prices if prices is not None else LIST.prices(model),
        prompts if prompts is not None else prompt(),
        facts,
        per_byte if isinstance(per_byte, Interval) else Interval.of(per_byte),
        packing,
        ratio,
    )


histograms = st.lists(st.integers(1, 2**20), min_size=1, max_size=40)


def usage(sizes):
    calls = {}
    for size in sizes:
        at = size_class(size)
        before = calls.get(at, SizeCount(0, 0))
        calls[at] = SizeCount(before.calls + 1, before.prompt_bytes + size)
    return UsageTotals(len(sizes), 0, len(sizes), sum(sizes), calls)


@given(
    histograms, st.integers(0, 5_000), st.integers(0, 50), st.fractions(min_value=1, max_value=9, max_denominator=20)
)
def test_naive_cost_equals_the_recount_to_the_nano_dollar(sizes, system, answer, bytes_per_token):
    total = usage(sizes)
    # The window of the catalogue would leave out the longest: here tiers are looked at.
    prices = replace(LIST.prices("anthropic:claude-sonnet-4-5"), context_window=None)
    mine = opponent(
        "", prices=prices, per_byte=1 / bytes_per_token, prompts=prompt(system=system, framing=7, row=answer)
    )
    offer = mine.offer(MODE["naive"], Traffic.of(total))
    expected = recount(
        list(total.calls.values()), bytes_per_token, system, 7, answer, "3", "15", (200_000, "6", "22.5")
    )
    assert offer.bills["mid"].usd == expected
    assert usd(offer.bills["mid"].usd) == nano_dollars(expected)


def test_the_worked_example_of_naive_against_all_combined():
    """300,000 events/s, 200 tokens of instructions, 60 of text, 5 of answer: 15 against 2.60 dollars a million."""
    traffic = Traffic.made_up(240)
    mine = opponent("openai:gpt-5-nano", packing=Packing(50, 100_000))
    naive, combined = mine.offer(MODE["naive"], traffic), mine.offer(MODE["combined"], traffic)
    assert naive.usd_per_event == Interval.of(Fraction(15, 10**6))
    assert combined.usd_per_event.mid == Fraction(26, 10**7)
    assert combined.usd_per_event.low < Fraction(26, 10**7)  # with every call finding a padded cache
    a_day = 300_000 * 86_400
    assert usd(naive.usd_per_event.mid * a_day) == 388_800
    assert usd(combined.usd_per_event.mid * a_day) == 67_392
    haiku = opponent("anthropic:claude-haiku-4-5", packing=Packing(50, 100_000))
    assert usd(haiku.offer(MODE["naive"], traffic).usd_per_event.mid * a_day) == 7_387_200
    assert usd(haiku.offer(MODE["combined"], traffic).usd_per_event.mid * a_day) == Decimal("1153440")


# --- Stacking rules, each by itself.


def rates(cached="0.1", write=None, factor=1):
    def rate(mtok):
        return TieredRate(Fraction(mtok) * factor / 10**6)

    return Rates(rate("1"), rate("4"), None if cached is None else rate(cached), None if write is None else rate(write))


def made_up(standard, batch=None, window=None):
    return ModelPrices(PriceBasis("x:y", "made up", DAY, DAY), standard, batch, window)


def with_cache(**terms):
    """Facts with one entry for caching."""
    fact = CacheFact(
        models=("*",), source="made up", date=DAY, certain=True, ttl_s=300,
        **{"min_tokens": 1_000, "step_tokens": 1, "hit_rate": (1, 1, 1), "batch_hit_rate": (1, 1, 1), **terms},
    )  # fmt: skip
    return replace(FACTS, _cache=(fact,))


def mid(mode, **with_these):
    bytes_of_text = with_these.pop("bytes_of_text", 400)
    offer = opponent("", **with_these).offer(MODE[mode], Traffic.made_up(bytes_of_text))
    return None if offer is None else offer.usd_per_event.mid * 10**6  # token prices a million: dollars are tokens


def test_long_instructions_are_read_from_the_cache():
    # 1,500 of instructions at a tenth, 100 of text, 5 of answer at four.
    found = mid("cached", prices=made_up(rates()), prompts=prompt(system=1_500), facts=with_cache())
    assert found == 150 + 100 + 20


def test_a_miss_writes_the_cache_at_its_price():
    terms = with_cache(hit_rate=(Decimal("0.5"),) * 3)
    with_price = mid("cached", prices=made_up(rates(write="1.25")), prompts=prompt(system=1_500), facts=terms)
    without = mid("cached", prices=made_up(rates()), prompts=prompt(system=1_500), facts=terms)
    assert with_price == (150 + 1_875) / 2 + 120
    assert without == (150 + 1_500) / 2 + 120


def test_short_instructions_are_padded_only_where_that_is_cheaper():
    cheap, dear = made_up(rates(cached="0.1")), made_up(rates(cached="0.5"))
    # 1,000 tokens at a tenth are cheaper than 200 whole ones; at a half they are not.
    assert mid("cached", prices=cheap, facts=with_cache()) == 100 + 100 + 20
    assert mid("cached", prices=dear, facts=with_cache()) == 200 + 100 + 20


def test_caching_goes_in_steps_and_pads_to_the_next_where_that_pays():
    terms = with_cache(step_tokens=128)
    # 1,020 = 1,000 cached and 20 whole (120 in all) rather than 1,128 cached (112.8): padding up is cheaper.
    padded = mid("cached", prices=made_up(rates()), prompts=prompt(system=1_020), facts=terms)
    assert padded == Fraction("112.8") + 120
    plain = mid("cached", prices=made_up(rates()), prompts=prompt(system=1_005), facts=terms)
    assert plain == 100 + 5 + 120


def test_a_model_without_a_cached_price_offers_no_caching():
    assert mid("cached", prices=made_up(rates(cached=None)), facts=with_cache()) is None
    assert mid("cached", prices=made_up(rates()), facts=replace(FACTS, _cache=())) is None
    combined = mid("combined", prices=made_up(rates(cached=None), rates(cached=None, factor=Fraction(1, 2))))
    assert combined is not None


def test_batch_prices_are_the_catalogues_else_a_stated_discount_else_none():
    assert mid("batch", prices=made_up(rates(), rates(factor=Fraction(1, 4)))) == Fraction(320, 4)
    assert mid("batch", prices=made_up(rates())) is None  # nobody states a discount for x:y
    stated = replace(made_up(rates()), basis=PriceBasis("openai:z", "made up", DAY, DAY))
    assert mid("batch", prices=stated) == Fraction(320, 2)
    hosted_elsewhere = LIST.prices("openai:gpt-oss-safeguard-20b")
    assert opponent("", prices=hosted_elsewhere).offer(MODE["batch"], Traffic.made_up(100)) is None


@pytest.mark.parametrize(("stacks", "cached"), [(True, 75), (False, 150)])
def test_a_stated_discount_reaches_cached_reads_only_where_said(stacks, cached):
    discounts = tuple(f.model_copy(update={"discount_on_cached": stacks}) for f in FACTS._batch)
    terms = replace(with_cache(), _batch=discounts)
    prices = replace(made_up(rates()), basis=PriceBasis("openai:z", "made up", DAY, DAY))
    one = opponent("", prices=prices, prompts=prompt(system=1_500), facts=terms, packing=Packing(events=1))
    found = one.offer(MODE["combined"], Traffic.made_up(400)).usd_per_event.mid * 10**6
    assert found == cached + 50 + 10


def test_packing_shares_the_instructions_and_costs_a_frame_and_a_number():
    found = mid("packed", prices=made_up(rates()), prompts=prompt(item=3, number=2), packing=Packing(10, 10**6))
    assert found == 20 + 100 + 3 + 4 * (5 + 2)
    alone = mid("packed", prices=made_up(rates()), prompts=prompt(item=3, number=2), packing=Packing(1, 10**6))
    assert alone == 200 + 100 + 20


def test_packing_stays_within_prompt_window_and_first_tier():
    roomy = made_up(rates())
    assert mid("packed", prices=roomy, packing=Packing(50, 1_200)) == 20 + 100 + 20  # ten fit beside 200
    assert mid("packed", prices=made_up(rates(), window=700), packing=Packing(50, 10**6)) == 40 + 100 + 20
    tiered = replace(rates(), input=TieredRate(Fraction(1, 10**6), ((450, Fraction(9, 10**6)),)))
    assert mid("packed", prices=made_up(tiered), packing=Packing(50, 10**6)) == 100 + 100 + 20
    assert mid("packed", prices=roomy, packing=Packing(50, 10)) == 200 + 100 + 20  # one always goes alone
    with pytest.raises(ValueError, match="at least one"):
        Packing(0)


def test_calls_longer_than_the_window_are_left_out_and_counted():
    calls = {0: SizeCount(3, 1_200), 40: SizeCount(2, 2_000_000)}
    traffic = Traffic(calls, Fraction(1))
    offer = opponent("", prices=made_up(rates(), window=10_000)).offer(MODE["naive"], traffic)
    assert offer.events_too_long == 2
    assert offer.bills["mid"].events == 3
    assert offer.usd_per_event.mid == Fraction(320, 10**6)
    only_long = Traffic({40: calls[40]}, Fraction(1))
    assert opponent("", prices=made_up(rates(), window=10_000)).offer(MODE["naive"], only_long) is None


def test_a_bill_scales_every_price():
    whole, part = opponent("openai:gpt-5-nano"), opponent("openai:gpt-5-nano", ratio=Fraction(1, 4))
    traffic = Traffic.made_up(135)
    for mode in MODES:
        a, b = whole.offer(mode, traffic), part.offer(mode, traffic)
        assert b.usd_per_event.mid * 4 == a.usd_per_event.mid


def test_nobody_packs_where_numbering_costs_more():
    mine = opponent(
        "openai:gpt-5-nano",
        per_byte=Interval(Fraction(8, 9), Fraction(43, 48), Fraction(44, 49)),
        prompts=prompt((7, 10, 25), (0, 0, 0), (0, 0, 12), (0, 0, 12), (3, 40, 463)),
        packing=Packing(80, 16_000),
    )
    offers = mine.offers(Traffic.of(usage([8894])))
    price = offers["packed"].usd_per_event
    assert price.low <= price.mid <= price.high
    assert offers["packed"].bills["mid"] == offers["naive"].bills["mid"]


three = st.lists(st.integers(0, 3_000), min_size=3, max_size=3).map(sorted).map(tuple)


@given(
    st.sampled_from(["openai:gpt-5-nano", "openai:gpt-6-luna", "anthropic:claude-haiku-5-5", "google:gemini-2.5-flash-lite"]),
    st.lists(st.integers(1, 2**17), min_size=1, max_size=8),
    three, three, three, three, three,
    st.lists(st.fractions(min_value=Fraction(1, 9), max_value=1, max_denominator=50), min_size=3, max_size=3).map(sorted),
    st.integers(1, 80),
)  # fmt: skip
def test_intervals_are_in_order_and_forms_never_cost_more(
    model, sizes, system, framing, item, row, number, per_byte, n
):
    mine = opponent(
        model,
        per_byte=Interval(*per_byte),
        prompts=prompt(system, framing, item, row, number),
        packing=Packing(n, 16_000),
    )
    offers = mine.offers(Traffic.of(usage(sizes)))
    naive = offers["naive"]
    for offer in offers.values():
        assert offer.usd_per_event.low <= offer.usd_per_event.mid <= offer.usd_per_event.high
    for scenario in SCENARIOS:
        assert offers["cached"].bills[scenario].usd <= naive.bills[scenario].usd
        assert offers["batch"].bills[scenario].usd <= naive.bills[scenario].usd
        assert offers["combined"].bills[scenario].usd <= offers["packed"].bills[scenario].usd
    best = cheapest(list(offers.values()))
    assert all(best.usd_per_event.mid <= offer.usd_per_event.mid for offer in offers.values())


@given(st.integers(1, 10**5), st.integers(1, 10**5))
def test_longer_events_never_cost_less(a, b):
    short, long = sorted((a, b))
    mine = opponent("openai:gpt-6-luna")
    for mode in MODES:
        low, high = (mine.offer(mode, Traffic.made_up(size)).usd_per_event.mid for size in (short, long))
        assert low <= high


def test_without_batch_the_combined_form_answers_at_once():
    mine = opponent("openai:gpt-5-nano")
    traffic = Traffic.made_up(135)
    live = mine.offers(traffic, without_batch=True)
    assert "batch" not in live
    assert mine.offers(traffic)["combined"].usd_per_event.mid < live["combined"].usd_per_event.mid
    assert live["combined"].usd_per_event.mid <= live["packed"].usd_per_event.mid
    assert cheapest([None]) is None


def test_no_events_have_no_price():
    with pytest.raises(ValueError, match="no event was scored"):
        Traffic.of(UsageTotals())
