"""Trains the student for click logs on the clicks and on the teacher, for as many epochs as cross-validation chooses.

Clicks are rare (a few hundred in a log), so a held-out split would hardly have any. Instead the number of epochs with
the least mean log loss over the folds is chosen, the student is then trained on all rows, and the folds' predictions
calibrate it (Platt scaling), which changes two numbers of the last layer.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from farthing.blocks import FeatureBlock
from farthing.distill.clicks.recipe import ClickRecipe
from farthing.distill.pytorch import seeded_torch
from farthing.distill.show import Say
from farthing.distill.student import Net, Student, gather

Floats = NDArray[np.float32]
Int64s = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Trained:
    """A student and the results of cross-validation."""

    student: Student
    epochs: int
    out_of_fold: Floats  # (n,) calibrated logits of rows that a student of the same recipe had not seen


Taught = Callable[[int | None], Floats]
"""From a fold, or None, to the probabilities (n,) of a teacher that saw nothing of that fold."""


def train(
    recipe: ClickRecipe,
    features: FeatureBlock,
    clicks: Floats,
    taught: Taught | None,
    fold: Int64s,
    say: Say,
) -> Trained:
    """Train a student. Deterministic by the recipe's seed, on one thread.

    Parameters
    ----------
    features:
        Of n rows, each with at least one id.
    clicks:
        (n,) 0 or 1.
    taught:
        The teacher, or None without one.
    fold:
        (n,) which fold a row is in.
    """
    settings = recipe.training

    def target(held: int | None) -> Floats:
        if taught is None:
            return clicks
        return np.asarray(settings.gold_weight * clicks + (1 - settings.gold_weight) * taught(held), np.float32)

    losses = np.zeros(settings.epochs)
    logits = np.zeros((settings.epochs, len(clicks)), np.float32)
    for k in range(settings.folds):
        seen, held = np.flatnonzero(fold != k), np.flatnonzero(fold == k)
        held_features = _take(features, held)
        for epoch, student in enumerate(_epochs(recipe, features, target(k), seen, settings.epochs)):
            logits[epoch, held] = student.forward(held_features)[:, 0]
            losses[epoch] += _loss(clicks[held], logits[epoch, held])
    losses /= len(clicks)
    best = int(np.argmin(losses))
    say("cross-validated log loss by epoch: " + " ".join(f"{loss:.5f}" for loss in losses))
    slope, shift = calibrate(clicks, logits[best])
    say(f"{best + 1} epochs; calibration: logit * {slope:.3f} + {shift:.3f}")
    for student in _epochs(recipe, features, target(None), np.arange(len(clicks)), best + 1):
        last = student
    student = replace(
        last,
        output_weight=(last.output_weight * np.float32(slope)).astype(np.float32),
        output_bias=(last.output_bias * np.float32(slope) + np.float32(shift)).astype(np.float32),
    )
    return Trained(student, best + 1, (logits[best] * slope + shift).astype(np.float32))


LEAST_SLOPE = 0.05
"""Least slope: calibration must not reverse the order of scores, or make them all equal."""


def calibrate(clicks: Floats, logits: Floats) -> tuple[float, float]:
    """Fit slope and shift of the logits by maximum likelihood (Platt 1999): damped Newton steps."""
    x, y = logits.astype(np.float64), clicks.astype(np.float64)
    w = np.array([1.0, _shift(y, x)])
    for _ in range(50):
        p = _probability(w[0] * x + w[1])
        gradient = np.array([((p - y) * x).sum(), (p - y).sum()])
        v = p * (1 - p)
        hessian = np.array([[(v * x * x).sum() + 1e-6, (v * x).sum()], [(v * x).sum(), v.sum() + 1e-6]])
        step = np.linalg.solve(hessian, gradient)
        before = _loss(y, w[0] * x + w[1])
        while _loss(y, (w[0] - step[0]) * x + w[1] - step[1]) > before and np.abs(step).max() > 1e-9:
            step /= 2
        w -= step
        if np.abs(step).max() < 1e-9:
            break
    if w[0] < LEAST_SLOPE:
        w = np.array([LEAST_SLOPE, _shift(y, LEAST_SLOPE * x)])
    return float(w[0]), float(w[1])


def _shift(clicks: NDArray[np.float64], logits: NDArray[np.float64]) -> float:
    """Return what to add to logits so that their mean probability is the share of clicks."""
    low, high = -60.0, 60.0
    for _ in range(100):
        middle = (low + high) / 2
        if float(_probability(logits + middle).mean()) < float(clicks.mean()):
            low = middle
        else:
            high = middle
    return (low + high) / 2


def _probability(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(1 / (1 + np.exp(-np.clip(logits, -60, 60))), np.float64)


def _epochs(
    recipe: ClickRecipe, features: FeatureBlock, target: Floats, rows: Int64s, epochs: int
) -> Iterator[Student]:
    """Train on some rows; yields the student after each epoch."""
    settings = recipe.training
    torch = seeded_torch(settings.seed)
    rng = np.random.default_rng(settings.seed)
    net = Net(torch, recipe.spec().n_buckets, recipe.student, 1)
    share = float(target[rows].mean())
    with torch.no_grad():  # begin at the click rate: otherwise learning its logit would take most of the training
        net.dense[2].bias.fill_(float(np.log(share / (1 - share))))
    optimizer = torch.optim.Adam(net.groups(settings.weight_decay), lr=settings.learning_rate)

    def drop(n: int) -> Floats:
        kept = (rng.random(n) >= settings.feature_dropout) / (1 - settings.feature_dropout)
        return np.asarray(kept, np.float32)

    for _ in range(epochs):
        order = rows[rng.permutation(len(rows))]
        for at in range(0, len(order), settings.batch):
            chosen = order[at : at + settings.batch]
            logits = net.logits(features, chosen, drop)[:, 0]
            loss = torch.nn.functional.binary_cross_entropy_with_logits(logits, torch.from_numpy(target[chosen]))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        yield net.student()


def _take(features: FeatureBlock, rows: Int64s) -> FeatureBlock:
    ids, _, counts = gather(features, rows)
    indptr = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    return FeatureBlock(indptr, ids.astype(np.int32))


def _loss(clicks: NDArray[Any], logits: NDArray[Any]) -> float:
    x = logits.astype(np.float64)
    return float((np.logaddexp(0, x) - clicks * x).sum())
