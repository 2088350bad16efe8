"""A trained student to integers: static int8, calibrated once, no scale that depends on a batch."""

from __future__ import annotations

import numpy as np

from farthing.blocks import FeatureBlock
from farthing.distill.train import Floats, Student
from farthing.scoring.tensors import WEIGHT_LIMIT, QuantizedTensors

LENGTHS = 4096  # entries of the table of square roots; longer rows go on in proportion


def quantize(student: Student, calibration: FeatureBlock) -> QuantizedTensors:
    """Quantize a student.

    The table has one scale a column (8 bits), dense weights one a unit (7 bits, so that no int8 path saturates).
    Ranges of the two activations are taken from ``calibration``, whose rows stand for what will be served.
    """
    column_scale = np.maximum(np.abs(student.table).max(axis=0), 1e-8).astype(np.float32) / np.float32(127)
    table = np.clip(np.rint(student.table / column_scale), -127, 127).astype(np.int8)
    x = _inputs(table * column_scale, calibration)
    low, high = float(x.min()), float(x.max())
    input_scale = np.float32(max(high - low, 1e-6) / 255)
    zero_point = int(np.clip(round(-low / float(input_scale)), 0, 255))
    weight_scale = _scales(student.hidden_weight)
    hidden_weight = np.rint(student.hidden_weight / weight_scale).astype(np.int8)
    hidden_scale = (input_scale * weight_scale).astype(np.float32)
    hidden_bias = np.rint(student.hidden_bias / hidden_scale).astype(np.int32)
    q = np.clip(np.rint(x / input_scale) + zero_point, 0, 255) - zero_point
    hidden = np.maximum(q @ hidden_weight.astype(np.float64) + hidden_bias, 0) * hidden_scale
    activation_scale = np.float32(max(float(hidden.max()), 1e-6) / 255)
    output_scale = _scales(student.output_weight)
    return QuantizedTensors(
        table=table,
        column_scale=column_scale,
        length_divisor=np.sqrt(np.maximum(np.arange(LENGTHS + 1), 1)).astype(np.float32),
        input_scale=float(input_scale),
        input_zero_point=zero_point,
        hidden_weight=hidden_weight,
        hidden_bias=hidden_bias,
        hidden_scale=hidden_scale,
        activation_scale=float(activation_scale),
        output_weight=np.rint(student.output_weight / output_scale).astype(np.int8),
        logit_scale=(activation_scale * output_scale).astype(np.float32),
        logit_bias=student.output_bias.astype(np.float32),
    )


def _inputs(table: Floats, features: FeatureBlock) -> Floats:
    sums = np.add.reduceat(table[features.indices], features.indptr[:-1], axis=0)
    return np.asarray(sums / np.sqrt(np.diff(features.indptr))[:, None], np.float32)


def _scales(weight: Floats) -> Floats:
    return np.asarray(np.maximum(np.abs(weight).max(axis=0), 1e-8) / WEIGHT_LIMIT, np.float32)
