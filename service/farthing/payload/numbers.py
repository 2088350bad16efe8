"""Kernels for JSON numbers: the grammar, the exact overflow test, and conversion where doubles suffice."""

from __future__ import annotations

from typing import Final

import numpy as np

from farthing.blocks import Bytes, Status
from farthing.kernels.digits import ZEROS
from farthing.kernels.jit import kernel
from farthing.kernels.machine import load_u8, load_u64, trailing_zeros

SYNTAX: Final = int(Status.SYNTAX)
NUMBER_OVERFLOW: Final = int(Status.NUMBER_OVERFLOW)

# The least number that rounds to infinity: the largest double plus half a unit in its last place, (2**54 - 1) * 2**970.
_LIMIT: Final = np.array([int(c) for c in str((2**54 - 1) * 2**970)], np.uint8)
LIMIT_DIGITS: Final = len(_LIMIT)  # 309
_POWERS: Final = np.array([float(10**i) for i in range(23)])  # exact in a double up to 10**22
_HIGH: Final = np.uint64(0x8080808080808080)
_ABOVE_NINE: Final = np.uint64(0x7676767676767676)  # 0x80 - 10
_EXPONENT_CAP: Final = 1 << 40  # exponents saturate here, far beyond any that still makes a difference


@kernel(inline=True)
def is_digit(byte: int) -> bool:
    """Whether a byte is an ASCII digit."""
    return 48 <= byte <= 57


@kernel(inline=True)
def skip_digits(data: Bytes, at: int, stop: int) -> int:
    """Return the position of the first byte from ``at`` on that is no ASCII digit."""
    while at < stop and at + 8 <= len(data):
        values = load_u64(data, at) ^ ZEROS
        # A byte above 9 gets its high bit. A carry can mark a byte above falsely, never one below.
        skipped = trailing_zeros(((values + _ABOVE_NINE) | values) & _HIGH) >> 3
        at += skipped
        if skipped < 8:
            return min(at, stop)
    while at < stop and is_digit(load_u8(data, at)):
        at += 1
    return min(at, stop)


@kernel
def scan_number(data: Bytes, at: int, stop: int) -> tuple[int, int]:
    """Validate the number at ``at`` (RFC 8259, section 6).

    Returns (position after it, 0), or (-1, the Status of the first error). A number is an error exactly when it would
    round to infinity.
    """
    if load_u8(data, at) == 45:
        at += 1
    first = at
    at = skip_digits(data, at, stop)
    whole = at - first
    if whole == 0 or (whole > 1 and load_u8(data, first) == 48):
        return -1, SYNTAX
    if at < stop and load_u8(data, at) == 46:
        at = skip_digits(data, at + 1, stop)
        if at == first + whole + 1:
            return -1, SYNTAX
    mantissa_stop = at
    exponent = np.int64(0)
    if at < stop and (data[at] == 101 or data[at] == 69):
        at += 1
        negative = False
        if at < stop and (data[at] == 45 or data[at] == 43):
            negative = data[at] == 45
            at += 1
        if at >= stop or not is_digit(data[at]):
            return -1, SYNTAX
        while at < stop and is_digit(data[at]):
            exponent = min(exponent * 10 + np.int64(data[at] - 48), _EXPONENT_CAP)
            at += 1
        if negative:
            exponent = -exponent
    if whole + exponent >= LIMIT_DIGITS and overflows(data, first, mantissa_stop, whole + exponent):
        return -1, NUMBER_OVERFLOW
    return at, 0


@kernel
def overflows(data: Bytes, at: int, stop: int, scale: int) -> bool:
    """Whether the digits ``data[at:stop]``, with the point after the first ``scale`` of them, round to infinity."""
    while at < stop and (data[at] == 48 or data[at] == 46):
        if data[at] == 48:
            scale -= 1
        at += 1
    if at >= stop or scale < LIMIT_DIGITS:
        return False
    if scale > LIMIT_DIGITS:
        return True
    for i in range(LIMIT_DIGITS):
        if at < stop and data[at] == 46:
            at += 1
        digit = data[at] - 48 if at < stop else 0
        if digit != _LIMIT[i]:
            return digit > _LIMIT[i]
        at += 1
    return True


@kernel
def exact_double(data: Bytes, at: int, stop: int) -> tuple[float, bool]:
    """Convert a validated number if one multiplication or division of exact doubles is enough.

    It is enough for at most 15 digits and a power of ten between -22 and 22 (Clinger 1990, the "fast path"). Returns
    (value, True), or (0.0, False) when the caller must convert it by other means.
    """
    negative = data[at] == 45
    if negative:
        at += 1
    mantissa = np.int64(0)
    digits = 0
    power = np.int64(0)
    seen_point = False
    while at < stop and data[at] != 101 and data[at] != 69:
        if data[at] == 46:
            seen_point = True
        else:
            if mantissa > 0 or data[at] != 48:
                digits += 1
            if digits > 15:
                return 0.0, False
            mantissa = mantissa * 10 + np.int64(data[at] - 48)
            if seen_point:
                power -= 1
        at += 1
    if at < stop:
        at += 1
        down = data[at] == 45
        if down or data[at] == 43:
            at += 1
        exponent = np.int64(0)
        while at < stop:
            exponent = min(exponent * 10 + np.int64(data[at] - 48), _EXPONENT_CAP)
            at += 1
        power += -exponent if down else exponent
    value = float(mantissa)
    if mantissa != 0:
        if power > 22 or power < -22:
            return 0.0, False
        value = value * _POWERS[power] if power >= 0 else value / _POWERS[-power]
    return (-value if negative else value), True
