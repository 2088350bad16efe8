"""Compares student and teachers: on dev, on test once, on slices of test, and on sets of other domains."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from farthing.distill.measure import auc, measure, sigmoid
from farthing.distill.texts.committee import ELSEWHERE
from farthing.distill.texts.cuts import best_cut
from farthing.distill.texts.prepare import Prepared
from farthing.distill.texts.recipe import Slice
from farthing.distill.texts.train import Truths
from farthing.evaluate.measures.bootstrap import draws, interval, tally
from farthing.evaluate.measures.choices import RESAMPLES

Floats = NDArray[np.float32]
INT8, FLOAT32, TEACHERS = "int8", "fp32", "teacher"
UNSEEN = ("dev", "test")  # splits that no student learns from


@dataclass(frozen=True, slots=True)
class System:
    """A system that scores: its scores (n, n_heads) for each part, and a cut for each head."""

    scores: dict[str, Floats]
    cuts: tuple[float, ...]


def teacher_systems(prepared: Prepared) -> dict[str, System]:
    """Return each teacher alone and their mix (``teacher``), each with its own cuts chosen on dev."""
    systems = {}
    parts = ["dev", "test", *(ELSEWHERE + name for name in prepared.elsewhere)]
    for name, answers in prepared.answers.items():
        systems[name] = {part: answers[part] for part in parts if part in answers}
    if len(prepared.answers) > 0:
        mixed = {}
        for part in parts:
            if any(part in answers for answers in prepared.answers.values()):
                mixed[part] = prepared.taught(part)
        systems[TEACHERS] = mixed
    truths = prepared.truths("dev")
    return {name: with_cuts({p: sigmoid(v) for p, v in logits.items()}, truths) for name, logits in systems.items()}


def with_cuts(scores: dict[str, Floats], dev_truths: Truths) -> System:
    """Choose each head's cut by macro-F1 on dev; 0.5 where it is undefined."""
    cuts = []
    for k, (judged, labels) in enumerate(dev_truths):
        s = scores["dev"][judged, k]
        fine = ~np.isnan(s)
        cuts.append(best_cut(labels[fine], s[fine]) if fine.any() else 0.5)
    return System(scores, tuple(cuts))


def judge(prepared: Prepared, system: System, part: str) -> dict[str, Any]:
    """Return each head's metrics with intervals on ``dev`` or ``test``; a head without scores is left out."""
    metrics = {}
    for k, (judged, labels) in enumerate(prepared.truths(part)):
        scores = system.scores[part][judged, k]
        fine = ~np.isnan(scores)
        if fine.any():
            metrics[prepared.recipe.heads[k]] = measure(labels[fine], scores[fine], system.cuts[k])
    return metrics


def rounding_loss(prepared: Prepared, int8: System, fp32: System) -> dict[str, Any]:
    """Return what int8 loses to float32 on dev and test together, in points of macro-F1, with its 95 % interval.

    On a small set, one or two rows on the other side of the cut make a fifth of a point. So both sets are taken
    together, and the interval, a bootstrap over rows, shows whether the loss is more than chance.
    """
    losses = {}
    truths = {split: prepared.truths(split) for split in UNSEEN}
    for k, head in enumerate(prepared.recipe.heads):
        labels: list[Floats] = []
        exact: list[Floats] = []
        rounded: list[Floats] = []
        for split, of_heads in truths.items():
            judged, gold = of_heads[k]
            labels.append(gold)
            exact.append(fp32.scores[split][judged, k])
            rounded.append(int8.scores[split][judged, k])
        cut = int8.cuts[k]
        true, before = np.concatenate(labels) >= 0.5, np.concatenate(exact) >= cut
        codes = 4 * true.astype(np.int64) + 2 * before + (np.concatenate(rounded) >= cut)
        drawn = draws(len(codes), seed=0, resamples=RESAMPLES)
        low, high = interval(np.concatenate([_lost(tally(codes[rows], 8)) for rows in drawn]))
        points = float(_lost(tally(codes[np.newaxis], 8))[0])
        losses[head] = {"points": round(points, 3), "low": round(low, 3), "high": round(high, 3), "rows": len(codes)}
    return losses


def _lost(counts: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return the points of macro-F1 lost, (m,), from counts of rows, int64 (m, 8).

    The index of a count has a bit each for the label, the decision before and the decision after.
    """
    table = counts.reshape(-1, 2, 2, 2).astype(np.float64)

    def macro(by_label_and_said: NDArray[np.float64]) -> NDArray[np.float64]:
        wrong = by_label_and_said[:, 0, 1] + by_label_and_said[:, 1, 0]
        f1 = [2 * right / np.maximum(2 * right + wrong, 1) for right in (by_label_and_said[:, c, c] for c in (0, 1))]
        return np.asarray((f1[0] + f1[1]) / 2)

    return 100 * (macro(table.sum(axis=3)) - macro(table.sum(axis=2)))


def judge_elsewhere(prepared: Prepared, system: System) -> dict[str, Any]:
    """Return metrics on the sets of other domains: name -> metrics of its head."""
    metrics = {}
    for entry in prepared.recipe.elsewhere:
        part = ELSEWHERE + entry.name
        if entry.name in prepared.elsewhere and part in system.scores:
            k = prepared.recipe.heads.index(entry.head)
            _, labels = prepared.elsewhere[entry.name]
            metrics[entry.name] = {"head": entry.head, **measure(labels, system.scores[part][:, k], system.cuts[k])}
    return metrics


def judge_slices(prepared: Prepared, system: System) -> dict[str, Any]:
    """Return for each head and slice of test: rows, rows labelled 0, false positives among them, AUC if defined.

    The slice ``all`` is the whole of test.
    """
    slices: dict[str, Any] = {}
    texts = prepared.texts["test"]
    marks = {"all": np.ones(len(texts), np.bool_)} | {s.name: _mentions(s, texts) for s in prepared.recipe.slice}
    for k, (judged, labels) in enumerate(prepared.truths("test")):
        head = prepared.recipe.heads[k]
        slices[head] = {}
        for name, marked in marks.items():
            chosen = marked[judged]
            y, s = labels[chosen] >= 0.5, system.scores["test"][judged, k][chosen]
            entry: dict[str, Any] = {"rows": len(y), "negatives": int((~y).sum())}
            if entry["negatives"]:
                entry["false_positive_rate"] = round(float((s[~y] >= system.cuts[k]).mean()), 4)
            if y.any() and entry["negatives"]:
                entry["auc"] = round(auc(labels[chosen], s), 4)
            slices[head][name] = entry
    return slices


def _mentions(part: Slice, texts: tuple[str, ...]) -> NDArray[np.bool_]:
    pattern = re.compile(r"(?<!\w)(?:" + "|".join(map(re.escape, part.words)) + r")(?!\w)", re.IGNORECASE)
    return np.array([pattern.search(text) is not None for text in texts], np.bool_)
