"""Runs ``farthing evaluate``: reads labelled rows, scores them as the service would, and shows the metrics."""

from __future__ import annotations

import importlib.util
from typing import Final

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from farthing.errors import ConfigError, extra
from farthing.evaluate import bids, moderation, rerank
from farthing.evaluate.measures.choices import Advance
from farthing.evaluate.options import EvaluateOptions, Result, Track
from farthing.files import Named, keep_apart
from farthing.model.scorer import Scorer
from farthing.process.output import report_console, write_json
from farthing.scoring.manifest import Manifest

PICTURES: Final = ("reliability.png", "precision_recall.png", "lift.png", "ranks.png")
"""Files that ``--plots`` may write into its folder."""


def run(options: EvaluateOptions) -> int:
    """Run the command; returns the exit code.

    Raises
    ------
    BundleError
        There is no such bundle, or it fails a check.
    ConfigError
        A flag does not fit the bundle or the data, or a file cannot be opened.
    DataError
        The data is invalid; the message names file and row.
    """
    if options.resamples < 1:
        raise ConfigError(f"--resamples {options.resamples}: expected 1 or more")
    if options.plots is not None and importlib.util.find_spec("matplotlib") is None:
        raise ConfigError(f"--plots needs matplotlib, which is not installed: {extra('evaluate')}")
    if options.plots is not None:
        inputs: list[Named] = [("DATA", path) for path in options.data]
        inputs += [("--qrels", options.qrels), ("--prices", options.prices)]
        keep_apart(inputs, [("--plots", options.plots), *(("--plots", options.plots / name) for name in PICTURES)])
    scorer = Scorer.load(options.bundle, trusted_keys=options.trusted_keys)
    console = Console(stderr=True, markup=False, emoji=False)
    with Progress(
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(),
        console=console, transient=True, disable=not console.is_terminal,
    ) as progress:  # fmt: skip

        def track(description: str, total: int) -> Advance:
            bar = progress.add_task(description, total=total)
            return lambda done: progress.advance(bar, done)

        result = _evaluate(scorer, scorer.manifest, options, track)
    _print(result, as_json=options.as_json)
    if options.plots is not None and result.draw is not None:
        for path in result.draw(options.plots, result.drawn_title):
            console.print(f"wrote {path}", highlight=False)
    if options.as_json:
        write_json(result.report.to_json())
    return 0


def _evaluate(scorer: Scorer, manifest: Manifest, options: EvaluateOptions, track: Track) -> Result:
    if scorer.task == "rerank":
        return rerank.evaluate(scorer, options, track)
    if scorer.task == "bidding":
        return bids.evaluate(scorer, manifest, options, track)
    return moderation.evaluate(scorer, manifest, options, track)


def _print(result: Result, *, as_json: bool) -> None:
    console = report_console(as_json=as_json)
    console.print(result.title, highlight=False)
    console.print(result.report.table())
    for note in result.notes:
        console.print(note, style="yellow", highlight=False)
