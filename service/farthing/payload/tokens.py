"""Kernels for the smallest pieces of JSON: white space, byte order marks and literals."""

from __future__ import annotations

from farthing.blocks import Bytes
from farthing.kernels.jit import kernel
from farthing.kernels.machine import load_u8


@kernel(inline=True)
def is_space(byte: int) -> bool:
    """Whether a byte is JSON white space (RFC 8259, section 2)."""
    return byte == 32 or byte == 10 or byte == 13 or byte == 9


@kernel(inline=True)
def skip_space(data: Bytes, at: int, stop: int) -> int:
    """Return the position of the first byte from ``at`` on that is not JSON white space."""
    while at < stop and is_space(load_u8(data, at)):
        at += 1
    return at


@kernel
def has_byte_order_mark(data: Bytes, at: int, stop: int) -> bool:
    """Whether the bytes begin with the byte order mark of UTF-8, UTF-16 or UTF-32."""
    if stop - at >= 3 and data[at] == 0xEF and data[at + 1] == 0xBB and data[at + 2] == 0xBF:
        return True
    if stop - at >= 2 and ((data[at] == 0xFE and data[at + 1] == 0xFF) or (data[at] == 0xFF and data[at + 1] == 0xFE)):
        return True
    return stop - at >= 4 and data[at] == 0 and data[at + 1] == 0 and data[at + 2] == 0xFE and data[at + 3] == 0xFF


@kernel
def scan_literal(data: Bytes, at: int, stop: int) -> int:
    """Return the position after the ``true``, ``false`` or ``null`` at ``at``; -1 when it is none of them."""
    if stop - at >= 4 and data[at + 1] == 114 and data[at + 2] == 117 and data[at + 3] == 101 and data[at] == 116:
        return at + 4
    if stop - at >= 4 and data[at + 1] == 117 and data[at + 2] == 108 and data[at + 3] == 108 and data[at] == 110:
        return at + 4
    if (
        stop - at >= 5 and data[at] == 102 and data[at + 1] == 97
        and data[at + 2] == 108 and data[at + 3] == 115 and data[at + 4] == 101
    ):  # fmt: skip
        return at + 5
    return -1
