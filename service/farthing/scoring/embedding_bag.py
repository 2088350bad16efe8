"""The model's first steps: from feature ids to the quantized input of the dense part.

:func:`accumulate` sums rows of the int8 table, 16 or 32 columns at a time. Each id costs a load that widens the bytes
to 16-bit lanes, and an addition; the lanes stay in registers, and are emptied into 32 bits after :data:`RUN` ids,
before they could overflow.

:func:`quantize_sums` scales the sums, divides them by the row's length and rounds them to uint8, operation by
operation as the graph does (:mod:`farthing.scoring.graph`), in float32.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from farthing.blocks import Bytes, Int32s, Int64s
from farthing.kernels import vectors
from farthing.kernels.instruction import instruction
from farthing.kernels.jit import kernel
from farthing.scoring.tensors import COLUMN_BLOCK

Int8s = NDArray[np.int8]
Float32s = NDArray[np.float32]

RUN: Final = 256
"""Ids summed before the lanes are emptied: 256 * -128 = -32,768 is the smallest number in 16 bits."""

WIDE: Final = 2 * COLUMN_BLOCK
"""Columns that are summed at a time, if there are as many."""

_LINE_BYTES: Final = 64  # of a cache


def pack_table(table: Int8s) -> Int8s:
    """Copy a table, int8 (n_buckets, dim), to an address at which no row touches more cache lines than it must."""
    room = np.empty(table.size + _LINE_BYTES, np.int8)
    start = -room.ctypes.data % _LINE_BYTES
    packed = room[start : start + table.size].reshape(table.shape)
    packed[:] = table
    return packed


def _adding(columns: int) -> Any:
    """Make the instruction that sums so many columns."""

    @instruction("none", "array", "intp", "intp", "array", "intp", "intp", "array", "intp")
    def add_rows(
        ir: Any, builder: Any, indices: Any, start: Any, stop: Any, table: Any, dim: Any, first: Any, sums: Any, at: Any
    ) -> None:
        """Add columns from ``first`` on of the rows ``indices[start:stop]``, at most RUN, to ``sums[at:]``."""
        i8, i16, i32, i64 = (ir.IntType(bits) for bits in (8, 16, 32, 64))
        lanes, whole = ir.VectorType(i16, columns), ir.VectorType(i32, columns)
        before = builder.block
        loop, done = (builder.append_basic_block(name) for name in ("loop", "done"))
        nothing = ir.Constant(lanes, [0] * columns)
        builder.cbranch(builder.icmp_signed("<", start, stop), loop, done)

        builder.position_at_end(loop)
        k, sum_ = builder.phi(i64), builder.phi(lanes)
        index = builder.sext(builder.load(builder.gep(indices, [k])), i64)
        place = builder.add(builder.mul(index, dim), first)
        row = vectors.load(builder, table, place, ir.VectorType(i8, columns), 1)
        added, following = builder.add(sum_, builder.sext(row, lanes)), builder.add(k, ir.Constant(i64, 1))
        k.add_incoming(start, before)
        sum_.add_incoming(nothing, before)
        k.add_incoming(following, loop)
        sum_.add_incoming(added, loop)
        builder.cbranch(builder.icmp_signed("<", following, stop), loop, done)

        builder.position_at_end(done)
        total = builder.phi(lanes)
        total.add_incoming(nothing, before)
        total.add_incoming(added, loop)
        old = vectors.load(builder, sums, at, whole, 4)
        vectors.store(builder, builder.add(old, builder.sext(total, whole)), sums, at, 4)

    return add_rows


_add_wide, _add_block = _adding(WIDE), _adding(COLUMN_BLOCK)


@kernel(inline=True)
def sum_row(indices: Int32s, start: int, stop: int, table: Int8s, dim: int, sums: Int32s, at: int) -> None:
    """Write the sum of the rows ``indices[start:stop]`` of a table, flat in memory, to ``sums[at:at+dim]``."""
    sums[at : at + dim] = 0
    while start < stop:
        end = min(stop, start + RUN)
        column = 0
        while dim - column >= WIDE:
            _add_wide(indices, start, end, table, dim, column, sums, at + column)
            column += WIDE
        if column < dim:
            _add_block(indices, start, end, table, dim, column, sums, at + column)
        start = end


def accumulate_reference(indptr: Int64s, indices: Int32s, table: Int8s) -> Int32s:
    """Sum the table's rows with NumPy."""
    sums = np.zeros((len(indptr) - 1, table.shape[1]), np.int32)
    for row in range(len(sums)):
        for index in indices[indptr[row] : indptr[row + 1]]:
            sums[row] += table[index]
    return sums


@kernel(reference=accumulate_reference, allocates=True)
def accumulate(indptr: Int64s, indices: Int32s, table: Int8s) -> Int32s:
    """Sum the table's rows named by each row's ids; repeats count.

    Parameters
    ----------
    indptr:
        int64 (n_rows+1,): where each row's ids start in ``indices``.
    indices:
        int32 (nnz,): 0 <= id < n_buckets. Not checked: the featurizer's shift cannot produce another.
    table:
        int8 (n_buckets, dim), dim a multiple of 16, from :func:`pack_table`.

    Returns
    -------
    int32 (n_rows, dim).
    """
    dim = table.shape[1]
    flat = table.reshape(-1)
    sums = np.empty((len(indptr) - 1, dim), np.int32)
    rows = sums.reshape(-1)
    for row in range(len(indptr) - 1):
        sum_row(indices, indptr[row], indptr[row + 1], flat, dim, rows, row * dim)
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


@kernel(inline=True)
def divisor_of(count: int, length_divisor: Float32s) -> np.float32:
    """Return what the sum of a row with ``count`` ids is divided by."""
    limit = len(length_divisor) - 1
    stretch = np.float32(max(count, limit)) / np.float32(limit)
    return np.float32(length_divisor[min(count, limit)] * stretch)


@instruction("none", "array", "intp", "array", "intp", "float32", "float32", "float32", "array", "intp")
def quantize_block(
    ir: Any, builder: Any, sums: Any, at: Any, column_scale: Any, column: Any, divisor: Any, input_scale: Any,
    zero_point: Any, out: Any, to: Any,
) -> None:  # fmt: skip
    """Scale COLUMN_BLOCK sums from ``sums[at:]``, divide and round them, and write them to ``out[to:]`` as int16."""
    whole, small = (ir.VectorType(ir.IntType(bits), COLUMN_BLOCK) for bits in (32, 16))

    def every_lane(value: Any) -> Any:
        return vectors.every_lane(ir, builder, value, COLUMN_BLOCK)

    real = builder.sitofp(vectors.load(builder, sums, at, whole, 4), ir.VectorType(ir.FloatType(), COLUMN_BLOCK))
    real = builder.fmul(real, vectors.load(builder, column_scale, column, real.type, 4))
    steps = builder.fdiv(builder.fdiv(real, every_lane(divisor)), every_lane(input_scale))
    steps = builder.fadd(vectors.call(ir, builder, "nearbyint", steps), every_lane(zero_point))
    steps = vectors.within(ir, builder, steps, 0.0, 255.0)
    vectors.store(builder, builder.trunc(builder.fptosi(steps, whole), small), out, to, 2)


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
    zero_point, dim = np.float32(input_zero_point), accumulators.shape[1]
    quantized = np.empty(accumulators.shape, np.uint8)
    sums, block = accumulators.reshape(-1), np.empty(COLUMN_BLOCK, np.int16)
    for row in range(accumulators.shape[0]):
        divisor = divisor_of(indptr[row + 1] - indptr[row], length_divisor)
        for column in range(0, dim, COLUMN_BLOCK):
            quantize_block(sums, row * dim + column, column_scale, column, divisor, input_scale, zero_point, block, 0)
            for k in range(COLUMN_BLOCK):
                quantized[row, column + k] = block[k]
    return quantized
