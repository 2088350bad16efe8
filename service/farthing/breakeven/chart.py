"""Draws the break-even chart, cost a day over events a day on logarithmic axes, in the terminal or as PNG.

The curves are points from :mod:`farthing.meter.breakeven`. Floats are used here for places on a canvas, never for money
that is shown as a number.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Final

from rich.text import Text

from farthing.errors import ConfigError, extra
from farthing.meter.money import Interval
from farthing.meter.study import Study
from farthing.process.output import writing

if TYPE_CHECKING:
    from matplotlib.axes import Axes

FIRST_EXPONENT: Final = 4
LAST_EXPONENT: Final = 11
HEIGHT: Final = 13
MARGIN: Final = 9


def span(study: Study) -> tuple[int, int]:
    """Return the chart's range in powers of ten: wide enough for today's volume and the thresholds."""
    seen = [study.events_per_day, study.threshold.low, study.threshold.high, study.threshold_paid.mid]
    exponents = [math.log10(value) for value in seen if value]
    first = min(FIRST_EXPONENT, math.floor(min(exponents)))
    last = max(FIRST_EXPONENT + 4, min(LAST_EXPONENT + 2, math.ceil(max(exponents)) + 1))
    return first, last


def terminal_chart(study: Study, width: int) -> Text:
    """Draw with characters, ``width`` cells wide."""
    first, last = span(study)
    columns = max(30, width - MARGIN - 1)
    volumes = [round(10 ** (first + (last - first) * at / (columns - 1))) for at in range(columns)]
    naive = study.chosen.offers["naive"]
    best = study.chosen.best.usd_per_event.mid
    series: list[tuple[str, str, list[float]]] = []
    if naive is not None and study.chosen.best is not naive:
        series.append(("·", "yellow", _logs([naive.usd_per_event.mid * n for n in volumes])))
    series.append(("•", "bold yellow", _logs([best * n for n in volumes])))
    series.append(("━", "bold green", _logs([study.own.day_usd(n, "mid") for n in volumes])))
    low = math.floor(min(min(line) for _, _, line in series))
    low = max(low, math.floor(series[-1][2][0]) - 2)
    high = math.ceil(max(series[-1][2][-1], series[-2][2][-1]))
    cells = [[(" ", "")] * columns for _ in range(HEIGHT)]
    _upright(cells, columns, first, last, study.threshold.mid, "┊", "cyan")
    _upright(cells, columns, first, last, study.events_per_day, "│", "magenta")
    for mark, style, line in series:
        for column, value in enumerate(line):
            row = round((high - value) / (high - low) * (HEIGHT - 1))
            if 0 <= row < HEIGHT:
                cells[row][column] = (mark, style)
    return _assemble(cells, columns, (first, last), (low, high), study, two_lines=len(series) == 3)


def _logs(values: Sequence[Fraction]) -> list[float]:
    return [math.log10(max(value, Fraction(1, 10**9))) for value in values]


def _place(columns: int, first: int, last: int, volume: int) -> int:
    return round((math.log10(volume) - first) / (last - first) * (columns - 1))


def _upright(
    cells: list[list[tuple[str, str]]], columns: int, first: int, last: int, volume: int | None, mark: str, style: str
) -> None:
    if volume is None:
        return
    at = _place(columns, first, last, volume)
    if 0 <= at < columns:
        for row in cells:
            row[at] = (mark, style)


def _assemble(
    cells: list[list[tuple[str, str]]],
    columns: int,
    powers: tuple[int, int],
    heights: tuple[int, int],
    study: Study,
    *,
    two_lines: bool,
) -> Text:
    (first, last), (low, high) = powers, heights
    text = Text()
    labels = {round((high - power) / (high - low) * (HEIGHT - 1)): power for power in range(low, high + 1)}
    for number, row in enumerate(cells):
        label = _power("$", labels[number]) if number in labels else ""
        text.append(f"{label:>{MARGIN - 2}} ", style="dim")
        text.append("┤" if number in labels else "│", style="dim")
        for mark, style in row:
            text.append(mark, style=style or None)
        text.append("\n")
    axis, below = ["─"] * columns, [" "] * (columns + 3)
    for power in range(first, last + 1):
        at = _place(columns, first, last, 10**power)
        axis[at] = "┬"
        name = _power("", power)
        start = max(0, min(at - len(name) // 2, columns + 3 - len(name)))
        below[start : start + len(name)] = name
    text.append(" " * (MARGIN - 1) + "└" + "".join(axis) + "\n", style="dim")
    text.append(" " * MARGIN + "".join(below).rstrip() + "  events a day\n", style="dim")
    text.append(" " * MARGIN)
    text.append("━ own", style="bold green")
    text.append(f"  • {study.chosen.model}, {study.chosen.best.mode.label}", style="bold yellow")
    if two_lines:
        text.append("  · one call an event", style="yellow")
    text.append("\n" + " " * MARGIN)
    text.append("│ now", style="magenta")
    if study.threshold.mid is not None:
        text.append("  ┊ tuned model wins from here on", style="cyan")
    text.append("  ($ a day)", style="dim")
    return text


def _power(unit: str, power: int) -> str:
    if power < 0:
        return f"{unit}{10.0**power:.{-power}f}"
    for step, name in ((12, "T"), (9, "B"), (6, "M"), (3, "k")):
        if power >= step:
            return f"{unit}{10 ** (power - step)}{name}"
    return f"{unit}{10**power}"


def write_png(study: Study, path: Path) -> None:
    """Write the chart with its bands.

    Raises
    ------
    ConfigError
        matplotlib is not installed, or the file cannot be written.
    """
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
        from matplotlib.ticker import FuncFormatter
    except ImportError as error:
        raise ConfigError(f"--plot {path}: needs matplotlib: {extra('evaluate')} ({error})") from error
    first, last = span(study)
    volumes = [round(10 ** (first + (last - first) * at / 240)) for at in range(241)]
    figure = Figure(figsize=(9, 5.2), dpi=150, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    _draw_costs(axes, study, volumes)
    _draw_volumes(axes, study, first)
    axes.set(xscale="log", yscale="log", xlim=(10**first, 10**last), xlabel="events a day", ylabel="US dollars a day")
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: _power("", round(math.log10(value)))))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: _power("$", round(math.log10(value)))))
    axes.set_title(f"{study.task}: {study.chosen.prices.basis}", fontsize=9)
    axes.grid(visible=True, which="major", alpha=0.3)
    axes.legend(fontsize=8)
    with writing(f"--plot {path}"):
        figure.savefig(path, format="png")


def _draw_costs(axes: Axes, study: Study, volumes: Sequence[int]) -> None:
    """Draw own cost, the best pricing mode, and one call an event if that is another mode, each with its band."""

    def band(of: Callable[[int], Interval], colour: str, label: str, *, dashed: bool = False) -> None:
        days = [of(n) for n in volumes]
        axes.fill_between(
            volumes, [float(d.low) for d in days], [float(d.high) for d in days], color=colour, alpha=0.18
        )
        axes.plot(
            volumes,
            [float(d.mid) for d in days],
            color=colour,
            label=label,
            linestyle="--" if dashed else "-",
            linewidth=2,
        )

    band(study.own.day, "#1b7f4d", "tuned model, own cost")
    best = study.chosen.best
    band(best.usd_per_event.times, "#c2571a", f"{study.chosen.model}, {best.mode.label}")
    naive = study.chosen.offers["naive"]
    if naive is not None and naive is not best:
        band(naive.usd_per_event.times, "#d9a441", f"{study.chosen.model}, {naive.mode.label}", dashed=True)


def _draw_volumes(axes: Axes, study: Study, first: int) -> None:
    """Mark today's volume, the break-even volume with its range, and where a free endpoint is enough."""
    axes.axvline(study.events_per_day, color="#7a3fa0", linewidth=1.5, label="now")
    at = study.threshold
    if at.mid is not None:
        axes.axvline(at.mid, color="#23708f", linestyle=":", linewidth=1.5, label="tuned model wins from here on")
    if at.low is not None and at.high is not None:
        axes.axvspan(at.low, at.high, color="#23708f", alpha=0.08)
    if study.free is not None:
        axes.axvspan(
            10**first,
            float(study.free.events_per_day.mid),
            color="#888888",
            alpha=0.08,
            label="within free limits",
        )
