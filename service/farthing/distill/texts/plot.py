"""The plot of a sweep (matplotlib, extra ``distill``)."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from farthing.errors import ConfigError

if TYPE_CHECKING:
    from farthing.distill.texts.sweep import Point


def plot_sweep(points: list[Point], budget_ns: float, path: Path) -> None:
    """Draw accuracy over cost, with the curve of the points that no other beats, and the budget.

    Raises
    ------
    ConfigError
        matplotlib is not installed.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ConfigError("the plot of a sweep needs matplotlib: pip install 'farthing[distill]'") from error
    figure = Figure(figsize=(8, 5), layout="constrained")
    axes = figure.subplots()
    curve = [p for p in points if p.on_the_curve]
    axes.plot([p.ns_per_event for p in curve], [p.macro_f1 for p in curve], color="tab:blue", zorder=1)
    axes.scatter(
        [p.ns_per_event for p in points],
        [p.macro_f1 for p in points],
        c=["tab:blue" if p.on_the_curve else "lightgray" for p in points],
        zorder=2,
    )
    for p in curve:  # the others are in the table, and their names would cover each other
        name = f"{p.n_buckets // 1024}k x {p.dim}, {p.char_ngrams}{'' if p.word_bigrams else ', no pairs'}"
        axes.annotate(name, (p.ns_per_event, p.macro_f1), textcoords="offset points", xytext=(4, 4), fontsize=7)
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter("{x:,.0f}")
    axes.xaxis.set_minor_formatter("{x:,.0f}")
    axes.tick_params(axis="x", which="minor", labelsize=7)
    axes.axvline(budget_ns, color="tab:red", linestyle="--", label=f"budget {budget_ns:.0f} ns")
    axes.set_xlabel("CPU ns an event: featurize, embedding bag, net; one core")
    axes.set_ylabel("macro-F1 on dev, mean of the heads, int8")
    axes.legend(loc="lower right")
    figure.savefig(path, dpi=150)
