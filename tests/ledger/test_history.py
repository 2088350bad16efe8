"""Snapshots by minute, and the two curves made of them."""

from fractions import Fraction

import pytest

from farthing.ledger.history import HOURS_KEPT, MINUTES_KEPT, History, Snapshot
from farthing.ledger.ledger import Ledger, Subject
from farthing.ledger.series import cost_series
from farthing.ledger.statement import make_statement
from farthing.meter.money import usd
from tests.ledger.cases import MINUTE, NOW, MadeUp, beat, book, record

SUBJECT = Subject("events.m", "moderation@1a2b3c4d", "moderation")


def test_one_snapshot_a_minute():
    ledger, history = Ledger(), History()
    ledger.post(record(7))
    ledger.beat(beat(at_ms=NOW))
    new, old = history.note(ledger, NOW)
    assert new == Snapshot(NOW // MINUTE, {SUBJECT: 7}, 3_600_000)
    assert old == []
    assert history.note(ledger, NOW + 1_000) == (None, [])
    assert history.note(ledger, NOW - 5 * MINUTE) == (None, [])  # a clock that went back
    later, _ = history.note(ledger, NOW + MINUTE)
    assert history.since(NOW + 1) == [later]
    assert history.since(NOW // MINUTE * MINUTE) == [new, later]


def test_minutes_are_kept_for_a_day_and_hours_for_a_season():
    history = History()
    written = set()
    days = HOURS_KEPT // 24 + 2
    first = NOW // MINUTE
    # Every minute would take long: the whole hours, and of the last two days one minute in seven.
    for minute in range(days * 1440):
        if (first + minute) % 60 and (minute < (days - 2) * 1440 or minute % 7):
            continue
        new, old = history.note(Ledger(), (first + minute) * MINUTE)
        written.add(new.key)
        written -= set(old)
    last = max(history.snapshots)
    assert written == {s.key for s in history.snapshots.values()}  # what the table holds is what is held
    ages = [last - m for m in history.snapshots]
    assert max(ages) <= HOURS_KEPT * 60
    assert all(m % 60 == 0 for m in history.snapshots if last - m > MINUTES_KEPT)
    assert sum(age > MINUTES_KEPT for age in ages) > 80 * 24
    assert sum(age <= MINUTES_KEPT for age in ages) > MINUTES_KEPT / 7


def test_snapshots_are_restored_in_order():
    history = MadeUp(10, hours=0.2, until_ms=NOW).history
    values = [s.encode() for s in history.snapshots.values()]
    again = History.restored(reversed(values))
    assert list(again.snapshots.items()) == list(history.snapshots.items())


@pytest.mark.parametrize("value", [b"", b"[]", b"{}", b'{"minute":1,"scored":[],"core_ms":0}'])
def test_what_is_no_snapshot_is_refused(value):
    with pytest.raises(ValueError, match=r"."):
        Snapshot.decode(value)


@pytest.mark.parametrize("window", ["minute", "hour", "day", "all"])
@pytest.mark.parametrize("form", [None, "naive"])
def test_curves_begin_at_nothing_grow_and_end_at_the_statement(window, form):
    made, terms = MadeUp(1_000, hours=2.6, until_ms=NOW), book()
    said = make_statement(made.ledger, terms, window, NOW)
    model = terms.meter.compare_with[0]
    drawn = cost_series(said, made.history.since(said.from_ms), model, form)
    assert drawn["at_s"][0] == said.from_ms // 1000
    assert drawn["at_s"][-1] == NOW // 1000
    assert len(drawn["at_s"]) == len(drawn["own_usd"]) == len(drawn["api_usd"])
    assert len(drawn["at_s"]) >= {"minute": 2, "hour": 30}.get(window, 150)
    assert drawn["own_usd"][0] == drawn["api_usd"][0] == 0
    assert drawn["own_usd"][-1] == usd(said.own.usd.mid)
    assert drawn["api_usd"][-1] == usd(said.avoided(model, form).mid)
    for name in ("at_s", "own_usd", "api_usd"):
        assert drawn[name] == sorted(drawn[name])
    # One rate all the time: both are straight lines.
    middle = len(drawn["at_s"]) // 2
    share = Fraction(drawn["at_s"][middle] - drawn["at_s"][0], drawn["at_s"][-1] - drawn["at_s"][0])
    assert float(drawn["api_usd"][middle]) == pytest.approx(float(share * Fraction(drawn["api_usd"][-1])), rel=0.01)
    assert float(drawn["own_usd"][middle]) == pytest.approx(float(share * Fraction(drawn["own_usd"][-1])), rel=0.01)


def test_curves_of_nothing_scored():
    ledger = Ledger()
    ledger.beat(beat())
    said = make_statement(ledger, book(), "all", NOW)
    drawn = cost_series(said, [], "openai:gpt-5-nano", None)
    assert drawn["api_usd"] == [None, None]
    assert drawn["own_usd"] == [0, usd(said.own.usd.mid)]


def test_a_clock_that_is_put_forward_and_back_loses_no_history():
    history = History()
    kept = {}
    for minute in range(200):
        new, _ = history.note(Ledger(), NOW + minute * MINUTE)
        kept[new.minute] = new
    later = NOW + 73 * 365 * 86_400_000
    far, gone = history.note(Ledger(), later)
    assert gone == []
    assert far.minute in history.snapshots
    back, gone = history.note(Ledger(), NOW + 200 * MINUTE)
    assert gone == [far.key]
    assert history.snapshots == {**kept, back.minute: back}


@pytest.mark.parametrize("now_ms", [-1, -(10**13), 0])
def test_a_clock_before_1970_is_a_minute_that_can_be_read_back(now_ms):
    new, _ = History().note(Ledger(), now_ms)
    assert Snapshot.decode(new.encode()) == new


def test_a_damaged_minute_is_left_out_and_counted():
    good = Snapshot(5, {SUBJECT: 7}, 3)
    refused = []
    values = [b"[" * 100_000, good.encode(), b'{"minute":1e999,"scored":{},"core_ms":0}', None]
    history = History.restored(values, refuse=lambda table, error: refused.append((table, error.reason)))
    assert history.snapshots == {5: good}
    assert refused == [("minutes", "nesting"), ("minutes", "damaged"), ("minutes", "empty")]
