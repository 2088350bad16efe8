"""A student as integers answers nearly as it did in float32, whatever the spread of its columns."""

import numpy as np
import pytest

from farthing.blocks import FeatureBlock
from farthing.distill.measure import sigmoid
from farthing.distill.quantize import quantize
from farthing.distill.student import Student
from farthing.features import FeatureSpec, featurize_texts
from farthing.scoring.embedding_bag import accumulate_reference, pack_table
from farthing.scoring.finish import finish_reference
from farthing.scoring.graph import reference_logits

N_BUCKETS, DIM, HIDDEN = 4096, 16, 32


def student_of(rng, spread, own):
    """Columns of these spreads; the first ones have units of their own, with the weights ``own``."""
    hidden = rng.normal(0, 0.2, (DIM, HIDDEN)).astype(np.float32)
    for k, weight in enumerate(own):
        hidden[k, [2 * k, 2 * k + 1]] = weight, -weight
    return Student(
        table=(rng.normal(0, 1, (N_BUCKETS, DIM)) * spread).astype(np.float32),
        hidden_weight=hidden,
        hidden_bias=rng.normal(0, 0.1, HIDDEN).astype(np.float32),
        output_weight=rng.normal(0, 0.3, (HIDDEN, 2)).astype(np.float32),
        output_bias=rng.normal(0, 0.5, 2).astype(np.float32),
    )


def rows(rng, n):
    counts = rng.integers(1, 120, n)
    indptr = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    return FeatureBlock(indptr, rng.integers(0, N_BUCKETS, indptr[-1]).astype(np.int32))


def scores_of(tensors, features):
    sums = accumulate_reference(features.indptr, features.indices, pack_table(tensors.table))
    counts = np.diff(features.indptr).astype(np.int32)
    return finish_reference(reference_logits(tensors, sums, counts), tensors.logit_scale, tensors.logit_bias)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(
    ("spread", "own"),
    [
        (np.ones(DIM), ()),
        # As after a linear start: a column for each head, far wider than the rest and with units that hear little else.
        (np.r_[8.0, 5.0, np.full(DIM - 2, 0.1)], (3.0, 3.0)),
        (np.geomspace(0.01, 3, DIM), ()),
        (np.r_[np.zeros(3), np.ones(DIM - 3)], ()),  # columns that were never learnt
    ],
)
def test_int8_answers_as_float32_does(spread, own, seed):
    rng = np.random.default_rng(seed)
    student = student_of(rng, spread, own)
    tensors = quantize(student, rows(rng, 3000))
    served = rows(rng, 1000)
    difference = np.abs(scores_of(tensors, served) - sigmoid(student.forward(served)))
    assert np.quantile(difference, 0.999) < 0.1
    assert difference.mean() < 0.007


@pytest.mark.parametrize("size", [0.0, 1e-30, 1e-12, 1e-7])
def test_units_and_heads_that_training_shrank_to_nothing_can_be_served(size):
    rng = np.random.default_rng(5)
    student = student_of(rng, np.ones(DIM), ())
    student.hidden_weight[:, 3] = size * rng.normal(size=DIM)
    student.hidden_weight[:, 4] = size
    student.hidden_bias[[3, 4]] = 40.0, -0.2
    student.output_weight[:, 1] = size
    tensors = quantize(student, rows(rng, 3000))  # an unusable scale is a BundleError
    assert np.abs(tensors.hidden_bias[3] * tensors.hidden_scale[3]) > 0
    served = rows(rng, 1000)
    difference = np.abs(scores_of(tensors, served) - sigmoid(student.forward(served)))
    assert np.quantile(difference, 0.999) < 0.1
    assert difference.mean() < 0.007


def test_quantized_logits_stay_near_the_floats():
    rng = np.random.default_rng(0)
    spec = FeatureSpec(n_buckets=1 << 10)
    features = featurize_texts(spec, [f"some words {k} and {k * 7} more" for k in range(400)])
    student = Student(
        rng.normal(0, 0.3, (1 << 10, 16)).astype(np.float32), rng.normal(0, 0.3, (16, 32)).astype(np.float32),
        rng.normal(0, 0.1, 32).astype(np.float32), rng.normal(0, 0.3, (32, 3)).astype(np.float32), np.zeros(3, np.float32),
    )  # fmt: skip
    tensors = quantize(student, features)
    assert np.abs(tensors.hidden_weight).max() <= 64
    sums = np.add.reduceat(tensors.table[features.indices].astype(np.int32), features.indptr[:-1], axis=0)
    logits = reference_logits(tensors, sums, np.diff(features.indptr)) * tensors.logit_scale + tensors.logit_bias
    exact = student.forward(features)
    assert np.abs(logits - exact).max() < 0.1 * np.abs(exact).max()
