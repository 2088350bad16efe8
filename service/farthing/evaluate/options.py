"""The flags of ``farthing evaluate``, and its result."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from farthing.commands.flags import within
from farthing.commands.parameters import AsJson
from farthing.errors import ConfigError
from farthing.evaluate.measures.choices import EPISODE, RESAMPLES, Advance, Strategy

if TYPE_CHECKING:
    from farthing.evaluate.report import Report

Track = Callable[[str, int], Advance]
"""Begins a progress bar with a name and a number of steps."""


@dataclass(frozen=True, kw_only=True)
class EvaluateFlags:
    """The flags of ``farthing evaluate``."""

    head: Annotated[
        str | None, Parameter(help="moderation, classify: the score to measure; default: the first head's")
    ] = None
    names: Annotated[
        tuple[str, ...],
        Parameter(
            name="--map", negative="", help="NEW=OLD: read NEW (text, label, qid, click, pctr, ...) from the column OLD"
        ),
    ] = ()
    slices: Annotated[
        tuple[str, ...],
        Parameter(name="--slice", negative="", help="field: also measure each of its values separately"),
    ] = ()
    positive: Annotated[
        tuple[str, ...],
        Parameter(
            negative="",
            help="label that counts as yes, all others as no; may be repeated; default: numbers, or pairs like yes, no",
        ),
    ] = ()
    first_stage: Annotated[
        str | None, Parameter(help="rerank: column with the first stage's score; rows without one are left out")
    ] = None
    qrels: Annotated[
        Path | None, Parameter(help="rerank: file with the judgements (qid, docid, label), if they are separate")
    ] = None
    positive_from: Annotated[
        float,
        Parameter(help="rerank: the lowest label of a relevant candidate", validator=within(0, above=True)),
    ] = 1.0
    budget_factor: Annotated[
        float | None,
        Parameter(
            help="bidding: bid on rows with market_price; the budget is this share of what all cost in training",
            validator=within(0, 1, above=True, such_as="0.03125"),
        ),
    ] = None
    prices: Annotated[
        Path | None,
        Parameter(help="bidding: file of training's market prices (market_price, impressions); default: beside DATA"),
    ] = None
    strategy: Annotated[Strategy, Parameter(help="bidding: how bids are made")] = "ortb"
    click_rate: Annotated[
        float | None,
        Parameter(
            help="bidding: share of clicks in training; default: the bundle's own, or the mean pctr",
            validator=within(0, 1, above=True, below=True),
        ),
    ] = None
    episode: Annotated[int, Parameter(help="bidding: auctions that share a budget", validator=within(1))] = EPISODE
    plots: Annotated[Path | None, Parameter(help="folder for PNG plots (needs the extra evaluate)")] = None
    resamples: Annotated[int, Parameter(help="bootstrap resamples for the 95 % intervals", validator=within(1))] = (
        RESAMPLES
    )
    seed: Annotated[int, Parameter(help="seed of the bootstrap", validator=within(0))] = 0
    as_json: AsJson = False


@dataclass(frozen=True)
class EvaluateOptions(EvaluateFlags):
    """The command line: a bundle, labelled rows and flags."""

    bundle: str
    data: tuple[Path, ...]
    trusted_keys: Sequence[str | Path] = ()  # the bundle must be signed with one of them, unless there are none

    def only(self, task: str, *meant: str) -> None:
        """Raise ConfigError if a flag of another task is given; ``meant`` are those of this task."""
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
    """The metrics, and how they are shown."""

    report: Report
    title: str  # above the table
    notes: Sequence[str] = ()  # what a reader must know about the figures
    draw: Callable[[Path, str], Sequence[Path]] | None = field(default=None)  # folder, title -> pictures written
    drawn_title: str = ""


def facts(**values: Any) -> dict[str, Any]:
    """Leave out facts that are not known."""
    return {name: value for name, value in values.items() if value is not None}
