"""Counts by milliseconds: whole ones below a second, three digits above, so that a day of them stays small.

A percentile is the nearest rank, as everywhere in Farthing: exact below a second, within 0.5 % above.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

import numpy as np

from farthing.meter.latencies import percentile_ms

__all__ = ["added", "counts_of", "percentile_ms", "rounded_ms", "summary_ms"]


def rounded_ms(ms):
    """Round int64 milliseconds (n,) to three digits, half up; below zero (a clock ahead of ours) is zero."""
    ms = np.maximum(ms, 0)
    step = np.ones_like(ms)
    for bound in (1_000, 10_000, 100_000, 1_000_000):
        step[ms >= bound] *= 10
    return (ms + step // 2) // step * step


def counts_of(ms) -> dict[int, int]:
    """Count int64 milliseconds (n,) by their rounded value."""
    values, counts = np.unique(rounded_ms(np.asarray(ms, np.int64)), return_counts=True)
    return dict(zip(values.tolist(), counts.tolist(), strict=True))


def summary_ms(counts: Mapping[int, int]) -> dict[str, int | None]:
    """Give what a report says of a latency."""
    shares = {"p50": 0.5, "p90": 0.9, "p99": 0.99, "p99_9": 0.999, "max": 1.0}
    return {name: percentile_ms(counts, share) for name, share in shares.items()}


def added(*many: Mapping[int, int]) -> Counter[int]:
    """Add histograms up."""
    total: Counter[int] = Counter()
    for one in many:
        total.update(one)
    return total
