"""The kernels that unpack LZ4 blocks and Snappy data piece by piece, for :mod:`farthing.wire.unpack`.

Both formats are literals and copies of what came before. A kernel writes until its window is full and says where it
stopped, so a batch of any size takes no more memory than the window and the 64 KiB before it: LZ4's copies reach back
no further, and Snappy's compressors cut their input into fragments of 64 KiB.

``state`` is int64 (STATE,): literal bytes still to be written, bytes still to be copied, and how far back they are.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from farthing.blocks import Bytes, Int64s
from farthing.kernels.jit import kernel

REACH: Final = 1 << 16
"""How far back a copy may reach: so many bytes of what was written must be kept."""

LITERAL: Final = 0
COPY: Final = 1
BACK: Final = 2
STATE: Final = 4
NEXT: Final = 3  # 1: the literals of a sequence are written, its copy is still to be read

BAD: Final = -1  # in place of a position: the data is damaged


def _plain_bytes(work: Bytes, out: int, room: int, state: Int64s, source: bytes, at: int) -> tuple[int, int]:
    """Write what ``state`` still asks for, as far as there is room; returns positions in ``work`` and ``data``."""
    n = min(int(state[LITERAL]), room - out)
    work[out : out + n] = list(source[at : at + n])
    state[LITERAL] -= n
    out, at = out + n, at + n
    if not state[LITERAL]:
        for _ in range(min(int(state[COPY]), room - out)):
            work[out] = work[out - int(state[BACK])]
            state[COPY] -= 1
            out += 1
    return out, at


@kernel(inline=True)
def _write_bytes(data: Bytes, at: int, work: Bytes, out: int, room: int, state: Int64s) -> tuple[int, int]:
    """Compiled form of :func:`_plain_bytes`."""
    n = min(state[0], room - out)
    for k in range(n):
        work[out + k] = data[at + k]
    out += n
    at += n
    state[0] -= n
    if state[0] == 0:
        n = min(state[1], room - out)
        back = state[2]
        for k in range(n):
            work[out + k] = work[out + k - back]
        out += n
        state[1] -= n
    return at, out


@kernel(inline=True)
def _length(data: Bytes, at: int, stop: int, size: int) -> tuple[int, int]:
    """Read the rest of an LZ4 length that begins with ``size``; the position is BAD when the bytes end in it."""
    byte = 255 if size == 15 else 0
    while byte == 255:
        if at >= stop:
            return size, BAD
        byte = int(np.int64(data[at]))
        size += byte
        at += 1
    return size, at


def unpack_lz4_reference(
    data: Bytes, at: int, stop: int, work: Bytes, low: int, out: int, room: int, state: Int64s
) -> tuple[int, int]:
    """Plain form of :func:`unpack_lz4`."""
    source = data[:stop].tobytes()

    def more(nibble: int) -> int:
        nonlocal at
        size = nibble
        while nibble == 15:
            if at >= stop:
                return BAD
            size, at = size + source[at], at + 1
            if source[at - 1] < 255:
                break
        return size

    while True:
        out, at = _plain_bytes(work, out, room, state, source, at)
        if state[LITERAL] or state[COPY] or (out == room and not state[NEXT]):
            return at, out
        if state[NEXT]:
            nibble = int(state[NEXT]) - 1
            state[NEXT] = 0
            if at == stop:  # the last sequence is literals alone
                return at, out
            if at + 2 > stop:
                return BAD, out
            back, at = int.from_bytes(source[at : at + 2], "little"), at + 2
            size = more(nibble)
            if size == BAD or not 0 < back <= out - low:
                return BAD, out
            state[COPY], state[BACK] = size + 4, back
        elif at == stop:
            return at, out
        else:
            token, at = source[at], at + 1
            size = more(token >> 4)
            if size == BAD or size > stop - at:
                return BAD, out
            state[LITERAL], state[NEXT] = size, 1 + (token & 15)


@kernel(reference=unpack_lz4_reference)
def unpack_lz4(
    data: Bytes, at: int, stop: int, work: Bytes, low: int, out: int, room: int, state: Int64s
) -> tuple[int, int]:
    """Unpack one LZ4 block, ``data[at:stop]``, into ``work[out:room]``; copies reach back to ``work[low]`` at most.

    Returns (position in ``data``, position in ``work``). When ``work`` is full, call again with the same ``state``,
    zeros at first. The first is ``stop`` with nothing left in ``state`` when the block is done, BAD when it is damaged.
    """
    while True:
        at, out = _write_bytes(data, at, work, out, room, state)
        if state[0] != 0 or state[1] != 0 or (out == room and state[3] == 0):
            return at, out
        if state[3] != 0:
            size = int(state[3]) - 1
            state[3] = 0
            if at == stop:
                return at, out
            if at + 2 > stop:
                return BAD, out
            back = np.int64(data[at]) | (np.int64(data[at + 1]) << 8)
            at += 2
            size, at = _length(data, at, stop, size)
            if at < 0:
                return BAD, out
            if back == 0 or back > out - low:
                return BAD, out
            state[1] = size + 4
            state[2] = back
        elif at == stop:
            return at, out
        else:
            token = int(np.int64(data[at]))
            at += 1
            size = token >> 4
            size, at = _length(data, at, stop, size)
            if at < 0:
                return BAD, out
            if size > stop - at:
                return BAD, out
            state[0] = size
            state[3] = 1 + (token & 15)


def unpack_snappy_reference(
    data: Bytes, at: int, stop: int, work: Bytes, low: int, out: int, room: int, state: Int64s
) -> tuple[int, int]:
    """Plain form of :func:`unpack_snappy`."""
    source = data[:stop].tobytes()
    while True:
        out, at = _plain_bytes(work, out, room, state, source, at)
        if state[LITERAL] or state[COPY] or out == room or at == stop:
            return at, out
        tag, at = source[at], at + 1
        kind, high = tag & 3, tag >> 2
        extra = max(high - 59, 0) if kind == 0 else (1, 2, 4)[kind - 1]
        if at + extra > stop:
            return BAD, out
        number, at = int.from_bytes(source[at : at + extra], "little"), at + extra
        if kind == 0:
            size = 1 + (number if extra else high)
            if size > stop - at:
                return BAD, out
            state[LITERAL] = size
            continue
        size, back = (4 + (high & 7), (high >> 3) << 8 | number) if kind == 1 else (1 + high, number)
        if not 0 < back <= out - low:
            return BAD, out
        state[COPY], state[BACK] = size, back


@kernel(reference=unpack_snappy_reference)
def unpack_snappy(
    data: Bytes, at: int, stop: int, work: Bytes, low: int, out: int, room: int, state: Int64s
) -> tuple[int, int]:
    """Unpack the elements of a Snappy block, without the length in front, as :func:`unpack_lz4` does."""
    while True:
        at, out = _write_bytes(data, at, work, out, room, state)
        if state[0] != 0 or state[1] != 0 or out == room or at == stop:
            return at, out
        tag = int(np.int64(data[at]))
        at += 1
        kind = tag & 3
        high = tag >> 2
        extra = 0
        if kind == 0:
            extra = max(high - 59, 0)
        elif kind == 3:
            extra = 4
        else:
            extra = kind
        if at + extra > stop:
            return BAD, out
        number = 0
        for k in range(extra):
            number |= int(np.int64(data[at + k])) << (8 * k)
        at += extra
        if kind == 0:
            size = 1 + (number if extra else high)
            if size > stop - at:
                return BAD, out
            state[0] = size
        else:
            size = 1 + high
            back = number
            if kind == 1:
                size = 4 + (high & 7)
                back = ((high >> 3) << 8) | number
            if back == 0 or back > out - low:
                return BAD, out
            state[1] = size
            state[2] = back
