"""Computes where a student's training starts: at the best linear model of its features.

Stochastic steps on a wide sparse table never come close to the optimum of a linear model: rare features get steps as
long as common ones and are learnt by heart. The linear problem is convex, so it is solved as a whole (L-BFGS), with a
penalty that is milder on rare features (by their inverse document frequency). Its weights become the first columns of
the table, and pairs of hidden units carry them through the ReLU. Training continues from there, and if it does not get
better on dev, the start itself is the student.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from farthing.blocks import FeatureBlock
from farthing.errors import ConfigError, extra

Floats = NDArray[np.float32]
Doubles = NDArray[np.float64]

MAIN_SHARE = 0.2  # of a model's largest weight: the part of a weight above it goes to a second column
ITERATIONS = 60


class LinearModels:
    """One linear model per head: logit = sum(weights of the row's ids) / sqrt(number of ids) + bias."""

    def __init__(self, weights: Floats, biases: Floats) -> None:
        self.weights = weights  # (n_buckets, n_heads)
        self.biases = biases  # (n_heads,)


def fit_linear(
    features: FeatureBlock, n_buckets: int, targets: Doubles, weights: Doubles, penalty: float
) -> LinearModels:
    """Solve the weighted logistic regressions of all heads.

    Parameters
    ----------
    features, n_buckets:
        n rows of ids below n_buckets.
    targets:
        float64 (n, n_heads): probabilities.
    weights:
        float64 (n, n_heads): the weight of a row for a head; 0 leaves it out.
    penalty:
        Factor of half the squared weights over the idf; the sum of losses is not divided by the number of rows.
    """
    try:
        from scipy.optimize import minimize
        from scipy.sparse import csr_matrix, diags_array
    except ImportError as error:
        raise ConfigError(f"training needs SciPy: {extra('distill')}") from error
    n = len(features.indptr) - 1
    counts = np.diff(features.indptr)
    ones = np.ones(len(features.indices))
    # A copy, because summing duplicates sorts the ids in place, and they are the caller's.
    x = csr_matrix((ones, features.indices, features.indptr), shape=(n, n_buckets), copy=True)
    x.sum_duplicates()
    document_frequency = np.bincount(x.indices, minlength=n_buckets)
    idf = np.log((1 + n) / (1 + document_frequency)) + 1
    x = (diags_array(1 / np.sqrt(counts)) @ x @ diags_array(idf)).tocsr()
    table = np.empty((n_buckets, targets.shape[1]), np.float32)
    biases = np.empty(targets.shape[1], np.float32)
    for k in range(targets.shape[1]):
        rows = np.flatnonzero(weights[:, k] > 0)
        solved = minimize(
            _objective,
            np.zeros(n_buckets + 1),
            args=(x if len(rows) == n else x[rows], targets[rows, k], weights[rows, k], penalty),
            jac=True,
            method="L-BFGS-B",
            options={"maxiter": ITERATIONS},
        )
        table[:, k] = solved.x[:-1] * idf
        biases[k] = solved.x[-1]
    return LinearModels(table, biases)


def _objective(v: Doubles, x: Any, target: Doubles, weight: Doubles, penalty: float) -> tuple[float, Doubles]:
    z = x @ v[:-1] + v[-1]
    loss = float((weight * (np.logaddexp(0, z) - target * z)).sum()) + penalty / 2 * float(np.square(v[:-1]).sum())
    slope = weight * (1 / (1 + np.exp(-np.clip(z, -60, 60))) - target)
    return loss, np.append(x.T @ slope + penalty * v[:-1], slope.sum())


def first_weights(models: LinearModels, spread: Floats, dim: int, hidden: int, seed: int) -> dict[str, Floats]:
    """Lay linear models out as a student's weights.

    Each model has a column and, if there is room, another for what its few heaviest weights have above a fifth of the
    largest, so that the first column gets a finer scale when the table becomes int8.

    Parameters
    ----------
    models:
        At most ``dim`` and ``hidden / 2`` heads.
    spread:
        float32 (n_heads,): standard deviation of each model's logits without bias; the table is scaled to one.
    dim, hidden, seed:
        Sizes of the student; its other weights are small random numbers.

    Returns
    -------
    The fields of :class:`farthing.distill.student.Student`.
    """
    n_buckets, heads = models.weights.shape
    if heads > dim or 2 * heads > hidden:
        raise ConfigError(
            f"{heads} heads need student.dim >= {heads} and student.hidden >= {2 * heads}, found {dim} and {hidden}"
        )
    rng = np.random.default_rng([seed, 0x1EA])
    table = rng.normal(0, 0.01, (n_buckets, dim)).astype(np.float32)
    hidden_weight = rng.normal(0, 1 / np.sqrt(dim), (dim, hidden)).astype(np.float32)
    output_weight = rng.normal(0, 0.01, (hidden, heads)).astype(np.float32)
    whole = models.weights / spread
    limit = np.abs(whole).max(axis=0) * (MAIN_SHARE if 2 * heads <= dim else 1)
    table[:, :heads] = np.clip(whole, -limit, limit)
    if 2 * heads <= dim:
        table[:, heads : 2 * heads] = whole - table[:, :heads]
    for k in range(heads):
        up, down = 2 * k, 2 * k + 1
        own = [k, heads + k] if 2 * heads <= dim else [k]
        hidden_weight[:, [up, down]] = 0
        hidden_weight[own, up], hidden_weight[own, down] = 1, -1
        output_weight[[up, down]] = 0
        output_weight[up, k], output_weight[down, k] = spread[k], -spread[k]
    return {
        "table": table,
        "hidden_weight": hidden_weight,
        "hidden_bias": np.zeros(hidden, np.float32),
        "output_weight": output_weight,
        "output_bias": models.biases.copy(),
    }
