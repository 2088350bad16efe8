"""The bag's kernels are bit-equal to their references and to NumPy."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from farthing.scoring.embedding_bag import (
    RUN,
    accumulate,
    accumulate_reference,
    pack_table,
    quantize_sums,
    quantize_sums_reference,
)


def rows_of(rng, counts, n_buckets):
    indptr = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    return indptr, rng.integers(0, n_buckets, indptr[-1]).astype(np.int32)


@pytest.mark.parametrize("dim", [16, 32, 48])
def test_sums_are_those_of_numpy(dim):
    rng = np.random.default_rng(dim)
    table = rng.integers(-128, 128, (1000, dim), dtype=np.int8)
    indptr, ids = rows_of(rng, rng.integers(0, 3 * RUN, 50), len(table))
    expected = [table[ids[a:b]].sum(axis=0, dtype=np.int32) for a, b in itertools.pairwise(indptr)]
    assert np.array_equal(accumulate(indptr, ids, pack_table(table)), expected)


@pytest.mark.parametrize("value", [-128, -127, -1, 0, 1, 127])
@pytest.mark.parametrize("count", [0, 1, RUN - 1, RUN, RUN + 1, 2 * RUN, 100_000])
def test_lanes_never_carry(value, count):
    """Equal extreme bytes fill the 16-bit lanes as far as they go; neighbours must not notice."""
    table = np.full((3, 48), value, np.int8)
    table[1, ::2] = ~np.int8(value)
    ids = np.full(count, 1, np.int32)
    sums = accumulate(np.array([0, count], np.int64), ids, pack_table(table))
    assert np.array_equal(sums[0], table[1].astype(np.int64) * count)


@settings(deadline=None, max_examples=40)
@given(
    st.lists(st.integers(0, 40), min_size=1, max_size=20), st.integers(0, 2**32 - 1), st.sampled_from([16, 32, 48, 64])
)
def test_kernels_equal_references(counts, seed, dim):
    rng = np.random.default_rng(seed)
    table = pack_table(rng.integers(-128, 128, (64, dim), dtype=np.int8))
    indptr, ids = rows_of(rng, counts, 64)
    sums = accumulate(indptr, ids, table)
    assert np.array_equal(sums, accumulate_reference(indptr, ids, table))
    scale = (10.0 ** rng.uniform(-4, 0, dim)).astype(np.float32)
    divisor = np.sqrt(np.maximum(np.arange(33), 1)).astype(np.float32)
    arguments = (sums, indptr, scale, divisor, np.float32(0.05), int(rng.integers(0, 256)))
    assert np.array_equal(quantize_sums(*arguments), quantize_sums_reference(*arguments))


def test_quantization_rounds_half_to_even_and_is_cut():
    sums = np.array([[-4, -3, -1, 0, 1, 3, 5, 7, 2**31 - 1, -(2**31), 509, 510, 511, 2, -2, 6]], np.int32)
    one = np.ones(16, np.float32)
    found = quantize_sums(sums, np.array([0, 1], np.int64), one, np.ones(2, np.float32), np.float32(2.0), 0)
    assert found[0].tolist() == [0, 0, 0, 0, 0, 2, 2, 4, 255, 0, 254, 255, 255, 1, 0, 3]


def test_rows_longer_than_the_divisor_table_become_averages():
    """Twice the same ids past the table's end is the same input."""
    divisor = np.sqrt(np.maximum(np.arange(5), 1)).astype(np.float32)
    sums = np.array([[100] * 16, [200] * 16, [25] * 16, [0] * 16], np.int32)
    indptr = np.array([0, 8, 24, 26, 26], np.int64)  # 8, 16, 2 and 0 ids; the table ends at 4
    found = quantize_sums(sums, indptr, np.ones(16, np.float32), divisor, np.float32(1.0), 10)
    assert found[:, 0].tolist() == [10 + 25, 10 + 25, 10 + 18, 10]


def test_no_rows():
    table = pack_table(np.zeros((4, 16), np.int8))
    assert accumulate(np.zeros(1, np.int64), np.zeros(0, np.int32), table).shape == (0, 16)
