"""Running totals beside offsets: taken over, begun anew, published before they are committed."""

import numpy as np
import pytest

from farthing import accounting
from farthing.accounting import Accounting, Scored
from farthing.meter.count import CALLS, N_COUNTS, PAYLOAD, ROWS, SCORED, SIZES

PARTITION = ("e", 0)


class Clock:
    """``time`` of the module under test."""

    def __init__(self):
        self.now_s = 1_000.0

    def monotonic(self):
        return self.now_s

    def time_ns(self):
        return int(self.now_s * 1e9)


@pytest.fixture
def clock(monkeypatch):
    one = Clock()
    monkeypatch.setattr(accounting, "time", one)
    return one


def make():
    return Accounting({"e": Scored("m@1", "moderation")})


def counts(n, size=10):
    row = np.zeros(N_COUNTS, np.int64)
    row[SCORED] = row[ROWS] = n
    row[PAYLOAD] = n * (size + 5)
    row[CALLS + size], row[SIZES + size] = n, n * size
    return row


def publish(one, *, everything=False):
    records = one.due([PARTITION], everything=everything)
    one.published(records)
    return records


def test_the_next_owner_goes_on_from_what_was_committed(clock):
    one = make()
    one.assign(PARTITION, 100, "")
    one.add(PARTITION, 107, counts(7))
    text = one.metadata([PARTITION])[PARTITION]
    other = make()
    other.assign(PARTITION, 107, text)
    other.add(PARTITION, 110, counts(3))
    (record,) = publish(other)
    assert (record.base_offset, record.next_offset, record.totals.scored, record.log) == (100, 110, 10, 0)
    assert record.totals.prompt_bytes == 100


@pytest.mark.parametrize(
    "text", ["", "{", '{"model":"m@2","base_offset":0}{}', '{"model":"m@1","base_offset":-1}', "x"]
)
def test_what_is_no_total_of_ours_begins_a_new_count(clock, text):
    one = make()
    one.assign(PARTITION, 50, text)
    one.add(PARTITION, 52, counts(2))
    (record,) = publish(one)
    assert (record.base_offset, record.totals.scored) == (50, 2)


def test_once_a_second_and_what_is_left_follows(clock):
    one = make()
    one.assign(PARTITION, 0, "")
    assert publish(one) == []  # nothing is counted
    one.add(PARTITION, 5, counts(5))
    assert len(publish(one)) == 1
    one.add(PARTITION, 6, counts(1))
    clock.now_s += 0.5
    assert publish(one) == []
    clock.now_s += 0.5
    (record,) = publish(one)
    assert record.totals.scored == 6
    clock.now_s += 5
    assert publish(one, everything=True) == []


def test_a_total_that_was_taken_over_is_published_again(clock):
    one = make()
    one.assign(PARTITION, 0, "")
    one.add(PARTITION, 5, counts(5))
    other = make()
    other.assign(PARTITION, 5, one.metadata([PARTITION])[PARTITION])
    assert [r.totals.scored for r in publish(other)] == [5]  # its last record may have been lost


def test_a_log_that_begins_anew_is_another_count_and_the_old_ones_last_total_is_kept(clock):
    one = make()
    one.assign(PARTITION, 0, "")
    one.add(PARTITION, 5, counts(5))
    publish(one)
    one.add(PARTITION, 9, counts(4))
    one.assign(PARTITION, 0, "")  # the topic was deleted and created again
    one.add(PARTITION, 2, counts(2))
    records = publish(one)
    clock.now_s += 2
    assert publish(one) == []
    assert [(r.log, r.next_offset, r.totals.scored) for r in records] == [(0, 9, 9), (1, 2, 2)]
    assert len({r.key for r in records}) == 2
    other = make()
    other.assign(PARTITION, 2, one.metadata([PARTITION])[PARTITION])
    other.add(PARTITION, 3, counts(1))
    assert [(r.log, r.totals.scored) for r in publish(other)] == [(1, 3)]


def test_what_is_no_longer_ours_is_not_counted(clock):
    one = make()
    one.assign(PARTITION, 0, "")
    one.revoke([PARTITION])
    one.add(PARTITION, 5, counts(5))
    assert publish(one, everything=True) == []
    assert one.metadata([PARTITION]) == {}
