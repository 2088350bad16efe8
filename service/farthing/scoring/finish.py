"""The last step: turns integer logits into scores, with an exponential function of our own.

Exponentials differ in their last bits between libraries, CPUs and even places in one array. Here every step is one
IEEE 754 double operation in a stated order (no fused multiply-add), so a logit gives the same bits everywhere, alone
or in vectors::

    z = logit * logit_scale + logit_bias, clipped to -80..80
    t = exp(-|z|) = 2**-k * P(r);   k = floor(|z| / ln 2 + 1/2), r = k ln 2 - |z|, |r| <= ln 2 / 2
    score = float32(1 / (1 + t)) where z >= 0, else float32(t / (1 + t))

P is the Taylor polynomial of degree 12 in Horner's form (error below 2e-16 on |r| <= 0.35). The score is within one
float32 rounding of the true sigmoid, lies between 1.8e-35 and 1, and rises with the logit (for scales of 2**-30 and
more).
"""

from __future__ import annotations

import math
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from farthing.blocks import Int32s
from farthing.kernels import vectors
from farthing.kernels.instruction import instruction
from farthing.kernels.jit import kernel, stage

Float32s = NDArray[np.float32]
Float64s = NDArray[np.float64]

LARGEST_Z = 80.0
"""sigmoid(-80) = 1.8e-35: still a normal float32, and far beyond any difference that a model can learn."""

_INVERSE_LN2 = 1.0 / math.log(2.0)
# ln 2 in two parts (Cody and Waite): k * _LN2_HIGH is exact for every k here. The split is fdlibm's (e_exp.c).
_LN2_HIGH = 6.93147180369123816490e-01
_LN2_LOW = 1.90821492927058770002e-10
_COEFFICIENTS = tuple(1.0 / math.factorial(k) for k in range(12, -1, -1))  # of P, the highest power first
_EXPONENT_BIAS, _FRACTION_BITS = 1023, 52  # of an IEEE 754 double; k <= 116, so 2**-k is a normal one

LANES: Final = 4
"""Scores that are computed at a time."""


def finish_reference(logits: Int32s, logit_scale: Float32s, logit_bias: Float32s) -> Float32s:
    """Compute one score at a time in Python floats, which are IEEE doubles."""
    scores = np.empty(logits.shape, np.float32)
    for row, head in np.ndindex(logits.shape):
        z = float(logits[row, head]) * float(logit_scale[head]) + float(logit_bias[head])
        z = min(max(z, -LARGEST_Z), LARGEST_Z)
        k = math.floor(abs(z) * _INVERSE_LN2 + 0.5)
        r = (k * _LN2_HIGH - abs(z)) + k * _LN2_LOW
        p = _COEFFICIENTS[0]
        for coefficient in _COEFFICIENTS[1:]:
            p = p * r + coefficient
        t = p * 0.5**k
        scores[row, head] = np.float32((1.0 if z >= 0.0 else t) / (1.0 + t))
    return scores


@instruction("none", "array", "intp", "array", "array", "intp", "array")
def finish_lanes(
    ir: Any, builder: Any, logits: Any, at: Any, scale: Any, bias: Any, head: Any, scores: Any
) -> None:  # fmt: skip
    """Write the scores of LANES logits from ``logits[at:]`` to ``scores[at:]``; their scales are ``scale[head:]``."""
    f64, i32, i64 = (ir.VectorType(kind, LANES) for kind in (ir.DoubleType(), ir.IntType(32), ir.IntType(64)))

    def number(value: float) -> Any:
        return vectors.constant(ir, ir.DoubleType(), value, LANES)

    def integer(value: int) -> Any:
        return vectors.constant(ir, ir.IntType(64), value, LANES)

    z = builder.sitofp(vectors.load(builder, logits, at, i32, 4), f64)
    z = builder.fadd(
        builder.fmul(z, vectors.load(builder, scale, head, f64, 8)), vectors.load(builder, bias, head, f64, 8)
    )
    z = vectors.within(ir, builder, z, -LARGEST_Z, LARGEST_Z)
    size = vectors.call(ir, builder, "fabs", z)
    k = vectors.call(ir, builder, "floor", builder.fadd(builder.fmul(size, number(_INVERSE_LN2)), number(0.5)))
    r = builder.fadd(builder.fsub(builder.fmul(k, number(_LN2_HIGH)), size), builder.fmul(k, number(_LN2_LOW)))
    p = number(_COEFFICIENTS[0])
    for coefficient in _COEFFICIENTS[1:]:
        p = builder.fadd(builder.fmul(p, r), number(coefficient))
    exponent = builder.sub(integer(_EXPONENT_BIAS), builder.sext(builder.fptosi(k, i32), i64))
    t = builder.fmul(p, builder.bitcast(builder.shl(exponent, integer(_FRACTION_BITS)), f64))  # 2**-k, exactly
    numerator = builder.select(builder.fcmp_ordered(">=", z, number(0.0)), number(1.0), t)
    score = builder.fdiv(numerator, builder.fadd(number(1.0), t))
    vectors.store(builder, builder.fptrunc(score, ir.VectorType(ir.FloatType(), LANES)), scores, at, 4)


class HeadScales(NamedTuple):
    """Scale and bias of each logit of LANES rows, as doubles: wherever LANES logits begin, theirs lie side by side."""

    scale: Float64s  # (LANES * n_heads,)
    bias: Float64s


def pack_heads(logit_scale: Float32s, logit_bias: Float32s) -> HeadScales:
    """Lay scales and biases out for the kernels."""
    return HeadScales(np.tile(logit_scale.astype(np.float64), LANES), np.tile(logit_bias.astype(np.float64), LANES))


@kernel(inline=True)
def finish_logits(logits: Int32s, start: int, stop: int, heads: HeadScales, scores: Float32s) -> None:
    """Write the scores of ``logits[start:stop]`` to the same places of ``scores``; ``start`` begins a row.

    Up to LANES - 1 places after ``stop`` are read and written as well.
    """
    head = 0
    for at in range(start, stop, LANES):
        finish_lanes(logits, at, heads.scale, heads.bias, head, scores)
        head += LANES
        if head == len(heads.scale):
            head = 0


@kernel
def finish_rows(logits: Int32s, heads: HeadScales, scores: Float32s) -> None:
    """Write the scores of all logits; both arrays have room for LANES more."""
    finish_logits(logits, 0, len(logits) - LANES, heads, scores)


@stage(reference=finish_reference)
def finish(logits: Int32s, logit_scale: Float32s, logit_bias: Float32s) -> Float32s:
    """Turn integer logits into scores.

    Parameters
    ----------
    logits:
        int32 (n_rows, n_heads).
    logit_scale, logit_bias:
        float32 (n_heads,), finite.

    Returns
    -------
    float32 (n_rows, n_heads): scores from 0 to 1, always finite.
    """
    room = np.concatenate([logits.reshape(-1), np.zeros(LANES, np.int32)])
    scores = np.empty(len(room), np.float32)
    finish_rows(room, pack_heads(logit_scale, logit_bias), scores)
    return scores[: logits.size].reshape(logits.shape)
