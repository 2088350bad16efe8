"""Histograms of how old events were when their score was acknowledged, with buckets at most a sixteenth wide. Pure.

An age is in whole milliseconds, and counts in the first bucket whose upper edge is not below it. Up to 32 ms each
millisecond has a bucket of its own; above that, every octave is divided into 16. The edges of octaves are edges here
too, so the octave counts that older ledgers read are sums of these.

**Percentiles**, wherever Farthing shows one, are by the nearest rank, as the upper edge of its bucket. So a percentile
is never less than that of the ages themselves and at most 1/16 (6.25 %) more; up to 32 ms it is exact. Histograms of
several workers, routes or moments are added edge by edge, and a percentile of the sum is that of all their events.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Final

import numpy as np

from farthing.blocks import Int64s

PER_OCTAVE: Final = 16
EXACT_TO_MS: Final = 2 * PER_OCTAVE
LAST_OCTAVE: Final = 42  # 2^42 ms are 139 years: an event of 1970 is still counted

EDGES_MS: Final[Int64s] = np.concatenate(
    [np.arange(EXACT_TO_MS + 1)]
    + [(PER_OCTAVE + 1 + np.arange(PER_OCTAVE)) << (k - 4) for k in range(5, LAST_OCTAVE)]
).astype(np.int64)  # fmt: skip
"""Upper edges of the buckets in ms, from 0 on; ages above the last edge are counted in the last bucket."""

OCTAVE_EDGES_MS: Final[Int64s] = 2 ** np.arange(17, dtype=np.int64)
"""Edges in ms, 1 to 65,536, of the counts for Prometheus and for older ledgers, which read nothing finer."""

_OCTAVE_OF: Final = np.searchsorted(OCTAVE_EDGES_MS, EDGES_MS, side="left")


def by_octave(counts: Int64s) -> tuple[int, ...]:
    """Add up counts (len(EDGES_MS),) by octave: one number for each of OCTAVE_EDGES_MS, and one for older events."""
    sums = np.zeros(len(OCTAVE_EDGES_MS) + 1, np.int64)
    np.add.at(sums, _OCTAVE_OF, counts)
    return tuple(sums.tolist())


def by_edge(counts: Int64s) -> dict[int, int]:
    """Return the counts (len(EDGES_MS),) that are not 0, by upper edge in ms, in order."""
    at = np.flatnonzero(counts)
    return dict(zip(EDGES_MS[at].tolist(), counts[at].tolist(), strict=True))


def of_octaves(edges_ms: Iterable[int], counts: Iterable[int]) -> dict[float, int]:
    """Return an older heartbeat's counts by upper edge; infinity is the edge of those above the last."""
    return {edge: n for edge, n in zip((*edges_ms, math.inf), counts, strict=False) if n}


def percentile_ms(counts: Mapping[float, int] | Mapping[int, int], share: float) -> float | None:
    """Return the least upper edge in ms that ``share`` of the counts do not exceed; None when there are none."""
    total = sum(counts.values())
    rank = max(math.ceil(round(share * total, 9)), 1)  # rounded, because a product may be just off a whole number
    seen = 0
    for edge in sorted(counts):
        seen += counts[edge]  # type: ignore[index]
        if counts[edge] and seen >= rank:  # type: ignore[index]
            return edge
    return None
