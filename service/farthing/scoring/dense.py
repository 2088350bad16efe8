"""The dense part in vectors: quantized inputs in, integer logits out, the same integers as ONNX Runtime's.

Both layers are integer products. Two 16-bit inputs are multiplied by two weights and the products are added, in each of
eight 32-bit lanes: on x86 that is one instruction (pmaddwd), which LLVM finds by itself, as it finds NEON's. So weights
are stored as pairs, for :data:`INPUTS` inputs and a few outputs at a time; what a layer lacks to whole blocks is filled
up with zeros. 255 * 64 * 2 is far below the limit of 32 bits, so nothing saturates, and sums of integers do not depend
on their order. The input's zero point is subtracted beforehand, in the bias.

Between the layers every float step is one IEEE 754 operation, as in the graph (:mod:`farthing.scoring.graph`).
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from farthing.blocks import Bytes, Int32s
from farthing.kernels import vectors
from farthing.kernels.instruction import instruction, target_has
from farthing.kernels.jit import kernel, stage
from farthing.scoring.tensors import COLUMN_BLOCK, QuantizedTensors

INPUTS: Final = COLUMN_BLOCK
"""Inputs of one block of weights."""

HIDDEN, HEADS = 16, 8
"""Outputs of one block of the hidden layer, and of the heads."""

Int16s = NDArray[np.int16]
Float32s = NDArray[np.float32]


class DenseWeights(NamedTuple):
    """The dense part's numbers as its kernel reads them. Hidden units and heads are filled up to whole blocks."""

    hidden_weight: Int16s  # blocks of HIDDEN units; in each, blocks of INPUTS columns: (INPUTS / 2, HIDDEN, 2)
    hidden_bias: Int32s  # (units,) the bias, less the zero point times the sum of the unit's weights
    hidden_scale: Float32s  # (units,)
    output_weight: Int16s  # the same for the heads: blocks of (INPUTS / 2, HEADS, 2)
    no_bias: Int32s  # (HEADS,) zeros
    activation_scale: np.float32
    n_heads: int


class DenseScratch(NamedTuple):
    """Room for one row on its way through the dense part."""

    inputs: Int16s  # (dim,)
    hidden_sums: Int32s  # (units,)
    hidden: Int16s  # (units,)


def _blocks(weight: NDArray[np.int8], outputs: int) -> Int16s:
    """Lay a matrix (inputs, outputs) out in blocks of pairs."""
    inputs, columns = (-weight.shape[0] % INPUTS, -weight.shape[1] % outputs)
    whole = np.pad(weight.astype(np.int16), ((0, inputs), (0, columns)))
    split = whole.reshape(whole.shape[0] // INPUTS, INPUTS // 2, 2, whole.shape[1] // outputs, outputs)
    return np.ascontiguousarray(split.transpose(3, 0, 1, 4, 2)).reshape(-1)


LARGEST: Final = 1 << 13
"""Weights of the largest hidden layer that runs here: ONNX Runtime is as fast from 64 inputs by 128 units on."""


def runs_in_vectors(tensors: QuantizedTensors) -> bool:
    """Whether :class:`DenseVectors` is faster than ONNX Runtime: for a small net, on a processor with AVX2 or NEON."""
    return tensors.hidden_weight.size < LARGEST and (target_has("avx2") or target_has("neon"))


def pack_dense(tensors: QuantizedTensors) -> DenseWeights:
    """Lay the dense part's numbers out for its kernel."""
    t = tensors
    missing = -t.hidden_weight.shape[1] % HIDDEN
    shift = t.input_zero_point * t.hidden_weight.sum(axis=0, dtype=np.int64)
    return DenseWeights(
        hidden_weight=_blocks(t.hidden_weight, HIDDEN),
        hidden_bias=np.pad((t.hidden_bias - shift).astype(np.int32), (0, missing)),  # modulo 2**32, as int32 sums are
        hidden_scale=np.pad(t.hidden_scale, (0, missing), constant_values=1.0),
        output_weight=_blocks(t.output_weight, HEADS),
        no_bias=np.zeros(HEADS, np.int32),
        activation_scale=np.float32(t.activation_scale),
        n_heads=t.n_heads,
    )


def dense_scratch(dim: int, weights: DenseWeights) -> DenseScratch:
    """Make room for one row."""
    units = len(weights.hidden_bias)
    return DenseScratch(
        np.zeros(dim, np.int16),
        np.zeros(units, np.int32),
        np.zeros(units, np.int16),
    )


@instruction("none", "array", "intp", "array", "intp")
def widen(ir: Any, builder: Any, inputs: Any, at: Any, out: Any, to: Any) -> None:
    """Write INPUTS bytes from ``inputs[at:]`` to ``out[to:]`` as int16."""
    data = vectors.load(builder, inputs, at, ir.VectorType(ir.IntType(8), INPUTS), 1)
    vectors.store(builder, builder.zext(data, ir.VectorType(ir.IntType(16), INPUTS)), out, to, 2)


def _adding(outputs: int) -> Any:
    """Make the instruction that adds one block of products to the sums of so many outputs."""

    @instruction("none", "array", "intp", "array", "intp", "array", "intp", "array", "intp")
    def add_products(
        ir: Any, builder: Any, inputs: Any, at: Any, weights: Any, block: Any, start: Any, first: Any, sums: Any,
        out: Any,
    ) -> None:  # fmt: skip
        """Write ``start[first:]`` and INPUTS inputs times a block of weights to ``sums[out:]``."""
        i16, i32, lanes = ir.IntType(16), ir.IntType(32), 8
        pairs, products = ir.VectorType(i16, 2 * lanes), ir.VectorType(i32, 2 * lanes)

        def after(value: Any, steps: int) -> Any:
            return builder.add(value, ir.Constant(value.type, steps))

        groups = range(0, outputs, lanes)
        found = [vectors.load(builder, start, after(first, g), ir.VectorType(i32, lanes), 4) for g in groups]
        for pair in range(0, INPUTS, 2):
            two = vectors.load(builder, inputs, after(at, pair), i32, 2)
            both = builder.sext(builder.bitcast(vectors.every_lane(ir, builder, two, lanes), pairs), products)
            for number, group in enumerate(groups):
                weight = vectors.load(builder, weights, after(block, pair * outputs + 2 * group), pairs, 2)
                product = builder.mul(both, builder.sext(weight, products))
                even, odd = (vectors.pick(ir, builder, product, range(k, 2 * lanes, 2)) for k in (0, 1))
                found[number] = builder.add(found[number], builder.add(even, odd))
        for number, group in enumerate(groups):
            vectors.store(builder, found[number], sums, after(out, group), 4)

    return add_products


add_hidden, add_heads = _adding(HIDDEN), _adding(HEADS)


@instruction("none", "array", "array", "float32", "intp", "array")
def requantize(ir: Any, builder: Any, sums: Any, scale: Any, activation_scale: Any, at: Any, out: Any) -> None:
    """Scale HIDDEN sums from ``sums[at:]``, divide them by ``activation_scale`` and round them to 0..255."""
    f32, i32, i16 = ir.FloatType(), ir.IntType(32), ir.IntType(16)
    whole = vectors.load(builder, sums, at, ir.VectorType(i32, HIDDEN), 4)
    real = builder.sitofp(whole, ir.VectorType(f32, HIDDEN))
    real = builder.fmul(real, vectors.load(builder, scale, at, real.type, 4))
    steps = builder.fdiv(real, vectors.every_lane(ir, builder, activation_scale, HIDDEN))
    steps = vectors.within(ir, builder, vectors.call(ir, builder, "nearbyint", steps), 0.0, 255.0)
    narrow = builder.trunc(builder.fptosi(steps, whole.type), ir.VectorType(i16, HIDDEN))
    vectors.store(builder, narrow, out, at, 2)


@kernel(inline=True)
def dense_row(weights: DenseWeights, scratch: DenseScratch, logits: Int32s, at: int) -> None:
    """Run the row in ``scratch.inputs`` through both layers and write its logits to ``logits[at:]``.

    Up to HEADS - 1 logits after the row's own are overwritten with zeros.
    """
    inputs, sums, hidden = scratch
    block, units = 0, len(sums)
    for unit in range(0, units, HIDDEN):
        add_hidden(inputs, 0, weights.hidden_weight, block, weights.hidden_bias, unit, sums, unit)
        block += INPUTS * HIDDEN
        for column in range(INPUTS, len(inputs), INPUTS):
            add_hidden(inputs, column, weights.hidden_weight, block, sums, unit, sums, unit)
            block += INPUTS * HIDDEN
        requantize(sums, weights.hidden_scale, weights.activation_scale, unit, hidden)
    block = 0
    for head in range(at, at + weights.n_heads, HEADS):
        add_heads(hidden, 0, weights.output_weight, block, weights.no_bias, 0, logits, head)
        block += INPUTS * HEADS
        for unit in range(INPUTS, units, INPUTS):
            add_heads(hidden, unit, weights.output_weight, block, logits, head, logits, head)
            block += INPUTS * HEADS


@kernel
def dense_rows(inputs: Bytes, weights: DenseWeights, scratch: DenseScratch, logits: Int32s) -> None:
    """Run rows that lie one after another in memory through both layers; ``logits`` has room for HEADS more."""
    dim, row = len(scratch.inputs), 0
    for at in range(0, len(inputs), dim):
        for column in range(0, dim, INPUTS):
            widen(inputs, at + column, scratch.inputs, column)
        dense_row(weights, scratch, logits, row)
        row += weights.n_heads


def dense_reference(dense: DenseVectors, inputs: Bytes) -> Int32s:
    """Compute the integer logits with NumPy."""
    t = dense.tensors
    sums = (inputs.astype(np.int32) - t.input_zero_point) @ t.hidden_weight.astype(np.int32) + t.hidden_bias
    steps = np.rint(sums.astype(np.float32) * t.hidden_scale / np.float32(t.activation_scale))
    logits: Int32s = np.clip(steps, 0, 255).astype(np.int32) @ t.output_weight.astype(np.int32)
    return logits


class DenseVectors:
    """The dense part in vectors, where :class:`farthing.scoring.session.DenseSession` could stand as well."""

    def __init__(self, tensors: QuantizedTensors) -> None:
        self.tensors = tensors
        self._weights = pack_dense(tensors)

    @stage(reference=dense_reference)
    def run(self, inputs: Bytes) -> Int32s:
        """Compute the integer logits of any number of rows: uint8 (n_rows, dim) to int32 (n_rows, n_heads)."""
        n_logits = len(inputs) * self.tensors.n_heads
        logits = np.empty(n_logits + HEADS, np.int32)
        dense_rows(inputs.reshape(-1), self._weights, dense_scratch(self.tensors.dim, self._weights), logits)
        return logits[:n_logits].reshape(len(inputs), self.tensors.n_heads)
