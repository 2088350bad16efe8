"""Runs ``--sweep``: trains students of many sizes, and shows accuracy on dev and measured cost as table and plot."""

from __future__ import annotations

import itertools
import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from farthing.distill.measure import auc, best_macro_f1
from farthing.distill.show import Show
from farthing.distill.texts.build import Options, assemble, open_recipe, student_digest
from farthing.distill.texts.cost import ns_per_event
from farthing.distill.texts.prepare import Prepared
from farthing.distill.texts.recipe import TextRecipe
from farthing.distill.texts.train import train
from farthing.errors import ConfigError, extra
from farthing.features import FeatureSpec, TextFeature
from farthing.process.output import writing


@dataclass(frozen=True, slots=True)
class SweepPoint:
    """One student of a sweep."""

    n_buckets: int
    dim: int
    char_ngrams: str
    word_bigrams: bool
    table_bytes: int
    ns_per_event: float
    within_budget: bool
    macro_f1: float  # mean over heads, int8, on dev, each at its best cut
    auc: float  # mean over heads
    on_the_curve: bool = False  # no other point is both cheaper and better


def combinations(recipe: TextRecipe) -> list[TextRecipe]:
    """Return recipes with every combination of the values that ``[sweep]`` lists; other settings stay.

    Raises
    ------
    ConfigError
        ``[sweep]`` lists nothing.
    """
    s, spec = recipe.sweep, recipe.spec()
    text = next((f for f in spec.features if isinstance(f, TextFeature)), None)
    if not (s.n_buckets or s.dim or s.char_ngrams or s.word_bigrams):
        raise ConfigError("[sweep] lists nothing to try: give it n_buckets, dim, char_ngrams or word_bigrams")
    if text is None and (s.char_ngrams or s.word_bigrams):
        raise ConfigError("[sweep] varies n-grams, and [features] has no feature of kind text")
    own = ("none" if text is None or text.char_ngrams is None else text.char_ngrams, bool(text and text.word_bigrams))
    varied_recipes = []
    for n_buckets, dim, grams, bigrams in itertools.product(
        s.n_buckets or (spec.n_buckets,),
        s.dim or (recipe.student.dim,),
        s.char_ngrams or (own[0],),
        s.word_bigrams or (own[1],),
    ):
        features = tuple(
            replace(f, char_ngrams=None if grams == "none" else (int(grams[0]), int(grams[1])), word_bigrams=bigrams)
            if isinstance(f, TextFeature)
            else f
            for f in spec.features
        )
        varied = FeatureSpec(n_buckets=n_buckets, features=features, seed=spec.seed)
        training = recipe.training.model_copy(update={"epochs": s.epochs} if s.epochs else {})
        varied_recipes.append(
            recipe.model_copy(
                update={
                    "features": varied.to_manifest(),
                    "student": recipe.student.model_copy(update={"dim": dim}),
                    "training": training,
                }
            )
        )
    return varied_recipes


def sweep(recipe_path: Path, options: Options, show: Show) -> list[SweepPoint]:
    """Train every combination, print the table, and write ``sweep.json`` and ``sweep.png`` to ``options.out``."""
    prepared, _ = open_recipe(recipe_path, options, show)
    with writing(f"--work {options.work}"):
        options.work.mkdir(parents=True, exist_ok=True)
    tried = combinations(prepared.recipe)
    points = []
    for k, recipe in enumerate(tried):
        show.say(f"student {k + 1} of {len(tried)}: {_name(recipe)}")
        points.append(_try(prepared, recipe, options, show))
    points = [replace(p, on_the_curve=not any(_beats(o, p) for o in points)) for p in points]
    points.sort(key=lambda p: p.ns_per_event)
    with writing(f"--out {options.out}"):
        options.out.mkdir(parents=True, exist_ok=True)
        (options.out / "sweep.json").write_text(json.dumps([asdict(p) for p in points], indent=2) + "\n")
        plot_sweep(points, prepared.recipe.sweep.max_ns_per_event, options.out / "sweep.png")
    Console(stderr=True, markup=False, emoji=False).print(_table(points))
    show.say(f"wrote {options.out / 'sweep.json'} and {options.out / 'sweep.png'}")
    return points


def _try(prepared: Prepared, recipe: TextRecipe, options: Options, show: Show) -> SweepPoint:
    spec = recipe.spec()
    examples = prepared.examples(spec)
    truths = prepared.truths("dev")
    student = train(
        recipe, spec.n_buckets, examples["train"], examples["dev"], truths,
        checkpoint=options.work / f"student-{student_digest(recipe, examples['train'])}.pt",
        progress=show.progress, say=lambda line: None,
    )  # fmt: skip
    stages = assemble(prepared, spec, student, examples["train"]).stages
    scores = stages.score(examples["dev"].features).scores
    # Comments of one length for all moderation bundles; other tasks have other fields.
    cost = ns_per_event(stages, () if recipe.task == "moderation" else prepared.splits.dev.events)
    heads = [(labels, scores[judged, k]) for k, (judged, labels) in enumerate(truths)]
    text = next((f for f in spec.features if isinstance(f, TextFeature)), None)
    grams = None if text is None else text.char_ngrams
    return SweepPoint(
        n_buckets=spec.n_buckets,
        dim=recipe.student.dim,
        char_ngrams="none" if grams is None else f"{grams[0]}..{grams[1]}",
        word_bigrams=bool(text and text.word_bigrams),
        table_bytes=stages.hashed.tensors.table.nbytes,
        ns_per_event=round(cost, 1),
        within_budget=cost <= prepared.recipe.sweep.max_ns_per_event,
        macro_f1=round(sum(best_macro_f1(y, s) for y, s in heads) / len(heads), 4),
        auc=round(sum(auc(y, s) for y, s in heads) / len(heads), 4),
    )


def _beats(a: SweepPoint, b: SweepPoint) -> bool:
    """Whether ``a`` is at least as cheap and as good as ``b``, and better in one of the two."""
    no_worse = a.ns_per_event <= b.ns_per_event and a.macro_f1 >= b.macro_f1
    return no_worse and (a.ns_per_event, a.macro_f1) != (b.ns_per_event, b.macro_f1)


def _name(recipe: TextRecipe) -> str:
    features: Any = recipe.features["features"]
    grams = [f["char_ngrams"] for f in features if f["kind"] == "text"]
    return f"{recipe.features['n_buckets']} buckets, dim {recipe.student.dim}, n-grams {grams}"


def _table(points: list[SweepPoint]) -> Table:
    table = Table(
        "buckets", "dim", "n-grams", "bigrams", "MB", "ns/event", "macro-F1", "AUC", "", box=None, pad_edge=False
    )
    for p in points:
        note = ("* " if p.on_the_curve else "") + ("" if p.within_budget else "over budget")
        table.add_row(
            f"{p.n_buckets:,}", str(p.dim), p.char_ngrams, "yes" if p.word_bigrams else "no",
            f"{p.table_bytes / 1e6:.1f}",
            f"{p.ns_per_event:.0f}", f"{p.macro_f1:.4f}", f"{p.auc:.4f}", note,
        )  # fmt: skip
    return table


def plot_sweep(points: list[SweepPoint], budget_ns: float, path: Path) -> None:
    """Draw accuracy over cost, with the curve of the points that no other point beats, and the budget.

    Raises
    ------
    ConfigError
        matplotlib is not installed.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ConfigError(f"the plot of a sweep needs matplotlib: {extra('distill')}") from error
    figure = Figure(figsize=(8, 5), layout="constrained")
    axes = figure.subplots()
    curve = [p for p in points if p.on_the_curve]
    axes.plot([p.ns_per_event for p in curve], [p.macro_f1 for p in curve], color="tab:blue", zorder=1)
    axes.scatter(
        [p.ns_per_event for p in points],
        [p.macro_f1 for p in points],
        c=["tab:blue" if p.on_the_curve else "lightgray" for p in points],
        zorder=2,
    )
    for p in curve:  # the others are in the table, and their names would cover each other
        name = f"{p.n_buckets // 1024}k x {p.dim}, {p.char_ngrams}{'' if p.word_bigrams else ', no pairs'}"
        axes.annotate(name, (p.ns_per_event, p.macro_f1), textcoords="offset points", xytext=(4, 4), fontsize=7)
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter("{x:,.0f}")
    axes.xaxis.set_minor_formatter("{x:,.0f}")
    axes.tick_params(axis="x", which="minor", labelsize=7)
    axes.axvline(budget_ns, color="tab:red", linestyle="--", label=f"budget {budget_ns:.0f} ns")
    axes.set_xlabel("CPU ns an event: featurize, embedding bag, net; one core")
    axes.set_ylabel("macro-F1 on dev, mean of the heads, int8")
    axes.legend(loc="lower right")
    figure.savefig(path, dpi=150)
