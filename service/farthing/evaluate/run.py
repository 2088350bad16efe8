"""``farthing evaluate``: read labelled rows, score them as the service would, measure, print, draw."""

from __future__ import annotations

import importlib.util
import json
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from farthing.blocks import Status
from farthing.bundles import find_bundle
from farthing.errors import ConfigError, DataError
from farthing.evaluate import binary, moderation
from farthing.evaluate.bootstrap import RESAMPLES, Advance
from farthing.evaluate.cells import parse_names
from farthing.evaluate.report import Report
from farthing.evaluate.rows import LABEL, LabelledRows, read_labelled
from farthing.scorer import Scorer
from farthing.scoring.bundle import Bundle

CHUNK_EVENTS = 4_096


@dataclass(frozen=True, slots=True)
class EvaluateOptions:
    """What the command line says."""

    bundle: str
    data: tuple[Path, ...]
    head: str | None = None  # None: the first
    names: tuple[str, ...] = ()  # NEW=OLD
    slices: tuple[str, ...] = ()
    plots: Path | None = None
    resamples: int = RESAMPLES
    seed: int = 0
    as_json: bool = False


def run(options: EvaluateOptions) -> int:
    """Carry out the command; returns the exit code.

    Raises
    ------
    BundleError
        There is no such bundle, or it fails a check.
    ConfigError
        A flag does not fit the bundle or the data, or a file cannot be opened.
    DataError
        Data are not as they must be; the message names file and row.
    """
    if options.resamples < 1:
        raise ConfigError(f"--resamples {options.resamples}: expected 1 or more")
    if options.plots is not None and importlib.util.find_spec("matplotlib") is None:
        raise ConfigError("--plots needs matplotlib, which is not installed: pip install 'farthing[evaluate]'")
    bundle = Bundle.load(find_bundle(options.bundle))
    scorer = Scorer.load(bundle.path)
    if scorer.task != "moderation":
        raise ConfigError(f"{scorer.model_id}: the task {scorer.task} cannot be evaluated yet, only moderation can")
    head = moderation.Head.of(scorer.heads, bundle.manifest.thresholds, options.head)
    plan = scorer.field_plan
    names = parse_names(options.names, (LABEL, *(field.path for field in plan.fields)))
    rows = read_labelled(options.data, plan, names, slices=options.slices)
    console = Console(stderr=True)
    with Progress(
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(),
        console=console, transient=True, disable=not console.is_terminal,
    ) as progress:  # fmt: skip
        scoring = progress.add_task("scoring", total=len(rows))
        scores = _score(scorer, rows, lambda done: progress.advance(scoring, done))[:, head.column]
        resampling = progress.add_task("resampling", total=options.resamples * moderation.parts_of(rows))
        measured = moderation.measure(
            rows, scores, head.cut, seed=options.seed, resamples=options.resamples,
            advance=lambda done: progress.advance(resampling, done),
        )  # fmt: skip
    report = Report(
        model=scorer.model_id,
        task=scorer.task,
        facts={"head": head.name, "cut": head.cut, "cut_from": head.cut_from, "soft_labels": rows.soft},
        whole=measured.whole,
        sources=measured.sources,
        slices=measured.slices,
        resamples=options.resamples,
        seed=options.seed,
    )
    _print(report, head, rows, as_json=options.as_json)
    if options.plots is not None:
        from farthing.evaluate.plots import write_plots

        title = f"{scorer.model_id}, head {head.name}, {len(rows):,} rows"
        for path in write_plots(options.plots, binary.count(rows.labels, scores), title=title, cut=head.cut):
            console.print(f"wrote {path}", highlight=False)
    if options.as_json:
        sys.stdout.write(json.dumps(report.to_json(), allow_nan=False) + "\n")
    return 0


def _score(scorer: Scorer, rows: LabelledRows, advance: Advance) -> NDArray[np.float32]:
    """Score all rows: float32 (n, n_heads)."""
    parts = []
    for start in range(0, len(rows), CHUNK_EVENTS):
        scored = scorer.score_events(rows.events[start : start + CHUNK_EVENTS])
        refused = np.flatnonzero(scored.status)
        if len(refused):
            reason = Status(int(scored.status[refused[0]])).name.lower()
            raise DataError(f"{rows.places[start + refused[0]]}: cannot be scored ({reason}); mend or take out the row")
        parts.append(scored.scores)
        advance(len(scored))
    return np.concatenate(parts)


def _print(report: Report, head: moderation.Head, rows: LabelledRows, *, as_json: bool) -> None:
    console = Console(stderr=as_json)
    console.print(f"{report.model}, head {head.name}, positive from {head.cut:g} on", highlight=False)
    console.print(report.table())
    if head.cut_from == "default":
        console.print(f"the manifest has no cut for {head.name}: macro_f1 is at {head.cut:g}", style="yellow")
    if rows.soft:
        console.print(f"{rows.soft:,} labels lie between 0 and 1: those of 0.5 and more count as 1", style="yellow")
