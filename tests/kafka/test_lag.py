"""Lag is the end of the log minus the next unacknowledged offset, and what is not known is not 0."""

from hypothesis import given
from hypothesis import strategies as st

from farthing.kafka.lag import LogEnds, lag, lag_by_topic
from farthing.kafka.offsets import OffsetTracker

P, Q = ("t", 0), ("t", 1)
OFFSETS = st.none() | st.integers(0, 2**62)


@given(OFFSETS, OFFSETS)
def test_lag_is_a_difference_or_unknown(end, following):
    found = lag(end, following)
    if end is None or following is None or end < following:
        assert found is None
    else:
        assert found == end - following


def test_what_is_fetched_and_in_flight_still_waits():
    offsets = OffsetTracker()
    assert lag(100, offsets.next_unacknowledged(P)) is None  # not ours
    offsets.assign(P, 10)
    assert lag(None, offsets.next_unacknowledged(P)) is None  # never fetched
    assert lag(100, offsets.next_unacknowledged(P)) == 90
    first, second = offsets.begin(P, 10, 60), offsets.begin(P, 60, 100)
    assert lag(100, offsets.next_unacknowledged(P)) == 90
    offsets.ack(second)
    assert lag(100, offsets.next_unacknowledged(P)) == 90  # the first block may still fail
    offsets.ack(first)
    assert lag(100, offsets.next_unacknowledged(P)) == 0  # committed or not
    offsets.begin(P, 100, 150)
    offsets.rewind(P)
    assert lag(150, offsets.next_unacknowledged(P)) == 50
    offsets.revoke([P])
    assert lag(150, offsets.next_unacknowledged(P)) is None


def test_a_route_is_known_when_all_its_partitions_are():
    assert lag_by_topic(["t", "u"], {P: 3, Q: 4, ("u", 0): None}) == {"t": 7, "u": None}
    assert lag_by_topic(["t"], {}) == {"t": 0}  # more workers than partitions
    assert lag_by_topic(["t"], None) == {"t": None}  # joining, or a rebalance


class Clock:
    """Seconds that pass when told."""

    s = 5.0

    def __call__(self):
        return self.s


def test_ends_are_asked_for_when_no_fetch_tells_them():
    clock = Clock()
    ends = LogEnds(clock)
    assert ends.get(P) is None
    assert ends.older_than(0.5, [P, Q]) == [P, Q]
    ends[P] = 10
    assert ends.older_than(0.5, [P, Q]) == [Q]
    clock.s += 1
    assert ends.older_than(0.5, [P, Q]) == [P, Q]
    ends[P] = 30  # a fetch overtakes the answer, which is older
    ends.asked({P: 20, Q: 7})
    assert (ends.get(P), ends.get(Q)) == (30, 7)
    ends.asked({P: 50})
    assert ends.get(P) == 50
    ends[P] = 10  # but a fetch may say that the log is another one
    assert ends.get(P) == 10
    ends.forget(P)
    assert ends.get(P) is None
    ends.clear()
    assert ends.get(Q) is None
