"""The whole comparison: what it says at small and large volumes, and that its parts agree with each other."""

import datetime
from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from farthing.errors import ConfigError
from farthing.meter.calibration import read_export
from farthing.meter.facts import load_facts
from farthing.meter.money import SCENARIOS, Interval
from farthing.meter.opponents import Traffic
from farthing.meter.prices import PriceList
from farthing.meter.prompts import load_prompts, prompt_model
from farthing.meter.settings import MeterSettings
from farthing.meter.study import TokenBasis, study
from farthing.meter.tokens import TextSample

FACTS, PROMPTS = load_facts(), load_prompts()
LIST = PriceList(datetime.date(2026, 11, 24))
PLAIN = MeterSettings()


def made(events, task="moderation", settings=PLAIN, **given_values):
    return study(settings, task, PROMPTS[task], events, LIST, FACTS, **given_values)


def test_at_a_hundred_events_a_second_the_free_endpoint_is_the_answer():
    found = made(100 * 86_400)
    assert found.verdict == "api"
    assert found.free_takes_it
    assert found.free.endpoint.endpoint == "openai:omni-moderation-latest"
    assert found.now.own_usd.mid > found.now.api_usd.mid > 0


def test_at_three_hundred_thousand_events_a_second_the_tuned_model_is():
    found = made(300_000 * 86_400)
    assert found.verdict == "tuned"
    assert not found.free_takes_it
    assert found.now.own_usd.high * 10 < found.now.api_usd.low
    assert found.payback.high <= 2
    # ... and no published limit would let it through.
    assert [tier.fits for tier in found.chosen.limits["naive"]] == [False, False, False]


def test_without_the_free_endpoint_small_volumes_still_stay_on_the_api():
    found = made(10**6, settings=MeterSettings(free_endpoint=False))
    assert found.free is None
    assert found.verdict == "api"
    assert found.threshold == found.threshold_paid


@settings(max_examples=20)
@given(st.integers(1, 10**12), st.sampled_from(["moderation", "rerank", "bidding"]), st.booleans())
def test_the_parts_agree(events, task, wait):
    found = made(events, task, MeterSettings(answers_can_wait=wait))
    assert found.threshold.low <= found.threshold.mid <= found.threshold.high
    expected = "tuned" if events >= found.threshold.high else "api" if events < found.threshold.low else "undecided"
    assert found.verdict == expected
    best = found.chosen.best
    assert found.threshold_paid == found.thresholds[best.mode.name]
    for scenario in SCENARIOS:
        assert found.now.api_usd.at(scenario) == best.usd_per_event.at(scenario) * events
    for at in found.thresholds.values():
        assert at.mid <= found.threshold_paid.mid  # every other form is dearer, so it is beaten earlier
    assert (task == "moderation") == (found.free is not None)


def test_a_stricter_assumption_never_favours_the_tuned_model():
    base = made(10**7).threshold_paid.mid
    for change in (
        {"core_hour_usd": Decimal(1)},
        {"people_usd_per_month": Decimal(5_000)},
        {"labels": 10**6},
        {"setup_usd": Decimal(50_000)},
        {"min_worker_cores": 8},
        {"accuracy_gap": Decimal("0.01"), "error_usd": Decimal("0.00001")},
    ):
        assert made(10**7, settings=MeterSettings(**change)).threshold_paid.mid > base, change
    assert made(10**7, settings=MeterSettings(pack_events=1)).threshold_paid.mid < base
    assert made(10**7, settings=MeterSettings(answers_can_wait=False)).threshold_paid.mid < base


def test_long_events_and_many_rows_cost_own_cores_too():
    short, long = made(10**8), made(10**8, traffic=Traffic.made_up(13_800))
    assert long.own.events_per_s_per_core.mid == short.own.events_per_s_per_core.mid / 100
    rows = made(10**8, traffic=Traffic.made_up(135, rows=20))
    assert rows.own.events_per_s_per_core.mid == short.own.events_per_s_per_core.mid / 20


def test_labels_cost_what_the_teacher_asks_or_what_is_said():
    assert made(1, settings=MeterSettings(labels=0)).labelling_usd == Interval.of(0)
    said = made(1, settings=MeterSettings(labels=100, label_usd=Decimal("0.08")))
    assert said.labelling_usd == Interval.of(8)
    teacher = made(1, settings=MeterSettings(labels=1_000)).labelling_usd
    as_opponent = made(1, settings=MeterSettings(compare_with=("anthropic:claude-opus-5",))).chosen.offers["naive"]
    assert teacher == as_opponent.usd_per_event.times(1_000)


def test_a_bill_is_applied_only_when_said():
    row = {"model": "gpt-5-nano", "input_tokens": "1000000", "output_tokens": "0", "cost": "0.025"}
    bill = read_export([(2, row)], "b.csv", "openai", LIST)
    plain = made(10**6, calibration=bill)
    applied = made(10**6, settings=MeterSettings(usage_export="b.csv", apply_calibration=True), calibration=bill)
    assert plain.chosen.list_to_bill == 1
    assert applied.chosen.list_to_bill == Fraction(1, 2)
    assert applied.now.api_usd.mid * 2 == plain.now.api_usd.mid
    empty = read_export([(2, {**row, "input_tokens": "0", "cost": "1"})], "b.csv", "openai", LIST)
    with pytest.raises(ConfigError, match="no ratio to apply"):
        made(10**6, settings=MeterSettings(usage_export="b.csv", apply_calibration=True), calibration=empty)


def test_counted_tokens_are_taken_as_they_are_for_their_own_model():
    sample = sum((TextSample.of("a" * n, lambda text: len(text) // 4) for n in (100, 200)), TextSample())
    basis = TokenBasis(sample.bytes_by_script, sample, "o200k_base.tiktoken", "openai:gpt-5-nano", 123)
    found = made(
        10**6, tokens=basis, settings=MeterSettings(compare_with=("openai:gpt-5-nano", "anthropic:claude-haiku-5-5"))
    )
    assert found.models[0].tokens.per_byte == Interval.of(Fraction(1, 4))
    assert [one.prompt.system.is_exact for one in found.models] == [True, False]
    assert found.models[0].prompt.system == Interval.of(123)
    assert found.models[1].tokens.per_byte == Interval.of(Fraction(1, 4)).times(Interval.of("1.2", "1.4", "1.65"))
    nobodys = TokenBasis(sample.bytes_by_script, sample, "some.json")
    assert made(10**6, tokens=nobodys).models[1].tokens.per_byte.mid > Fraction(1, 4)


def test_instructions_are_the_users_where_given():
    entry, table = PROMPTS["moderation"], FACTS.bytes_per_token
    shipped = prompt_model("moderation", entry, table, None)
    own = prompt_model("moderation", entry, table, None, system_text="x" * 470)
    counted = prompt_model("moderation", entry, table, None, system_text="x", system_tokens=77)
    assert shipped.system.low <= 156 <= shipped.system.high  # counted with o200k_base
    assert own.system.mid == 100
    assert counted.system == Interval.of(77)
    assert {shipped.system_source, own.system_source, counted.system_source} == {
        "estimated from the shipped instructions", "estimated from your instructions", "counted",
    }  # fmt: skip
    assert prompt_model("moderation", entry, table, None, system_text="").system == Interval.of(0)


def test_a_window_too_small_for_any_event_is_an_error():
    with pytest.raises(ConfigError, match="none of these events fits"):
        made(1, traffic=Traffic.made_up(10**8), settings=MeterSettings(compare_with=("anthropic:claude-haiku-4-5",)))


def test_settings_are_checked():
    with pytest.raises(ValueError, match="low, middle, high"):
        MeterSettings(events_per_s_per_core=(3, 2, 1))
    with pytest.raises(ValueError, match="apply_calibration needs usage_export"):
        MeterSettings(apply_calibration=True)
    with pytest.raises(ValueError, match="core_hour"):
        MeterSettings(core_hour_usd=-1)
