"""Kernels for JSON strings: one finds the end and validates everything up to it, another unescapes."""

from __future__ import annotations

from typing import Final

import numpy as np

from farthing.blocks import Bytes, Status
from farthing.kernels.jit import kernel
from farthing.kernels.machine import copy_bytes, load_u8, load_u64, trailing_zeros

SYNTAX: Final = int(Status.SYNTAX)
INVALID_UTF8: Final = int(Status.INVALID_UTF8)
LONE_SURROGATE: Final = int(Status.LONE_SURROGATE)
CONTROL_CHARACTER: Final = int(Status.CONTROL_CHARACTER)

_QUOTE, _BACKSLASH, _U = 0x22, 0x5C, 0x75
_ONES: Final = np.uint64(0x0101010101010101)
_HIGH: Final = np.uint64(0x8080808080808080)
_QUOTES: Final = np.uint64(0x2222222222222222)
_BACKSLASHES: Final = np.uint64(0x5C5C5C5C5C5C5C5C)
_SPACES: Final = np.uint64(0x2020202020202020)


def _hex_table() -> Bytes:
    table = np.full(256, 255, np.uint8)
    for digit in "0123456789abcdefABCDEF":
        table[ord(digit)] = int(digit, 16)
    return table


def _escape_table() -> Bytes:
    table = np.zeros(256, np.uint8)
    for escape, byte in zip('"\\/bfnrt', '"\\/\b\f\n\r\t', strict=True):
        table[ord(escape)] = ord(byte)
    return table


HEX: Final = _hex_table()
ESCAPES: Final = _escape_table()


@kernel(inline=True)
def mark_special(word: np.uint64) -> np.uint64:
    """Mark (0x80) the bytes of eight that are quotes, backslashes, control characters or not ASCII.

    (x - 0x01..) & ~x & 0x80.. marks zero bytes; a byte under 0x20 borrows from its own high bit likewise. A borrow can
    mark a byte above falsely, never one below: the lowest mark is exact, and so is their absence.
    """
    quote = word ^ _QUOTES
    backslash = word ^ _BACKSLASHES
    marks = (quote - _ONES) & ~quote
    marks |= (backslash - _ONES) & ~backslash
    marks |= (word - _SPACES) & ~word
    return (marks | word) & _HIGH


@kernel(inline=True)
def mark_backslash(word: np.uint64) -> np.uint64:
    """Mark the bytes of eight that are backslashes; the lowest mark is exact."""
    backslash = word ^ _BACKSLASHES
    return (backslash - _ONES) & ~backslash & _HIGH


@kernel(inline=True)
def hex4(data: Bytes, at: int) -> int:
    """Read four hexadecimal digits; -1 if any is not one."""
    value = np.int64(0)
    for i in range(4):
        digit = np.int64(HEX[data[at + i]])
        if digit > 15:
            return np.int64(-1)
        value = value * 16 + digit
    return value


@kernel(inline=True)
def utf8_length(data: Bytes, at: int, stop: int) -> int:
    """Return the length of the well-formed UTF-8 sequence at ``at``, or 0 (Unicode 15, table 3-7).

    The first byte is above 0x7F.
    """
    first = data[at]
    if first < 0xC2 or first > 0xF4:
        return 0
    length = 2 if first < 0xE0 else 3 if first < 0xF0 else 4
    if at + length > stop:
        return 0
    low, high = 0x80, 0xBF
    if first == 0xE0:
        low = 0xA0
    elif first == 0xED:
        high = 0x9F
    elif first == 0xF0:
        low = 0x90
    elif first == 0xF4:
        high = 0x8F
    if data[at + 1] < low or data[at + 1] > high:
        return 0
    for i in range(2, length):
        if data[at + i] & 0xC0 != 0x80:
            return 0
    return length


@kernel
def scan_string(data: Bytes, at: int, stop: int) -> tuple[int, int]:
    """Validate the string whose first byte after the quote is at ``at``.

    Returns (position of the closing quote, 1 if it has escapes else 0), or (-1, the Status of the first error).
    """
    escaped = 0
    while True:
        skipped = 8  # eight bytes at a time, even past ``stop``: only the buffer's end matters
        while skipped == 8 and at < stop and at + 8 <= len(data):
            skipped = trailing_zeros(mark_special(load_u64(data, at))) >> 3
            at += skipped
        if at >= stop:
            return -1, SYNTAX
        byte = load_u8(data, at)
        if byte == _QUOTE:
            return at, escaped
        if byte == _BACKSLASH:
            escaped = 1
            if at + 1 >= stop:
                return -1, SYNTAX
            if data[at + 1] != _U:
                if ESCAPES[data[at + 1]] == 0:
                    return -1, SYNTAX
                at += 2
                continue
            if at + 6 > stop:
                return -1, SYNTAX
            unit = hex4(data, at + 2)
            if unit < 0:
                return -1, SYNTAX
            at += 6
            if 0xD800 <= unit < 0xDC00:
                if at + 6 > stop or data[at] != _BACKSLASH or data[at + 1] != _U:
                    return -1, LONE_SURROGATE
                low = hex4(data, at + 2)
                if low < 0:
                    return -1, SYNTAX
                if not 0xDC00 <= low < 0xE000:
                    return -1, LONE_SURROGATE
                at += 6
            elif 0xDC00 <= unit < 0xE000:
                return -1, LONE_SURROGATE
        elif byte < 0x20:
            return -1, CONTROL_CHARACTER
        elif byte < 0x80:
            at += 1
        else:
            length = utf8_length(data, at, stop)
            if length == 0:
                return -1, INVALID_UTF8
            at += length


@kernel
def unescape(data: Bytes, at: int, stop: int, out: Bytes, to: int) -> int:
    """Unescape the string ``data[at:stop]``, which :func:`scan_string` has validated, into ``out`` from ``to`` on.

    It never takes more room than the escaped form. Returns the position after it.
    """
    while at < stop:
        run = at
        skipped = 8
        while skipped == 8 and at < stop and at + 8 <= len(data):
            skipped = trailing_zeros(mark_backslash(load_u64(data, at))) >> 3
            at += skipped
        at = min(at, stop)
        while at < stop and load_u8(data, at) != _BACKSLASH:
            at += 1
        to = copy_bytes(out, to, data, run, at)
        if at >= stop:
            break
        if data[at + 1] != _U:
            out[to] = ESCAPES[data[at + 1]]
            to += 1
            at += 2
            continue
        point = hex4(data, at + 2)
        at += 6
        if 0xD800 <= point < 0xDC00:
            point = 0x10000 + ((point - 0xD800) << 10) + (hex4(data, at + 2) - 0xDC00)
            at += 6
        if point < 0x80:
            out[to] = point
            to += 1
        elif point < 0x800:
            out[to] = 0xC0 | (point >> 6)
            out[to + 1] = 0x80 | (point & 0x3F)
            to += 2
        elif point < 0x10000:
            out[to] = 0xE0 | (point >> 12)
            out[to + 1] = 0x80 | ((point >> 6) & 0x3F)
            out[to + 2] = 0x80 | (point & 0x3F)
            to += 3
        else:
            out[to] = 0xF0 | (point >> 18)
            out[to + 1] = 0x80 | ((point >> 12) & 0x3F)
            out[to + 2] = 0x80 | ((point >> 6) & 0x3F)
            out[to + 3] = 0x80 | (point & 0x3F)
            to += 4
    return to
