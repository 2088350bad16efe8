"""Measures moderation and classify: macro-F1 at the bundle's cut, AUC, average precision and calibration."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from farthing.errors import ConfigError
from farthing.evaluate.cells import parse_names
from farthing.evaluate.groups import measure, parts_of
from farthing.evaluate.measures import binary
from farthing.evaluate.options import EvaluateOptions, Result, Track
from farthing.evaluate.report import Report
from farthing.evaluate.rows import LABEL, read_labelled
from farthing.evaluate.scored import score
from farthing.model.scorer import Scorer
from farthing.scoring.manifest import Manifest

DEFAULT_CUT = 0.5
"""The cut for a head that has none in the manifest."""


@dataclass(frozen=True, slots=True)
class Head:
    """The head that is measured, and the score from which on it is positive."""

    name: str
    column: int  # in the scores
    cut: float
    cut_from: str  # "manifest", or "default" where the manifest has none

    @classmethod
    def of(cls, heads: tuple[str, ...], thresholds: Mapping[str, Any], name: str | None) -> Head:
        """Choose a head by name, else the first; its cut is where it calls for review, or for its own label.

        Raises
        ------
        ConfigError
            There is no such head.
        """
        chosen = heads[0] if name is None else name
        if chosen not in heads:
            raise ConfigError(f"--head {chosen}: the bundle has the heads {', '.join(heads)}")
        stated = thresholds.get(chosen) or {}
        cut = stated.get("review", stated.get("cut"))  # for moderation, for classify
        if cut is None:
            return cls(chosen, heads.index(chosen), DEFAULT_CUT, "default")
        return cls(chosen, heads.index(chosen), float(cut), "manifest")


def metrics(cut: float) -> dict[str, binary.Metric]:
    """Return the metrics of a head; scores are positive from ``cut`` on, compared as float32 as in the service."""
    return {
        "macro_f1": partial(binary.macro_f1, cut=cut),
        "auc": binary.auc,
        "ap": binary.average_precision,
        "ece": binary.expected_calibration_error,
    }


def evaluate(scorer: Scorer, manifest: Manifest, options: EvaluateOptions, track: Track) -> Result:
    """Score labelled rows and measure one head."""
    options.only(scorer.task, "head", "slices", "positive")
    head = Head.of(scorer.heads, manifest.thresholds, options.head)
    plan = scorer.field_plan
    names = parse_names(options.names, (LABEL, *(f.path for f in plan.fields)), {f.name: f.path for f in plan.fields})
    rows = read_labelled(options.data, plan, names, slices=options.slices, positive=options.positive, head=head.name)
    scores = score(scorer, rows.events, rows.places, track("scoring", len(rows)))[:, head.column]
    measured = measure(
        rows, rows.labels, scores, metrics(head.cut), seed=options.seed, resamples=options.resamples,
        advance=track("resampling", options.resamples * parts_of(rows)),
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
    notes = []
    if head.cut_from == "default":
        notes.append(f"the manifest has no cut for {head.name}: macro_f1 is at {head.cut:g}")
    if rows.soft:
        notes.append(f"{rows.soft:,} labels lie between 0 and 1: those of 0.5 and more count as 1")

    def draw(folder: Path, title: str) -> list[Path]:
        from farthing.evaluate.plots import write_plots

        return write_plots(folder, binary.count(rows.labels, scores), title=title, cut=head.cut)

    return Result(
        report,
        title=f"{report.model}, head {head.name}, positive from {head.cut:g} on",
        notes=notes,
        draw=draw,
        drawn_title=f"{report.model}, head {head.name}, {len(rows):,} rows",
    )
