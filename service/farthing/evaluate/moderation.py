"""Moderation measured: macro-F1 at the bundle's cut, AUC, average precision and calibration, for all rows and parts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from farthing.errors import ConfigError
from farthing.evaluate import binary
from farthing.evaluate.bootstrap import Advance
from farthing.evaluate.report import Group
from farthing.evaluate.rows import LabelledRows

Float32s = NDArray[np.float32]

DEFAULT_CUT = 0.5
"""The cut of a head that calls for no label of its own."""


@dataclass(frozen=True, slots=True)
class Head:
    """The head that is measured, and the score from which it says positive."""

    name: str
    column: int  # in the scores
    cut: float
    cut_from: str  # "manifest", or "default" where the manifest has none

    @classmethod
    def of(cls, heads: tuple[str, ...], thresholds: Mapping[str, Any], name: str | None) -> Head:
        """Choose a head by name, or the first; its cut is where it calls for review.

        Raises
        ------
        ConfigError
            There is no such head.
        """
        chosen = heads[0] if name is None else name
        if chosen not in heads:
            raise ConfigError(f"--head {chosen}: the bundle has the heads {', '.join(heads)}")
        cut = (thresholds.get(chosen) or {}).get("review")
        if cut is None:
            return cls(chosen, heads.index(chosen), DEFAULT_CUT, "default")
        return cls(chosen, heads.index(chosen), float(cut), "manifest")


@dataclass(frozen=True, slots=True)
class Measured:
    """Metrics of all rows, of each file, and of each value of each slice."""

    whole: Group
    sources: Mapping[str, Group]
    slices: Mapping[str, Mapping[str, Group]]


def parts_of(rows: LabelledRows) -> int:
    """Count the sets of rows that :func:`measure` resamples: for progress bars."""
    files = len(rows.sources) if len(rows.sources) > 1 else 0
    return 1 + files + sum(len(set(values)) for values in rows.slices.values())


def measure(
    rows: LabelledRows, scores: Float32s, cut: float, *, seed: int, resamples: int, advance: Advance | None = None
) -> Measured:
    """Measure one head.

    Parameters
    ----------
    rows:
        n rows.
    scores:
        float32 (n,) the head's scores.
    cut:
        Scores from here on say positive; compared as float32, as the service does.
    """
    metrics: dict[str, binary.Metric] = {
        "macro_f1": partial(binary.macro_f1, cut=cut),
        "auc": binary.auc,
        "ap": binary.average_precision,
        "ece": binary.expected_calibration_error,
    }

    def group(chosen: NDArray[np.bool_]) -> Group:
        labels = rows.labels[chosen]
        found = binary.estimate(labels, scores[chosen], metrics, seed=seed, resamples=resamples, advance=advance)
        return Group(len(labels), int(labels.sum()), found)

    whole = group(np.ones(len(rows), np.bool_))
    if len(rows.sources) == 1:
        sources = {rows.sources[0]: whole}
    else:
        sources = {name: group(rows.source == index) for index, name in enumerate(rows.sources)}
    slices = {}
    for field, values in rows.slices.items():
        column = np.array(values)
        slices[field] = {str(value): group(column == value) for value in np.unique(column)}
    return Measured(whole, sources, slices)
