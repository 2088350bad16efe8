"""The student for every task: hashed features -> embedding bag -> hidden ReLU layer -> one logit per head.

::

    sum of the rows of ``table`` that a row's ids name, divided by the square root of their number
      -> hidden: linear, ReLU -> output: linear

:class:`Student` has the weights and needs only NumPy; :class:`Net` is the same function in PyTorch, to be trained.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from farthing.blocks import FeatureBlock
from farthing.distill.recipe_file import StudentSize
from farthing.scoring.tensors import WEIGHT_LIMIT

Floats = NDArray[np.float32]
Doubles = NDArray[np.float64]
Int64s = NDArray[np.int64]
Drop = Callable[[int], Floats]
"""Feature dropout: from a number of ids to the weight of each (n,), 0 if it is left out, else more than 1."""


@dataclass(frozen=True, slots=True)
class Student:
    """Weights of a student, float32."""

    table: Floats  # (n_buckets, dim)
    hidden_weight: Floats  # (dim, hidden)
    hidden_bias: Floats
    output_weight: Floats  # (hidden, n_heads)
    output_bias: Floats

    def forward(self, features: FeatureBlock) -> Floats:
        """Return the logits (n_rows, n_heads), in NumPy."""
        return self.dense(embed(self.table, features))

    def hidden(self, x: Doubles | Floats) -> Doubles | Floats:
        """Return the hidden activations for inputs (n_rows, dim)."""
        return np.maximum(x @ self.hidden_weight + self.hidden_bias, 0)

    def dense(self, x: Doubles | Floats) -> Floats:
        """Return the logits for inputs (n_rows, dim)."""
        return np.asarray(self.hidden(x) @ self.output_weight + self.output_bias, np.float32)


class Net:
    """The student in PyTorch, with random weights.

    Parameters
    ----------
    torch:
        PyTorch, seeded: the weights depend on it.
    n_buckets, size, n_heads:
        Sizes.
    spread:
        Standard deviation of the table's weights.
    """

    def __init__(self, torch: Any, n_buckets: int, size: StudentSize, n_heads: int, *, spread: float = 0.02) -> None:
        self._torch = torch
        self.bag = torch.nn.EmbeddingBag(n_buckets, size.dim, mode="sum")
        torch.nn.init.normal_(self.bag.weight, std=spread)
        self.dense = torch.nn.Sequential(
            torch.nn.Linear(size.dim, size.hidden), torch.nn.ReLU(), torch.nn.Linear(size.hidden, n_heads)
        )

    @property
    def weights(self) -> list[Any]:
        """Table, hidden weight, hidden bias, output weight, output bias."""
        return [*self.bag.parameters(), *self.dense.parameters()]

    def groups(self, weight_decay: float) -> list[dict[str, Any]]:
        """Return the parameters for an optimizer: only the table decays."""
        return [
            {"params": self.bag.parameters(), "weight_decay": weight_decay},
            {"params": self.dense.parameters(), "weight_decay": 0.0},
        ]

    def logits(self, features: FeatureBlock, rows: Int64s, drop: Drop, *, rounded: bool = False) -> Any:
        """Return the logits of some rows, (rows, n_heads).

        Parameters
        ----------
        features, rows:
            Which rows of which features; every row has at least one id.
        drop:
            Draws the weight of each id.
        rounded:
            Whether weights are rounded as int8 will round them.
        """
        torch = self._torch
        ids, begins, counts = gather(features, rows)
        table, hidden, output = self.bag.weight, self.dense[0].weight, self.dense[2].weight
        if rounded:
            table = _rounded(table, 0, 127)
            hidden, output = _rounded(hidden, 1, WEIGHT_LIMIT), _rounded(output, 1, WEIGHT_LIMIT)
        summed = torch.nn.functional.embedding_bag(
            torch.from_numpy(ids), table, torch.from_numpy(begins), mode="sum",
            per_sample_weights=torch.from_numpy(drop(len(ids))),
        )  # fmt: skip
        x = torch.nn.functional.linear(summed / torch.from_numpy(np.sqrt(counts))[:, None], hidden, self.dense[0].bias)
        return torch.nn.functional.linear(torch.relu(x), output, self.dense[2].bias)

    def student(self, weights: Sequence[Any] = ()) -> Student:
        """Return a student with these weights, or with others in their order."""
        table, hidden, hidden_bias, output, output_bias = (w.detach().numpy().copy() for w in (weights or self.weights))
        return Student(table, hidden.T.copy(), hidden_bias, output.T.copy(), output_bias)

    def set_to(self, student: Student) -> None:
        """Set all weights."""
        values = (
            student.table, student.hidden_weight.T, student.hidden_bias, student.output_weight.T, student.output_bias,
        )  # fmt: skip
        with self._torch.no_grad():
            for weight, value in zip(self.weights, values, strict=True):
                weight.copy_(self._torch.from_numpy(np.ascontiguousarray(value)))


def embed(table: Floats, features: FeatureBlock) -> Doubles:
    """Return the sum of the table's rows that each row's ids name, divided by the square root of their number."""
    sums = np.add.reduceat(table[features.indices], features.indptr[:-1], axis=0)
    return np.asarray(sums / np.sqrt(np.diff(features.indptr))[:, None], np.float64)


def gather(features: FeatureBlock, rows: Int64s) -> tuple[Int64s, Int64s, Floats]:
    """Return the ids of some rows one after another, where each row begins, and how many ids it has."""
    starts, stops = features.indptr[rows], features.indptr[rows + 1]
    counts = stops - starts
    begins = np.concatenate([[0], np.cumsum(counts)[:-1]]).astype(np.int64)
    place = np.arange(int(counts.sum())) - np.repeat(begins, counts) + np.repeat(starts, counts)
    return features.indices[place].astype(np.int64), begins, counts.astype(np.float32)


def _rounded(weight: Any, axis: int, limit: int) -> Any:
    """Round as int8 will, with one scale per column or unit; the gradient passes as if nothing were rounded."""
    scale = weight.detach().abs().amax(dim=axis, keepdim=True).clamp(min=1e-8) / limit
    return weight + ((weight / scale).round().clamp(-limit, limit) * scale - weight).detach()
