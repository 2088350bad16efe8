"""Variable-length zig-zag integers as in Kafka records (Protocol Buffers' encoding): kernels that cannot overrun.

Positions travel with values: every reader returns the value and leaves the new position to a second function would
cost another pass, so readers return ``(value, next position)`` with position -1 when the bytes end early or the
number is longer than its type allows.
"""

from __future__ import annotations

import numpy as np

from farthing.blocks import Bytes
from farthing.jit import kernel

MAX_VARINT_BYTES = 5
MAX_VARLONG_BYTES = 10


@kernel(inline=True)
def read_varlong(data: Bytes, at: int, stop: int, max_bytes: int) -> tuple[int, int]:
    """Read a zig-zag integer of at most ``max_bytes`` bytes from ``data[at:stop]``.

    Returns (value, position after it); position -1 when it does not fit.
    """
    raw = np.uint64(0)
    shift = np.uint64(0)
    last = min(stop, at + max_bytes)
    while at < last:
        byte = np.uint64(data[at])
        at += 1
        raw |= (byte & np.uint64(0x7F)) << shift
        if byte < np.uint64(0x80):
            value = np.int64(raw >> np.uint64(1)) ^ -np.int64(raw & np.uint64(1))
            return value, at
        shift += np.uint64(7)
    return np.int64(0), -1


@kernel(inline=True)
def size_varlong(value: int) -> int:
    """Bytes that :func:`write_varlong` takes for ``value``."""
    raw = (np.uint64(value) << np.uint64(1)) ^ np.uint64(value >> 63)
    size = 1
    while raw >= np.uint64(0x80):
        raw >>= np.uint64(7)
        size += 1
    return size


@kernel(inline=True)
def write_varlong(data: Bytes, at: int, value: int) -> int:
    """Write ``value`` zig-zag at ``at``; returns the position after it."""
    raw = (np.uint64(value) << np.uint64(1)) ^ np.uint64(value >> 63)
    while raw >= np.uint64(0x80):
        data[at] = np.uint8((raw & np.uint64(0x7F)) | np.uint64(0x80))
        raw >>= np.uint64(7)
        at += 1
    data[at] = np.uint8(raw)
    return at + 1
