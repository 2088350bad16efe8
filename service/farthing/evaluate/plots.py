"""Draws plots of binary scores as PNG, without a display: reliability, precision and recall, lift."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray

from farthing.evaluate.measures.binary import N_BINS, ScoreCounts, calibration_bins
from farthing.process.output import writing

Floats = NDArray[np.float64]

INK: Final = "#1f4e79"
FAINT: Final = "#9a9a9a"
MARK: Final = "#c0392b"
_Z95: Final = 1.959964
"""The normal distribution's quantile at 97.5 %."""


def write_plots(
    folder: Path, counts: ScoreCounts, *, title: str, cut: float | None = None, equal_bins: bool = True
) -> list[Path]:
    """Write ``reliability.png``, ``precision_recall.png`` and ``lift.png`` into a folder, which is created if needed.

    Parameters
    ----------
    counts:
        Counts of one set of rows (m = 1) with both classes.
    cut:
        Marked in the plots, if given.
    equal_bins:
        Use bins of equal width in the reliability diagram; otherwise bins have equal numbers of rows and axes are
        logarithmic, for probabilities that are all small.

    Raises
    ------
    ConfigError
        The folder cannot be written.
    """
    reliability = _reliability if equal_bins else _reliability_of_small
    pictures: dict[str, Callable[[Figure], None]] = {
        "reliability": lambda figure: reliability(figure, counts),
        "precision_recall": lambda figure: _precision_recall(figure.add_subplot(), counts, cut),
        "lift": lambda figure: _lift(figure.add_subplot(), counts, cut),
    }
    return write_pictures(folder, pictures, title=title)


def write_pictures(folder: Path, pictures: Mapping[str, Callable[[Figure], None]], *, title: str) -> list[Path]:
    """Draw plots into PNG files in a folder, which is created if needed.

    Raises
    ------
    ConfigError
        The folder cannot be written.
    """
    written = []
    with writing(f"--plots {folder}"):
        folder.mkdir(parents=True, exist_ok=True)
        for name, draw in pictures.items():
            figure = Figure(figsize=(6.4, 5.2), dpi=150, layout="constrained")
            FigureCanvasAgg(figure)
            draw(figure)
            figure.suptitle(title, fontsize=10)
            path = folder / f"{name}.png"
            figure.savefig(path)
            written.append(path)
    return written


def wilson_interval(hits: Floats, rows: Floats) -> tuple[Floats, Floats]:
    """Return the 95 % score interval of shares (E. B. Wilson, 1927); rows of at least 1."""
    share, z2 = hits / rows, _Z95**2
    middle = (share + z2 / (2 * rows)) / (1 + z2 / rows)
    half = _Z95 / (1 + z2 / rows) * np.sqrt(share * (1 - share) / rows + z2 / (4 * rows**2))
    return middle - half, middle + half


def _reliability(figure: Figure, counts: ScoreCounts) -> None:
    bins = calibration_bins(counts)
    rows, positives, sums = bins.rows[0], bins.positives[0], bins.score_sums[0]
    filled = rows > 0
    score, share = sums[filled] / rows[filled], positives[filled] / rows[filled]
    low, high = wilson_interval(positives[filled], rows[filled])
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=[3, 1])
    above.plot([0, 1], [0, 1], color=FAINT, linewidth=1, linestyle="--", label="calibrated")
    above.errorbar(
        score, share, yerr=np.clip([share - low, high - share], 0, None), color=INK, marker="o", markersize=4,
        linewidth=1.5, capsize=3, label="observed, 95 % interval",
    )  # fmt: skip
    above.set(ylabel="share of positives", xlim=(0, 1), ylim=(0, 1))
    above.legend(frameon=False, loc="upper left", fontsize=9)
    below.bar((np.arange(N_BINS) + 0.5) / N_BINS, rows, width=0.9 / N_BINS, color=INK, alpha=0.6)
    below.set(xlabel="score", ylabel="rows", yscale="log" if rows.max() > 50 * rows[filled].min() else "linear")
    for axes in (above, below):
        tidy(axes)


def _reliability_of_small(figure: Figure, counts: ScoreCounts) -> None:
    """Compare mean probability and share of positives in bins of about as many rows each."""
    rows = counts.positives[0] + counts.negatives[0]
    which = np.minimum((np.cumsum(rows) - rows) * N_BINS // rows.sum(), N_BINS - 1).astype(np.int64)
    total, positives, sums = (
        np.asarray(np.bincount(which, weights=values, minlength=N_BINS), np.float64)
        for values in (rows, counts.positives[0], rows * counts.scores.astype(np.float64))
    )
    filled = total > 0
    score, share = sums[filled] / total[filled], positives[filled] / total[filled]
    low, high = wilson_interval(positives[filled], total[filled])
    axes = figure.add_subplot()
    floor = max(min(score.min(), low[low > 0].min(initial=1.0)) / 2, 1e-7)
    edge = [floor, min(1.0, 2 * max(score.max(), high.max()))]
    axes.plot(edge, edge, color=FAINT, linewidth=1, linestyle="--", label="calibrated")
    seen = np.maximum(share, floor)
    axes.errorbar(
        score, seen, yerr=np.clip([seen - np.maximum(low, floor), high - seen], 0, None), color=INK, marker="o",
        markersize=4, linewidth=1.5, capsize=3, label=f"observed in {N_BINS} bins of as many rows, 95 % interval",
    )  # fmt: skip
    axes.set(xlabel="probability", ylabel="share of clicks", xscale="log", yscale="log", xlim=edge, ylim=edge)
    axes.legend(frameon=False, loc="upper left", fontsize=9)
    tidy(axes)


def _precision_recall(axes: Axes, counts: ScoreCounts, cut: float | None) -> None:
    hits, called = _cumulated(counts)
    precision, recall = hits / called, hits / hits[-1]
    share = hits[-1] / called[-1]
    axes.step(np.append(0, recall), np.append(precision[0], precision), where="pre", color=INK, linewidth=1.5)
    axes.axhline(share, color=FAINT, linewidth=1, linestyle="--", label=f"share of positives, {share:.3f}")
    if cut is not None and (at := np.count_nonzero(counts.scores >= cut) - 1) >= 0:
        label = f"cut {cut:g}: precision {precision[at]:.3f}, recall {recall[at]:.3f}"
        axes.plot(recall[at], precision[at], "o", color=MARK, label=label)
    axes.set(xlabel="recall", ylabel="precision", xlim=(0, 1), ylim=(0, 1.02))
    axes.legend(frameon=False, loc="lower left", fontsize=9)
    tidy(axes)


def _lift(axes: Axes, counts: ScoreCounts, cut: float | None) -> None:
    hits, called = _cumulated(counts)
    chosen, share = called / called[-1], hits[-1] / called[-1]
    lift = hits / called / share
    axes.plot(chosen, lift, color=INK, linewidth=1.5)
    axes.axhline(1, color=FAINT, linewidth=1, linestyle="--", label="no better than chance")
    if cut is not None and (at := np.count_nonzero(counts.scores >= cut) - 1) >= 0:
        label = f"cut {cut:g}: {chosen[at]:.1%} of rows, {lift[at]:.2f} times the share"
        axes.plot(chosen[at], lift[at], "o", color=MARK, label=label)
    axes.set(
        xlabel="rows, highest scores first", ylabel="share of positives, times that of all rows", xlim=(0, 1),
        ylim=(0, 1.05 / share),
    )  # fmt: skip
    axes.xaxis.set_major_formatter(lambda x, _: f"{x:.0%}")
    axes.legend(frameon=False, loc="upper right", fontsize=9)
    tidy(axes)


def _cumulated(counts: ScoreCounts) -> tuple[Floats, Floats]:
    hits = np.cumsum(counts.positives[0])
    return hits, hits + np.cumsum(counts.negatives[0])


def tidy(axes: Axes) -> None:
    """Draw only the left and bottom of the frame, and a light grid behind the data."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(color="#e6e6e6", linewidth=0.6)
    axes.set_axisbelow(True)
