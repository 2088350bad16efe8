"""The convex start: near the optimum, laid out so that the student says the same, and harmless to its input."""

import numpy as np
import pytest

from farthing.blocks import FeatureBlock
from farthing.distill.student import Student
from farthing.distill.texts.linear_start import first_weights, fit_linear
from farthing.errors import ConfigError

scipy = pytest.importorskip("scipy", reason="needs the extra distill")


def make_problem(*, n=600, n_buckets=50, seed=0):
    rng = np.random.default_rng(seed)
    counts = rng.integers(1, 12, n)
    indptr = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    features = FeatureBlock(indptr, rng.integers(0, n_buckets, indptr[-1]).astype(np.int32))
    truth = rng.normal(0, 1, (n_buckets, 2))
    sums = np.add.reduceat(truth[features.indices], indptr[:-1], axis=0) / np.sqrt(counts)[:, None]
    return features, 1 / (1 + np.exp(-sums)), np.ones((n, 2))


def logits_of(models, features):
    sums = np.add.reduceat(models.weights[features.indices], features.indptr[:-1], axis=0)
    return sums / np.sqrt(np.diff(features.indptr))[:, None] + models.biases


def test_it_finds_the_probabilities_behind_soft_targets():
    features, target, weight = make_problem()
    models = fit_linear(features, 50, target, weight, penalty=1e-3)
    assert np.abs(1 / (1 + np.exp(-logits_of(models, features))) - target).max() < 0.03


def test_rows_of_weight_0_and_heads_do_not_touch_each_other():
    features, target, weight = make_problem()
    weight[300:, 0] = 0
    changed = target.copy()
    changed[300:, 0] = 0.5
    a = fit_linear(features, 50, target, weight, penalty=1.0)
    b = fit_linear(features, 50, changed, weight, penalty=1.0)
    assert np.array_equal(a.weights, b.weights)
    assert not np.array_equal(a.weights[:, 0], a.weights[:, 1])


def test_the_penalty_shrinks():
    features, target, weight = make_problem()
    sizes = [np.abs(fit_linear(features, 50, target, weight, p).weights).mean() for p in (0.1, 10.0, 1000.0)]
    assert sizes[0] > sizes[1] > sizes[2]


def test_the_students_features_are_left_as_they_are():
    features, target, weight = make_problem()
    before = features.indices.copy()
    fit_linear(features, 50, target, weight, penalty=1.0)
    assert np.array_equal(features.indices, before)


def test_the_student_says_what_the_linear_models_say():
    features, target, weight = make_problem()
    models = fit_linear(features, 50, target, weight, penalty=1.0)
    spread = logits_of(models, features).std(axis=0).astype(np.float32)
    student = Student(**first_weights(models, spread, 16, 8, seed=0))
    assert np.abs(student.forward(features) - logits_of(models, features)).max() < 0.1
    # What is heavy lies in a column of its own, so that the others' scale is fine.
    heads = models.weights.shape[1]
    largest = np.abs(models.weights / spread).max(axis=0)
    assert np.allclose(np.abs(student.table[:, :heads]).max(axis=0), largest / 5)
    assert np.allclose(student.table[:, :heads] + student.table[:, heads : 2 * heads], models.weights / spread)
    with pytest.raises(ConfigError, match="hidden >= 4"):
        first_weights(models, spread, 16, 3, seed=0)
