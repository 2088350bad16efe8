"""From feature ids to scores in one kernel, a row at a time: what a row needs on its way stays in registers and L1.

It does what :func:`farthing.scoring.embedding_bag.accumulate`, :func:`farthing.scoring.embedding_bag.quantize_sums`,
:class:`farthing.scoring.dense.DenseVectors` and :func:`farthing.scoring.finish.finish` do one after another, with the
same instructions, and gives the same bits.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from farthing.blocks import FeatureBlock, Int32s, Int64s, ScoreBlock
from farthing.kernels.jit import kernel
from farthing.scoring.dense import HEADS, DenseScratch, DenseWeights, dense_row, dense_scratch, pack_dense
from farthing.scoring.embedding_bag import Float32s, Int8s, divisor_of, quantize_block, sum_row
from farthing.scoring.finish import LANES, HeadScales, finish_logits, pack_heads
from farthing.scoring.tensors import COLUMN_BLOCK, QuantizedTensors

AHEAD = max(HEADS, LANES)
"""Logits and scores that may be written past the last row's."""


class NetArrays(NamedTuple):
    """All numbers of a model as the kernels read them."""

    table: Int8s  # flat, from farthing.scoring.embedding_bag.pack_table
    column_scale: Float32s
    length_divisor: Float32s
    input_scale: np.float32
    input_zero_point: np.float32
    dense: DenseWeights
    heads: HeadScales


class RowScratch(NamedTuple):
    """Room for one row."""

    sums: Int32s  # (dim,)
    dense: DenseScratch


def pack_net(tensors: QuantizedTensors, table: Int8s) -> NetArrays:
    """Lay all numbers of a model out for the kernels; ``table`` is the model's, packed."""
    t = tensors
    return NetArrays(
        table=table.reshape(-1),
        column_scale=t.column_scale.copy(),  # ONNX's are read-only, which would be another signature
        length_divisor=t.length_divisor.copy(),
        input_scale=np.float32(t.input_scale),
        input_zero_point=np.float32(t.input_zero_point),
        dense=pack_dense(t),
        heads=pack_heads(t.logit_scale, t.logit_bias),
    )


def row_scratch(net: NetArrays) -> RowScratch:
    """Make room for one row."""
    dim = len(net.column_scale)
    return RowScratch(np.zeros(dim, np.int32), dense_scratch(dim, net.dense))


@kernel
def score_rows(
    indptr: Int64s, indices: Int32s, n_rows: int, net: NetArrays, scratch: RowScratch, first: int, logits: Int32s,
    scores: Float32s,
) -> None:  # fmt: skip
    """Score rows: row k has the ids ``indices[indptr[k]:indptr[k + 1]]``, its logits and scores are row ``first`` + k.

    Up to AHEAD places after the last row's are overwritten.
    """
    dim, heads = len(scratch.sums), net.dense.n_heads
    for row in range(n_rows):
        start, stop = indptr[row], indptr[row + 1]
        sum_row(indices, start, stop, net.table, dim, scratch.sums, 0)
        divisor = divisor_of(stop - start, net.length_divisor)
        for column in range(0, dim, COLUMN_BLOCK):
            quantize_block(
                scratch.sums, column, net.column_scale, column, divisor, net.input_scale, net.input_zero_point,
                scratch.dense.inputs, column,
            )  # fmt: skip
        dense_row(net.dense, scratch.dense, logits, (first + row) * heads)
    finish_logits(logits, first * heads, (first + n_rows) * heads, net.heads, scores)


def score_features(features: FeatureBlock, net: NetArrays) -> ScoreBlock:
    """Compute each row's integer logits and scores."""
    n, shape = len(features) * net.dense.n_heads, (len(features), net.dense.n_heads)
    logits, scores = np.empty(n + AHEAD, np.int32), np.empty(n + AHEAD, np.float32)
    score_rows(features.indptr, features.indices, len(features), net, row_scratch(net), 0, logits, scores)
    return ScoreBlock(logits[:n].reshape(shape), scores[:n].reshape(shape))
