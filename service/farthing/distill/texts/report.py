"""Writes a report that compares teachers, float32 student, int8 student and a plain logistic regression."""

from __future__ import annotations

import os
import platform
from pathlib import Path
from typing import Any

import numpy as np

from farthing import __version__
from farthing.distill.card import cell, table
from farthing.distill.measure import sigmoid
from farthing.distill.show import Show
from farthing.distill.teachers import linear
from farthing.distill.texts.build import Built
from farthing.distill.texts.card import METRICS, rounding
from farthing.distill.texts.committee import ELSEWHERE
from farthing.distill.texts.judge import FLOAT32, INT8, System, judge, judge_elsewhere, with_cuts
from farthing.distill.texts.prepare import Prepared
from farthing.process.output import writing

BASELINE = "logistic regression"


def write_report(path: Path, built: Built, show: Show) -> None:
    """Judge all systems on dev, test and elsewhere, and write Markdown with 95 % bootstrap intervals."""
    prepared = built.prepared
    systems = dict(built.systems)
    if prepared.recipe.text_field is not None:
        show.say(f"report: training the {BASELINE} to compare with")
        systems[BASELINE] = baseline(prepared)
    with writing(f"--report {path}"):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("\n".join(_lines(built, systems)), encoding="utf-8")
    show.say(f"wrote {path}")


def baseline(prepared: Prepared) -> System:
    """Train a TF-IDF logistic regression for each head on that head's gold: the result of a careful afternoon."""
    parts = {"dev": prepared.texts["dev"], "test": prepared.texts["test"]}
    parts |= {ELSEWHERE + name: texts for name, (texts, _) in prepared.elsewhere.items()}
    heads = prepared.recipe.heads
    scores = {part: np.full((len(texts), len(heads)), np.nan, np.float32) for part, texts in parts.items()}
    gold = prepared.splits.train.gold
    for k in range(len(heads)):
        has_gold = ~np.isnan(gold[:, k])
        if has_gold.any():
            texts = [t for t, has in zip(prepared.texts["train"], has_gold, strict=True) if has]
            model = linear.fit(texts, gold[has_gold, k] >= 0.5)
            for part, asked in parts.items():
                scores[part][:, k] = sigmoid(model.tfidf_logits(asked).astype(np.float32))
    return with_cuts(scores, prepared.truths("dev"))


def _lines(built: Built, systems: dict[str, System]) -> list[str]:
    prepared, recipe = built.prepared, built.prepared.recipe
    names = {INT8: "student, int8", FLOAT32: "student, float32"}
    lines = [
        f"# {recipe.name}: student, teachers and a {BASELINE}",
        "",
        f"Farthing {__version__}, {platform.machine()}, {os.cpu_count()} CPUs, Python {platform.python_version()}. "
        f"Recipe SHA-256 {built.manifest.evaluation['recipe_sha256'][:16]}... Written by `farthing distill --report`.",
        "",
        "Cut-offs come from dev, for each system its own (float32 has the int8 student's, so that the two differ by",
        "rounding alone); no training or choice looked at test or at the other domains. 95 % bootstrap intervals.",
        f"The {BASELINE} has TF-IDF of words, word pairs and character 2- to 5-grams and was trained on the head's own",
        "gold.",
        "",
    ]
    for part in ("test", "dev"):
        judged: dict[str, Any] = {name: judge(prepared, system, part) for name, system in systems.items()}
        for head in recipe.heads:
            rows = [
                [names.get(name, name), *(cell(by_head[head][m]) for m in METRICS)]
                for name, by_head in judged.items()
                if head in by_head
            ]
            lines += [f"## {head}, {part}", "", *table(["scored by", "macro-F1", "AUC", "AP", "ECE"], rows), ""]
    elsewhere = {name: judge_elsewhere(prepared, system) for name, system in systems.items()}
    for entry in recipe.elsewhere:
        rows = [
            [names.get(name, name), cell(by_head[entry.name]["auc"]), cell(by_head[entry.name]["ap"])]
            for name, by_head in elsewhere.items()
            if entry.name in by_head
        ]
        lines += [f"## {entry.head} on {entry.name}, another domain", "", *table(["scored by", "AUC", "AP"], rows), ""]
    evaluation = built.manifest.evaluation
    return [
        *lines,
        f"Largest difference of a score between int8 and float32 on test: {evaluation['worst_score_difference']}.",
        *rounding(evaluation),
        f"Features: {evaluation['collisions']}.",
        f"CPU seconds: {evaluation['cpu_seconds']}.",
        "",
    ]
