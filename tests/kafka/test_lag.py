"""Lag is the end of the log minus the next unacknowledged offset, and what is not known is not 0."""

from hypothesis import given
from hypothesis import strategies as st

from farthing.kafka.lag import Lag, LogEnd, LogEnds, lag, lag_by_topic
from farthing.kafka.offsets import OffsetTracker

P, Q = ("t", 0), ("t", 1)
OFFSETS = st.none() | st.integers(0, 2**62)


def end(high, readable=None):
    return LogEnd(high, high if readable is None else readable)


@given(OFFSETS, st.integers(0, 2**62), OFFSETS)
def test_lag_is_a_difference_or_unknown(high, readable, following):
    found = lag(None if high is None else end(high, readable), following)
    if high is None or following is None or high < following:
        assert found is None
    else:
        assert found.events == high - following == found.readable + found.unreadable
        assert found.unreadable == max(high - max(readable, following), 0)


def test_what_an_open_transaction_hides_waits_too():
    assert lag(end(100, 60), 10) == Lag(90, unreadable=40)
    assert lag(end(100, 60), 60) == Lag(40, unreadable=40)
    assert lag(end(100, 100), 60) == Lag(40)


def test_what_is_fetched_and_in_flight_still_waits():
    offsets = OffsetTracker()
    assert lag(end(100), offsets.next_unacknowledged(P)) is None  # not ours
    offsets.assign(P, 10)
    assert lag(None, offsets.next_unacknowledged(P)) is None  # never fetched
    assert lag(end(100), offsets.next_unacknowledged(P)) == Lag(90)
    first, second = offsets.begin(P, 10, 60), offsets.begin(P, 60, 100)
    assert lag(end(100), offsets.next_unacknowledged(P)) == Lag(90)
    offsets.ack(second)
    assert lag(end(100), offsets.next_unacknowledged(P)) == Lag(90)  # the first block may still fail
    offsets.ack(first)
    assert lag(end(100), offsets.next_unacknowledged(P)) == Lag(0)  # committed or not
    offsets.begin(P, 100, 150)
    offsets.rewind(P)
    assert lag(end(150), offsets.next_unacknowledged(P)) == Lag(50)
    offsets.revoke([P])
    assert lag(end(150), offsets.next_unacknowledged(P)) is None


def test_a_route_is_known_when_all_its_partitions_are():
    assert lag_by_topic(["t", "u"], {P: Lag(3, 1), Q: Lag(4, 2), ("u", 0): None}) == {"t": Lag(7, 3), "u": None}
    assert lag_by_topic(["t"], {}) == {"t": Lag(0)}  # more workers than partitions
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
    ends[P] = end(10)
    assert ends.older_than(0.5, [P, Q]) == [Q]
    clock.s += 1
    assert ends.older_than(0.5, [P, Q]) == [P, Q]
    ends[P] = end(30)  # a fetch overtakes the answer, which is older
    ends.asked({P: end(20), Q: end(7)})
    assert (ends.get(P), ends.get(Q)) == (end(30), end(7))
    ends.asked({P: end(50, 40)})
    assert ends.get(P) == end(50, 40)
    ends[P] = end(10)  # but a fetch may say that the log is another one
    assert ends.get(P) == end(10)
    assert (ends.answers(P), ends.answers(Q)) == (5, 1)  # the age of each is that of a leader's last answer
    ends.forget(P)
    assert ends.get(P) is None
    ends.clear()
    assert ends.get(Q) is None
