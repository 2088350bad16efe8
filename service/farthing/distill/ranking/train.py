"""Trains the ranking student: the same net as for every task, with a loss over each query's whole list.

The loss is the cross-entropy of two distributions over a query's candidates (Cao et al. 2007, ListNet; with one
relevant candidate it is the softmax loss): the target, and the softmax of the student's logits.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from farthing.blocks import FeatureBlock
from farthing.distill.pytorch import seeded_torch
from farthing.distill.ranking.recipe import Size, Training
from farthing.distill.show import Say
from farthing.distill.student import Net, Student

Floats = NDArray[np.float32]
Int64s = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class TrainingLists:
    """Lists to learn from."""

    features: FeatureBlock
    indptr: Int64s  # (n_lists+1,) into the rows of features
    target: Floats  # (n_rows,) sums to 1 in each list


def targets(gains: Floats, indptr: Int64s) -> Floats:
    """Return a target for each list that is in proportion to the gains."""
    sums = np.add.reduceat(gains.astype(np.float64), indptr[:-1])
    shares: Floats = (gains / np.repeat(np.where(sums > 0, sums, 1.0), np.diff(indptr))).astype(np.float32)
    return shares


def soft_targets(logits: Floats, indptr: Int64s) -> Floats:
    """Return a teacher's target for each list: the softmax of its logits."""
    out = np.empty(len(logits), np.float32)
    for start, stop in itertools.pairwise(indptr.tolist()):
        z = logits[start:stop].astype(np.float64)
        e = np.exp(z - z.max())
        out[start:stop] = e / e.sum()
    return out


def train(
    size: Size,
    settings: Training,
    n_buckets: int,
    train_set: TrainingLists,
    dev_score: Callable[[Student], float],
    say: Say,
) -> Student:
    """Train until the dev score stops rising. Deterministic for a seed, on one thread."""
    torch = seeded_torch(settings.seed)
    rng = np.random.default_rng(settings.seed)
    # A small spread: a word that no training query has must not sway a ranking.
    net = Net(torch, n_buckets, size, 1, spread=1e-3)
    optimizer = torch.optim.AdamW(net.groups(settings.weight_decay), lr=settings.learning_rate)
    n_lists = len(train_set.indptr) - 1
    steps = settings.epochs * -(-n_lists // settings.batch)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, settings.learning_rate, total_steps=steps, pct_start=0.1)

    def drop(n: int) -> Floats:
        kept = (rng.random(n) >= settings.feature_dropout).astype(np.float32)
        return np.asarray(kept / np.float32(1 - settings.feature_dropout), np.float32)

    best: tuple[float, Student] | None = None
    since = 0
    for epoch in range(settings.epochs):
        total = 0.0
        order = rng.permutation(n_lists)
        for at in range(0, n_lists, settings.batch):
            lists = order[at : at + settings.batch]
            rows, segment = rows_of(train_set.indptr, lists)
            logits = net.logits(train_set.features, rows, drop)[:, 0]
            loss = _listwise(torch, logits, torch.from_numpy(segment), train_set.target[rows], len(lists))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            total += loss.item() * len(lists)
        student = net.student()
        score = dev_score(student)
        say(f"epoch {epoch + 1}/{settings.epochs}: loss {total / n_lists:.4f}, dev {score:.4f}")
        if best is None or score > best[0]:
            best, since = (score, student), 0
        else:
            since += 1
            if since >= settings.patience:
                break
    assert best is not None
    return best[1]


def rows_of(indptr: Int64s, lists: Int64s) -> tuple[Int64s, Int64s]:
    """Return the rows of some lists one after another, and the number of the list that each belongs to."""
    sizes = indptr[lists + 1] - indptr[lists]
    segment = np.repeat(np.arange(len(lists)), sizes)
    first = np.cumsum(sizes) - sizes
    return np.arange(int(sizes.sum())) - np.repeat(first - indptr[lists], sizes), segment


def _listwise(torch: Any, logits: Any, segment: Any, target: Floats, n_lists: int) -> Any:
    """Return the mean over lists of - sum of target * log softmax."""
    expected = torch.from_numpy(target)
    largest = torch.full((n_lists,), -torch.inf).scatter_reduce(0, segment, logits.detach(), "amax")
    shifted = logits - largest[segment]
    total = torch.zeros(n_lists).index_add(0, segment, shifted.exp())
    return -(expected * (shifted - total.log()[segment])).sum() / n_lists


def logits_of(student: Student, features: FeatureBlock) -> Floats:
    """Return the float32 logits (n_rows,), in NumPy."""
    return student.forward(features)[:, 0]
