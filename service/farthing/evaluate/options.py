"""The options of ``farthing evaluate``, and its result."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from farthing.errors import ConfigError
from farthing.evaluate.measures.auctions import EPISODE
from farthing.evaluate.measures.bidding import Strategy
from farthing.evaluate.measures.bootstrap import RESAMPLES, Advance
from farthing.evaluate.report import Report

Track = Callable[[str, int], Advance]
"""Begins a bar of so many steps under a name."""


@dataclass(frozen=True, slots=True)
class EvaluateOptions:
    """What the command line says."""

    bundle: str
    data: tuple[Path, ...]
    head: str | None = None  # None: the first
    names: tuple[str, ...] = ()  # NEW=OLD
    slices: tuple[str, ...] = ()
    positive: tuple[str, ...] = ()  # labels that count as yes; empty: numbers, or words that can be understood
    first_stage: str | None = None
    qrels: Path | None = None
    positive_from: float = 1.0
    budget_factor: float | None = None
    prices: Path | None = None
    strategy: Strategy = "ortb"
    click_rate: float | None = None
    episode: int = EPISODE
    plots: Path | None = None
    resamples: int = RESAMPLES
    seed: int = 0
    as_json: bool = False

    def only(self, task: str, *meant: str) -> None:
        """Raise ConfigError where a flag of another task is given; ``meant`` are this task's own."""
        of_tasks = (
            "head",
            "slices",
            "positive",
            "first_stage",
            "qrels",
            "positive_from",
            "budget_factor",
            "prices",
            "strategy",
        )
        for name in (*of_tasks, "click_rate", "episode"):
            default = type(self).__dataclass_fields__[name].default
            if name not in meant and getattr(self, name) != default:
                flag = "--" + {"slices": "slice"}.get(name, name).replace("_", "-")
                raise ConfigError(f"{flag} does not apply to a bundle of the task {task}; leave it out")


@dataclass(frozen=True, slots=True)
class Result:
    """What was measured, and how it is shown."""

    report: Report
    title: str  # above the table
    notes: Sequence[str] = ()  # what a reader must know of the figures
    draw: Callable[[Path, str], Sequence[Path]] | None = field(default=None)  # folder, title -> pictures written
    drawn_title: str = ""


def facts(**values: Any) -> dict[str, Any]:
    """Leave out what is not known."""
    return {name: value for name, value in values.items() if value is not None}
