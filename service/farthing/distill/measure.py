"""Metrics of binary scores, in NumPy, with bootstrap intervals."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from farthing.evaluate.bootstrap import centred_interval

Floats = NDArray[np.float32]


def macro_f1(labels: Floats, scores: Floats, cut: float) -> float:
    """Give the mean of the F1 of the positive and of the negative class at ``score >= cut``."""
    said, true = scores >= cut, labels >= 0.5
    parts = []
    for a, b in ((said, true), (~said, ~true)):
        hits = float((a & b).sum())
        parts.append(2 * hits / max(float(a.sum() + b.sum()), 1.0))
    return float(np.mean(parts))


def best_macro_f1(labels: Floats, scores: Floats) -> float:
    """Give the highest macro-F1 that any cut reaches."""
    order = np.argsort(-scores, kind="stable")
    true = (labels >= 0.5)[order]
    ends = np.flatnonzero(np.append(np.diff(scores[order]) != 0, True))
    said, hits = ends + 1.0, np.cumsum(true)[ends]
    n, positives = len(true), int(true.sum())
    rest_hits = n - said - (positives - hits)
    f_yes = 2 * hits / (said + positives)
    f_no = 2 * rest_hits / np.maximum(2 * n - said - positives, 1)
    return float(((f_yes + f_no) / 2).max())


def auc(labels: Floats, scores: Floats) -> float:
    """Area under the ROC curve by ranks (ties count half); NaN when a class is missing."""
    true = labels >= 0.5
    positives, negatives = int(true.sum()), int((~true).sum())
    if not positives or not negatives:
        return float("nan")
    _, inverse, counts = np.unique(scores, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(counts) - (counts - 1) / 2)[inverse]
    return float((ranks[true].sum() - positives * (positives + 1) / 2) / (positives * negatives))


def average_precision(labels: Floats, scores: Floats) -> float:
    """Area under the precision-recall curve as a step function; equal scores are one step."""
    order = np.argsort(-scores, kind="stable")
    true = (labels >= 0.5)[order]
    if not true.any():
        return float("nan")
    ends = np.flatnonzero(np.append(np.diff(scores[order]) != 0, True))
    hits = np.cumsum(true)[ends]
    precision = hits / (ends + 1)
    recall = hits / true.sum()
    return float((np.diff(np.append(0.0, recall)) * precision).sum())


def expected_calibration_error(labels: Floats, scores: Floats, bins: int = 10) -> float:
    """Mean distance of score and observed share in equal-width bins, weighted by their size."""
    which = np.minimum((scores * bins).astype(int), bins - 1)
    error = 0.0
    for b in range(bins):
        inside = which == b
        if inside.any():
            error += float(inside.mean()) * abs(float(scores[inside].mean()) - float((labels[inside] >= 0.5).mean()))
    return error


def measure(
    labels: Floats, scores: Floats, cut: float, *, seed: int = 0, resamples: int = 300
) -> dict[str, dict[str, float]]:
    """All four metrics, each with a 95 % bootstrap interval over rows.

    That of the ECE is centred on its value, as :func:`farthing.evaluate.bootstrap.centred_interval` says; the others
    are of percentiles. Cards of bundles built before that have a percentile interval there, which may lie above it.
    """
    rng = np.random.default_rng(seed)

    def all_four(y: Floats, s: Floats) -> list[float]:
        return [macro_f1(y, s, cut), auc(y, s), average_precision(y, s), expected_calibration_error(y, s)]

    picks = [rng.integers(0, len(labels), len(labels)) for _ in range(resamples)]
    spread = np.array([all_four(labels[p], scores[p]) for p in picks])
    low, high = np.nanpercentile(spread, [2.5, 97.5], axis=0)
    names = ("macro_f1", "auc", "ap", "ece")
    values = all_four(labels, scores)
    low[3], high[3] = centred_interval(values[3], spread[:, 3])
    return {
        name: {"value": round(v, 4), "low": round(float(a), 4), "high": round(float(b), 4)}
        for name, v, a, b in zip(names, values, low, high, strict=True)
    }
