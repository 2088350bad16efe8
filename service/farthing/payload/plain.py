"""Kernels that read runs of plain bytes in JSON strings, 32 at a time.

Plain is what a string may have without a second look: ASCII from the space on, without quotes and backslashes. Where
the buffer ends sooner than a load would, they stop, and the kernels of :mod:`farthing.payload.strings` go on.
"""

from __future__ import annotations

import sys
from typing import Any, Final

from farthing.blocks import Bytes
from farthing.kernels.instruction import instruction
from farthing.kernels.jit import kernel
from farthing.kernels.machine import trailing_zeros

LANES: Final = 32  # bytes in a load
_QUOTE, _BACKSLASH, _SPACE = 0x22, 0x5C, 0x20


def mark_special_bytes_reference(data: Bytes, at: int) -> int:
    """Plain form of :func:`mark_special_bytes`."""
    marks = (not _SPACE <= byte < 0x80 or byte in (_QUOTE, _BACKSLASH) for byte in data[at : at + LANES].tolist())
    return sum(1 << lane for lane, mark in enumerate(marks) if mark)


def copy_and_mark_reference(data: Bytes, at: int, out: Bytes, to: int) -> int:
    """Plain form of :func:`copy_and_mark`."""
    out[to : to + LANES] = data[at : at + LANES]
    return mark_special_bytes_reference(data, at)


@instruction("uint64", "array", "intp", reference=mark_special_bytes_reference)
def mark_special_bytes(ir: Any, builder: Any, data: Any, at: Any) -> Any:
    """Set bit i of the result where byte i of ``data[at:at+LANES]`` is not plain; the caller checks bounds."""
    return _marks(ir, builder, _load(ir, builder, data, at))


@instruction("uint64", "array", "intp", "array", "intp", reference=copy_and_mark_reference)
def copy_and_mark(ir: Any, builder: Any, data: Any, at: Any, out: Any, to: Any) -> Any:
    """:func:`mark_special_bytes`, and copy the bytes to ``out[to:to+LANES]``."""
    lanes = _load(ir, builder, data, at)
    builder.store(lanes, builder.bitcast(builder.gep(out, [to]), lanes.type.as_pointer()), align=1)
    return _marks(ir, builder, lanes)


def _load(ir: Any, builder: Any, data: Any, at: Any) -> Any:
    place = builder.bitcast(builder.gep(data, [at]), ir.VectorType(ir.IntType(8), LANES).as_pointer())
    return builder.load(place, align=1)


def _marks(ir: Any, builder: Any, lanes: Any) -> Any:
    def all_lanes(byte: int) -> Any:
        return ir.Constant(lanes.type, [byte] * LANES)

    special = builder.icmp_signed("<", lanes, all_lanes(_SPACE))  # with a sign, what is not ASCII is below zero
    for byte in (_QUOTE, _BACKSLASH):
        special = builder.or_(special, builder.icmp_unsigned("==", lanes, all_lanes(byte)))
    bits = builder.bitcast(special, ir.IntType(LANES))
    return builder.zext(bits if sys.byteorder == "little" else builder.bitreverse(bits), ir.IntType(64))


@kernel(inline=True)
def skip_plain(data: Bytes, at: int, stop: int) -> int:
    """Return a position up to which all bytes from ``at`` on are plain: the first special one, or one near the end.

    It may lie beyond ``stop``.
    """
    while at < stop and at + LANES <= len(data):
        marks = mark_special_bytes(data, at)
        if marks != 0:
            at += trailing_zeros(marks)
            return at
        at += LANES
    return at


@kernel(inline=True)
def copy_plain(data: Bytes, at: int, stop: int, out: Bytes, to: int, out_stop: int) -> int:
    """:func:`skip_plain`, and copy the bytes that it skips to ``out[to:]``; what follows them there is overwritten.

    Nothing from ``out_stop`` on is.
    """
    room = min(len(data), at + out_stop - to) - LANES
    shift = to - at
    while at < stop and at <= room:
        marks = copy_and_mark(data, at, out, at + shift)
        if marks != 0:
            at += trailing_zeros(marks)
            return at
        at += LANES
    return at
