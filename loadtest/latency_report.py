"""What a latency run says: figures, whether they may be believed, and a picture. Pure, but for writing the picture.

Latencies are counted in microseconds, whole ones below a millisecond and with three digits above
(:mod:`loadtest.histogram`, whatever the unit), and said in milliseconds. A percentile is the nearest rank.

**Void** is a run that measured something else than the service:

- the generator, where the p99 of how late events were handed over is more than :data:`LATE_SHARE` of the floor's p99,
  or where sending took so long that less than :data:`RATE_SHARE` of the rate was sent;
- the broker, where the floor's p99 is above :data:`MOST_FLOOR_MS`: then events queue up before anyone can read them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from loadtest.histogram import counts_of, percentile_ms, summary_ms
from loadtest.watching import NEVER

from farthing.errors import ConfigError, extra
from farthing.process.output import writing

LATE_SHARE: Final = 0.5
RATE_SHARE: Final = 0.99
MOST_FLOOR_MS: Final = 100
BINS_A_DECADE: Final = 25
ROOM_RIGHT: Final = 2  # for the last label
SHARES: Final = {"p50": 0.5, "p90": 0.9, "p99": 0.99, "p99.9": 0.999}
COLOURS: Final = {"floor": "#707070", "scores": "#1f4e79"}
WORDS: Final = {"floor": "floor: the event itself can be read", "scores": "its score can be read"}

Counts = Mapping[int, int]


@dataclass(frozen=True, slots=True)
class Answers:
    """What became of the events that were sent, warm-up included."""

    sent: int
    scored: int
    repeated: int = 0  # scores of events that had one
    foreign: int = 0  # scores that belong to no event

    @property
    def missing(self) -> int:
        """Events without a score."""
        return self.sent - self.scored


def answers_of(sent: Mapping[int, int], sources: Mapping[int, np.ndarray]) -> Answers:
    """Count scores: ``sent`` events in each partition, and the events' offsets that the scores there name."""
    scored = repeated = foreign = 0
    for partition in sorted({*sent, *sources}):
        named = sources.get(partition, np.zeros(0, np.int64))
        ours = named[(named >= 0) & (named < sent.get(partition, 0))]
        distinct = len(np.unique(ours))
        scored += distinct
        repeated += len(ours) - distinct
        foreign += len(named) - len(ours)
    return Answers(sum(sent.values()), scored, repeated, foreign)


def first_ns(n: int, sources, seen_ns):
    """Give when the first score of each of ``n`` events could be read, int64 (n,); NEVER where it has none.

    ``sources`` (m,) are the offsets of the scores' events, ``seen_ns`` (m,) when each score could be read.
    """
    first = np.full(n, NEVER)
    ours = (sources >= 0) & (sources < n)
    np.minimum.at(first, sources[ours], seen_ns[ours])
    return first


def milliseconds(counts_us: Counts) -> dict[str, float | None]:
    """Give the percentiles of counts by microsecond, in milliseconds."""
    return {name: None if us is None else us / 1000 for name, us in summary_ms(counts_us).items()}


def counts_ns(ns) -> dict[int, int]:
    """Count int64 nanoseconds (n,) by their rounded microseconds."""
    return counts_of(np.asarray(ns, np.int64) // 1000)


def why_void(late_us: Counts, floor_us: Counts, events_per_second: float, rate: int) -> list[str]:
    """Give the reasons for which a run is void; none where generator and broker kept up."""
    reasons = []
    late, floor = percentile_ms(late_us, 0.99), percentile_ms(floor_us, 0.99)
    if late is not None and floor is not None and late > LATE_SHARE * floor:
        reasons.append(
            f"void: the p99 of how late the generator sent was {late / 1000:.1f} ms, more than {LATE_SHARE:g} of the "
            f"floor's p99 ({floor / 1000:.1f} ms); the machine is too busy, or the rate too high for it"
        )
    if floor is not None and floor > MOST_FLOOR_MS * 1000:
        reasons.append(
            f"void: the floor's p99 was {floor / 1000:.0f} ms, more than {MOST_FLOOR_MS} ms; the broker was behind "
            "or had not warmed up; try a longer --warm-up-s, a longer --tick-ms or a calmer machine"
        )
    if events_per_second < RATE_SHARE * rate:
        reasons.append(
            f"void: {events_per_second:,.0f} events/s were sent, under {RATE_SHARE:.0%} of the {rate:,} asked for"
        )
    return reasons


def failures(answers: Answers, wait_s: float) -> list[str]:
    """Give the reasons for which a run has failed: every event has one score, and every score an event."""
    reasons = []
    if answers.missing:
        reasons.append(
            f"{answers.missing:,} of {answers.sent:,} events have no score {wait_s:.0f} s after the last one that came"
        )
    if answers.foreign:
        reasons.append(f"{answers.foreign:,} scores belong to no event that was sent: who else writes there?")
    return reasons


def check_picture(path: Path) -> None:
    """Raise ConfigError, before anything is measured, where no picture could be drawn."""
    if path.suffix.lower() != ".png":
        raise ConfigError(f"--picture {path}: a picture is a PNG; give a name that ends in .png")
    if not path.parent.is_dir():
        raise ConfigError(f"--picture {path}: there is no folder {path.parent}")
    try:
        import matplotlib  # noqa: F401
    except ImportError as error:
        raise ConfigError(f"--picture {path}: needs matplotlib: {extra('evaluate')} ({error})") from error


def draw(path: Path, series: Mapping[str, Counts], title: str) -> None:
    """Draw histograms of latency and the share of slower events, over a logarithmic axis, as PNG.

    Raises
    ------
    ConfigError, OutputError
        The file cannot be written.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.ticker import LogLocator

    figure = Figure(figsize=(8, 6.4), dpi=150, layout="constrained")
    FigureCanvasAgg(figure)
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=[1, 1])
    largest = max(max(counts) for counts in series.values())
    smallest = max(min(min(counts) for counts in series.values()), 1)
    edges = bin_edges_us(smallest, largest)
    for name, counts in series.items():
        us, n = (np.array(column) for column in zip(*sorted(counts.items()), strict=True))
        share = np.histogram(np.maximum(us, edges[0]), edges, weights=n)[0] / n.sum()
        above.stairs(share, edges / 1000, fill=True, color=COLOURS[name], alpha=0.3)
        above.stairs(share, edges / 1000, color=COLOURS[name], linewidth=1.2, label=WORDS[name])
        slower = 1 - np.cumsum(n) / n.sum()
        below.step(us / 1000, np.maximum(slower, 1e-12), where="post", color=COLOURS[name], linewidth=1.5)
        for label, quantile in SHARES.items():
            value = (percentile_ms(counts, quantile) or 0) / 1000
            below.plot(value, 1 - quantile, "o", color=COLOURS[name], markersize=4)
            left = name == "floor"
            below.annotate(
                f"{label} {value:.3g} ms", (value, 1 - quantile), xytext=(-6 if left else 6, -4 if left else 3),
                textcoords="offset points", ha="right" if left else "left", va="top" if left else "bottom",
                fontsize=8, color=COLOURS[name],
            )  # fmt: skip
    above.set(ylabel=f"share of events in a bin\n({BINS_A_DECADE} bins a decade)", xscale="log", ylim=(0, None))
    above.yaxis.set_major_formatter(lambda y, _: f"{100 * y:g} %")
    above.legend(frameon=False, fontsize=9)
    fewest = min(1 / sum(counts.values()) for counts in series.values())
    below.set(
        xlabel="latency from the intended send time, ms", ylabel="share of events that took longer", yscale="log",
        ylim=(fewest / 2, 1.3), xlim=(edges[0] / 1000, ROOM_RIGHT * edges[-1] / 1000),
    )  # fmt: skip
    below.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    below.xaxis.set_major_formatter(lambda x, _: f"{x:g}")
    below.yaxis.set_major_formatter(lambda y, _: f"{100 * y:g} %")
    for axes in (above, below):
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(color="#e6e6e6", linewidth=0.6)
        axes.set_axisbelow(True)
    figure.suptitle(title, fontsize=10)
    with writing(f"--picture {path}"):
        figure.savefig(path)


def bin_edges_us(smallest: float, largest: float):
    """Give edges of equal width on a logarithmic axis that enclose both, with a little room."""
    first, last = (np.log10(value) * BINS_A_DECADE for value in (smallest, largest))
    return 10 ** (np.arange(np.floor(first) - 1, np.ceil(last) + 3) / BINS_A_DECADE)


def words_of(report: Mapping[str, Any]) -> list[str]:
    """Say what a report says, line by line."""
    lines = []
    cores = {name: "unknown" if used is None else f"{used:.3f}" for name, used in report["cpu_cores"].items()}
    if report["rate"]:
        lines += [f"{'':>8}{'p50':>9}{'p90':>9}{'p99':>9}{'p99.9':>9}{'max':>9}  ms"]
        for name, figures in {**report["latency_ms"], "late": report["late_ms"]}.items():
            lines += [f"{name:>8}" + "".join(f"{'-' if ms is None else f'{ms:.2f}':>9}" for ms in figures.values())]
        events = report["events"]
        lines += [
            "p99 of the scores over p99 of the floor: "
            + ("unknown" if report["p99_ratio"] is None else f"{report['p99_ratio']:.2f}"),
            f"{report['events_per_second']:,} events/s of {report['rate']:,}; sent {events['sent']:,}, "
            f"scored {events['scored']:,}, missing {events['missing']:,}, repeated {events['repeated']:,}",
        ]
    lines += ["CPU cores used: " + ", ".join(f"{name} {used}" for name, used in cores.items())]
    return lines + report["reasons"]
