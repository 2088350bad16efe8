"""The student: hashed features -> embedding bag -> hidden ReLU layer -> one logit a head; and how it is trained.

The loss of a row and head is a mix of two binary cross-entropies: against gold where there is gold, and against the
teachers at a temperature (Hinton et al. 2015; times the temperature squared, so that the mix does not depend on it).
A row without gold learns from the teachers alone, and the other way round.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from farthing.blocks import FeatureBlock
from farthing.distill.measure import best_macro_f1
from farthing.distill.pytorch import import_torch
from farthing.distill.texts.linear_start import first_weights, fit_linear
from farthing.distill.texts.recipe import Recipe
from farthing.scoring.tensors import WEIGHT_LIMIT

Floats = NDArray[np.float32]
Progress = Callable[[int, int, str], None]
"""Steps done, steps in all, what is being done."""


@dataclass(frozen=True, slots=True)
class Examples:
    """Rows of features with what is known of them."""

    features: FeatureBlock
    gold: Floats  # (n, n_heads) 0..1; NaN: none
    taught: Floats  # (n, n_heads) the teachers' logits; NaN: none


@dataclass(frozen=True, slots=True)
class Student:
    """Weights of a student, float32."""

    table: Floats  # (n_buckets, dim)
    hidden_weight: Floats  # (dim, hidden)
    hidden_bias: Floats
    output_weight: Floats  # (hidden, n_heads)
    output_bias: Floats

    def forward(self, features: FeatureBlock) -> Floats:
        """Give the logits (n_rows, n_heads), in NumPy."""
        counts = np.diff(features.indptr)
        sums = np.add.reduceat(self.table[features.indices], features.indptr[:-1], axis=0)
        hidden = np.maximum(sums / np.sqrt(counts)[:, None] @ self.hidden_weight + self.hidden_bias, 0)
        return np.asarray(hidden @ self.output_weight + self.output_bias, np.float32)


def train(
    recipe: Recipe,
    n_buckets: int,
    train_set: Examples,
    dev_set: Examples,
    dev_truth: list[tuple[NDArray[np.bool_], Floats]],
    *,
    checkpoint: Path | None,
    progress: Progress,
    say: Callable[[str], None],
) -> Student:
    """Train until the heads' mean macro-F1 on dev rises no more. Deterministic by the recipe's seed, on one thread.

    Parameters
    ----------
    recipe, n_buckets:
        Sizes and settings.
    train_set, dev_set:
        Examples; every row has one id at least.
    dev_truth:
        For each head: which dev rows can be judged, and their labels.
    checkpoint:
        File of the state after each epoch. Where it exists, training goes on from it and ends at the same bytes.
    progress, say:
        Told each step; told each epoch.

    Returns
    -------
    The weights of the best epoch.
    """
    torch = import_torch()
    settings = recipe.training
    torch.manual_seed(settings.seed)
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    state = _State(torch, recipe, n_buckets)

    def dev_scores(student: Student) -> tuple[float, str]:
        logits = student.forward(dev_set.features)
        scores = [best_macro_f1(labels, logits[known, k]) for k, (known, labels) in enumerate(dev_truth)]
        return float(np.mean(scores)), " ".join(f"{h} {s:.4f}" for h, s in zip(recipe.heads, scores, strict=True))

    if checkpoint is not None and checkpoint.exists():
        state.load(checkpoint)
        say(f"goes on after epoch {state.epoch} ({checkpoint})")
    elif settings.start == "linear":
        start = _linear_start(recipe, n_buckets, train_set)
        state.begin(start)
        score, said = dev_scores(start)
        state.keep(start, score)
        say(f"start, the best linear model: dev macro-F1 {said}")
        if checkpoint is not None:
            state.save(checkpoint)
    targets = tuple(torch.from_numpy(t) for t in _targets(recipe, train_set, recipe.loss.temperature))
    n = len(train_set.gold)
    steps = -(-n // settings.batch)
    while state.epoch < settings.epochs and state.since < settings.patience:
        rng = np.random.default_rng([settings.seed, state.epoch])
        order = rng.permutation(n)
        aware = state.epoch >= settings.epochs - settings.quantization_aware_epochs
        total = 0.0
        for step in range(steps):
            rows = order[step * settings.batch : (step + 1) * settings.batch]
            state.rate((state.epoch * steps + step) / (settings.epochs * steps))
            total += state.step(train_set.features, rows, targets, rng, aware) * len(rows)
            progress(state.epoch * steps + step + 1, settings.epochs * steps, "student")
        student = state.student()
        score, said = dev_scores(student)
        state.end_epoch(student, score)
        say(f"epoch {state.epoch}/{settings.epochs}: loss {total / n:.4f}, dev macro-F1 {said}")
        if checkpoint is not None:
            state.save(checkpoint)
    assert state.best is not None
    return state.best


def gather(features: FeatureBlock, rows: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64], Floats]:
    """Give the ids of some rows one after the other, where each row begins, and how many ids it has."""
    starts, stops = features.indptr[rows], features.indptr[rows + 1]
    counts = stops - starts
    begins = np.concatenate([[0], np.cumsum(counts)[:-1]]).astype(np.int64)
    place = np.arange(int(counts.sum())) - np.repeat(begins, counts) + np.repeat(starts, counts)
    return features.indices[place].astype(np.int64), begins, counts.astype(np.float32)


def _linear_start(recipe: Recipe, n_buckets: int, examples: Examples) -> Student:
    gold, of_gold, soft, of_teacher = (t.astype(np.float64) for t in _targets(recipe, examples, 1.0))
    weight = of_gold + of_teacher
    target = (of_gold * gold + of_teacher * soft) / np.maximum(weight, 1e-12)
    models = fit_linear(examples.features, n_buckets, target, weight, recipe.training.linear_penalty)
    counts = np.diff(examples.features.indptr)
    sums = np.add.reduceat(models.weights[examples.features.indices], examples.features.indptr[:-1], axis=0)
    spread = np.maximum((sums / np.sqrt(counts)[:, None]).std(axis=0), 1e-6).astype(np.float32)
    size = recipe.student
    return Student(**first_weights(models, spread, size.dim, size.hidden, recipe.training.seed))


def _targets(recipe: Recipe, examples: Examples, temperature: float) -> tuple[Floats, Floats, Floats, Floats]:
    """Give gold labels with their weights, and the teachers' softened probabilities with theirs, as (n, n_heads)."""
    settings = recipe.loss
    has_gold, has_teacher = ~np.isnan(examples.gold), ~np.isnan(examples.taught)
    gold = np.nan_to_num(examples.gold)
    taught = np.nan_to_num(examples.taught)
    class_weight = np.ones_like(gold)
    if settings.class_weights == "balanced":
        for k in range(gold.shape[1]):
            likely = np.where(has_gold[:, k], gold[:, k], taught[:, k] > 0) >= 0.5
            seen = has_gold[:, k] | has_teacher[:, k]
            share = float(likely[seen].mean())
            class_weight[:, k] = np.where(likely, 0.5 / max(share, 1e-3), 0.5 / max(1 - share, 1e-3))
    of_gold = np.where(has_teacher, settings.gold_weight, 1.0) * has_gold * class_weight
    of_teacher = np.where(has_gold, 1 - settings.gold_weight, 1.0) * has_teacher * class_weight
    soft = 1 / (1 + np.exp(-taught / temperature))
    gold, of_gold, soft, of_teacher = (np.asarray(a, np.float32) for a in (gold, of_gold, soft, of_teacher))
    return gold, of_gold, soft, of_teacher


class _State:
    """Network, optimizer and where the training is."""

    def __init__(self, torch: Any, recipe: Recipe, n_buckets: int) -> None:
        self._torch, self._recipe = torch, recipe
        size, heads = recipe.student, len(recipe.heads)
        self.bag = torch.nn.EmbeddingBag(n_buckets, size.dim, mode="sum")
        torch.nn.init.normal_(self.bag.weight, std=0.02)
        self.net = torch.nn.Sequential(
            torch.nn.Linear(size.dim, size.hidden), torch.nn.ReLU(), torch.nn.Linear(size.hidden, heads)
        )
        self._weights = [*self.bag.parameters(), *self.net.parameters()]
        decay = recipe.training.weight_decay
        self.optimizer = torch.optim.Adam(
            [{"params": self.bag.parameters(), "weight_decay": decay}, {"params": self.net.parameters()}],
            lr=recipe.training.learning_rate,
        )
        self.mean = [w.detach().clone() for w in self._weights] if recipe.training.average else []
        self.epoch = self.since = self.steps = 0
        self.best_score = -1.0
        self.best: Student | None = None

    def rate(self, done: float) -> None:
        """Set the learning rate: it falls along a cosine to a twentieth."""
        factor = 0.05 + 0.95 * 0.5 * (1 + float(np.cos(np.pi * done)))
        for group in self.optimizer.param_groups:
            group["lr"] = self._recipe.training.learning_rate * factor

    def step(
        self, features: FeatureBlock, rows: NDArray[np.int64], targets: Any, rng: np.random.Generator, aware: bool
    ) -> float:
        torch, settings = self._torch, self._recipe.training
        ids, begins, counts = gather(features, rows)
        kept = (rng.random(len(ids), np.float32) >= settings.feature_dropout) / np.float32(1 - settings.feature_dropout)
        table, hidden, output = self.bag.weight, self.net[0].weight, self.net[2].weight
        if aware:
            table, hidden, output = (
                _rounded(table, 0, 127),
                _rounded(hidden, 1, WEIGHT_LIMIT),
                _rounded(output, 1, WEIGHT_LIMIT),
            )
        summed = torch.nn.functional.embedding_bag(
            torch.from_numpy(ids), table, torch.from_numpy(begins), mode="sum",
            per_sample_weights=torch.from_numpy(kept.astype(np.float32)),
        )  # fmt: skip
        x = torch.nn.functional.linear(summed / torch.from_numpy(np.sqrt(counts))[:, None], hidden, self.net[0].bias)
        logits = torch.nn.functional.linear(torch.relu(x), output, self.net[2].bias)
        gold, of_gold, soft, of_teacher = (t[torch.from_numpy(rows)] for t in targets)
        temperature = self._recipe.loss.temperature
        entropy = torch.nn.functional.binary_cross_entropy_with_logits
        loss = entropy(logits, gold, weight=of_gold, reduction="sum")
        loss = loss + temperature**2 * entropy(logits / temperature, soft, weight=of_teacher, reduction="sum")
        loss = loss / len(rows)
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        self.steps += 1
        if self.mean:
            # At the start the mean is over what there was so far, not over the random first weights.
            decay = min(settings.average, self.steps / (self.steps + 10))
            with torch.no_grad():
                torch._foreach_lerp_(self.mean, self._weights, 1 - decay)
        return float(loss.item())

    def student(self) -> Student:
        table, hidden, hidden_bias, output, output_bias = (
            w.detach().numpy().copy() for w in (self.mean or self._weights)
        )
        return Student(table, hidden.T.copy(), hidden_bias, output.T.copy(), output_bias)

    def begin(self, start: Student) -> None:
        """Set all weights."""
        values = (start.table, start.hidden_weight.T, start.hidden_bias, start.output_weight.T, start.output_bias)
        with self._torch.no_grad():
            for weight, value in zip(self._weights, values, strict=True):
                weight.copy_(self._torch.from_numpy(np.ascontiguousarray(value)))
            self.mean = [w.detach().clone() for w in self._weights] if self.mean else []

    def keep(self, student: Student, score: float) -> None:
        """Remember a student that is better on dev than all before it."""
        if score > self.best_score:
            self.best_score, self.best, self.since = score, student, 0
        else:
            self.since += 1

    def end_epoch(self, student: Student, score: float) -> None:
        self.epoch += 1
        self.keep(student, score)

    def save(self, path: Path) -> None:
        assert self.best is not None
        best = {name: self._torch.from_numpy(getattr(self.best, name)) for name in Student.__slots__}
        state = {
            "bag": self.bag.state_dict(), "net": self.net.state_dict(), "optimizer": self.optimizer.state_dict(),
            "mean": self.mean, "best": best, "best_score": self.best_score,
            "epoch": self.epoch, "since": self.since, "steps": self.steps,
        }  # fmt: skip
        partial = path.with_suffix(".part")
        self._torch.save(state, partial)
        os.replace(partial, path)

    def load(self, path: Path) -> None:
        state = self._torch.load(path, weights_only=True)
        self.bag.load_state_dict(state["bag"])
        self.net.load_state_dict(state["net"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.mean = state["mean"]
        self.best = Student(**{name: value.numpy() for name, value in state["best"].items()})
        self.best_score = state["best_score"]
        self.epoch, self.since, self.steps = state["epoch"], state["since"], state["steps"]


def _rounded(weight: Any, axis: int, limit: int) -> Any:
    """Round as the int8 form will, one scale a column or unit; the gradient passes as if it were not there."""
    scale = weight.detach().abs().amax(dim=axis, keepdim=True).clamp(min=1e-8) / limit
    return weight + ((weight / scale).round().clamp(-limit, limit) * scale - weight).detach()
