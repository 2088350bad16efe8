"""Metrics of binary scores for training, computed by :mod:`farthing.evaluate.measures.binary`."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

import numpy as np
from numpy.typing import NDArray

from farthing.evaluate.measures import binary
from farthing.evaluate.measures.bootstrap import Estimate
from farthing.evaluate.measures.choices import RESAMPLES

Floats = NDArray[np.float32]


def sigmoid(logits: Floats) -> Floats:
    """Return scores, 0 to 1, from logits (only for training and evaluation: serving has its own kernel)."""
    return np.asarray(1 / (1 + np.exp(-np.clip(logits, -60, 60).astype(np.float64))), np.float32)


def macro_f1(labels: Floats, scores: Floats, cut: float) -> float:
    """Return the mean F1 of the positive and the negative class at ``score >= cut``; NaN if a class is missing."""
    return float(binary.macro_f1(_counts(labels, scores), cut)[0])


def best_macro_f1(labels: Floats, scores: Floats) -> float:
    """Return the highest macro-F1 of any cut."""
    counts = _counts(labels, scores)
    hits, false_alarms = np.cumsum(counts.positives[0]), np.cumsum(counts.negatives[0])
    misses, rejections = hits[-1] - hits, false_alarms[-1] - false_alarms
    f_yes = 2 * hits / (2 * hits + false_alarms + misses)
    f_no = 2 * rejections / np.maximum(2 * rejections + false_alarms + misses, 1)
    return float(((f_yes + f_no) / 2).max())


def auc(labels: Floats, scores: Floats) -> float:
    """Return the area under the ROC curve, where ties count half; NaN if a class is missing."""
    return float(binary.auc(_counts(labels, scores))[0])


def measure(
    labels: Floats, scores: Floats, cut: float, *, seed: int = 0, resamples: int = RESAMPLES
) -> dict[str, dict[str, float]]:
    """Return ``macro_f1`` at a cut, ``auc``, ``ap`` and ``ece``, each with a 95 % bootstrap interval over rows."""
    metrics: dict[str, binary.Metric] = {
        "macro_f1": partial(binary.macro_f1, cut=cut),
        "auc": binary.auc,
        "ap": binary.average_precision,
        "ece": binary.expected_calibration_error,
    }
    return _as_stated(binary.estimate(_classes(labels), scores, metrics, seed=seed, resamples=resamples), 4)


def measure_clicks(
    clicks: Floats, scores: Floats, *, seed: int = 0, resamples: int = RESAMPLES
) -> dict[str, dict[str, float]]:
    """Return ``auc``, ``log_loss`` and ``ece`` of click probabilities, with 95 % bootstrap intervals over rows."""
    metrics: dict[str, binary.Metric] = {
        "auc": binary.auc,
        "log_loss": binary.log_loss,
        "ece": binary.expected_calibration_error,
    }
    return _as_stated(binary.estimate(_classes(clicks), scores, metrics, seed=seed, resamples=resamples), 5)


def _classes(labels: Floats) -> binary.Labels:
    return (labels >= 0.5).astype(np.int8)


def _counts(labels: Floats, scores: Floats) -> binary.ScoreCounts:
    return binary.count(_classes(labels), scores)


def _as_stated(estimates: Mapping[str, Estimate], digits: int) -> dict[str, dict[str, float]]:
    return {name: as_stated(estimate, digits) for name, estimate in estimates.items()}


def as_stated(estimate: Estimate, digits: int = 4) -> dict[str, float]:
    """Return an estimate in the form of manifests."""
    return {name: round(getattr(estimate, name), digits) for name in ("value", "low", "high")}
