"""Ages in buckets: no percentile is more than a tenth from the exact one, and sums of histograms are exact."""

import math

import numpy as np
from hypothesis import example, given
from hypothesis import strategies as st

from farthing.meter.latencies import EDGES_MS, OCTAVE_EDGES_MS, by_edge, by_octave, of_octaves, percentile_ms
from farthing.serving.metrics import count_latencies, count_latencies_reference

NOW = 1_795_516_220_000
AGES = st.one_of(
    st.integers(0, 100),
    st.integers(0, NOW),
    st.builds(lambda k, d: min(max(2**k + d, 0), NOW), st.integers(0, 41), st.integers(-2, 2)),
)
SHARES = st.one_of(st.sampled_from([0.5, 0.9, 0.99, 0.999, 1.0, 0.07, 0.29]), st.floats(0.001, 1))


def histogram(ages, kernel=count_latencies):
    counts = np.zeros(len(EDGES_MS), np.int64)
    kernel(NOW - np.array(ages, np.int64), NOW, np.zeros(len(ages), np.uint8), counts)
    return counts


def nearest_rank(ages, share):
    """The exact percentile."""
    return sorted(ages)[max(math.ceil(round(share * len(ages), 9)), 1) - 1]


def test_buckets_are_at_most_a_tenth_wide_and_every_octave_edge_is_an_edge():
    below = EDGES_MS[:-1]
    assert EDGES_MS[0] == 0
    assert np.all((EDGES_MS[1:] - below == 1) | (EDGES_MS[1:] - below <= below * 0.0625))
    assert set(OCTAVE_EDGES_MS.tolist()) <= set(EDGES_MS.tolist())


@given(st.lists(AGES, min_size=1, max_size=300), SHARES)
@example([2_047] * 99 + [5_000], 0.99)  # was told as 2,048
@example([9_000] * 100, 0.99)  # was told as 16,384
@example([33_000] * 100, 0.99)  # was told as 65,536
def test_a_percentile_is_never_too_low_and_at_most_a_tenth_too_high(ages, share):
    exact, told = nearest_rank(ages, share), percentile_ms(by_edge(histogram(ages)), share)
    assert exact <= told <= exact * 1.0625 + 0.5
    assert told == exact or exact > 32


@given(st.lists(st.lists(AGES, max_size=60), min_size=1, max_size=5), SHARES)
def test_histograms_of_workers_and_routes_add_up(workers, share):
    together = histogram([age for ages in workers for age in ages])
    assert np.array_equal(sum(histogram(ages) for ages in workers), together)
    merged = {}
    for ages in workers:
        for edge, n in by_edge(histogram(ages)).items():
            merged[edge] = merged.get(edge, 0) + n
    assert merged == by_edge(together)
    assert percentile_ms(merged, share) == percentile_ms(by_edge(together), share)


@given(st.lists(st.tuples(st.integers(-3, NOW + 5), st.sampled_from([0, 0, 0, 1, 7])), max_size=200))
def test_the_kernel_counts_as_its_reference_does(events):
    timestamps = np.array([timestamp for timestamp, _ in events], np.int64)
    status = np.array([state for _, state in events], np.uint8)
    told = []
    for count in (count_latencies, count_latencies_reference):
        counts = np.zeros(len(EDGES_MS), np.int64)
        told.append((count(timestamps, NOW, status, counts), counts.tolist()))
    assert told[0] == told[1]
    assert sum(told[0][1]) == sum(state == 0 and timestamp >= 0 for timestamp, state in events)


@given(st.lists(AGES, max_size=100))
def test_octave_counts_are_those_of_the_ages(ages):
    edges = [2**k for k in range(17)]
    expected = [0] * 18
    for age in ages:
        expected[next((k for k, edge in enumerate(edges) if age <= edge), 17)] += 1
    assert by_octave(histogram(ages)) == tuple(expected)
    assert of_octaves(edges, expected) == {e: n for e, n in zip([*edges, math.inf], expected, strict=True) if n}


def test_nothing_has_no_percentile():
    assert percentile_ms({}, 0.99) is None
    assert percentile_ms({5: 0}, 0.99) is None
