"""Trains the student of texts.

The loss of a row and head is a mix of two binary cross-entropies: one with gold, if there is gold, and one with the
teachers at a temperature (Hinton et al. 2015; multiplied by the temperature squared, so that the mix does not depend on
it). A row without gold learns from the teachers alone, and a row without teachers from gold alone.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from farthing.blocks import FeatureBlock
from farthing.distill.measure import best_macro_f1
from farthing.distill.pytorch import seeded_torch
from farthing.distill.show import Progress, Say
from farthing.distill.student import Net, Student, embed
from farthing.distill.texts.linear_start import first_weights, fit_linear
from farthing.distill.texts.recipe import TextRecipe

Floats = NDArray[np.float32]
Truths = list[tuple[NDArray[np.bool_], Floats]]
"""For each head, which rows can be judged, and their labels."""


@dataclass(frozen=True, slots=True)
class Examples:
    """Rows of features with their gold labels and teachers' logits."""

    features: FeatureBlock
    gold: Floats  # (n, n_heads) 0..1; NaN: none
    taught: Floats  # (n, n_heads) the teachers' logits; NaN: none


def train(
    recipe: TextRecipe,
    n_buckets: int,
    train_set: Examples,
    dev_set: Examples,
    dev_truth: Truths,
    *,
    checkpoint: Path | None,
    progress: Progress,
    say: Say,
) -> Student:
    """Train until the heads' mean macro-F1 on dev stops rising. Deterministic for the recipe's seed, on one thread.

    Parameters
    ----------
    recipe, n_buckets:
        Sizes and settings.
    train_set, dev_set:
        Examples; every row has at least one id.
    dev_truth:
        For each head, which dev rows can be judged, and their labels.
    checkpoint:
        File with the state after each epoch. If it exists, training continues from it and ends at the same bytes.
    progress, say:
        Called after each step; called with a line after each epoch.

    Returns
    -------
    The weights of the best epoch.
    """
    settings = recipe.training
    torch = seeded_torch(settings.seed)
    state = _State(torch, recipe, n_buckets)
    if checkpoint is not None and checkpoint.exists():
        state.load(checkpoint)
        say(f"goes on after epoch {state.epoch} ({checkpoint})")
    elif settings.start == "linear":
        start = _linear_start(recipe, n_buckets, train_set)
        state.begin(start)
        score, by_head = _dev_score(recipe, start, dev_set, dev_truth)
        state.keep(start, score)
        say(f"start, the best linear model: dev macro-F1 {by_head}")
        if checkpoint is not None:
            state.save(checkpoint)
    targets = tuple(torch.from_numpy(t) for t in _targets(recipe, train_set, recipe.loss.temperature))
    while state.epoch < settings.epochs and state.since < settings.patience:
        loss = _one_epoch(state, recipe, train_set, targets, progress)
        student = state.student()
        score, by_head = _dev_score(recipe, student, dev_set, dev_truth)
        state.end_epoch(student, score)
        say(f"epoch {state.epoch}/{settings.epochs}: loss {loss:.4f}, dev macro-F1 {by_head}")
        if checkpoint is not None:
            state.save(checkpoint)
    assert state.best is not None
    return state.best


def _dev_score(recipe: TextRecipe, student: Student, dev_set: Examples, truth: Truths) -> tuple[float, str]:
    """Return the mean over heads of the best macro-F1 on dev, and a text with each head's."""
    logits = student.forward(dev_set.features)
    scores = [best_macro_f1(labels, logits[judged, k]) for k, (judged, labels) in enumerate(truth)]
    return float(np.mean(scores)), " ".join(f"{h} {s:.4f}" for h, s in zip(recipe.heads, scores, strict=True))


def _one_epoch(state: _State, recipe: TextRecipe, examples: Examples, targets: Any, progress: Progress) -> float:
    """Train on every row once, in an order drawn for this epoch; returns the mean loss."""
    settings, n = recipe.training, len(examples.gold)
    steps = -(-n // settings.batch)
    rng = np.random.default_rng([settings.seed, state.epoch])
    order = rng.permutation(n)
    rounded = state.epoch >= settings.epochs - settings.quantization_aware_epochs
    total = 0.0
    for step in range(steps):
        rows = order[step * settings.batch : (step + 1) * settings.batch]
        state.rate((state.epoch * steps + step) / (settings.epochs * steps))
        total += state.step(examples.features, rows, targets, rng, rounded) * len(rows)
        progress(state.epoch * steps + step + 1, settings.epochs * steps, "student")
    return total / n


def _linear_start(recipe: TextRecipe, n_buckets: int, examples: Examples) -> Student:
    gold, of_gold, soft, of_teacher = (t.astype(np.float64) for t in _targets(recipe, examples, 1.0))
    weight = of_gold + of_teacher
    target = (of_gold * gold + of_teacher * soft) / np.maximum(weight, 1e-12)
    models = fit_linear(examples.features, n_buckets, target, weight, recipe.training.linear_penalty)
    spread = np.maximum(embed(models.weights, examples.features).std(axis=0), 1e-6).astype(np.float32)
    size = recipe.student
    return Student(**first_weights(models, spread, size.dim, size.hidden, recipe.training.seed))


def _targets(recipe: TextRecipe, examples: Examples, temperature: float) -> tuple[Floats, Floats, Floats, Floats]:
    """Return gold labels and the teachers' softened probabilities, each with weights, as (n, n_heads)."""
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
    """The network, the optimizer and the progress of training."""

    def __init__(self, torch: Any, recipe: TextRecipe, n_buckets: int) -> None:
        self._torch, self._recipe = torch, recipe
        self.net = Net(torch, n_buckets, recipe.student, len(recipe.heads))
        self.optimizer = torch.optim.Adam(
            self.net.groups(recipe.training.weight_decay), lr=recipe.training.learning_rate
        )
        self.mean = [w.detach().clone() for w in self.net.weights] if recipe.training.average else []
        self.epoch = self.since = self.steps = 0
        self.best_score = -1.0
        self.best: Student | None = None

    def rate(self, done: float) -> None:
        """Set the learning rate, which falls along a cosine to a twentieth."""
        factor = 0.05 + 0.95 * 0.5 * (1 + float(np.cos(np.pi * done)))
        for group in self.optimizer.param_groups:
            group["lr"] = self._recipe.training.learning_rate * factor

    def step(
        self, features: FeatureBlock, rows: NDArray[np.int64], targets: Any, rng: np.random.Generator, rounded: bool
    ) -> float:
        torch, settings = self._torch, self._recipe.training
        share = settings.feature_dropout

        def drop(n: int) -> Floats:
            kept = (rng.random(n, np.float32) >= share) / np.float32(1 - share)
            return np.asarray(kept, np.float32)

        logits = self.net.logits(features, rows, drop, rounded=rounded)
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
            # At the start the mean is over the steps so far, so that the random first weights do not count.
            decay = min(settings.average, self.steps / (self.steps + 10))
            with torch.no_grad():
                torch._foreach_lerp_(self.mean, self.net.weights, 1 - decay)
        return float(loss.item())

    def student(self) -> Student:
        return self.net.student(self.mean)

    def begin(self, start: Student) -> None:
        """Set all weights."""
        self.net.set_to(start)
        self.mean = [w.detach().clone() for w in self.net.weights] if self.mean else []

    def keep(self, student: Student, score: float) -> None:
        """Keep a student that is better on dev than all before it."""
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
            "bag": self.net.bag.state_dict(), "net": self.net.dense.state_dict(),
            "optimizer": self.optimizer.state_dict(), "mean": self.mean, "best": best, "best_score": self.best_score,
            "epoch": self.epoch, "since": self.since, "steps": self.steps,
        }  # fmt: skip
        partial = path.with_suffix(".part")
        self._torch.save(state, partial)
        os.replace(partial, path)

    def load(self, path: Path) -> None:
        state = self._torch.load(path, weights_only=True)
        self.net.bag.load_state_dict(state["bag"])
        self.net.dense.load_state_dict(state["net"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.mean = state["mean"]
        self.best = Student(**{name: value.numpy() for name, value in state["best"].items()})
        self.best_score = state["best_score"]
        self.epoch, self.since, self.steps = state["epoch"], state["since"], state["steps"]
