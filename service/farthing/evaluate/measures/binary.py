"""Metrics of scores against 0/1 labels, for one set of rows or for thousands of its resamples at once.

They depend only on how many positives and negatives have each distinct score, so that is their argument:
:class:`ScoreCounts`, with one row of counts for each resample. Scores are sorted once, not once per resample. The
definitions are those of scikit-learn, which is the oracle in the tests.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from farthing.evaluate.measures.bootstrap import Estimate, centred_interval, draws, interval, tally
from farthing.evaluate.measures.choices import RESAMPLES, Advance

Floats = NDArray[np.float64]
Int64s = NDArray[np.int64]
Labels = NDArray[np.int8]
Scores = NDArray[np.floating[Any]]

N_BINS: Final = 10


@dataclass(frozen=True, slots=True)
class ScoreCounts:
    """How many positives and negatives have each distinct score: whole numbers, as doubles for speed."""

    scores: Scores  # (g,) distinct, the highest first, of the type in which they are published
    positives: Floats  # (m, g) for m resamples
    negatives: Floats  # (m, g)


Metric = Callable[[ScoreCounts], Floats]
"""Counts of m resamples -> float64 (m,), NaN where the metric is undefined."""


@dataclass(frozen=True, slots=True)
class _Coded:
    """Each row as one code: twice the index of its score among the distinct ones, plus its label."""

    scores: Scores  # (g,)
    codes: Int64s  # (n,)

    @classmethod
    def of(cls, labels: Labels, scores: Scores) -> _Coded:
        if len(labels) != len(scores) or not len(labels):
            raise ValueError(f"{len(labels)} labels and {len(scores)} scores, expected as many of both, one at least")
        if not np.isfinite(scores).all():
            raise ValueError("a score is NaN or infinite")
        if not np.isin(labels, (0, 1)).all():
            raise ValueError("a label is neither 0 nor 1")
        distinct, place = np.unique(scores, return_inverse=True)
        return cls(distinct[::-1].copy(), 2 * (len(distinct) - 1 - place) + labels.astype(np.int64))

    def count(self, codes: Int64s) -> ScoreCounts:
        counted = tally(codes, 2 * len(self.scores))
        return ScoreCounts(
            self.scores,
            positives=counted[:, 1::2].astype(np.float64, order="C"),
            negatives=counted[:, 0::2].astype(np.float64, order="C"),
        )


def count(labels: Labels, scores: Scores) -> ScoreCounts:
    """Count one set of rows: labels (n,) 0 or 1, scores (n,) finite -> counts with m = 1.

    Raises
    ------
    ValueError
        No rows, different lengths, a label that is neither 0 nor 1, a score that is not finite.
    """
    coded = _Coded.of(labels, scores)
    return coded.count(coded.codes[np.newaxis])


def estimate(
    labels: Labels,
    scores: Scores,
    metrics: Mapping[str, Metric],
    *,
    seed: int = 0,
    resamples: int = RESAMPLES,
    advance: Advance | None = None,
) -> dict[str, Estimate]:
    """Compute metrics and their bootstrap intervals over rows.

    The interval is by percentiles; that of the expected calibration error is centred on its value.

    Parameters
    ----------
    labels, scores:
        (n,) 0 or 1; (n,) finite.
    metrics:
        By name: functions of this module, with their settings bound.

    Raises
    ------
    ValueError
        As :func:`count`.
    """
    coded = _Coded.of(labels, scores)
    whole = coded.count(coded.codes[np.newaxis])
    spread: dict[str, list[Floats]] = {name: [] for name in metrics}
    for drawn in draws(len(labels), seed=seed, resamples=resamples):
        counts = coded.count(coded.codes[drawn])
        for name, metric in metrics.items():
            spread[name].append(metric(counts))
        if advance is not None:
            advance(len(drawn))
    estimates = {}
    for name, metric in metrics.items():
        value, resampled = float(metric(whole)[0]), np.concatenate(spread[name])
        centred = metric is expected_calibration_error
        estimates[name] = Estimate(value, *(centred_interval(value, resampled) if centred else interval(resampled)))
    return estimates


def macro_f1(counts: ScoreCounts, cut: float) -> Floats:
    """Return the mean F1 of both classes when ``score >= cut`` means positive; undefined if a class is missing.

    ``cut`` is compared in the type of the scores.
    """
    above = int(np.count_nonzero(counts.scores >= cut))
    hits = counts.positives[:, :above].sum(axis=1)
    false_alarms = counts.negatives[:, :above].sum(axis=1)
    misses = counts.positives[:, above:].sum(axis=1)
    rejections = counts.negatives[:, above:].sum(axis=1)
    wrong = false_alarms + misses
    both = (_ratio(2 * hits, 2 * hits + wrong) + _ratio(2 * rejections, 2 * rejections + wrong)) / 2
    return np.where(_has_both_classes(counts), both, np.nan)


def auc(counts: ScoreCounts) -> Floats:
    """Return the area under the ROC curve: how often a positive has a higher score than a negative; ties count half.

    Undefined without positives or without negatives.
    """
    positives, negatives = counts.positives, counts.negatives
    # Twice the number of pairs in the right order is a whole number: exact in doubles up to some 1e8 rows.
    twice = (negatives * (2 * np.cumsum(positives, axis=1) - positives)).sum(axis=1)
    return _ratio(twice, 2 * positives.sum(axis=1) * negatives.sum(axis=1))


def average_precision(counts: ScoreCounts) -> Floats:
    """Return the area under the precision-recall curve as a step function, in which equal scores are one step.

    Undefined without positives, and also without negatives, where it would be 1 whatever the scores are.
    """
    hits = np.cumsum(counts.positives, axis=1)
    called = hits + np.cumsum(counts.negatives, axis=1)
    weighted = counts.positives * hits / np.maximum(called, 1)
    return np.where(_has_both_classes(counts), _ratio(weighted.sum(axis=1), hits[:, -1]), np.nan)


def expected_calibration_error(counts: ScoreCounts) -> Floats:
    """Return the mean distance of score and share of positives in N_BINS bins of equal width, weighted by rows.

    The score, 0 to 1, is compared as if it were the probability of a positive (M. P. Naeini, G. F. Cooper and M.
    Hauskrecht, AAAI 2015); the last bin includes 1.
    """
    bins = calibration_bins(counts)
    distance = np.abs(bins.score_sums - bins.positives).sum(axis=1)
    return _ratio(distance, bins.rows.sum(axis=1))


def log_loss(counts: ScoreCounts) -> Floats:
    """Return the mean negative log likelihood of the labels, in nats.

    Scores of 0 and 1 are moved by the rounding error of their type, so that the loss stays finite.
    """
    rounding = np.finfo(counts.scores.dtype).eps
    likely = np.clip(counts.scores, rounding, 1 - rounding).astype(np.float64)
    rows = counts.positives.sum(axis=1) + counts.negatives.sum(axis=1)
    return _ratio(-(counts.positives @ np.log(likely)) - counts.negatives @ np.log1p(-likely), rows)


@dataclass(frozen=True, slots=True)
class CalibrationBins:
    """Rows by score, in N_BINS bins of equal width from 0 to 1."""

    rows: Floats  # (m, N_BINS)
    positives: Floats  # (m, N_BINS)
    score_sums: Floats  # (m, N_BINS)


def calibration_bins(counts: ScoreCounts) -> CalibrationBins:
    """Count rows in bins by their score.

    Raises
    ------
    ValueError
        A score is below 0 or above 1.
    """
    if counts.scores[0] > 1 or counts.scores[-1] < 0:
        raise ValueError(f"scores go from {counts.scores[-1]} to {counts.scores[0]}, expected 0 to 1")
    scores = counts.scores.astype(np.float64)
    which = np.minimum((scores * N_BINS).astype(np.int64), N_BINS - 1)  # descending, as the scores are
    shape = (len(counts.positives), N_BINS)
    bins = CalibrationBins(np.zeros(shape), np.zeros(shape), np.zeros(shape))
    for k in range(N_BINS):
        inside = slice(np.count_nonzero(which > k), np.count_nonzero(which >= k))
        rows = counts.positives[:, inside] + counts.negatives[:, inside]
        bins.rows[:, k] = rows.sum(axis=1)
        bins.positives[:, k] = counts.positives[:, inside].sum(axis=1)
        bins.score_sums[:, k] = rows @ scores[inside]
    return bins


def _has_both_classes(counts: ScoreCounts) -> NDArray[np.bool_]:
    return np.logical_and(counts.positives.any(axis=1), counts.negatives.any(axis=1))


def _ratio(above: Floats, below: Floats) -> Floats:
    """Divide; NaN where the divisor is 0."""
    ratios: Floats = np.divide(above, below, out=np.full(above.shape, np.nan), where=below > 0)
    return ratios
