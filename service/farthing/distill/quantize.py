"""Quantizes a trained student to static int8: calibrated once, with no scale that depends on a batch."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from farthing.blocks import FeatureBlock
from farthing.distill.measure import sigmoid
from farthing.distill.student import Floats, Student, embed
from farthing.scoring.tensors import SMALLEST_SCALE, WEIGHT_LIMIT, QuantizedTensors

LENGTHS = 4096  # entries of the table of square roots; for longer rows the divisor grows in proportion
TABLE_SHARES = (1.0, 0.85, 0.7, 0.55, 0.4, 0.3)
CUT_OFFS = (1e-4, 1e-3)  # shares of the inputs that may be clipped at either end
MIGRATIONS = (1.0, 0.75, 0.5, 0.25, 0.0)
NEXT_TO_NOTHING = 1e-4
LARGEST_BIAS = 2.0**30  # in steps: int32 with room for a row's sum
CALIBRATION_ROWS = 20_000  # most rows that are used, evenly spaced: more would hardly change a scale


def quantize(student: Student, calibration: FeatureBlock) -> QuantizedTensors:
    """Quantize a student.

    The table has one scale per column (8 bits), dense weights have one per unit (7 bits, so that no int8 path
    saturates). The ranges of the two activations are taken from ``calibration``, whose rows represent what will be
    served. The few largest values are clipped.

    All columns of the input share one scale, and so do all hidden units, so one with a wide spread would leave too few
    steps for the others. Therefore each is divided by a factor by which the weights behind it are multiplied, as in
    SmoothQuant (Xiao et al. 2023): its spread to the power m over its largest weight to the power 1 - m. Several m, for
    columns and units, and several shares to clip are tried; those are used whose scores are closest to float32's on
    ``calibration``.
    """
    ids, occurrences = np.unique(calibration.indices, return_counts=True)
    column_scale = _table_scales(student.table[ids], occurrences)
    table = np.clip(np.rint(student.table / column_scale), -127, 127).astype(np.int8)
    x = embed(table * column_scale, calibration).astype(np.float32)
    x = x[:: -(-len(x) // CALIBRATION_ROWS)]
    exact_scores = sigmoid(student.dense(x))
    best: tuple[float, QuantizedTensors] | None = None
    for of_columns, of_units, cut_off in itertools.product(MIGRATIONS, MIGRATIONS, CUT_OFFS):
        balanced, factor = _balanced(student, x, of_columns, of_units)
        tried, logits = _dense(balanced, x / factor, table, (column_scale / factor).astype(np.float32), cut_off)
        error = float(np.square(sigmoid(logits) - exact_scores).mean())
        if best is None or error < best[0]:
            best = error, tried
    assert best is not None
    return best[1]


def _balanced(student: Student, x: Floats, of_columns: float, of_units: float) -> tuple[Student, Floats]:
    """Divide columns and units by factors and scale the weights behind them, so that the function stays the same.

    Factors are above 0, as ReLU needs. Returns the columns' factors too.
    """
    largest = np.abs(student.hidden_weight).max(axis=1)
    columns = _factor(np.abs(x - x.mean(axis=0)).mean(axis=0), largest, of_columns)
    units = _factor(student.hidden(x).max(axis=0), np.abs(student.output_weight).max(axis=1), of_units)
    return replace(
        student,
        hidden_weight=student.hidden_weight * columns[:, None] / units,
        hidden_bias=student.hidden_bias / units,
        output_weight=student.output_weight * units[:, None],
    ), columns


def _factor(spread: Floats, largest: Floats, migration: float) -> Floats:
    return np.asarray(_at_least(spread) ** migration / _at_least(largest) ** (1 - migration), np.float32)


def _dense(
    student: Student, x: Floats, table: NDArray[np.int8], column_scale: Floats, cut_off: float
) -> tuple[QuantizedTensors, Floats]:
    """Quantize everything behind the table; returns the logits of ``x`` too."""
    weight = student.hidden_weight
    low, high = (float(v) for v in np.quantile(x, [cut_off, 1 - cut_off]))
    low, high = min(low, 0.0), max(high, 0.0)
    input_scale = np.float32(max(high - low, 1e-6) / 255)
    zero_point = int(np.clip(round(-low / float(input_scale)), 0, 255))
    # Training can shrink a unit's weights to almost nothing: then they are rounded to zero, and the bias is kept.
    least = np.maximum(SMALLEST_SCALE, np.abs(student.hidden_bias) / LARGEST_BIAS)
    weight_scale, hidden_scale = _lifted(_scales(weight), input_scale, least)
    hidden_weight = np.rint(weight / weight_scale).astype(np.int8)
    hidden_bias = np.rint(student.hidden_bias / hidden_scale).astype(np.int32)
    q = np.clip(np.rint(x / input_scale) + zero_point, 0, 255) - zero_point
    hidden = np.maximum(q @ hidden_weight.astype(np.float64) + hidden_bias, 0) * hidden_scale
    activation_scale = np.float32(max(float(hidden.max()), 1e-6) / 255)
    output_scale, logit_scale = _lifted(_scales(student.output_weight), activation_scale, SMALLEST_SCALE)
    tensors = QuantizedTensors(
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
        logit_scale=logit_scale,
        logit_bias=student.output_bias.astype(np.float32),
    )
    steps = np.clip(np.rint(hidden / activation_scale), 0, 255)
    logits = steps @ tensors.output_weight.astype(np.float64) * tensors.logit_scale + tensors.logit_bias
    return tensors, np.asarray(logits, np.float32)


def _table_scales(rows: Floats, occurrences: NDArray[np.int64]) -> Floats:
    """Choose each column's scale: of a few below that of its maximum, the one with the least squared error."""
    largest = _at_least(np.abs(rows).max(axis=0)) / 127
    tried = [(largest * share).astype(np.float32) for share in TABLE_SHARES]
    errors = [
        (np.square(rows - np.clip(np.rint(rows / scale), -127, 127) * scale) * occurrences[:, None]).sum(axis=0)
        for scale in tried
    ]
    best = np.argmin(errors, axis=0)
    return np.asarray(np.stack(tried)[best, np.arange(len(best))], np.float32)


def _at_least(sizes: Floats) -> Floats:
    """Raise values that are tiny compared with the largest, so that what was never learnt gets no scale of its own."""
    return np.maximum(sizes, max(float(sizes.max()) * NEXT_TO_NOTHING, 1e-8))


def _scales(weight: Floats) -> Floats:
    return np.asarray(np.maximum(np.abs(weight).max(axis=0), 1e-8) / WEIGHT_LIMIT, np.float32)


def _lifted(scale: Floats, step: np.float32, least: float | NDArray[np.floating]) -> tuple[Floats, Floats]:
    """Return weight scales, and the scales of their products with inputs of ``step``, which are at least ``least``."""
    product = (step * scale).astype(np.float32)
    low = product < least
    return np.where(low, np.float32(least / step), scale), np.where(low, np.float32(least), product)
