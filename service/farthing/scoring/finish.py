"""The last step: turns integer logits into scores, with an exponential function of our own.

Exponentials differ in their last bits between libraries, CPUs and even places in one array. Here every step is one
IEEE 754 double operation in a stated order (no fused multiply-add), so a logit gives the same bits everywhere::

    z = logit * logit_scale + logit_bias, clipped to -80..80
    t = exp(-|z|) = 2**-k * P(r);   k = floor(|z| / ln 2 + 1/2), r = k ln 2 - |z|, |r| <= ln 2 / 2
    score = float32(1 / (1 + t)) where z >= 0, else float32(t / (1 + t))

P is the Taylor polynomial of degree 12 in Horner's form (error below 2e-16 on |r| <= 0.35). The score is within one
float32 rounding of the true sigmoid, lies between 1.8e-35 and 1, and rises with the logit (for scales of 2**-30 and
more).
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from farthing.blocks import Int32s
from farthing.kernels.jit import kernel

Float32s = NDArray[np.float32]

LARGEST_Z = 80.0
"""sigmoid(-80) = 1.8e-35: still a normal float32, and far beyond any difference that a model can learn."""

_INVERSE_LN2 = 1.0 / math.log(2.0)
# ln 2 in two parts (Cody and Waite): k * _LN2_HIGH is exact for every k here. The split is fdlibm's (e_exp.c).
_LN2_HIGH = 6.93147180369123816490e-01
_LN2_LOW = 1.90821492927058770002e-10
_POWERS_OF_HALF = 0.5 ** np.arange(129, dtype=np.float64)  # exact; k <= 116
_C2, _C3, _C4, _C5, _C6, _C7, _C8, _C9, _C10, _C11, _C12 = (1.0 / math.factorial(k) for k in range(2, 13))


def finish_reference(logits: Int32s, logit_scale: Float32s, logit_bias: Float32s) -> Float32s:
    """Compute one score at a time in Python floats, which are IEEE doubles."""
    scores = np.empty(logits.shape, np.float32)
    for row, head in np.ndindex(logits.shape):
        z = float(logits[row, head]) * float(logit_scale[head]) + float(logit_bias[head])
        z = min(max(z, -LARGEST_Z), LARGEST_Z)
        k = math.floor(abs(z) * _INVERSE_LN2 + 0.5)
        r = (k * _LN2_HIGH - abs(z)) + k * _LN2_LOW
        p = _C12
        for coefficient in (_C11, _C10, _C9, _C8, _C7, _C6, _C5, _C4, _C3, _C2, 1.0, 1.0):
            p = p * r + coefficient
        t = p * float(_POWERS_OF_HALF[k])
        scores[row, head] = np.float32((1.0 if z >= 0.0 else t) / (1.0 + t))
    return scores


@kernel(reference=finish_reference, allocates=True)
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
    scores = np.empty(logits.shape, np.float32)
    for head in range(logits.shape[1]):
        scale = np.float64(logit_scale[head])
        bias = np.float64(logit_bias[head])
        for row in range(logits.shape[0]):
            z = min(max(np.float64(logits[row, head]) * scale + bias, -LARGEST_Z), LARGEST_Z)
            size = abs(z)
            k = math.floor(size * _INVERSE_LN2 + 0.5)
            r = (k * _LN2_HIGH - size) + k * _LN2_LOW
            p = ((((_C12 * r + _C11) * r + _C10) * r + _C9) * r + _C8) * r + _C7
            p = (((((p * r + _C6) * r + _C5) * r + _C4) * r + _C3) * r + _C2) * r + 1.0
            t = (p * r + 1.0) * _POWERS_OF_HALF[np.uint8(k)]
            numerator = 1.0 if z >= 0.0 else t
            scores[row, head] = np.float32(numerator / (1.0 + t))
    return scores
