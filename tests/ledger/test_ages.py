"""Sums of workers' ages: they are those of the heartbeats that are kept, and have room for so much."""

from hypothesis import given
from hypothesis import strategies as st

from farthing.ledger.ages import MOST_BUCKETS, Ages

routes = st.dictionaries(st.sampled_from("abc"), st.dictionaries(st.integers(0, 5).map(float), st.integers(0, 9)))


@given(st.lists(st.tuples(st.integers(0, 3), routes)))
def test_sums_are_those_of_each_process_last_counts(steps):
    ages, last = Ages(), {}
    for process, counts in steps:
        assert ages.replace(last.get(process, {}), counts)
        last[process] = counts
    sums = {}
    for counts in last.values():
        for route, by_edge in counts.items():
            for edge, n in by_edge.items():
                sums[route, edge] = sums.get((route, edge), 0) + n
    found = {(route, edge): n for route, by_edge in ages.copied().items() for edge, n in by_edge.items()}
    assert found == {at: n for at, n in sums.items() if n}  # no empty route, no bucket without events


def test_what_has_no_room_changes_nothing_and_what_leaves_makes_room():
    ages, half = Ages(), MOST_BUCKETS // 2 + 1
    first, other = ({route: {float(n): 1 for n in range(half)}} for route in "ab")
    assert ages.replace({}, first)
    assert not ages.replace({}, other)
    assert ages.copied() == first
    assert ages.replace({}, {"a": {0.0: 5}})  # needs no room
    assert ages.replace(first, {})
    assert ages.replace({}, other)
    assert ages.copied() == {"a": {0.0: 5}} | other
