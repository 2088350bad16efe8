"""What makes a run fail, case by case; and totals that travel between processes."""

import json

import pytest
from loadtest.totals import SentTotals
from loadtest.verdict import Limits, reasons

TOPIC = "events.moderation"
LIMITS = Limits(late_ms=100, drain_s=30)


def sent(**changes):
    fields = {"batches": 100, "sent": 1_000, "acked": 1_000, "late_ms": {1: 99, 90: 1}, "first_s": 1.0, "last_s": 9.0}
    return {TOPIC: SentTotals(**{**fields, **changes})}


def answers(**changes):
    return {TOPIC: {"scored": 990, "dead": 10, "repeated": 0, **changes}}


def judged(totals=None, told=None, latency=None, limits=LIMITS, **more):
    return reasons(limits, totals or sent(), told or answers(), latency or {5: 1_000}, **more)


def test_a_run_that_kept_everything_has_passed():
    assert judged() == []
    assert judged(told=answers(scored=1_100, repeated=110, dead=10)) == []  # repeats are none lost


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"totals": sent(late_ms={1: 98, 2_500: 2})}, "saturated: one batch in a hundred was handed over 2500 ms"),
        ({"totals": sent(acked=990, failed=10, error="timed out")}, "10 events of events.moderation were not delivered: timed out"),
        ({"totals": sent(acked=990), "told": answers(scored=980)}, "10 events of events.moderation were neither"),
        ({"told": answers(scored=985)}, "5 of 1000 acknowledged events of events.moderation had neither a score"),
        ({"told": answers(repeated=3)}, "3 of 1000 acknowledged events"),
        ({"told": answers(scored=1_000)}, "more answers (1010) than events sent (1000)"),
        ({"totals": sent(sent=0, acked=0, late_ms={})}, "no event was sent"),
        ({"totals": {"none": SentTotals()}}, "no event was sent"),
        ({"silent": ["w1"]}, "generator process w1 did not report"),
        ({"reader_ended": True}, "the reader of the score topics has ended"),
        ({"latency": {5: 980, 300: 20}, "limits": Limits(100, 30, 200)}, "p99 was 300 ms; the target is 200 ms"),
    ],
)  # fmt: skip
def test_each_thing_that_goes_wrong_is_said(given, said):
    (reason,) = judged(**given)
    assert said in reason


def test_a_share_of_late_batches_below_one_in_a_hundred_is_borne():
    assert judged(totals=sent(late_ms={1: 9_901, 2_500: 99})) == []


def test_a_target_is_met_at_its_edge_and_missed_without_a_measurement():
    assert judged(latency={200: 1_000}, limits=Limits(100, 30, 200)) == []
    found = reasons(Limits(100, 30, 200), sent(), answers(scored=0, dead=0), {})
    assert len(found) == 2 and "was not measured" in found[1]


def test_without_the_scores_only_the_generator_is_judged():
    assert reasons(LIMITS, sent(), None, {}) == []
    assert len(reasons(LIMITS, sent(late_ms={900: 100}), None, {})) == 1


def test_totals_of_processes_add_up_after_their_journey():
    one, two = (
        sent()[TOPIC],
        sent(batches=7, sent=50, acked=40, failed=10, error="lost", late_ms={1: 2}, first_s=0.5)[TOPIC],
    )
    total = SentTotals.of(json.loads(json.dumps(t.plain())) for t in (one, two, SentTotals()))
    assert (total.batches, total.sent, total.acked, total.failed, total.error) == (107, 1_050, 1_040, 10, "lost")
    assert total.late_ms == {1: 101, 90: 1} and (total.first_s, total.last_s) == (0.5, 9.0)
