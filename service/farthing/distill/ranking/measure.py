"""Metrics of rankings for training, computed by :mod:`farthing.evaluate.measures.ranking`."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from farthing.distill.measure import as_stated
from farthing.distill.ranking.data import QuerySet
from farthing.evaluate.measures import ranking
from farthing.evaluate.measures.bootstrap import estimate_means
from farthing.evaluate.measures.choices import RESAMPLES

Floats = NDArray[np.float32]
Doubles = NDArray[np.float64]


def per_query(data: QuerySet, scores: Floats, judged: Sequence[Floats] | None = None) -> dict[str, Doubles]:
    """Return map, mrr and ndcg@10 of each query; NaN where undefined (nothing is relevant).

    Parameters
    ----------
    data, scores:
        n candidates, query after query, and their scores (n,). Equal scores are ordered at random.
    judged:
        Gains of all documents that were judged for each query, retrieved or not; None for the candidates' own.
    """
    gains = data.gains.astype(np.float64)
    order = ranking.rank(scores, data.indptr)
    ideal = ranking.ideal_of_rows(gains, data.indptr)
    if judged is not None:
        names = [str(k) for k in range(len(data))]
        all_gains = {(n, str(d)): float(g) for n, of in zip(names, judged, strict=True) for d, g in enumerate(of)}
        ideal = ranking.ideal_of_qrels(all_gains, names)
    metrics = ranking.measure_queries(gains, order, data.indptr, ideal)
    return {"map": metrics.average_precision, "mrr": metrics.reciprocal_rank, "ndcg@10": metrics.ndcg}


def measure(
    data: QuerySet, scores: Floats, judged: Sequence[Floats] | None = None, *, seed: int = 0, resamples: int = RESAMPLES
) -> dict[str, dict[str, float]]:
    """Return each metric's mean over the queries that have it, with a 95 % bootstrap interval over queries."""
    values = per_query(data, scores, judged)
    estimates = estimate_means(values, seed=seed, resamples=resamples)
    return {name: {**as_stated(e), "queries": int((~np.isnan(values[name])).sum())} for name, e in estimates.items()}


def gain_over(
    data: QuerySet, scores: Floats, others: Floats, judged: Sequence[Floats] | None = None, *, seed: int = 0
) -> dict[str, dict[str, float]]:
    """Return how much higher each metric is with ``scores`` than with ``others``, query by query, with its interval."""
    ours, theirs = per_query(data, scores, judged), per_query(data, others, judged)
    estimates = estimate_means({name: ours[name] - theirs[name] for name in ours}, seed=seed)
    return {name: as_stated(e) for name, e in estimates.items()}
