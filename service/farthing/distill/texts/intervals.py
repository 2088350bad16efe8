"""Finds boundaries of numeric features in the training files, for ``intervals = 10`` in place of ``boundaries``.

They are quantiles, so that each interval has about equally many rows. They do not depend on labels.
"""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np

from farthing.distill.data_files import column
from farthing.distill.texts.recipe import INTERVALS, TextRecipe
from farthing.distill.texts.rows import number_paths, read_rows
from farthing.errors import DataError
from farthing.payload import parse_path

DIGITS = 6
"""Boundaries are rounded to this many significant digits: further digits are only chance."""


def with_boundaries(recipe: TextRecipe, data: Path) -> TextRecipe:
    """Return the recipe with boundaries in place of ``intervals``, or the same recipe if it has none.

    Raises
    ------
    ConfigError, DataError
        A training file cannot be read, or a number field has fewer than two different values.
    """
    intervals = {f["field"]: int(f[INTERVALS]) for f in recipe.features["features"] if INTERVALS in f}
    if not intervals:
        return recipe
    paths = {f.name: f.path for f in recipe.field}
    values_of: dict[str, list[float]] = {name: [] for name in intervals}
    for source in recipe.source:
        path = data / source.train
        for line, row in read_rows(path, number_paths(recipe)):
            where = f"{path}:{line}"
            event = row.values if source.event is None else column(row.values, source.event, where, "the event")
            for name, values in values_of.items():
                values.append(_number(event, paths[name]))
    boundaries = {name: quantiles(values, intervals[name]) for name, values in values_of.items()}
    for name, edges in boundaries.items():
        if not edges:
            files = ", ".join(str(data / source.train) for source in recipe.source)
            raise DataError(
                f"{files}: the number field {name} ({paths[name]}) has fewer than two different values; take the "
                "feature out of the recipe, or fix the column"
            )
    features = [
        {**{key: value for key, value in f.items() if key != INTERVALS}, "boundaries": boundaries[f["field"]]}
        if INTERVALS in f
        else f
        for f in recipe.features["features"]
    ]
    return recipe.model_copy(update={"features": {**recipe.features, "features": features}})


def quantiles(values: list[float], intervals: int) -> list[float]:
    """Split finite values into intervals with about equally many values each, or fewer intervals if values repeat.

    The smallest value is never a boundary, because nothing would be below it.
    """
    finite = np.array([v for v in values if math.isfinite(v)])
    if not len(finite):
        return []
    edges = np.quantile(finite, np.arange(1, intervals) / intervals, method="higher").tolist()
    rounded = sorted({float(f"{edge:.{DIGITS}g}") for edge in edges})
    return [edge for edge in rounded if edge > finite.min()]


def _number(event: object, path: str) -> float:
    value = parse_path(path).find(event)
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else math.nan
