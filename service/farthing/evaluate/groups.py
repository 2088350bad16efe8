"""Measures scores against 0/1 labels for all rows, for each file, and for each value of each slice."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from farthing.evaluate.impressions import ImpressionRows
from farthing.evaluate.measures import binary
from farthing.evaluate.measures.choices import Advance
from farthing.evaluate.report import Group
from farthing.evaluate.rows import LabelledRows

BinaryRows = LabelledRows | ImpressionRows


@dataclass(frozen=True, slots=True)
class Measured:
    """Metrics of all rows, of each file, and of each value of each slice."""

    whole: Group
    sources: Mapping[str, Group]
    slices: Mapping[str, Mapping[str, Group]]


def parts_of(rows: BinaryRows) -> int:
    """Count the sets of rows that :func:`measure` resamples: for progress bars."""
    files = len(rows.sources) if len(rows.sources) > 1 else 0
    return 1 + files + sum(len(set(values)) for values in rows.slices.values())


def measure(
    rows: BinaryRows,
    labels: NDArray[np.int8],
    scores: binary.Scores,
    metrics: Mapping[str, binary.Metric],
    *,
    seed: int,
    resamples: int,
    advance: Advance | None = None,
) -> Measured:
    """Measure scores.

    Parameters
    ----------
    rows:
        The n rows, with their files and slices.
    labels, scores:
        (n,) 0 or 1; (n,) finite, a head's scores.
    metrics:
        By name, as for :func:`farthing.evaluate.measures.binary.estimate`.
    """

    def group(chosen: NDArray[np.bool_]) -> Group:
        truth = labels[chosen]
        estimates = binary.estimate(truth, scores[chosen], metrics, seed=seed, resamples=resamples, advance=advance)
        return Group(len(truth), int(truth.sum()), estimates)

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
