"""The model's first steps, in two kernels: from feature ids to the quantized input of the dense part.

:func:`accumulate` sums rows of the int8 table. Sixteen int8 are two 64-bit words, and each word is split into four
16-bit lanes of its even bytes and four of its odd bytes. So for sixteen columns an id costs two loads, four masks and
four additions, all in registers, and a run of :data:`RUN` ids cannot carry from lane to lane. The bytes are stored with
128 added, so that lanes have no signs; the sum subtracts it again.

:func:`quantize_sums` scales the sums, divides them by the row's length and rounds them to uint8, operation by
operation as the graph does (:mod:`farthing.scoring.graph`), in float32.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from farthing.blocks import Bytes, Int32s, Int64s
from farthing.kernels.jit import kernel

Words = NDArray[np.uint64]
Float32s = NDArray[np.float32]

RUN = 257
"""Ids summed before the lanes are emptied: 257 * 255 = 65,535 is the largest number in 16 bits."""

_EVEN_BYTES = np.uint64(0x00FF00FF00FF00FF)
_LANE = np.uint64(0xFFFF)
_BYTE_BITS = np.uint64(8)
_LANE_BITS = 16
_BIAS = 128


def pack_table(table: NDArray[np.int8]) -> Words:
    """Make the words that :func:`accumulate` reads.

    Parameters
    ----------
    table:
        int8 (n_buckets, dim), dim a multiple of 16.

    Returns
    -------
    uint64 (n_buckets, dim / 8), little-endian: a copy in which each byte is the table's with 128 added.
    """
    biased = np.ascontiguousarray(table).view(np.uint8) ^ np.uint8(_BIAS)
    return biased.view("<u8").astype(np.uint64, copy=False)


def accumulate_reference(indptr: Int64s, indices: Int32s, words: Words) -> Int32s:
    """Sum the table's rows with NumPy."""
    table = (words.astype("<u8").view(np.uint8) ^ np.uint8(_BIAS)).view(np.int8)
    sums = np.zeros((len(indptr) - 1, table.shape[1]), np.int32)
    for row in range(len(sums)):
        for index in indices[indptr[row] : indptr[row + 1]]:
            sums[row] += table[index]
    return sums


@kernel(reference=accumulate_reference, allocates=True)
def accumulate(indptr: Int64s, indices: Int32s, words: Words) -> Int32s:
    """Sum the table's rows named by each row's ids; repeats count.

    Parameters
    ----------
    indptr:
        int64 (n_rows+1,): where each row's ids start in ``indices``.
    indices:
        int32 (nnz,): 0 <= id < n_buckets. Not checked: the featurizer's shift cannot produce another.
    words:
        uint64 (n_buckets, dim / 8) from :func:`pack_table`.

    Returns
    -------
    int32 (n_rows, dim).
    """
    n_rows = len(indptr) - 1
    pairs = words.shape[1] // 2
    stride = np.uint64(words.shape[1])
    flat = words.reshape(-1)
    sums = np.empty((n_rows, words.shape[1] * 8), np.int32)
    for row in range(n_rows):
        bias = np.int32(_BIAS * (indptr[row + 1] - indptr[row]))
        for pair in range(pairs):
            out = sums[row, pair * 16 : pair * 16 + 16]
            out[:] = -bias
            first = np.uint64(2 * pair)
            start = indptr[row]
            while start < indptr[row + 1]:
                stop = min(indptr[row + 1], start + RUN)
                low_even = low_odd = high_even = high_odd = np.uint64(0)
                for k in range(np.uint64(start), np.uint64(stop)):
                    place = np.uint64(indices[k]) * stride + first
                    low, high = flat[place], flat[place + np.uint64(1)]
                    low_even += low & _EVEN_BYTES
                    low_odd += (low >> _BYTE_BITS) & _EVEN_BYTES
                    high_even += high & _EVEN_BYTES
                    high_odd += (high >> _BYTE_BITS) & _EVEN_BYTES
                for lane in range(4):
                    shift = np.uint64(_LANE_BITS * lane)
                    out[2 * lane] += np.int32((low_even >> shift) & _LANE)
                    out[2 * lane + 1] += np.int32((low_odd >> shift) & _LANE)
                    out[8 + 2 * lane] += np.int32((high_even >> shift) & _LANE)
                    out[9 + 2 * lane] += np.int32((high_odd >> shift) & _LANE)
                start = stop
    return sums


def quantize_sums_reference(
    accumulators: Int32s,
    indptr: Int64s,
    column_scale: Float32s,
    length_divisor: Float32s,
    input_scale: np.float32,
    input_zero_point: int,
) -> Bytes:
    """Quantize one row after another with NumPy."""
    limit = len(length_divisor) - 1
    quantized = np.empty(accumulators.shape, np.uint8)
    for row, sums in enumerate(accumulators):
        count = int(indptr[row + 1] - indptr[row])
        divisor = length_divisor[min(count, limit)] * (np.float32(max(count, limit)) / np.float32(limit))
        steps = np.rint(sums.astype(np.float32) * column_scale / divisor / np.float32(input_scale))
        quantized[row] = np.clip(steps + np.float32(input_zero_point), 0.0, 255.0).astype(np.uint8)
    return quantized


@kernel(reference=quantize_sums_reference, allocates=True)
def quantize_sums(
    accumulators: Int32s,
    indptr: Int64s,
    column_scale: Float32s,
    length_divisor: Float32s,
    input_scale: np.float32,
    input_zero_point: int,
) -> Bytes:
    """Quantize sums into the dense part's input.

    Parameters
    ----------
    accumulators:
        int32 (n_rows, dim) from :func:`accumulate`.
    indptr:
        int64 (n_rows+1,): its differences are the rows' numbers of ids.
    column_scale, length_divisor, input_scale, input_zero_point:
        As in :class:`farthing.scoring.tensors.QuantizedTensors`; ``input_scale`` as a float32.

    Returns
    -------
    uint8 (n_rows, dim): rounded half to even, clipped to 0..255.
    """
    limit = len(length_divisor) - 1
    zero_point = np.float32(input_zero_point)
    quantized = np.empty(accumulators.shape, np.uint8)
    for row in range(accumulators.shape[0]):
        count = indptr[row + 1] - indptr[row]
        divisor = length_divisor[min(count, limit)] * (np.float32(max(count, limit)) / np.float32(limit))
        for column in range(accumulators.shape[1]):
            mean = np.float32(accumulators[row, column]) * column_scale[column] / divisor
            step = np.rint(mean / input_scale) + zero_point
            quantized[row, column] = np.uint8(np.int32(min(max(step, np.float32(0.0)), np.float32(255.0))))
    return quantized
