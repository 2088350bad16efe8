"""All accounts and workers together: sums, tenants, who lives, rates and latencies."""

import contextlib
import gc
import math
import random
import tracemalloc
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from farthing.ledger.books import WINDOWS_MS, in_time
from farthing.ledger.ledger import ALIVE_WITHIN_MS, MISSED_FOR_MS, Ledger, Subject
from farthing.meter.latencies import EDGES_MS, by_edge
from farthing.meter.records import OTHER, Heartbeat, TenantCount
from farthing.meter.untrusted import Refused
from farthing.meter.usage import UsageTotals, added_up
from tests.ledger.cases import EDGES, HOUR, MINUTE, NOW, beat, mixed, record, totals

SUBJECT = Subject("events.m", "moderation@1a2b3c4d", "moderation")


@given(st.lists(st.integers(0, 10_000)))
def test_added_up_is_what_plus_gives(counts):
    expected = UsageTotals()
    for n in counts:
        expected += mixed(n)
    assert added_up(mixed(n) for n in counts) == expected


def test_partitions_counts_and_models_are_added_up_by_subject():
    ledger = Ledger()
    for one in (
        record(10),
        record(20, partition=1),
        record(5, base=100),
        record(7, model="moderation@other"),
        record(3, topic="events.n"),
    ):
        assert ledger.post(one) is not None
    found = {(s.topic, s.model): total.scored for s, total in ledger.totals(None, NOW).items()}
    assert found == {
        ("events.m", "moderation@1a2b3c4d"): 35,
        ("events.m", "moderation@other"): 7,
        ("events.n", "moderation@1a2b3c4d"): 3,
    }
    assert ledger.scored() == {s: t.scored for s, t in ledger.totals(None, NOW).items()}
    assert ledger.subjects() == sorted(found_subjects(ledger), key=lambda s: (s.topic, s.model, s.task))


def found_subjects(ledger):
    return list(ledger.totals(None, NOW))


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(1, 50), st.integers(0, 2 * MINUTE)), max_size=30))
def test_window_totals_are_the_sums_of_the_accounts(steps):
    ledger, counts, at_ms = Ledger(), [0] * 4, NOW
    for partition, more, later in steps:
        counts[partition] += more
        at_ms += later
        ledger.post(record(counts[partition], at_ms, partition=partition))
    for window in WINDOWS_MS:
        expected = sum(a.used(window, at_ms).scored for a in ledger.accounts.values())
        assert sum(t.scored for t in ledger.totals(window, at_ms).values()) == expected
        assert set(ledger.totals(window, at_ms)) == set(ledger.totals(None, at_ms))


def test_a_record_that_is_not_further_on_needs_no_writing():
    ledger = Ledger()
    assert ledger.post(record(10)) is not None
    assert ledger.post(record(10)) is None
    assert ledger.post(record(9)) is None
    assert ledger.scored() == {SUBJECT: 10}


def test_a_copy_stays_as_it_was():
    ledger = Ledger()
    ledger.post(record(10))
    ledger.beat(beat())
    copy = ledger.copied()
    ledger.post(record(20))
    ledger.post(record(1, partition=9))
    ledger.beat(beat("node-b/0"))
    assert copy.scored() == {SUBJECT: 10}
    assert len(copy.beats) == 1


def test_books_are_restored_as_they_were_written():
    ledger = Ledger()
    for n in range(5):
        ledger.post(record(10 + n, NOW - n * MINUTE, partition=n))
        ledger.post(record(20 + n, NOW, partition=n))
    ledger.beat(beat(lag={"events.m": 3}))
    again = Ledger.restored(
        [(k, a.encode()) for k, a in ledger.accounts.items()], [(k, b.encode()) for k, b in ledger.beats.items()]
    )
    assert again.accounts == ledger.accounts
    assert again.beats == ledger.beats
    refused = []
    Ledger.restored([(b"k", b"nothing")], [], refuse=lambda *what: refused.append(what))
    ((table, error),) = refused
    assert (table, error.reason) == ("accounts", "syntax")


# --- Tenants.


def tenanted(partition, **counts):
    return record(
        sum(counts.values()),
        partition=partition,
        tenants={name.replace("_", ""): TenantCount(n, n // 10, 10 * n) for name, n in counts.items()},
    )


def test_the_tenants_that_scored_most_are_named_and_the_rest_is_other():
    ledger = Ledger()
    ledger.post(tenanted(0, a=100, b=50, c=10, _=5))
    ledger.post(tenanted(1, a=1, c=60, d=2))
    assert ledger.tenants(2) == {
        "a": TenantCount(101, 10, 1010),
        "c": TenantCount(70, 7, 700),
        OTHER: TenantCount(57, 5, 570),
    }
    assert list(ledger.tenants(10)) == ["a", "c", "b", "d", OTHER]
    assert ledger.tenants(0) == {OTHER: TenantCount(228, 22, 2280)}


def test_no_other_when_all_are_named():
    ledger = Ledger()
    ledger.post(tenanted(0, a=3, b=2))
    assert list(ledger.tenants(2)) == ["a", "b"]


@given(st.dictionaries(st.sampled_from(["a", "b", "c", "d", "e", ""]), st.integers(0, 99)), st.integers(0, 6))
def test_tenants_add_up_whatever_is_kept(counts, most):
    ledger = Ledger()
    ledger.post(record(sum(counts.values()) + 1, tenants={name: TenantCount(n, n, n) for name, n in counts.items()}))
    found = ledger.tenants(most)
    assert sum(c.scored for c in found.values()) == sum(counts.values())
    assert len([name for name in found if name != OTHER]) <= most


# --- Workers.


def test_who_lives_and_who_is_missed():
    ledger = Ledger()
    ledger.beat(beat("a/0", at_ms=NOW))
    ledger.beat(beat("b/0", at_ms=NOW - ALIVE_WITHIN_MS))
    ledger.beat(beat("c/0", at_ms=NOW - ALIVE_WITHIN_MS - 1))
    ledger.beat(beat("d/0", at_ms=NOW - ALIVE_WITHIN_MS - 1, state="stopped"))
    ledger.beat(beat("e/0", NOW - 3 * HOUR, NOW - MISSED_FOR_MS - 1))
    ledger.beat(beat("f/0", at_ms=NOW, state="stopped", lag={"events.m": 3}))
    assert [b.worker for b in ledger.workers(NOW)] == ["a/0", "b/0"]
    assert [b.worker for b in ledger.missed(NOW)] == ["c/0"]
    assert ledger.lag(NOW) == {}
    assert [b.worker for b in ledger.missed(NOW + ALIVE_WITHIN_MS + 1)] == ["a/0", "b/0", "c/0"]


def test_a_worker_is_its_last_process_and_all_its_processes_are_paid_for():
    ledger = Ledger()
    ledger.beat(beat("a/0", NOW - 100_000, NOW - 60_000, cores=2, cpu_ns=7))
    ledger.beat(beat("a/0", NOW - 50_000, NOW, cores=1, cpu_ns=5, lag={"events.m": 4}))
    ledger.beat(beat("a/1", NOW - 10_000, NOW, cores=1, cpu_ns=1, lag={"events.m": 3, "events.n": 1}))
    assert [(b.worker, b.started_at_ms) for b in ledger.workers(NOW)] == [("a/0", NOW - 50_000), ("a/1", NOW - 10_000)]
    assert ledger.reserved_core_ms() == 2 * 40_000 + 50_000 + 10_000
    assert ledger.cpu_ns() == 13
    assert ledger.lag(NOW) == {"events.m": 7, "events.n": 1}
    assert ledger.lag(NOW + ALIVE_WITHIN_MS + 1) == {}


def test_the_old_process_of_a_restarted_worker_is_not_missed():
    ledger = Ledger()
    ledger.beat(beat("a/0", NOW - 100_000, NOW - 60_000))
    ledger.beat(beat("a/0", NOW - 50_000, NOW))
    assert ledger.missed(NOW) == []


@given(st.lists(st.integers(0, 50), min_size=1), st.randoms(use_true_random=False))
def test_heartbeats_in_any_order_leave_the_last(ages, rng):
    beats = [beat(at_ms=NOW - age, cpu_ns=50 - age) for age in ages]
    rng.shuffle(beats)
    ledger = Ledger()
    for one in beats:
        ledger.beat(one)
    assert ledger.cpu_ns() == 50 - min(ages)
    assert not ledger.beat(beats[0])


# --- Rates and latencies.


def test_rates_are_by_subject_over_the_last_moments():
    ledger = Ledger()
    assert ledger.events_per_second(MINUTE) is None
    ledger.post(record(1_000))
    ledger.post(record(500, topic="events.n"))
    ledger.note_moment(NOW)
    assert ledger.events_per_second(MINUTE) is None
    ledger.post(record(3_000))
    ledger.post(record(10, topic="events.o"))  # the first of a route counts whole
    ledger.note_moment(NOW + 500)  # too soon to be a moment
    ledger.note_moment(NOW + 4_000)
    assert {s.topic: rate for s, rate in ledger.events_per_second(MINUTE).items()} == {
        "events.m": 500,
        "events.n": 0,
        "events.o": Fraction(5, 2),
    }


def test_rates_forget_what_is_longer_ago():
    ledger = Ledger()
    ledger.note_moment(NOW)
    ledger.post(record(1_000_000))
    for second in (1, 30, 61, 62):
        ledger.note_moment(NOW + second * 1_000)
    assert set(ledger.events_per_second(MINUTE).values()) == {0}


def quantile_by_counting(ages_ms, share):
    """The least edge that at least ``share`` of the ages are not above."""
    for edge in EDGES:
        if sum(age <= edge for age in ages_ms) >= share * len(ages_ms):
            return edge
    return math.inf


def histogram(ages_ms):
    counts = [0] * (len(EDGES) + 1)
    for age in ages_ms:
        counts[next((k for k, edge in enumerate(EDGES) if age <= edge), len(EDGES))] += 1
    return tuple(counts)


def latency_beat(worker, counts, at_ms):
    return beat(worker, at_ms=at_ms, latency_edges_ms=EDGES, latency={"events.m": counts})


@given(
    st.lists(st.integers(0, 200_000), min_size=1, max_size=60),
    st.lists(st.integers(0, 200_000), max_size=60),
    st.sampled_from([0.5, 0.75, 0.99, 1.0]),
)
def test_a_percentile_of_all_workers_is_that_of_their_events(one, other, share):
    ledger = Ledger()
    before = histogram(random.Random(5).choices(range(9_000), k=40))
    for worker in ("a/0", "b/0"):
        ledger.beat(latency_beat(worker, before, NOW))
    ledger.note_moment(NOW)
    for worker, ages in (("a/0", one), ("b/0", other)):
        counts = tuple(a + b for a, b in zip(before, histogram(ages), strict=True))
        ledger.beat(latency_beat(worker, counts, NOW + 2_000))
    ledger.note_moment(NOW + 2_000)
    assert ledger.latency_ms("events.m", share, MINUTE) == quantile_by_counting(one + other, share)


def fine(ages_ms):
    counts = np.zeros(len(EDGES_MS), np.int64)
    np.add.at(counts, np.searchsorted(EDGES_MS, ages_ms), 1)
    return {"events.m": by_edge(counts)}


@given(
    st.lists(st.integers(0, 10**9), min_size=1, max_size=60),
    st.lists(st.integers(0, 10**9), max_size=60),
    st.sampled_from([0.5, 0.75, 0.99, 1.0]),
)
def test_a_percentile_is_within_a_tenth_of_that_of_all_workers_events(one, other, share):
    ledger, before = Ledger(), [5, 90_000]
    for worker in ("a/0", "b/0"):
        ledger.beat(beat(worker, at_ms=NOW, ages=fine(before)))
    ledger.note_moment(NOW)
    for worker, ages in (("a/0", one), ("b/0", other)):
        ledger.beat(beat(worker, at_ms=NOW + 2_000, ages=fine(before + ages)))
    ledger.note_moment(NOW + 2_000)
    exact = sorted(one + other)[math.ceil(round(share * len(one + other), 9)) - 1]
    assert exact <= ledger.latency_ms("events.m", share, MINUTE) <= exact * 1.0625 + 0.5
    assert ledger.last_edge_ms() is None
    restored = Ledger.restored((), ((key, beat.encode()) for key, beat in ledger.beats.items()))
    restored.note_moment(NOW + 3_000)
    assert restored._moments[-1].ages == ledger._moments[-1].ages


def test_older_and_newer_workers_are_added_up():
    ledger = Ledger()
    ledger.beat(latency_beat("old/0", histogram([]), NOW))
    ledger.beat(beat("new/0", at_ms=NOW, ages=fine([])))
    ledger.note_moment(NOW)
    ledger.beat(latency_beat("old/0", histogram([3_000] * 10), NOW + 2_000))
    ledger.beat(beat("new/0", at_ms=NOW + 2_000, ages=fine([30] * 980 + [3_000] * 10)))
    ledger.note_moment(NOW + 2_000)
    assert ledger.latency_ms("events.m", 0.5, MINUTE) == 30
    assert ledger.latency_ms("events.m", 0.985, MINUTE) == 3_072
    assert ledger.latency_ms("events.m", 1.0, MINUTE) == 4_096  # the old worker's octave


def test_no_events_have_no_percentile():
    ledger = Ledger()
    ledger.beat(latency_beat("a/0", histogram([5, 5]), NOW))
    assert ledger.latency_ms("events.m", 0.99, MINUTE) is None
    ledger.note_moment(NOW)
    ledger.note_moment(NOW + 1_000)
    assert ledger.latency_ms("events.m", 0.99, MINUTE) is None
    assert ledger.latency_ms("events.x", 0.99, MINUTE) is None
    assert ledger.last_edge_ms() == EDGES[-1]
    assert Ledger().last_edge_ms() is None


def test_a_workers_new_process_goes_on_beside_the_old_ones_counts():
    ledger = Ledger()
    ledger.beat(beat("a/0", NOW - HOUR, NOW, latency_edges_ms=EDGES, latency={"events.m": histogram([1] * 1000)}))
    ledger.note_moment(NOW)
    ledger.beat(
        beat("a/0", NOW + 500, NOW + 2_000, latency_edges_ms=EDGES, latency={"events.m": histogram([100] * 10)})
    )
    ledger.note_moment(NOW + 2_000)
    assert ledger.latency_ms("events.m", 0.5, MINUTE) == 128


def test_totals_of_nothing():
    assert Ledger().totals("minute", NOW) == {}
    assert totals(0) == added_up([])


# --- Clocks.

DAY = 86_400_000


@pytest.mark.parametrize("step_ms", [30 * DAY, -30 * DAY, 73 * 365 * DAY, -NOW])
def test_a_worker_whose_clock_is_put_and_put_back_is_in_the_right_windows(step_ms):
    """Live records are counted when they come; a record that waited in the topic keeps a time that can be right."""
    ledger, scored = Ledger(), 0

    def worker_counts(more, wall_ms, clock_ms):
        nonlocal scored
        scored += more
        ledger.post(in_time(record(scored, clock_ms), wall_ms, live=True))

    worker_counts(100, NOW, NOW)
    worker_counts(20, NOW + 2 * DAY, NOW + 2 * DAY + step_ms)
    assert ledger.totals("day", NOW + 2 * DAY)[SUBJECT].scored == 20
    worker_counts(3, NOW + 3 * DAY, NOW + 3 * DAY)
    for window in WINDOWS_MS:
        assert ledger.totals(window, NOW + 3 * DAY)[SUBJECT].scored == 3
        assert ledger.totals(window, NOW + 5 * DAY)[SUBJECT].scored == 0
    assert ledger.totals(None, NOW)[SUBJECT].scored == 123


@pytest.mark.parametrize("step_ms", [30 * DAY, -30 * DAY])
def test_the_ledgers_own_clock_may_be_put_and_put_back(step_ms):
    ledger = Ledger()
    ledger.post(in_time(record(100, NOW), NOW, live=True))
    ledger.note_moment(NOW)
    ledger.post(in_time(record(120, NOW), NOW + step_ms, live=True))
    ledger.note_moment(NOW + step_ms)
    now = NOW + DAY
    ledger.post(in_time(record(123, now), now, live=True))
    assert ledger.totals("day", now)[SUBJECT].scored == 3
    assert ledger.totals("minute", now + 10 * MINUTE)[SUBJECT].scored == 0
    ledger.note_moment(now)
    ledger.post(record(133, now))
    ledger.note_moment(now + 1_000)
    assert ledger.events_per_second(MINUTE) == {SUBJECT: 10}


def test_a_record_that_waited_is_in_the_window_of_its_time_and_none_is_in_the_future():
    waited = record(5, NOW - 3 * HOUR)
    assert in_time(waited, NOW, live=False) is waited
    assert in_time(waited, NOW, live=True).at_ms == NOW
    assert in_time(record(5, NOW + DAY), NOW, live=False).at_ms == NOW
    assert in_time(record(5, NOW + MINUTE), NOW, live=True).at_ms == NOW + MINUTE


@pytest.mark.parametrize("step_ms", [30 * DAY, -30 * DAY, 73 * 365 * DAY])
def test_a_worker_lives_while_it_is_heard_whatever_its_clock_says(step_ms):
    ledger = Ledger()
    started = NOW + step_ms
    for second in range(3):
        assert ledger.beat(beat("a/0", started, started + 1_000 * second), NOW + 1_000 * second)
    assert [b.worker for b in ledger.workers(NOW + 2_000)] == ["a/0"]
    assert ledger.workers(NOW + 2_000 + ALIVE_WITHIN_MS + 1) == []
    assert [b.worker for b in ledger.missed(NOW + 2_000 + ALIVE_WITHIN_MS + 1)] == ["a/0"]
    assert ledger.reserved_core_ms() == 2_000
    # Restarted with the right clock: that process is the worker now, and the other is not missed.
    ledger.beat(beat("a/0", NOW + 5_000, NOW + 6_000), NOW + 6_000)
    assert [b.started_at_ms for b in ledger.workers(NOW + 6_000)] == [NOW + 5_000]
    assert ledger.missed(NOW + 2_000 + ALIVE_WITHIN_MS + 1) == []


def test_a_clock_that_was_put_forward_while_a_worker_ran_and_back_again():
    ledger = Ledger()
    ledger.beat(beat("a/0", NOW - HOUR, NOW), NOW)
    assert ledger.beat(beat("a/0", NOW - HOUR, NOW + 30 * DAY), NOW + 1_000)
    assert ledger.beat(beat("a/0", NOW - HOUR, NOW + 2_000, cpu_ns=9), NOW + 2_000)
    assert not ledger.beat(beat("a/0", NOW - HOUR, NOW + 1_500), NOW + 2_500)  # late, not stepped
    assert ledger.cpu_ns() == 9
    assert ledger.reserved_core_ms() == HOUR + 2_000


def test_a_heartbeat_from_2099_in_the_changelog_hides_no_worker():
    ledger = Ledger()
    ledger.beat(beat("a/0", NOW + 73 * 365 * DAY, NOW + 73 * 365 * DAY))
    assert ledger.workers(NOW) == ledger.missed(NOW) == []
    assert not ledger.has_heard_since(NOW)
    ledger.beat(beat("a/0", NOW - HOUR, NOW), NOW)
    assert len(ledger.workers(NOW)) == 1
    with pytest.raises(Refused, match="ten years"):
        ledger.beat(beat("b/0", NOW, NOW + 73 * 365 * DAY))


# --- What is made up.


def test_a_total_that_shrinks_empties_the_open_windows_and_breaks_nothing():
    ledger = Ledger()
    ledger.post(record(1_000, NOW - 2 * DAY))
    ledger.post(record(1_200, NOW))
    assert ledger.totals("hour", NOW)[SUBJECT].scored == 200
    assert ledger.post(record(0, NOW + MINUTE, used=totals(5, size=7), base=0)) is None  # not further on
    assert ledger.post(replace(record(5, NOW + MINUTE), next_offset=5_000)) is not None
    assert ledger.totals(None, NOW)[SUBJECT].scored == 5
    for window in WINDOWS_MS:
        assert ledger.totals(window, NOW + MINUTE)[SUBJECT].scored == 0
    ledger.post(replace(record(7, NOW + MINUTE), next_offset=5_002))
    assert ledger.totals("day", NOW + MINUTE)[SUBJECT].scored == 2


def test_books_have_room_for_so_many_and_what_is_there_goes_on(monkeypatch):
    monkeypatch.setattr("farthing.ledger.ledger.MOST_ACCOUNTS", 20)
    monkeypatch.setattr("farthing.ledger.ledger.MOST_SUBJECTS", 5)
    monkeypatch.setattr("farthing.ledger.ledger.MOST_PROCESSES", 10)
    monkeypatch.setattr("farthing.ledger.ledger.MOST_TENANTS", 30)
    ledger = Ledger()
    ledger.post(record(1))
    refused = 0
    for n in range(100):
        for one in (record(1, topic=f"made.up.{n}"), record(1, partition=n)):
            try:
                ledger.post(one)
            except Refused as error:
                assert error.reason == "too_many"
                refused += 1
    assert len(ledger.accounts) == 20
    assert len(ledger.subjects()) == 5
    assert refused == 201 - 20 - 1  # partition 0 was there
    for n in range(100):
        with contextlib.suppress(Refused):
            ledger.beat(beat(f"w/{n}"))
    assert len(ledger.beats) == 10
    named = {f"t{n}": TenantCount(1, 0, 1) for n in range(20)}
    ledger.post(record(50, tenants=named))
    ledger.post(record(60, partition=1, tenants=named))
    assert ledger.post(record(70, tenants=named)).record.tenants == named  # it had them before
    found = ledger.tenants(100)
    assert sum(c.scored for c in found.values()) == 20 + 60
    assert found[OTHER].scored == 60


@pytest.mark.parametrize("names", [{"topic": "a\x1fb"}, {"model": "m\n"}, {"task": "\x00"}])
def test_a_name_that_no_snapshot_can_hold_is_refused(names):
    with pytest.raises(Refused, match="control characters"):
        Ledger().post(record(1, **names))


def test_names_that_change_with_each_heartbeat_leave_nothing_behind():
    ledger = Ledger()
    for n in range(5):
        ledger.beat(beat(at_ms=NOW + n * 1_000, ages={f"made.up.{n}": {1: 1}, f"empty.{n}": {}}))
        ledger.note_moment(NOW + n * 1_000)
    assert ledger._moments[-1].ages == {"made.up.4": {1.0: 1}}


def test_heartbeats_have_so_much_room_together_and_those_without_room_for_ages_are_heard(monkeypatch):
    monkeypatch.setattr("farthing.ledger.ages.MOST_BUCKETS", 100)
    ledger = Ledger()
    wide = {"r": dict.fromkeys(range(90), 1)}
    ledger.beat(beat("a/0", ages=wide))
    ledger.beat(beat("b/0", lag={"q": 7}, ages={"q": wide["r"]}))
    assert [one.worker for one in ledger.workers(NOW)] == ["a/0", "b/0"]
    assert ledger.lag(NOW) == {"q": 7}
    ledger.note_moment(NOW)
    assert ledger._moments[-1].ages == wide
    ledger.beat(beat("b/0", at_ms=NOW + 1_000, ages={"q": {1: 1}}))
    ledger.note_moment(NOW + 1_000)
    assert ledger._moments[-1].ages == wide | {"q": {1: 1}}

    used = sum(one.about_bytes for one in ledger.beats.values())
    monkeypatch.setattr("farthing.ledger.ledger.MOST_HEARTBEAT_BYTES", 2 * used)
    detailed = beat("c/0", ages={"r": {1: 1}}, lag={"r": 5}, latency={"r": (1,), "s": (2,)}, sample={"m": (1,)})
    ledger.beat(detailed)
    (kept,) = (one for one in ledger.workers(NOW) if one.worker == "c/0")
    assert (kept.ages, kept.sample, kept.lag, kept.lag_unknown) == ({}, {}, {"r": 5}, {"s"})
    ledger.beat(beat("a/0", at_ms=NOW + 1_000, ages=wide))  # as large as before
    ledger.note_moment(NOW + 2_000)
    assert ledger._moments[-1].ages["r"] == wide["r"]
    with pytest.raises(Refused, match="no room") as refused:
        for n in range(100):
            ledger.beat(beat(f"d/{n}"))
    assert refused.value.reason == "too_many"
    assert ledger.reserved_core_ms() >= HOUR * (n + 3)
    ledger.beat(beat("a/0", at_ms=NOW + 2_000))  # smaller than before
    ledger.beat(beat(f"d/{n}"))


def test_the_size_of_a_heartbeat_in_memory_is_not_played_down():
    """Against what Python says of one whose names and numbers are all its own."""
    pairs = {f"route-{r}-{'x' * 200}": {1_000_000 * r + n: 2**62 + n for n in range(100)} for r in range(20)}
    value = beat(ages=pairs, lag={route: 2**62 for route in pairs}).encode()
    gc.collect()
    tracemalloc.start()
    kept = [Heartbeat.decode(value) for _ in range(20)]
    used, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert used / len(kept) <= kept[0].about_bytes <= 3 * used / len(kept)
