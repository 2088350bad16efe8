"""Writes decimal digits in kernels, eight at a time: for scores in records and offsets in headers.

When digits are divided off one by one, each division waits for the one before. Here a number below 10**8 is split into
two parts of four digits, which share one word and are split together into parts of two digits and then of one; the
divisions are multiplications whose error is too small to matter for so few digits. (Known as SWAR, "SIMD within a
register".)
"""

from __future__ import annotations

from typing import Final

import numpy as np

from farthing.blocks import Bytes
from farthing.kernels.jit import kernel
from farthing.kernels.machine import leading_zeros, store_u64, trailing_zeros

EIGHT: Final = 10**8
ZEROS: Final = np.uint64(0x3030303030303030)  # eight times "0"
AHEAD_BYTES: Final = 8  # bytes that may be overwritten after the last digit
_POWERS: Final = np.array([0, *(10**k for k in range(1, 19))], np.int64)


def eight_digits_reference(number: int) -> int:
    """Plain form of :func:`eight_digits`."""
    return int.from_bytes(bytes(int(digit) for digit in f"{int(number):08d}"), "little")


@kernel(inline=True, reference=eight_digits_reference)
def eight_digits(number: int) -> np.uint64:
    """Return the digits of a number from 0 to 10**8 - 1, one per byte (0 to 9), the first in the lowest byte."""
    n = np.uint64(number)
    high = n // np.uint64(10_000)
    fours = high | ((n - high * np.uint64(10_000)) << np.uint64(32))
    hundreds = ((fours * np.uint64(10_486)) >> np.uint64(20)) & np.uint64(0x0000007F0000007F)  # x / 100, x < 10,000
    twos = hundreds | ((fours - hundreds * np.uint64(100)) << np.uint64(16))
    tens = ((twos * np.uint64(103)) >> np.uint64(10)) & np.uint64(0x000F000F000F000F)  # x / 10, x < 100
    return tens | ((twos - tens * np.uint64(10)) << np.uint64(8))


def count_digits_reference(number: int) -> int:
    """Plain form of :func:`count_digits`."""
    return len(str(int(number)))


@kernel(inline=True, reference=count_digits_reference)
def count_digits(number: int) -> int:
    """Count the decimal digits of a number that is not negative; 0 has one."""
    bits = 64 - leading_zeros(np.uint64(number))
    digits = (bits * 1233) >> 12  # bits * log10(2), rounded down: the number of digits, or one less
    return digits + (1 if number >= _POWERS[digits] else 0)


def write_digits_reference(out: Bytes, at: int, number: int) -> int:
    """Plain form of :func:`write_digits`."""
    text = str(int(number)).encode()
    out[at : at + len(text)] = list(text)
    return at + len(text)


@kernel(inline=True, reference=write_digits_reference)
def write_first(out: Bytes, at: int, number: int) -> int:
    """:func:`write_digits` for a number below 10**8."""
    digits = eight_digits(number)
    skipped = trailing_zeros(digits | np.uint64(1 << 56)) >> 3  # leading zeros, but not the last digit
    store_u64(out, at, (digits | ZEROS) >> np.uint64(8 * skipped))
    return at + 8 - skipped


@kernel(inline=True, reference=write_digits_reference)
def write_digits(out: Bytes, at: int, number: int) -> int:
    """Write a non-negative int64 in decimal digits at ``at``; returns the position after it.

    ``out`` needs AHEAD_BYTES more than the digits take.
    """
    high = np.int64(np.uint64(number) // np.uint64(EIGHT))
    if high == 0:
        return write_first(out, at, number)
    highest = np.int64(np.uint64(high) // np.uint64(EIGHT))
    if highest == 0:
        at = write_first(out, at, high)
    else:
        at = write_first(out, at, highest)
        store_u64(out, at, eight_digits(high - highest * EIGHT) | ZEROS)
        at += 8
    store_u64(out, at, eight_digits(number - high * EIGHT) | ZEROS)
    return at + 8
