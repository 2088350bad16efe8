"""Where partitions go on: after a gap that retention made, in another log, and where a block does not fit."""

from types import SimpleNamespace

import pytest

from farthing.blocks import FetchedPartition
from farthing.kafka import Moved, OffsetTracker
from farthing.serving.backlog import Backlog
from farthing.serving.positions import Positions

ONE, TWO = ("e", 0), ("e", 1)
GAP = Moved(30, 0, "retention", 20, 10)  # events 10 to 29 are gone


@pytest.fixture
def noted():
    return []


@pytest.fixture
def positions(noted):
    reports = SimpleNamespace(
        assign=lambda *place: noted.append(("assign", *place)), move=lambda *place: noted.append(("move", *place))
    )
    metrics = SimpleNamespace(
        took_over=lambda partition: None,
        moved=lambda partition, moved: noted.append(("metric", partition, moved.lost)),
    )
    one = Positions(OffsetTracker(), Backlog(1 << 20), reports, metrics, lambda *place: noted.append(("seek", *place)))
    for partition in (ONE, TWO):
        one.begin(partition, 0, "")
    noted.clear()
    return one


def fetch(positions, partition, offset):
    positions.backlog.add([FetchedPartition(*partition, offset, 100, b"")])
    return next(one for one in positions.backlog.next_of("e") if one.partition == partition)


def test_what_is_under_way_before_a_gap_is_finished_first(positions, noted):
    ticket = positions.offsets.begin(ONE, 0, 10)
    positions.move(ONE, GAP)
    after = fetch(positions, ONE, 30)
    assert positions.are_after_gaps([after])
    positions.pass_gaps()
    assert noted == []
    assert positions.offsets.ack(ticket)
    assert positions.expected(after)
    assert noted == [("move", ONE, 30, 0, 20), ("metric", ONE, 20)]
    assert positions.offsets.committable() == {ONE: 30}
    assert not positions.are_after_gaps([after])


def test_a_gap_after_which_nothing_comes_is_noted_too(positions, noted):
    ticket = positions.offsets.begin(ONE, 0, 10)
    positions.move(ONE, GAP)
    positions.offsets.ack(ticket)
    positions.pass_gaps()
    assert noted == [("move", ONE, 30, 0, 20), ("metric", ONE, 20)]


def test_what_was_fetched_before_a_gap_is_scored(positions, noted):
    before = fetch(positions, ONE, 0)
    positions.move(ONE, GAP)
    assert not positions.are_after_gaps([before])
    assert positions.expected(before)
    assert noted == []


def test_a_gap_is_larger_when_what_was_before_it_failed(positions, noted):
    positions.offsets.begin(ONE, 0, 10)
    positions.move(ONE, GAP)
    assert positions.offsets.rewind(ONE) == 0
    positions.move(ONE, Moved(30, 0, "retention", 30, 0))  # fetched again from there, and found gone
    assert noted == [("move", ONE, 30, 0, 30), ("metric", ONE, 30)]


def test_in_another_log_what_was_fetched_is_void_and_what_is_produced_is_not(positions, noted):
    old, other = positions.offsets.begin(ONE, 0, 10), positions.offsets.begin(TWO, 0, 5)
    fetch(positions, TWO, 5)
    positions.move(ONE, GAP)
    positions.move(ONE, Moved(0, 1, "new_log"))
    assert not positions.backlog
    assert noted == [("move", ONE, 0, 1, 0), ("metric", ONE, 0), ("seek", ONE, 0), ("seek", TWO, 5)]
    assert not positions.offsets.ack(old)
    assert positions.offsets.ack(other)
    positions.pass_gaps()
    assert positions.offsets.committable() == {ONE: 0, TWO: 5}


def test_bytes_from_elsewhere_are_fetched_again(positions, noted):
    assert not positions.expected(fetch(positions, ONE, 7))
    assert noted == [("seek", ONE, 0)]
    assert not positions.backlog


def test_a_log_that_the_books_know_moves_nothing_else(positions, noted):
    positions.move(ONE, Moved(0, 3, "known_log"))
    assert noted == [("move", ONE, 0, 3, 0), ("metric", ONE, 0)]


def test_where_a_partition_begins_without_a_commit_is_committable_at_once(positions):
    positions.begin(ONE, 100, "", False)
    assert positions.offsets.has_new_starts
    assert positions.offsets.committable() == {ONE: 100}
    positions.offsets.committed({ONE: 100})
    assert not positions.offsets.has_new_starts
    positions.move(TWO, Moved(0, 1, "new_log"))
    assert positions.offsets.committable() == {TWO: 0}
