"""Draws a dashboard's panels as Grafana would, from a running Prometheus, into one PNG. It needs no Grafana.

``python deploy/grafana/picture.py savings out.png --prometheus http://127.0.0.1:9090 --minutes 60``. Needs matplotlib
(the extra ``evaluate``). Panels come from operations.py and savings.py, laid out as dashboards.py does; a panel whose
query returns nothing says so.
"""

from __future__ import annotations

import argparse
import json
import math
import re
import sys
import time
import urllib.parse
import urllib.request
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from operations import OPERATIONS
from panels import Panel, Query, Row
from savings import SAVINGS

DASHBOARDS = {"operations": OPERATIONS, "savings": SAVINGS}
COLUMNS = 24
CELL_INCHES = 0.62, 0.36  # of one of Grafana's grid cells: width, height
POINTS = 240
TIMEOUT_S = 30
MOST_LEGEND_LINES = 4
COLOURS = ("#1f6fb4", "#e0752d", "#3a9b57", "#b5403f", "#8a62b8", "#8c6d53", "#d584b6", "#6f7f8c", "#b0a62a", "#31b0bd")


@dataclass(frozen=True)
class Curve:
    """One series of a panel: its name, seconds since the epoch, values."""

    name: str
    times: list[float]
    values: list[float]


def ask(prometheus: str, expression: str, start_s: float, stop_s: float) -> list[dict[str, Any]]:
    """Give a range query's series. Raises SystemExit with what Prometheus said."""
    step_s = max((stop_s - start_s) / POINTS, 1.0)
    query = {"query": expression, "start": start_s, "end": stop_s, "step": step_s}
    url = f"{prometheus.rstrip('/')}/api/v1/query_range?{urllib.parse.urlencode(query)}"
    try:
        with urllib.request.urlopen(url, timeout=TIMEOUT_S) as answer:
            found: list[dict[str, Any]] = json.load(answer)["data"]["result"]
    except urllib.error.HTTPError as error:
        raise SystemExit(f"{expression}: Prometheus says {error.code}: {error.read().decode()[:300]}") from error
    except OSError as error:
        raise SystemExit(f"{prometheus} does not answer: {error}") from error
    return found


def filled_in(expression: str, chosen: Mapping[str, str]) -> str:
    """Put values in the place of a dashboard's variables."""
    return re.sub(r"\$(\w+)", lambda match: chosen[match[1]], expression)


def curves(prometheus: str, query: Query, chosen: Mapping[str, str], start_s: float, stop_s: float) -> list[Curve]:
    """Ask for one expression; series are named by the legend."""
    found = []
    for series in ask(prometheus, filled_in(query.expr, chosen), start_s, stop_s):
        labels = series["metric"]
        name = re.sub(r"\{\{(\w+)\}\}", lambda match, labels=labels: labels.get(match[1], ""), query.legend).strip()
        pairs = [(float(t), float(v)) for t, v in series["values"] if math.isfinite(float(v))]
        if pairs:
            found.append(Curve(name, [t for t, _ in pairs], [v for _, v in pairs]))
    return found


def in_unit(value: float, unit: str) -> str:
    """Write a value as Grafana would, near enough."""
    sign, size = ("-" if value < 0 else ""), abs(value)
    if unit == "currencyUSD":
        digits = 2 if size >= 1 or size == 0 else min(2 - math.floor(math.log10(size)), 6)
        return f"{sign}${size:,.{digits}f}"
    if unit == "percentunit":
        return f"{value:.1%}"
    if unit == "s":
        return next(
            (f"{sign}{size * factor:.3g} {name}" for limit, factor, name in
             ((1e-3, 1e6, "µs"), (1, 1e3, "ms"), (60, 1, "s"), (math.inf, 1 / 60, "min")) if size < limit),
            "",
        )  # fmt: skip
    scales = ((1e9, "G"), (1e6, "M"), (1e3, "k"))
    name = " B/s" if unit == "Bps" else ""
    return sign + next((f"{size / s:.3g} {letter}{name}" for s, letter in scales if size >= s), f"{size:.3g}{name}")


def draw_stat(axes: Any, panel: Panel, found: Sequence[Curve]) -> None:
    """Draw one large number over a pale curve of its past."""
    curve = found[0]
    axes.fill_between(curve.times, curve.values, min(*curve.values, 0), color=COLOURS[0], alpha=0.12, linewidth=0)
    axes.set_ylim(min(*curve.values, 0), (max(*curve.values, 0) or 1) * 2.2)
    axes.set_axis_off()
    axes.text(
        0.5,
        0.55,
        in_unit(curve.values[-1], panel.unit),
        transform=axes.transAxes,
        ha="center",
        va="center",
        fontsize=15,
    )


def draw_graph(axes: Any, panel: Panel, found: Sequence[Curve], start_s: float, stop_s: float) -> None:
    """Draw curves, stacked where the panel says so, with the seconds or minutes of the range below."""
    minutes = stop_s - start_s > 600
    scale = 60 if minutes else 1
    shown = sorted(found, key=lambda curve: -curve.values[-1])
    times = sorted({t for curve in shown for t in curve.times})
    colours = {curve.name: COLOURS[k % len(COLOURS)] for k, curve in enumerate(shown)}
    x = [(t - start_s) / scale for t in times]
    if panel.stacked:
        rows = [[dict(zip(c.times, c.values, strict=True)).get(t, 0.0) for t in times] for c in shown]
        axes.stackplot(x, rows, labels=[c.name for c in shown], colors=[colours[c.name] for c in shown], alpha=0.75)
    else:
        for k, curve in enumerate(shown):
            own = [(t - start_s) / scale for t in curve.times]
            axes.plot(own, curve.values, label=curve.name, color=colours[curve.name], linewidth=max(2.5 - 0.6 * k, 1.0))
    axes.set_xlim(0, (stop_s - start_s) / scale)
    if all(value >= 0 for curve in shown for value in curve.values):
        axes.set_ylim(bottom=0)
    axes.yaxis.set_major_formatter(lambda value, _: in_unit(value, panel.unit))
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:.0f} {'min' if minutes else 's'}")
    axes.tick_params(labelsize=6.5, length=2)
    axes.grid(axis="y", linewidth=0.4, alpha=0.5)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    lines, columns = legend_size(shown, panel)
    if lines:
        handles, names = axes.get_legend_handles_labels()
        most = lines * columns
        if len(names) > most:  # Grafana's would scroll
            handles, names = handles[:most], [*names[: most - 1], f"and {len(names) - most + 1} more"]
        axes.legend(
            handles, names, loc="upper left", bbox_to_anchor=(0, -0.14), ncols=columns, fontsize=6, frameon=False,
            borderaxespad=0, columnspacing=1, handlelength=1.2, labelspacing=0.25,
        )  # fmt: skip


def legend_size(found: Sequence[Curve], panel: Panel) -> tuple[int, int]:
    """Give the lines and columns of a panel's legend: as many columns as its longest name leaves room for."""
    longest = max((len(curve.name) for curve in found), default=0)
    if not longest:
        return 0, 0
    columns = max(min(panel.width * 6 // (longest + 6), 4), 1)
    return min(math.ceil(len(found) / columns), MOST_LEGEND_LINES), columns


def placed(rows: Sequence[Row]) -> list[tuple[Row | Panel, int, int]]:
    """Give headings and panels with their places (x, y) in Grafana's grid."""
    out: list[tuple[Row | Panel, int, int]] = []
    y = 0
    for row in rows:
        out.append((row, 0, y))
        y += 1
        x = line = 0
        for panel in row.panels:
            if x + panel.width > COLUMNS:
                x, y, line = 0, y + line, 0
            out.append((panel, x, y))
            x, line = x + panel.width, max(line, panel.height)
        y += line
    return out


def draw(
    rows: Sequence[Row], found: Mapping[str, list[Curve]], chosen: Mapping[str, str], out: Path, start_s: float,
    stop_s: float,
) -> list[str]:  # fmt: skip
    """Draw all panels; ``found`` are their curves by title. Gives the titles of those without any."""
    import matplotlib as mpl

    mpl.use("Agg")
    mpl.rcParams["text.parse_math"] = False  # a dollar is a dollar
    from matplotlib import pyplot as plt

    places = placed(rows)
    height = max(y + (part.height if isinstance(part, Panel) else 1) for part, _, y in places)
    wide, high = COLUMNS * CELL_INCHES[0], height * CELL_INCHES[1]
    figure = plt.figure(figsize=(wide, high), dpi=110, facecolor="#f4f5f5")
    silent = []
    for part, x, y in places:
        top = 1 - y / height
        if isinstance(part, Row):
            figure.text(0.008, top - 0.75 / height, filled_in(part.title, chosen), fontsize=10, fontweight="bold")
            continue
        left, right, below = 0.12 / COLUMNS, 0.12 / COLUMNS, 0.1 / height
        box = [x / COLUMNS + left, top - part.height / height + below,
               part.width / COLUMNS - left - right, part.height / height - 2 * below]  # fmt: skip
        figure.patches.append(
            plt.Rectangle(
                (box[0], box[1]), box[2], box[3], transform=figure.transFigure, facecolor="white",
                edgecolor="#d8d9da", linewidth=0.6, zorder=-1,
            )
        )  # fmt: skip
        figure.text(box[0] + 0.15 / COLUMNS, box[1] + box[3] - 0.55 / height, part.title, fontsize=8)
        series = found[part.title]
        is_stat = part.kind == "stat"
        under = 0.1 if is_stat else 1.1 + 0.42 * legend_size(series, part)[0]
        inner = [box[0] + (0.1 if is_stat else 1.35) / COLUMNS, box[1] + under / height,
                 box[2] - (0.2 if is_stat else 1.65) / COLUMNS, box[3] - (under + 0.95) / height]  # fmt: skip
        axes = figure.add_axes(inner)
        if not series:
            silent.append(part.title)
            axes.set_axis_off()
            axes.text(0.5, 0.5, "No data", transform=axes.transAxes, ha="center", color="#8c8c8c", fontsize=9)
        elif is_stat:
            draw_stat(axes, part, series)
        else:
            draw_graph(axes, part, series, start_s, stop_s)
    figure.savefig(out)
    plt.close(figure)
    return silent


def main() -> int:
    """Ask, draw, and tell which panels got no answer (exit 1 when any has none)."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("dashboard", choices=sorted(DASHBOARDS))
    parser.add_argument("out", type=Path)
    parser.add_argument("--prometheus", default="http://127.0.0.1:9090", metavar="URL")
    parser.add_argument("--minutes", type=float, default=60.0, help="how far back")
    parser.add_argument("--model", default="openai:gpt-5-nano", help="savings: compared with")
    parser.add_argument("--mode", default="packed", help="savings: pricing mode")
    parser.add_argument("--rate-interval", default="1m", help="of rates: four scrapes or more")
    options = parser.parse_args()
    chosen = {
        "namespace": ".*", "route": ".*", "model": options.model, "mode": options.mode,
        "__rate_interval": options.rate_interval,
    }  # fmt: skip
    stop_s = time.time()
    start_s = stop_s - options.minutes * 60
    rows = DASHBOARDS[options.dashboard]
    found = {
        panel.title: [c for query in panel.queries for c in curves(options.prometheus, query, chosen, start_s, stop_s)]
        for row in rows
        for panel in row.panels
    }
    silent = draw(rows, found, chosen, options.out, start_s, stop_s)
    for title in silent:
        sys.stderr.write(f"no data: {title}\n")
    return 1 if silent else 0


if __name__ == "__main__":
    sys.exit(main())
