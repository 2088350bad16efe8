"""The numbers of a model, with their shapes and limits."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from farthing.blocks import Int32s
from farthing.errors import BundleError

WEIGHT_LIMIT = 64
"""Largest magnitude of a dense weight.

x86 CPUs without VNNI multiply uint8 by int8 in pairs into saturating 16-bit lanes, and 255 * 64 * 2 = 32,640 is the
largest sum that still fits.
"""

COLUMN_BLOCK = 16
"""The table's columns come in blocks of 16 int8: one 128-bit load."""

SMALLEST_SCALE, LARGEST_SCALE = 2.0**-30, 2.0**30
"""Scales outside this range could overflow a float, or yield scores that do not rise with their logits."""

LARGEST_LOGIT_BIAS = 1024.0

Float32s = NDArray[np.float32]
Int8s = NDArray[np.int8]


@dataclass(frozen=True, slots=True)
class QuantizedTensors:
    """All numbers of a model. Real value = integer * scale, or (integer - zero point) * scale.

    ``length_divisor`` alone decides whether a row's embedding is a sum, a mean or something in between: the sum of a
    row with k ids is divided by entry k (1, k, sqrt(k), ...). Entry 0 is for rows without ids, whose sum is 0.

    Raises
    ------
    BundleError
        A shape, type or value is not as stated here.
    """

    table: Int8s  # (n_buckets, dim), dim a multiple of 16
    column_scale: Float32s  # (dim,) value of one step of each accumulator
    length_divisor: Float32s  # (limit+1,), limit >= 1; a row of n > limit ids is divided by entry limit * (n / limit)
    input_scale: float  # of the quantized input of the hidden layer (rounded to float32)
    input_zero_point: int  # 0..255
    hidden_weight: Int8s  # (dim, hidden), -64..64
    hidden_bias: Int32s  # (hidden,) in units of hidden_scale
    hidden_scale: Float32s  # (hidden,) input_scale * the weight scale of each hidden unit
    activation_scale: float  # of the quantized hidden activations, zero point 0 (rounded to float32)
    output_weight: Int8s  # (hidden, heads), -64..64
    logit_scale: Float32s  # (heads,) value of one step of an integer logit
    logit_bias: Float32s  # (heads,) added after scaling: the output layer's bias, and calibration

    def __post_init__(self) -> None:
        _check_tensors(self)

    @property
    def n_buckets(self) -> int:
        """Number of rows of the table: feature ids are smaller."""
        return int(self.table.shape[0])

    @property
    def dim(self) -> int:
        """Number of columns of the table."""
        return int(self.table.shape[1])

    @property
    def n_heads(self) -> int:
        """Number of scores of a row."""
        return int(self.output_weight.shape[1])


def _check_tensors(t: QuantizedTensors) -> None:
    dim = t.table.shape[1] if t.table.ndim == 2 else 0
    if dim < COLUMN_BLOCK or dim % COLUMN_BLOCK:
        raise BundleError(f"tensor table: has {dim} columns, expected a multiple of {COLUMN_BLOCK}; pad it with zeros")
    hidden, heads = t.output_weight.shape if t.output_weight.ndim == 2 else (-1, -1)
    expected: dict[str, tuple[type[np.generic], tuple[int, ...]]] = {
        "table": (np.int8, (t.table.shape[0], dim)),
        "column_scale": (np.float32, (dim,)),
        "length_divisor": (np.float32, (t.length_divisor.size,)),
        "hidden_weight": (np.int8, (dim, hidden)),
        "hidden_bias": (np.int32, (hidden,)),
        "hidden_scale": (np.float32, (hidden,)),
        "output_weight": (np.int8, (hidden, heads)),
        "logit_scale": (np.float32, (heads,)),
        "logit_bias": (np.float32, (heads,)),
    }
    for name, (dtype, shape) in expected.items():
        value: NDArray[np.generic] = getattr(t, name)
        if value.dtype != dtype or value.shape != shape or min(value.shape) < 1:
            raise BundleError(
                f"tensor {name}: expected {np.dtype(dtype)} {shape}, found {value.dtype} {value.shape}; "
                "build the model again"
            )
    if t.length_divisor.size < 2:
        raise BundleError("tensor length_divisor: has 1 entry, expected at least 2 (for 0 ids and for 1)")
    for name in ("column_scale", "length_divisor", "hidden_scale", "logit_scale", "input_scale", "activation_scale"):
        scales = np.atleast_1d(np.asarray(getattr(t, name), np.float64))
        outside = scales[~((scales >= SMALLEST_SCALE) & (scales <= LARGEST_SCALE))]  # NaN is outside as well
        if outside.size:
            raise BundleError(
                f"tensor {name}: holds {outside[0]}, expected {SMALLEST_SCALE:.3g}..{LARGEST_SCALE:.3g}; "
                "train or quantize again"
            )
    bad = t.logit_bias[~(np.abs(t.logit_bias) <= LARGEST_LOGIT_BIAS)]
    if bad.size:
        raise BundleError(f"tensor logit_bias: holds {bad[0]}, expected at most {LARGEST_LOGIT_BIAS} in magnitude")
    for name in ("hidden_weight", "output_weight"):
        largest = int(np.abs(getattr(t, name).astype(np.int32)).max())
        if largest > WEIGHT_LIMIT:
            raise BundleError(
                f"tensor {name}: holds a weight of magnitude {largest}, expected at most {WEIGHT_LIMIT} "
                "(more saturates on CPUs without VNNI); quantize to 7 bits"
            )
    if not 0 <= t.input_zero_point <= 255:
        raise BundleError(f"input_zero_point is {t.input_zero_point}, expected 0..255")
