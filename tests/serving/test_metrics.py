"""The latency metrics of a worker: few buckets, and percentiles of the last minute that are near the exact ones."""

import math

import numpy as np
import pytest

from farthing.serving.metrics import LatencyHistogram, Metrics

NOW = 1_795_516_220_000


class Clock:
    """Seconds that pass when told."""

    def __init__(self):
        self.s = 1_000.0

    def __call__(self):
        return self.s


def scraped(latency):
    families = {family.name: family for family in latency.collect()}
    gauges = {name: families[f"farthing_event_latency_{name}_seconds"].samples[0].value for name in ("p50", "p99")}
    samples = families["farthing_event_latency_seconds"].samples
    buckets = {s.labels["le"]: s.value for s in samples if s.name.endswith("_bucket")}
    return gauges, buckets


def add(latency, ages_ms):
    latency.add("r", NOW - np.array(ages_ms, np.int64), NOW, np.zeros(len(ages_ms), np.uint8))


def test_percentiles_are_of_the_last_minute_and_undefined_without_events():
    clock = Clock()
    latency = LatencyHistogram(["r"], clock)
    assert all(math.isnan(value) for value in scraped(latency)[0].values())
    add(latency, [3_000] * 90 + [40_000] * 10)
    assert scraped(latency)[0] == {"p50": pytest.approx(3.0, rel=0.0625), "p99": pytest.approx(40.0, rel=0.0625)}
    clock.s += 30
    add(latency, [10] * 400)
    assert scraped(latency)[0] == {"p50": 0.01, "p99": pytest.approx(40.0, rel=0.0625)}
    clock.s += 34  # the first are older than a minute now
    assert scraped(latency)[0] == {"p50": 0.01, "p99": 0.01}
    clock.s += 1_000_000
    gauges, buckets = scraped(latency)
    assert all(math.isnan(value) for value in gauges.values())
    assert buckets["+Inf"] == 500  # the histogram is of all time
    assert latency.counts()["r"].sum() == 500


def test_counts_since_the_start_survive_every_turn_of_the_window():
    clock, latency = Clock(), None
    latency = LatencyHistogram(["r"], clock)
    for turn in range(400):
        clock.s += turn % 23
        add(latency, [turn] * 3)
        assert latency.counts()["r"].sum() == 3 * (turn + 1)


def test_prometheus_gets_at_most_24_buckets():
    metrics = Metrics({"r": "m"})
    add(metrics.latency, [1, 70_000])
    _, buckets = scraped(metrics.latency)
    assert len(buckets) <= 24
    assert (buckets["0.001"], buckets["65.536"], buckets["+Inf"]) == (1, 1, 2)
