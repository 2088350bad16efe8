"""Dollars made of the books: recounted by other code, added up, by window, and never zero for undefined."""

from dataclasses import replace
from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from farthing.errors import ConfigError
from farthing.ledger.ledger import Ledger
from farthing.ledger.statement import PriceBook, make_statement
from farthing.meter.facts import BytesPerToken
from farthing.meter.money import SCENARIOS, Interval
from farthing.meter.opponents import MODES
from farthing.meter.settings import MeterSettings
from farthing.meter.tokens import TextSample
from farthing.meter.usage import SizeCount, UsageTotals, size_class
from tests.ledger.cases import HOUR, MINUTE, NOW, MadeUp, beat, book, record
from tests.meter.recount import nano_dollars, recount

NANO = "openai:gpt-5-nano"
TERMS = book()


def fixed_ratio(bytes_per_token, system, framing, answer, **meter):
    """A book where nothing is uncertain: one token ratio for every script, exact instructions and answers."""
    terms = book(MeterSettings(compare_with=(NANO, "openai:gpt-5-mini"), system_prompt_tokens=system, **meter))
    same = (bytes_per_token,) * 3
    table = BytesPerToken(
        **{name: same if type(value) is tuple else value for name, value in terms.facts.bytes_per_token}
    )
    changes = {"framing": (framing,) * 3, "output_per_row": (answer,) * 3}
    prompts = {"moderation": terms.prompts["moderation"].model_copy(update=changes)}
    return PriceBook(terms.meter, terms.prices, replace(terms.facts, bytes_per_token=table), prompts)


sizes = st.lists(st.integers(1, 20_000), min_size=1, max_size=25)


def usage(each, times):
    calls = {}
    for size in each:
        known = calls.get(size_class(size), SizeCount(0, 0))
        calls[size_class(size)] = SizeCount(known.calls + times, known.prompt_bytes + times * size)
    return UsageTotals(len(each) * times, 0, len(each) * times, sum(each) * times + 7, calls)


@settings(max_examples=settings.default.max_examples // 3)
@given(
    st.lists(sizes, min_size=1, max_size=5),
    st.integers(1, 10**9),
    st.decimals(Decimal("1.5"), 9, places=2),
    st.integers(0, 3_000),
    st.integers(0, 20),
    st.integers(0, 50),
)
def test_avoided_cost_of_all_time_is_the_recount_to_the_nano_dollar(parts, times, ratio, system, framing, answer):
    ledger = Ledger()
    ledger.beat(beat())
    everything = []
    for partition, each in enumerate(parts):
        half = usage(each, times)
        ledger.post(record(0, NOW - MINUTE, partition=partition, used=half))
        ledger.post(record(0, NOW, partition=partition, used=half + half))
        everything += [(2 * times, 2 * times * size) for size in each]
    # The ledger keeps classes of sizes: within a class calls are priced at the class's mean, and so does the recount.
    classes = {}
    for calls, size in everything:
        a, b = classes.get(size_class(size // calls), (0, 0))
        classes[size_class(size // calls)] = a + calls, b + size
    said = make_statement(ledger, fixed_ratio(ratio, system, framing, answer), "all", NOW)
    for model, price_in, price_out in ((NANO, "0.05", "0.4"), ("openai:gpt-5-mini", "0.25", "2")):
        expected = recount(list(classes.values()), ratio, system, framing, answer, price_in, price_out)
        avoided = said.avoided(model, "naive")
        assert avoided == Interval.of(expected)
        assert avoided.usd()["mid"] == nano_dollars(expected)


def test_saved_is_avoided_less_own_with_the_intervals_turned():
    said = make_statement(MadeUp(120_000, hours=1, until_ms=NOW).ledger, TERMS, "all", NOW)
    avoided, own = said.avoided(NANO, "packed"), said.own.usd
    saved = said.saved(NANO, "packed")
    assert saved == {
        "low": avoided.low - own.high,
        "mid": avoided.mid - own.mid,
        "high": avoided.high - own.low,
    }
    assert saved["low"] < saved["mid"] < saved["high"]


# --- Own cost.


def test_every_line_of_own_cost_by_hand():
    """Two workers of one core for an hour, 7,200,000 events of 100 bytes; everything typed in, nothing measured."""
    meter = MeterSettings(
        core_hour_usd="0.10", broker_cores_per_worker_core="0.5", ledger_cores=1, people_usd_per_month=730,
        setup_usd=3_650, training_usd=0, labels=0, horizon_days=365, replicas=3, retention_days=7,
        storage_usd_per_gb_month="0.10", network_usd_per_gb="0.02",
    )  # fmt: skip
    ledger = Ledger()
    for worker in ("a/0", "a/1"):
        ledger.beat(beat(worker, NOW - HOUR, NOW))
    ledger.post(record(7_200_000, NOW))
    own = make_statement(ledger, book(meter), "all", NOW).own
    found = {name: line.mid for name, line in own.lines.items()}
    value, score = 100 + 50, 150
    stored = Fraction(7 * 12, 365) * (value + score) * 3 * Fraction("0.10") / 10**9
    sent = (value + score * 3) * Fraction("0.02") / 10**9
    assert found == {
        "worker cores": Fraction("0.2"),
        "broker cores": Fraction("0.1"),
        "ledger cores": Fraction("0.1"),
        "people": 1,  # 730 dollars a month are one an hour
        "storage and network": 7_200_000 * (stored + sent),
        "training, labels, setting up": Fraction(10, 24),
    }
    assert own.usd.mid == sum(found.values())
    assert own.core_ms == 2 * HOUR


@pytest.mark.parametrize("window", ["minute", "hour", "day", "all"])
def test_lines_of_own_cost_add_up(window):
    own = make_statement(MadeUp(5_000, until_ms=NOW).ledger, TERMS, window, NOW).own
    for scenario in SCENARIOS:
        assert sum(line.at(scenario) for line in own.lines.values()) == own.usd.at(scenario)
    assert own.so_far(Fraction(1), Fraction(1), Fraction(1)) == own.usd
    assert own.so_far(Fraction(0), Fraction(0), Fraction(0)) == Interval.of(0)
    assert len(own.lines) == 6


def test_idle_cores_cost_and_dead_workers_stop_costing():
    ledger = Ledger()
    ledger.beat(beat("a/0", NOW - 2 * HOUR, NOW, cores=3, cpu_ns=0))
    ledger.beat(beat("b/0", NOW - 2 * HOUR, NOW - HOUR, cores=1))
    assert make_statement(ledger, TERMS, "all", NOW).own.core_ms == 6 * HOUR + HOUR
    in_this_hour = NOW % HOUR
    assert make_statement(ledger, TERMS, "hour", NOW).own.core_ms == 3 * in_this_hour


def test_a_model_that_took_anothers_place_is_not_set_up_twice():
    ledger = Ledger()
    ledger.beat(beat())
    ledger.post(record(1_000))
    once = make_statement(ledger, TERMS, "all", NOW).own.lines["training, labels, setting up"]
    ledger.post(record(900, model="moderation@new", base=1_000))
    assert make_statement(ledger, TERMS, "all", NOW).own.lines["training, labels, setting up"] == once
    ledger.post(record(900, topic="events.other"))
    assert make_statement(ledger, TERMS, "all", NOW).own.lines["training, labels, setting up"] == once + once


# --- Windows.


def test_windows_hold_what_came_in_them():
    made = MadeUp(1_000, hours=12, until_ms=NOW)
    seconds = {"minute": NOW % MINUTE // 1000, "hour": NOW % HOUR // 1000, "day": NOW % (24 * HOUR) // 1000}
    for window, long in seconds.items():
        said = make_statement(made.ledger, TERMS, window, NOW)
        assert said.scored == pytest.approx(1_000 * long, rel=1e-3, abs=20)
        assert said.from_ms == NOW - 1000 * long
        assert said.own.core_ms == 2 * 1000 * long
        assert said.scored_before + said.scored == sum(made.ledger.scored().values())
        assert said.core_ms_before + said.own.core_ms == made.ledger.reserved_core_ms()
    ever = make_statement(made.ledger, TERMS, "all", NOW)
    assert ever.scored == sum(made.ledger.scored().values())
    assert ever.from_ms == made.start
    assert ever.scored_before == ever.core_ms_before == 0


def test_a_window_begins_with_the_first_worker():
    made = MadeUp(1_000, hours=0.25, until_ms=NOW)
    assert make_statement(made.ledger, TERMS, "day", NOW).from_ms == made.start


# --- Undefined is not zero.


def test_nothing_scored_is_undefined():
    ledger = Ledger()
    for prepare in (
        lambda: None,
        lambda: ledger.beat(beat()),
        lambda: ledger.post(record(0, used=UsageTotals(dead=3))),
    ):
        prepare()
        said = make_statement(ledger, TERMS, "all", NOW)
        assert said.avoided(NANO, None) is None
        assert said.saved(NANO, "naive") is None
        assert said.busiest is None
        assert said.scored == 0
    assert said.own.usd.mid > 0  # idle cores are paid for all the same


def test_nothing_scored_in_the_window_is_undefined_and_the_rest_is_told():
    ledger = Ledger()
    ledger.beat(beat())
    ledger.post(record(1_000, NOW - 10 * MINUTE))
    said = make_statement(ledger, TERMS, "minute", NOW)
    assert said.scored == 0
    assert said.avoided(NANO, None) is None
    assert said.busiest.study.events_per_day == 24_000
    assert said.rate_basis == "all time"


def test_a_form_that_is_not_offered_is_undefined_for_all_routes():
    terms = book(MeterSettings(compare_with=(NANO, "groq:openai/gpt-oss-safeguard-20b"), answers_can_wait=False))
    said = make_statement(MadeUp(100, hours=0.1, until_ms=NOW).ledger, terms, "all", NOW)
    assert said.avoided(NANO, "batch") is None
    assert said.saved(NANO, "batch") is None
    assert said.avoided(NANO, "naive") is not None


def test_a_model_and_a_task_that_are_unknown_are_said():
    ledger = Ledger()
    ledger.beat(beat())
    ledger.post(record(10))
    with pytest.raises(ConfigError, match="openai:gpt-99"):
        make_statement(ledger, book(MeterSettings(compare_with=("openai:gpt-99",))), "all", NOW)
    ledger.post(record(10, topic="events.t", task="telepathy"))
    with pytest.raises(ConfigError, match="telepathy"):
        make_statement(ledger, TERMS, "all", NOW)


def test_events_too_large_for_a_model_leave_their_route_without_a_comparison_and_no_other():
    ledger = Ledger()
    ledger.beat(beat())
    ledger.post(record(1_000, topic="quiet", at_ms=NOW - 10 * MINUTE))
    ledger.post(record(5_000, at_ms=NOW - 10 * MINUTE))
    assert make_statement(ledger, TERMS, "minute", NOW).busiest.subject.topic == "events.m"
    ledger.post(record(5_100))
    large = UsageTotals(1_001, 0, 1_001, 10**6, {size_class(100): SizeCount(1_000, 10**5), 72: SizeCount(1, 600_000)})
    ledger.post(record(0, topic="quiet", used=large))
    said = make_statement(ledger, TERMS, "minute", NOW)
    busy, quiet = said.lines
    assert (quiet.used.scored, quiet.study, quiet.avoided(NANO, None)) == (1, None, None)
    assert busy.avoided(NANO, None).mid > 0
    assert said.busiest is busy
    assert (said.scored, said.avoided(NANO, None), said.saved(NANO, "naive")) == (101, None, None)
    assert said.own.with_events["storage and network"].mid > busy.own.per_event_usd("mid") * 100  # it is paid for
    everything = make_statement(ledger, TERMS, "all", NOW)
    assert everything.avoided(NANO, None).mid > 0  # most of them fit
    alone = Ledger()
    alone.post(record(0, used=UsageTotals(1, 0, 1, 600_000, {72: SizeCount(1, 600_000)})))
    assert make_statement(alone, TERMS, "all", NOW).busiest is None


# --- The verdict.


def test_at_100_events_a_second_the_api_or_a_free_endpoint_is_cheaper():
    said = make_statement(MadeUp(100, hours=1, until_ms=NOW).ledger, TERMS, "all", NOW)
    of = said.busiest.study
    assert of.events_per_day == pytest.approx(8_640_000, rel=0.01)
    assert of.verdict == "api"
    assert of.free_takes_it
    assert said.saved(NANO, None)["mid"] < 0
    paid = make_statement(MadeUp(100, hours=1, until_ms=NOW).ledger, book(free_endpoint=False), "all", NOW)
    assert paid.busiest.study.free is None
    assert paid.busiest.study.verdict == "api"
    assert paid.saved(NANO, None)["high"] < 0


def test_at_120000_events_a_second_the_tuned_model_is():
    said = make_statement(MadeUp(120_000, hours=1, until_ms=NOW).ledger, TERMS, "all", NOW)
    assert said.busiest.study.verdict == "tuned"
    assert not said.busiest.study.free_takes_it
    for model in TERMS.meter.compare_with:
        for mode in MODES:
            assert said.saved(model, mode.name)["low"] > 0
        assert said.avoided(model, None).mid == min(said.avoided(model, mode.name).mid for mode in MODES)


def test_the_rate_of_now_is_that_of_the_model_that_scores_now():
    """A model that has just taken another's place is not judged by its share of all time."""
    ledger = Ledger()
    ledger.beat(beat(started_ms=NOW - 100 * HOUR))
    ledger.post(record(10**9, NOW - HOUR))
    ledger.post(record(1_000, NOW, model="moderation@new", base=10**9))
    ledger.note_moment(NOW)
    ledger.post(record(1_200_000 + 1_000, NOW + 10_000, model="moderation@new", base=10**9))
    ledger.beat(beat(started_ms=NOW - 100 * HOUR, at_ms=NOW + 10_000))
    ledger.note_moment(NOW + 10_000)
    said = make_statement(ledger, TERMS, "all", NOW + 10_000)
    assert said.rate_basis == "last minute"
    assert said.busiest.subject.model == "moderation@new"
    assert said.busiest.study.events_per_day == 120_000 * 86_400
    assert said.busiest.study.verdict == "tuned"


def test_sampled_texts_of_the_workers_set_the_token_ratio():
    ledger = Ledger()
    ledger.post(record(1_000))
    ledger.beat(beat())
    plain = make_statement(ledger, TERMS, "all", NOW)
    sample = TextSample(texts=100, bytes_by_script={"cjk": 10_000})
    ledger.beat(beat("b/0", sample={"moderation@1a2b3c4d": tuple(sample.as_ints())}))
    other = make_statement(ledger, TERMS, "all", NOW)
    ratios = {said.lines[0].study.models[0].tokens.per_byte.mid for said in (plain, other)}
    assert ratios == {1 / Fraction("4.1"), 1 / Fraction("4.2")}
    assert other.avoided(NANO, "naive").mid < plain.avoided(NANO, "naive").mid
