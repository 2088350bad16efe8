"""The live table of the demo, drawn by rich on standard error."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rich.cells import cell_len, split_graphemes
from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from farthing.demo.tally import Flagged, Tally, Totals

BAR_CELLS = 24
SHOWN_AT_END = 3
TEXT_AT_END = 60
_FLAG_LETTERS = "".join(map(chr, range(0x1F1E6, 0x1F200)))


@dataclass(frozen=True, slots=True)
class Glance:
    """What the table shows besides the tally."""

    source: str
    broker: str
    model: str
    state: str
    seconds: float
    produced: int
    events_per_second: float
    memory_bytes: int


@dataclass(frozen=True, slots=True)
class _OneLine:
    """A text that is cut to the width of its place."""

    text: str

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        yield Text(shortened(self.text, options.max_width), no_wrap=True, end="")


def draw(glance: Glance, tally: Tally) -> RenderableType:
    """Draw one moment; what the tally counts meanwhile is in the next picture."""
    totals = tally.totals
    title = f"[bold]farthing demo[/]  {glance.source} → {glance.broker} → {glance.model}"
    parts: list[RenderableType] = [_numbers(glance, totals)]
    if totals.labels:
        parts += [Text(), _labels(totals, tally.mildest)]
    if totals.flagged:
        parts += [Text(), _flagged(totals)]
    return Panel(Group(*parts), title=title, title_align="left", subtitle="Ctrl-C to stop", subtitle_align="right")


def _numbers(glance: Glance, totals: Totals) -> Table:
    table = Table.grid(padding=(0, 2))
    for _ in range(4):
        table.add_column(justify="right", min_width=11)
    cells = (
        ("events in", f"{glance.produced:,}"),
        ("scored", f"{totals.scored:,}"),
        ("dead letters", f"{totals.dead:,}"),
        ("scored / s", f"{glance.events_per_second:,.0f}"),
        ("latency p50", f"{totals.p50_ms:,} ms"),
        ("p99", f"{totals.p99_ms:,} ms"),
        ("memory, all", f"{glance.memory_bytes / 2**20:,.0f} MiB"),
        (glance.state, f"{glance.seconds:,.0f} s"),
    )
    for row in (cells[:4], cells[4:]):
        table.add_row(*(Text(name, style="dim") for name, _ in row))
        table.add_row(*(Text(value, style="bold") for _, value in row))
    return table


def _labels(totals: Totals, mildest: str) -> Table:
    table = Table.grid(padding=(0, 2))
    total = sum(totals.labels.values())
    for label, count in sorted(totals.labels.items(), key=lambda item: -item[1]):
        share = count / total
        style = "green" if label == mildest else "red"
        bar = Text("█" * round(share * BAR_CELLS), style=style) + Text(
            "░" * (BAR_CELLS - round(share * BAR_CELLS)), style="dim"
        )
        table.add_row(Text(label), bar, Text(f"{share:.1%}"), Text(f"{count:,}", style="dim"))
    return table


def _flagged(totals: Totals) -> Table:
    table = Table(box=None, pad_edge=False, expand=True, header_style="dim")
    table.add_column("recently flagged", no_wrap=True)
    table.add_column("score", justify="right", no_wrap=True)
    table.add_column("event", ratio=1, no_wrap=True)
    for one in reversed(totals.flagged):
        table.add_row(Text(one.label, style="red"), f"{one.score:.3f}", _OneLine(one.text))
    return table


def outcome(result: Mapping[str, Any], flagged: Sequence[Flagged] = ()) -> str:
    """Say the result in a few short lines, without rates and savings if the run was too short."""
    latency = result["latency_ms"]
    lines = [
        f"{result['events_produced']:,} events in, {result['events_scored']:,} scored, "
        f"{result['dead']:,} dead letters, {result['lost']:,} lost"
    ]
    lines += [
        f"  {one.label} {one.score:.3f}  {shortened(one.text, TEXT_AT_END)}" for one in list(flagged)[-SHOWN_AT_END:]
    ]
    if result["dead"]:
        lines.append("why events became dead letters: farthing score BUNDLE FILE --dead refused.jsonl")
    if result["events_per_second"]:
        lines.append(
            f"{result['events_per_second']:,} scored/s, end to end p50 {latency['p50']:,} ms, p99 {latency['p99']:,} ms"
        )
        lines.append(
            f"{result['cpu_ns_per_event']:,} ns of the worker's CPU per event, {result['duplicated']:,} repeated"
        )
    else:
        lines.append(f"end to end p50 {latency['p50']:,} ms, p99 {latency['p99']:,} ms; too short a run for a rate")
    savings = savings_words(result["savings"]) if result["events_per_second"] else None
    return "\n".join([*lines, *filter(None, (savings, result["savings_note"]))])


def shortened(text: str, cells: int) -> str:
    """Give a text, or as many of its words as fit into ``cells`` columns of a terminal with an ellipsis after them.

    A first word that does not fit is cut between two characters as a reader sees them (grapheme clusters).
    """
    if cell_len(text) <= cells:
        return text
    end = width = 0
    for _, stop, wide in split_graphemes(text)[0]:
        if width + wide > cells - 1:  # one is for the ellipsis
            break
        width += wide
        end = end if _is_inside_flag(text, stop) else stop
    word_end = end if text[end : end + 1].isspace() else text.rfind(" ", 0, end)
    return text[: word_end if word_end > 0 else end].rstrip() + "…" if cells > 0 else ""


def _is_inside_flag(text: str, at: int) -> bool:
    """Tell whether a place is between the two letters of a flag, which rich takes for two characters."""
    letters = len(text[:at]) - len(text[:at].rstrip(_FLAG_LETTERS))
    return letters % 2 == 1 and text[at : at + 1] != "" and text[at] in _FLAG_LETTERS


def savings_words(savings: Mapping[str, Any] | None) -> str | None:
    """Say what was saved, and whether the same rate would pay in the long run."""
    if savings is None:
        return None
    avoided, a_day = savings["avoided_usd"], savings["events_per_day"]
    threshold = savings["threshold_events_per_day"]["mid"]
    wins = "never wins" if threshold is None else f"wins above {_short(threshold)} a day"
    verdict = {
        "api": f"at {_short(a_day)} events a day the API is cheaper than the tuned model, which {wins}",
        "tuned": f"at {_short(a_day)} events a day, day after day, the tuned model is cheaper: it {wins}",
        "undecided": f"at {_short(a_day)} events a day it is too close to call",
    }[savings["verdict"]]
    return (
        f"{savings['model']}, cheapest pricing mode ({savings['mode']}), prices of {savings['prices_as_of']}: "
        f"{_usd(avoided['low'])} to {_usd(avoided['high'])} for these events\n"
        f"here: {_usd(savings['own_usd'])}, ${savings['own_usd_per_million']:,.3f} a million\n{verdict}"
    )


def _short(n: int) -> str:
    """Give a count with its first digits."""
    for unit, name in ((10**9, "billion"), (10**6, "million")):
        if n >= unit:
            return f"{n / unit:,.3g} {name}"
    return f"{n:,}"


def _usd(value: float) -> str:
    """Give small dollars with their significant digits."""
    return f"${value:,.2f}" if value >= 1 else f"${value:.2g}"
