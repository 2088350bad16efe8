"""Draws plots of rankings as PNG: precision and recall of the first k candidates."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from farthing.evaluate.plots import FAINT, INK, MARK, tidy, write_pictures

Floats = NDArray[np.float64]
Int64s = NDArray[np.int64]

DEPTH: Final = 20


def write_rank_plots(
    folder: Path, relevant: NDArray[np.bool_], query_indptr: Int64s, orders: Mapping[str, Int64s], *, title: str
) -> list[Path]:
    """Write ``ranks.png`` into a folder, which is created if needed.

    Parameters
    ----------
    relevant:
        (n,) whether each candidate is.
    query_indptr:
        (n_queries+1,) queries -> candidates; those without a relevant one are left out.
    orders:
        By name, what :func:`farthing.evaluate.measures.ranking.rank` returned.

    Raises
    ------
    ConfigError
        The folder cannot be written.
    """
    curves = {name: curves_of(relevant[order], query_indptr) for name, order in orders.items()}

    def draw(figure: Figure) -> None:
        place = np.arange(1, DEPTH + 1)
        left, right = figure.subplots(1, 2)
        for axes, what, index in ((left, "precision", 0), (right, "recall", 1)):
            for (name, curve), colour in zip(curves.items(), (INK, FAINT, MARK), strict=False):
                axes.plot(place, curve[index], color=colour, marker="o", markersize=3, linewidth=1.5, label=name)
            axes.set(xlabel="first k candidates", ylabel=f"mean {what}", xlim=(0.5, DEPTH + 0.5), ylim=(0, 1.02))
            axes.xaxis.get_major_locator().set_params(integer=True)
            axes.legend(frameon=False, fontsize=9)
            tidy(axes)

    return write_pictures(folder, {"ranks": draw}, title=title)


def curves_of(ranked: NDArray[np.bool_], query_indptr: Int64s) -> tuple[Floats, Floats]:
    """Return mean precision and mean recall of the first 1 to DEPTH candidates, over queries with a relevant one."""
    precision, recall = [], []
    for start, stop in itertools.pairwise(query_indptr.tolist()):
        if not ranked[start:stop].any():
            continue
        hits = np.cumsum(ranked[start : min(stop, start + DEPTH)])
        hits = np.concatenate([hits, np.full(DEPTH - len(hits), hits[-1])])  # a short list has no further hits
        precision.append(hits / np.arange(1, DEPTH + 1))
        recall.append(hits / ranked[start:stop].sum())
    return np.mean(precision, axis=0), np.mean(recall, axis=0)
