"""The student's training: hashed features -> embedding bag -> hidden ReLU layer -> one logit a head."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from farthing.blocks import FeatureBlock
from farthing.distill.measure import macro_f1
from farthing.distill.recipe import Recipe
from farthing.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable

Floats = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Examples:
    """Rows of features with the head each row trains and its label."""

    features: FeatureBlock
    head: NDArray[np.int64]  # (n,)
    label: Floats  # (n,)


@dataclass(frozen=True, slots=True)
class Student:
    """Weights of a trained student, float32."""

    table: Floats  # (n_buckets, dim)
    hidden_weight: Floats  # (dim, hidden)
    hidden_bias: Floats
    output_weight: Floats  # (hidden, heads)
    output_bias: Floats


def import_torch() -> Any:
    """Import PyTorch, or say which extra has it."""
    try:
        import torch
    except ImportError as error:
        raise ConfigError("training needs PyTorch: pip install 'farthing[distill]'") from error
    return torch


def train(
    recipe: Recipe, n_buckets: int, train_set: Examples, dev_set: Examples, say: Callable[[str], None]
) -> Student:
    """Train until the heads' mean dev macro-F1 rises no more. Deterministic by the recipe's seed, on one thread."""
    torch = import_torch()
    settings, size, heads = recipe.training, recipe.student, len(recipe.heads)
    torch.manual_seed(settings.seed)
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    rng = np.random.default_rng(settings.seed)
    bag = torch.nn.EmbeddingBag(n_buckets, size.dim, mode="sum")
    torch.nn.init.normal_(bag.weight, std=0.02)
    net = torch.nn.Sequential(
        torch.nn.Linear(size.dim, size.hidden), torch.nn.ReLU(), torch.nn.Linear(size.hidden, heads)
    )
    optimizer = torch.optim.Adam(
        [{"params": bag.parameters(), "weight_decay": settings.weight_decay}, {"params": net.parameters()}],
        lr=settings.learning_rate,
    )
    best: tuple[float, Student] | None = None
    since = 0
    n = len(train_set.label)
    for epoch in range(settings.epochs):
        order = rng.permutation(n)
        total = 0.0
        for at in range(0, n, settings.batch):
            rows = order[at : at + settings.batch]
            ids, offsets, counts = gather(train_set.features, rows)
            keep = (rng.random(len(ids)) >= settings.feature_dropout).astype(np.float32) / (
                1 - settings.feature_dropout
            )
            summed = bag(torch.from_numpy(ids), torch.from_numpy(offsets), per_sample_weights=torch.from_numpy(keep))
            logits = net(summed / torch.from_numpy(np.sqrt(counts))[:, None])
            chosen = logits[torch.arange(len(rows)), torch.from_numpy(train_set.head[rows])]
            loss = torch.nn.functional.binary_cross_entropy_with_logits(chosen, torch.from_numpy(train_set.label[rows]))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            total += loss.item() * len(rows)
        student = _weights(bag, net)
        logits = forward(student, dev_set.features)[np.arange(len(dev_set.label)), dev_set.head]
        scores = [
            max(
                macro_f1(dev_set.label[dev_set.head == h], logits[dev_set.head == h], cut)
                for cut in np.linspace(-2, 2, 41)
            )
            for h in range(heads)
        ]
        mean = float(np.mean(scores))
        said = " ".join(f"{name} {score:.4f}" for name, score in zip(recipe.heads, scores, strict=True))
        say(f"epoch {epoch + 1}/{settings.epochs}: loss {total / n:.4f}, dev macro-F1 {said}")
        if best is None or mean > best[0]:
            best, since = (mean, student), 0
        else:
            since += 1
            if since >= settings.patience:
                break
    assert best is not None
    return best[1]


def gather(features: FeatureBlock, rows: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64], Floats]:
    """Give the ids of some rows one after the other, where each row begins, and how many ids it has."""
    starts, stops = features.indptr[rows], features.indptr[rows + 1]
    counts = stops - starts
    offsets = np.concatenate([[0], np.cumsum(counts)[:-1]]).astype(np.int64)
    place = np.arange(int(counts.sum())) - np.repeat(offsets, counts) + np.repeat(starts, counts)
    return features.indices[place].astype(np.int64), offsets, counts.astype(np.float32)


def forward(student: Student, features: FeatureBlock) -> Floats:
    """Give the float32 logits (n_rows, n_heads), in NumPy."""
    counts = np.diff(features.indptr)
    sums = np.add.reduceat(student.table[features.indices], features.indptr[:-1], axis=0)
    x = sums / np.sqrt(counts)[:, None]
    hidden = np.maximum(x @ student.hidden_weight + student.hidden_bias, 0)
    return (hidden @ student.output_weight + student.output_bias).astype(np.float32)


def _weights(bag: Any, net: Any) -> Student:
    return Student(
        table=bag.weight.detach().numpy().copy(),
        hidden_weight=net[0].weight.detach().numpy().T.copy(),
        hidden_bias=net[0].bias.detach().numpy().copy(),
        output_weight=net[2].weight.detach().numpy().T.copy(),
        output_bias=net[2].bias.detach().numpy().copy(),
    )


def sigmoid(x: Floats) -> Floats:
    """Give probabilities (training and evaluation only; serving has its own kernel)."""
    return np.array([1 / (1 + math.exp(-min(max(float(v), -60.0), 60.0))) for v in x.ravel()], np.float32).reshape(
        x.shape
    )
