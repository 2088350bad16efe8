"""Combines all teachers' labels for all rows into one logit per head.

Local teachers are fitted to gold and label every row for every head, so that each text teaches all heads. They are
calibrated on dev (Platt 1999), because a mean of logits only makes sense if they are log-odds. The logits are kept in
the work folder, so that a second run need not train the teachers again.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from farthing.distill.show import Progress
from farthing.distill.teachers import linear, minilm
from farthing.distill.teachers.minilm import MiniLMTeacher
from farthing.distill.texts.recipe import LinearTeacher, TextRecipe
from farthing.distill.texts.rows import LOGIT_LIMIT

Floats = NDArray[np.float32]

TRAIN, DEV, COPIES = (
    "train",
    "dev",
    "copies",
)  # parts that a teacher is fitted to, calibrated on, labels for the student
ELSEWHERE = "elsewhere:"
"""Prefix of the name of a set of another domain, which is a part of its own."""

_SUBSET_SEED = 0


@dataclass(frozen=True, slots=True)
class Parts:
    """Texts of named parts (train, dev, test, copies, ...), and gold of train and dev."""

    texts: dict[str, tuple[str, ...]]
    gold: dict[str, Floats]  # train and dev: (n, n_heads), NaN where unknown
    source: dict[str, NDArray[np.int64]]  # place of each row's source; copies and other domains have none


TeacherLogits = dict[str, dict[str, Floats]]
"""Teacher -> part -> logits (n, n_heads), NaN where the teacher has none."""


@dataclass(frozen=True, slots=True)
class Asked:
    """The local teachers' logits and their CPU time, from this run or an earlier one."""

    answers: TeacherLogits
    cpu_seconds: float


def ask_local(recipe: TextRecipe, parts: Parts, *, work: Path, threads: int, progress: Progress) -> Asked:
    """Train the local teachers or read their logits from before; returns them, calibrated, by part."""
    work.mkdir(parents=True, exist_ok=True)
    answers: TeacherLogits = {}
    cpu_seconds = 0.0
    for teacher in recipe.local_teachers:
        fitted = _digest([teacher.model_dump(include=_fit_settings(teacher)), recipe.training.seed, recipe.heads],
                         parts.texts[TRAIN], parts.gold[TRAIN])  # fmt: skip
        stem = f"{teacher.name}-{fitted}"
        ask = (
            _Linear(recipe, teacher, parts, progress)
            if isinstance(teacher, LinearTeacher)
            else _MiniLM(recipe, teacher, parts, work / f"{stem}.pt", threads, progress)
        )
        logits = {}
        for part, texts in parts.texts.items():
            if (part == COPIES and not teacher.label_copies) or (
                part.startswith(ELSEWHERE) and isinstance(teacher, MiniLMTeacher) and not teacher.label_elsewhere
            ):
                continue
            file = work / f"{stem}-{part}-{_digest([], texts)}.npy"
            if not file.exists():
                began = time.process_time()
                partial = file.with_suffix(".part.npy")
                np.save(partial, ask(part, texts))
                partial.replace(file)
                file.with_suffix(".cpu").write_text(f"{time.process_time() - began:.1f}")
            logits[part] = np.load(file, allow_pickle=False)
            cpu_seconds += float(file.with_suffix(".cpu").read_text())
        answers[teacher.name] = _calibrated(logits, parts.gold[DEV])
    return Asked(answers, cpu_seconds)


def mix(recipe: TextRecipe, answers: TeacherLogits, part: str) -> Floats:
    """Return the weighted mean of the logits of the teachers that have one, (n, n_heads), NaN where none has."""
    asked = [(t.weight, answers[t.name][part]) for t in recipe.teacher if part in answers.get(t.name, {})]
    if not asked:
        raise KeyError(f"no teacher answered part {part}")
    total = sum(weight * np.nan_to_num(logits.astype(np.float64)) for weight, logits in asked)
    weights = sum(weight * ~np.isnan(logits) for weight, logits in asked)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(np.where(np.asarray(weights) > 0, total / weights, np.nan), np.float32)


class _Linear:
    def __init__(self, recipe: TextRecipe, teacher: LinearTeacher, parts: Parts, progress: Progress) -> None:
        self._recipe, self._teacher, self._parts, self._progress = recipe, teacher, parts, progress
        self._models: dict[int, linear.LinearModel] = {}

    def __call__(self, part: str, texts: Sequence[str]) -> Floats:
        heads = self._recipe.heads
        gold = self._parts.gold[TRAIN]
        out = np.full((len(texts), len(heads)), np.nan, np.float32)
        for k, head in enumerate(heads):
            has_gold = ~np.isnan(gold[:, k])
            if not has_gold.any():
                continue
            rows, labels = _chosen(self._parts.texts[TRAIN], has_gold), gold[has_gold, k] >= 0.5
            if k not in self._models:
                self._models[k] = linear.fit(rows, labels)
            out[:, k] = self._models[k].logits(texts)
            if part == TRAIN:
                out[has_gold, k] = linear.out_of_fold(
                    rows, labels, self._teacher.folds, self._recipe.training.seed, _named(self._progress, head)
                )
        return out


class _MiniLM:
    def __init__(
        self,
        recipe: TextRecipe,
        teacher: MiniLMTeacher,
        parts: Parts,
        checkpoint: Path,
        threads: int,
        progress: Progress,
    ) -> None:
        self._recipe, self._teacher, self._parts = recipe, teacher, parts
        self._checkpoint, self._threads, self._progress = checkpoint, threads, progress
        self._network: Any = None

    def __call__(self, part: str, texts: Sequence[str]) -> Floats:
        if self._network is None:
            rows = subset(
                [s.name for s in self._recipe.source],
                self._parts.source[TRAIN],
                self._parts.gold[TRAIN],
                self._teacher.most_rows,
            )
            self._network = minilm.fine_tune(
                [self._parts.texts[TRAIN][k] for k in rows], self._parts.gold[TRAIN][rows], self._teacher,
                seed=self._recipe.training.seed, threads=self._threads, checkpoint=self._checkpoint,
                progress=self._progress,
            )  # fmt: skip
        labelled = np.ones(len(texts), np.bool_)
        if self._teacher.sources and part in self._parts.source:
            places = [k for k, s in enumerate(self._recipe.source) if s.name in self._teacher.sources]
            labelled = np.isin(self._parts.source[part], places)
        out = np.full((len(texts), len(self._recipe.heads)), np.nan, np.float32)
        out[labelled] = minilm.predict(
            self._network,
            _chosen(texts, labelled),
            self._teacher.max_tokens,
            threads=self._threads,
            progress=_named(self._progress, part),
        )
        return out


def subset(names: list[str], source: NDArray[np.int64], gold: Floats, most: dict[str, int]) -> NDArray[np.int64]:
    """Choose the rows that have gold, in order; of a source in ``most`` at most that many."""
    has_gold = ~np.isnan(gold).all(axis=1)
    rng = np.random.default_rng(_SUBSET_SEED)
    chosen = []
    for place in np.unique(source):
        rows = np.flatnonzero((source == place) & has_gold)
        limit = most.get(names[place], len(rows))
        chosen.append(rows if len(rows) <= limit else np.sort(rng.permutation(rows)[:limit]))
    return np.concatenate(chosen)


def _calibrated(logits: dict[str, Floats], gold: Floats) -> dict[str, Floats]:
    """Scale and shift each head's logits to log-odds on dev, if dev has gold of both classes."""
    out = {part: values.copy() for part, values in logits.items()}
    for k in range(gold.shape[1]):
        both = ~np.isnan(gold[:, k]) & ~np.isnan(logits[DEV][:, k])
        labels = gold[both, k] >= 0.5
        if len(np.unique(labels)) == 2:
            scale, shift = platt(logits[DEV][both, k].astype(np.float64), labels)
            for values in out.values():
                values[:, k] = scale * values[:, k] + shift
    return {part: np.clip(values, -LOGIT_LIMIT, LOGIT_LIMIT) for part, values in out.items()}


def platt(logits: NDArray[np.float64], labels: NDArray[np.bool_]) -> tuple[float, float]:
    """Fit labels ~ sigmoid(scale * logit + shift) by Newton's method, with a small penalty towards (1, 0)."""
    x = np.stack([logits, np.ones_like(logits)], axis=1)
    start = np.array([1.0, 0.0])
    w = start
    for _ in range(50):
        p = 1 / (1 + np.exp(-np.clip(x @ w, -30, 30)))
        gradient = x.T @ (p - labels) + 0.1 * (w - start)
        hessian = (x * (p * (1 - p))[:, None]).T @ x + 0.1 * np.eye(2)
        step = np.linalg.solve(hessian, gradient)
        w = w - step
        if np.abs(step).max() < 1e-9:
            break
    return float(w[0]), float(w[1])


def _fit_settings(teacher: LinearTeacher | MiniLMTeacher) -> set[str]:
    return set(type(teacher).model_fields) - {"name", "weight", "label_copies", "label_elsewhere"}


def _digest(settings: list[Any], texts: Sequence[str], gold: Floats | None = None) -> str:
    """Return a digest of everything that a teacher's logits depend on."""
    h = hashlib.sha256(json.dumps([settings, list(texts)]).encode("utf-8", "surrogatepass"))
    if gold is not None:
        h.update(gold.tobytes())
    return h.hexdigest()[:16]


def _chosen(texts: Sequence[str], keep: NDArray[np.bool_]) -> list[str]:
    return [t for t, w in zip(texts, keep, strict=True) if w]


def _named(progress: Progress, name: str) -> Progress:
    return lambda done, total, what: progress(done, total, f"{what} ({name})")
