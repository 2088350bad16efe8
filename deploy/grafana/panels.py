"""What a dashboard is made of: rows of panels, panels of queries, and the selectors that queries share."""

from __future__ import annotations

from dataclasses import dataclass

WORKER = '{namespace=~"$namespace", job="farthing-worker", route=~"$route"}'
PROCESS = '{namespace=~"$namespace", job="farthing-worker"}'
LEDGER = '{namespace=~"$namespace", job="farthing-ledger"}'
RECORDED = '{namespace=~"$namespace", route=~"$route"}'
OPPONENT = '{namespace=~"$namespace", model="$model", mode="$mode"'  # the caller closes the brace
RATE = "[$__rate_interval]"
WHO = "{{instance}} {{worker}}"


@dataclass(frozen=True)
class Query:
    """One expression and the name of its series."""

    expr: str
    legend: str = ""


@dataclass(frozen=True)
class Panel:
    """One panel: ``kind`` is Grafana's, ``unit`` one of Grafana's unit ids, ``limits`` (yellow from, red from)."""

    title: str
    says: str
    unit: str
    queries: tuple[Query, ...]
    kind: str = "timeseries"
    width: int = 8
    height: int = 8
    stacked: bool = False
    limits: tuple[float, float] | None = None


@dataclass(frozen=True)
class Row:
    """A heading and its panels."""

    title: str
    panels: tuple[Panel, ...]


def stat(title: str, says: str, unit: str, expr: str, limits: tuple[float, float] | None = None) -> Panel:
    """Make a panel that shows one number."""
    return Panel(title, says, unit, (Query(expr),), kind="stat", width=4, height=4, limits=limits)


def graph(title: str, says: str, unit: str, *queries: Query, width: int = 8, stacked: bool = False) -> Panel:
    """Make a panel with curves."""
    return Panel(title, says, unit, queries, width=width, stacked=stacked)
