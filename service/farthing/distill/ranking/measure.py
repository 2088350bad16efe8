"""Metrics of rankings, with bootstrap intervals over queries."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from farthing.distill.ranking.data import QuerySet

Floats = NDArray[np.float32]


def average_precision(gains: Floats) -> float:
    """Mean precision at the places of the relevant ones; ``gains`` in the order of the ranking."""
    hits = gains > 0
    if not hits.any():
        return float("nan")
    return float((np.cumsum(hits) / np.arange(1, len(gains) + 1))[hits].mean())


def reciprocal_rank(gains: Floats) -> float:
    """One over the place of the first relevant one."""
    hits = np.flatnonzero(gains > 0)
    return float("nan") if not len(hits) else 1.0 / (int(hits[0]) + 1)


def ndcg(gains: Floats, ideal: Floats, at: int = 10) -> float:
    """Discounted cumulative gain of the first ``at`` places over that of the best ranking (linear gain)."""
    best = _dcg(np.sort(ideal)[::-1][:at])
    return float("nan") if best == 0 else _dcg(gains[:at]) / best


def _dcg(gains: Floats) -> float:
    return float((gains / np.log2(np.arange(2, len(gains) + 2))).sum())


def ranked(gains: Floats, scores: Floats) -> Floats:
    """Bring gains into the order of the scores, the highest first, ties in the given order."""
    return gains[np.argsort(-scores, kind="stable")]


def per_query(data: QuerySet, scores: Floats, ideal: Sequence[Floats] | None = None) -> dict[str, NDArray[np.float64]]:
    """Give map, mrr and ndcg@10 of each query; NaN where it is not defined (no relevant candidate)."""
    bounds = data.indptr
    values: dict[str, list[float]] = {"map": [], "mrr": [], "ndcg@10": []}
    for k, query in enumerate(data.queries):
        gains = ranked(query.gains, scores[bounds[k] : bounds[k + 1]])
        values["map"].append(average_precision(gains))
        values["mrr"].append(reciprocal_rank(gains))
        values["ndcg@10"].append(ndcg(gains, query.gains if ideal is None else ideal[k]))
    return {name: np.array(v) for name, v in values.items()}


def measure(
    data: QuerySet, scores: Floats, ideal: Sequence[Floats] | None = None, *, seed: int = 0, resamples: int = 1000
) -> dict[str, dict[str, float]]:
    """Give each metric's mean over the queries that have it, with a 95 % bootstrap interval."""
    result = {}
    for name, values in per_query(data, scores, ideal).items():
        known = values[~np.isnan(values)]
        low, high = interval(known, seed=seed, resamples=resamples)
        result[name] = {"value": round(float(known.mean()), 4), "low": low, "high": high, "queries": len(known)}
    return result


def interval(
    values: NDArray[np.float64], *, seed: int = 0, resamples: int = 1000,
    statistic: Callable[[NDArray[np.float64]], float] = lambda v: float(v.mean()),
) -> tuple[float, float]:  # fmt: skip
    """Give the 95 % bootstrap interval of a statistic of values, one a query."""
    rng = np.random.default_rng(seed)
    spread = [statistic(values[rng.integers(0, len(values), len(values))]) for _ in range(resamples)]
    low, high = np.percentile(spread, [2.5, 97.5])
    return round(float(low), 4), round(float(high), 4)
