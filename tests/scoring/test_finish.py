"""The last step: bit-equal to its reference, close to the true sigmoid, rising, and finite."""

from decimal import Decimal, getcontext

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from farthing.scoring.finish import LARGEST_Z, finish, finish_reference
from farthing.scoring.tensors import LARGEST_LOGIT_BIAS as MOST
from farthing.scoring.tensors import LARGEST_SCALE, SMALLEST_SCALE

INT32 = np.iinfo(np.int32)


def score(logits, scale, bias=0.0):
    column = np.asarray(logits, np.int32).reshape(-1, 1)
    return finish(column, np.array([scale], np.float32), np.array([bias], np.float32))[:, 0]


@settings(deadline=None, max_examples=60)
@given(
    st.lists(st.integers(INT32.min, INT32.max), min_size=9, max_size=30),
    st.integers(1, 9),
    st.data(),
)
def test_kernel_equals_reference(logits, heads, data):
    logits = np.array(logits[: len(logits) // heads * heads], np.int32).reshape(-1, heads)
    scales, biases = st.floats(SMALLEST_SCALE, LARGEST_SCALE, width=32), st.floats(-MOST, MOST, width=32)
    scale, bias = (
        np.array(data.draw(st.lists(numbers, min_size=heads, max_size=heads)), np.float32)
        for numbers in (scales, biases)
    )
    found = finish(logits, scale, bias)
    assert np.array_equal(found.view(np.uint32), finish_reference(logits, scale, bias).view(np.uint32))
    assert np.isfinite(found).all() and (found > 0).all() and (found <= 1).all()


def test_within_one_rounding_of_the_true_sigmoid():
    getcontext().prec = 50
    scale = np.float32(2.0**-10)
    logits = np.unique(np.concatenate([np.arange(-90_000, 90_000, 601), np.arange(-50, 50)]))
    for logit, found in zip(logits, score(logits, scale), strict=True):
        z = max(min(Decimal(int(logit)) * Decimal(float(scale)), Decimal(LARGEST_Z)), Decimal(-LARGEST_Z))
        true = float(1 / (1 + (-z).exp()))
        assert abs(float(found) - true) <= np.spacing(np.float32(true)) * 0.501, logit


def test_rises_with_the_logit_even_for_the_smallest_scale():
    for center in (-(2**31) + 1, -(2**30), -5, 2**29, 2**31 - 20_001):
        assert (np.diff(score(np.arange(center, center + 20_000), SMALLEST_SCALE)) >= 0).all()
    assert (np.diff(score(np.arange(-100_000, 100_000), 1e-3)) >= 0).all()
    steep = score(np.arange(-17_000, 5_000), 1e-3)
    assert (np.diff(steep) > 0).all()  # no two logits share a score where float32 can tell them apart


def test_saturates():
    low, middle, high = score([INT32.min, 0, INT32.max], LARGEST_SCALE)
    assert 1e-35 < low < 2e-35 and middle == 0.5 and high == 1.0


def test_published_values():
    """Bits that must never change: scores already published were made with them."""
    bits = score([-100_000, -12_345, -1, 0, 1, 12_345, 100_000], 1e-3).view(np.uint32)
    published = ["05bfecba", "3692028a", "3effdf3b", "3f000000", "3f001062", "3f7fffb7", "3f800000"]
    assert [f"{b:08x}" for b in bits] == published
