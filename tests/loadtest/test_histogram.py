"""Counts by milliseconds, against the plain way."""

import json
import math
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from loadtest.histogram import added, counts_of, percentile_ms, summary_ms

ROOT = Path(__file__).parents[2]
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


@given(MS, st.sampled_from([0.5, 0.9, 0.99, 0.999, 1.0]))
def test_a_percentile_is_within_half_a_percent(ms, share):
    exact = sorted(max(value, 0) for value in ms)[max(math.ceil(round(share * len(ms), 9)), 1) - 1]
    assert abs(percentile_ms(counts_of(ms), share) - exact) <= exact * 0.005


LOCUST = """
import json, math, random
from locust.stats import RequestStats
from loadtest.histogram import counts_of
from loadtest.locust_stats import add_latencies
rng, stats, ages = random.Random(1), RequestStats(), []
for _ in range(20):
    some = [int(rng.lognormvariate(5, 2)) for _ in range(500)]
    ages += some
    add_latencies(stats, "SCORE", "events", counts_of(some), 0)
entry = stats.get("events", "SCORE")
ages.sort()
told = [[share, entry.get_response_time_percentile(share), ages[math.ceil(share * len(ages)) - 1 :][:2]]
        for share in (0.5, 0.9, 0.95, 0.99, 0.999, 1.0)]
print(json.dumps(told))
"""


def test_locusts_own_percentiles_are_within_a_tenth():
    """In a process of its own: Locust patches the standard library when it is imported."""
    pytest.importorskip("confluent_kafka", reason="needs the extra loadtest")
    done = subprocess.run([sys.executable, "-c", LOCUST], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    for share, told, exact in json.loads(done.stdout):  # Locust's rank is the next one in places
        assert any(abs(told - one) <= 0.05 * one for one in exact), share
