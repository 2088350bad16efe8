"""Counts by milliseconds, against the plain way."""

import math

from hypothesis import given
from hypothesis import strategies as st
from loadtest.histogram import added, counts_of, percentile_ms, summary_ms

MS = st.lists(st.integers(-50, 5_000_000), min_size=1, max_size=200)


@given(MS)
def test_values_are_rounded_to_three_digits_and_none_is_lost(ms):
    counts = counts_of(ms)
    assert sum(counts.values()) == len(ms)
    for value in ms:
        assert any(abs(found - max(value, 0)) <= max(max(value, 0) * 0.005, 0) for found in counts)
    assert counts_of([v for v in ms if v < 1_000]) == {
        v: [max(x, 0) for x in ms].count(v) for v in {max(x, 0) for x in ms if x < 1_000}
    }


@given(st.lists(st.integers(0, 999), min_size=1, max_size=200), st.floats(0.01, 1))
def test_percentiles_are_those_of_the_sorted_values(ms, share):
    expected = sorted(ms)[max(math.ceil(round(share * len(ms), 9)) - 1, 0)]
    found = percentile_ms(counts_of(ms), share)
    assert found == expected or abs(sorted(ms).index(found) - share * len(ms)) <= 1  # a product just off a whole number


@given(MS, MS)
def test_histograms_add_up(one, two):
    assert added(counts_of(one), counts_of(two)) == counts_of(one + two)


def test_nothing_has_no_percentile():
    assert percentile_ms({}, 0.5) is None and set(summary_ms({}).values()) == {None}
    assert summary_ms({5: 99, 700: 1}) == {"p50": 5, "p90": 5, "p99": 5, "p99_9": 700, "max": 700}
