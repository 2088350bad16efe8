"""Metrics of ranked candidates, query by query: average precision, reciprocal rank and nDCG@10.

Candidates are in order of queries; ``query_indptr``, int64 (n_queries+1,), says where each query's begin, and every
query has at least one. A candidate that was not judged (label NaN) counts as not relevant, as in TREC's evaluations.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from farthing.evaluate.measures.bootstrap import Estimate, estimate_means
from farthing.evaluate.measures.choices import RESAMPLES, Advance

Floats = NDArray[np.float64]
Int64s = NDArray[np.int64]
Scores = NDArray[np.floating[Any]]

NDCG_DEPTH: Final = 10


@dataclass(frozen=True, slots=True)
class Ideal:
    """What each query's best ranking would contain. :func:`ideal_of_rows` takes it from the candidates themselves."""

    relevant: Floats  # (n_queries,) number of relevant documents
    dcg: Floats  # (n_queries,) discounted cumulative gain of the NDCG_DEPTH best


@dataclass(frozen=True, slots=True)
class QueryMetrics:
    """Metrics of each query, NaN where they are undefined: a query without a relevant document."""

    average_precision: Floats  # (n_queries,)
    reciprocal_rank: Floats  # (n_queries,)
    ndcg: Floats  # (n_queries,) at NDCG_DEPTH, linear gain; undefined where no document has a gain

    @property
    def without_positive(self) -> int:
        """Number of queries that are left out of map and mrr."""
        return int(np.isnan(self.average_precision).sum())


def rank(scores: Scores, query_indptr: Int64s, *, seed: int = 0) -> Int64s:
    """Order candidates by score within their queries: int64 (n,), the best of the first query first.

    Equal scores are ordered at random, so that neither the order of the rows nor that of a sort helps. A candidate that
    could not be scored has ``-inf`` and is last.

    Raises
    ------
    ValueError
        A score is NaN, or a query has no candidates.
    """
    if np.isnan(scores).any():
        raise ValueError("a score is NaN; give -inf to candidates without one")
    query = _queries(query_indptr, len(scores))
    return np.lexsort((np.random.default_rng(seed).random(len(scores)), -scores, query))


def ideal_of_rows(labels: Floats, query_indptr: Int64s, *, positive_from: float = 1.0) -> Ideal:
    """Take the ideal from the judged candidates given."""
    gains = np.nan_to_num(labels)
    best = np.lexsort((-gains, _queries(query_indptr, len(labels))))
    return Ideal(_sums((labels >= positive_from).astype(np.float64), query_indptr), _dcg(gains[best], query_indptr))


def ideal_of_qrels(qrels: Mapping[tuple[str, str], float], qids: Sequence[str], *, positive_from: float = 1.0) -> Ideal:
    """Take the ideal from all judgements, including those of documents that were never retrieved.

    Parameters
    ----------
    qrels:
        (qid, docid) -> relevance.
    qids:
        The queries that are ranked, in their order.
    """
    labels: dict[str, list[float]] = {qid: [] for qid in qids}
    for (qid, _), label in qrels.items():
        if qid in labels:
            labels[qid].append(label)
    relevant = [sum(label >= positive_from for label in labels[qid]) for qid in qids]
    dcg = [_dcg_of(np.sort(np.array(labels[qid], np.float64))[::-1]) for qid in qids]
    return Ideal(np.array(relevant, np.float64), np.array(dcg))


def measure_queries(
    labels: Floats, order: Int64s, query_indptr: Int64s, ideal: Ideal, *, positive_from: float = 1.0
) -> QueryMetrics:
    """Measure each query's ranking.

    Parameters
    ----------
    labels:
        float64 (n,) relevance, 0 and up, in the order of the rows; NaN: not judged.
    order:
        int64 (n,) from :func:`rank`.
    ideal:
        What the best ranking would contain; average precision is over all its relevant documents.
    positive_from:
        The least label of a relevant candidate.
    """
    ranked = labels[order]
    relevant = (ranked >= positive_from).astype(np.float64)
    place = _places(query_indptr)
    hits = np.cumsum(relevant)
    hits -= np.repeat((hits - relevant)[query_indptr[:-1]], np.diff(query_indptr))
    precision = _sums(relevant * hits / place, query_indptr)
    first = np.maximum.reduceat(relevant / place, query_indptr[:-1])
    dcg = _dcg(np.nan_to_num(ranked), query_indptr)
    return QueryMetrics(
        average_precision=_ratio(precision, ideal.relevant),
        reciprocal_rank=np.where(ideal.relevant > 0, first, np.nan),
        ndcg=_ratio(dcg, ideal.dcg),
    )


def estimate(
    queries: QueryMetrics, *, seed: int = 0, resamples: int = RESAMPLES, advance: Advance | None = None
) -> dict[str, Estimate]:
    """Compute ``map``, ``mrr`` and ``ndcg@10`` as means over queries, with bootstrap intervals over queries."""
    values = {
        "map": queries.average_precision,
        "mrr": queries.reciprocal_rank,
        f"ndcg@{NDCG_DEPTH}": queries.ndcg,
    }
    return estimate_means(values, seed=seed, resamples=resamples, advance=advance)


def _queries(query_indptr: Int64s, n: int) -> Int64s:
    sizes = np.diff(query_indptr)
    if query_indptr[0] != 0 or query_indptr[-1] != n or not len(sizes) or (sizes < 1).any():
        raise ValueError(f"query_indptr does not divide {n} candidates into queries of at least one")
    return np.repeat(np.arange(len(sizes)), sizes)


def _places(query_indptr: Int64s) -> Int64s:
    """Give each candidate its place in its query, from 1."""
    sizes = np.diff(query_indptr)
    return np.arange(1, query_indptr[-1] + 1) - np.repeat(query_indptr[:-1], sizes)


def _dcg(gains: Floats, query_indptr: Int64s) -> Floats:
    """Return the discounted cumulative gain of ranked candidates (Järvelin and Kekäläinen, 2002), gain = label."""
    place = _places(query_indptr)
    discounted = np.where(place <= NDCG_DEPTH, gains / np.log2(place + 1), 0.0)
    return _sums(discounted, query_indptr)


def _dcg_of(gains: Floats) -> float:
    return float(_dcg(gains, np.array([0, len(gains)]))[0]) if len(gains) else 0.0


def _sums(values: Floats, query_indptr: Int64s) -> Floats:
    sums: Floats = np.add.reduceat(values, query_indptr[:-1])
    return sums


def _ratio(above: Floats, below: Floats) -> Floats:
    ratios: Floats = np.divide(above, below, out=np.full(above.shape, np.nan), where=below > 0)
    return ratios
