"""Variable-length zig-zag integers as in Kafka records (Protocol Buffers' encoding): kernels that cannot overrun.

A reader returns ``(value, next position)``, because finding the position separately would cost a second pass; the
position is -1 when the bytes end early or the number is longer than its type allows.
"""

from __future__ import annotations

import numpy as np

from farthing.blocks import Bytes
from farthing.kernels.jit import kernel
from farthing.kernels.machine import leading_zeros, load_u8

MAX_VARINT_BYTES = 5
MAX_VARLONG_BYTES = 10


def varlong(value: int) -> bytes:
    """Encode a 64-bit integer: twice its magnitude, less one if negative, in groups of seven bits, lowest first."""
    raw = 2 * int(value) if value >= 0 else -2 * int(value) - 1
    groups = [raw >> shift & 0x7F for shift in range(0, max(raw.bit_length(), 1), 7)]
    return bytes([*(group | 0x80 for group in groups[:-1]), groups[-1]])


def read_varlong_reference(data: Bytes, at: int, stop: int, max_bytes: int) -> tuple[int, int]:
    """Plain form of :func:`read_varlong`."""
    raw = 0
    for k, byte in enumerate(data[at : min(stop, at + max_bytes)].tolist()):
        raw |= (byte & 0x7F) << 7 * k
        if byte < 0x80:
            raw %= 1 << 64  # only one bit of the tenth byte counts
            return (raw >> 1) ^ -(raw & 1), at + k + 1
    return 0, -1


@kernel(inline=True, reference=read_varlong_reference)
def read_varlong(data: Bytes, at: int, stop: int, max_bytes: int) -> tuple[int, int]:
    """Read a zig-zag integer of at most ``max_bytes`` bytes from ``data[at:stop]``.

    Returns (value, position after it); the position is -1 when the integer does not end in that range.
    """
    raw = np.uint64(0)
    shift = np.uint64(0)
    last = min(stop, at + max_bytes)
    while at < last:
        byte = np.uint64(load_u8(data, at))
        at += 1
        raw |= (byte & np.uint64(0x7F)) << shift
        if byte < np.uint64(0x80):
            value = np.int64(raw >> np.uint64(1)) ^ -np.int64(raw & np.uint64(1))
            return value, at
        shift += np.uint64(7)
    return np.int64(0), -1


def size_varlong_reference(value: int) -> int:
    """Plain form of :func:`size_varlong`."""
    return len(varlong(value))


@kernel(inline=True, reference=size_varlong_reference)
def size_varlong(value: int) -> int:
    """Return how many bytes :func:`write_varlong` writes for ``value``."""
    raw = (np.uint64(value) << np.uint64(1)) ^ np.uint64(value >> 63)
    bits = 64 - leading_zeros(raw | np.uint64(1))
    return (9 * bits + 64) >> 6  # bits / 7, rounded up, for 1 to 64 bits


def write_varlong_reference(data: Bytes, at: int, value: int) -> int:
    """Plain form of :func:`write_varlong`."""
    encoded = varlong(value)
    data[at : at + len(encoded)] = list(encoded)
    return at + len(encoded)


@kernel(inline=True, reference=write_varlong_reference)
def write_varlong(data: Bytes, at: int, value: int) -> int:
    """Write ``value`` zig-zag at ``at``; returns the position after it."""
    raw = (np.uint64(value) << np.uint64(1)) ^ np.uint64(value >> 63)
    while raw >= np.uint64(0x80):
        data[at] = np.uint8((raw & np.uint64(0x7F)) | np.uint64(0x80))
        raw >>= np.uint64(7)
        at += 1
    data[at] = np.uint8(raw)
    return at + 1
