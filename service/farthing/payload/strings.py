"""Kernels for JSON strings: one finds the end and validates everything up to it, another unescapes as well."""

from __future__ import annotations

from typing import Final

import numpy as np

from farthing.blocks import Bytes, Status
from farthing.kernels.jit import kernel
from farthing.kernels.machine import load_u8
from farthing.payload.plain import copy_plain, skip_plain

SYNTAX: Final = int(Status.SYNTAX)
INVALID_UTF8: Final = int(Status.INVALID_UTF8)
LONE_SURROGATE: Final = int(Status.LONE_SURROGATE)
CONTROL_CHARACTER: Final = int(Status.CONTROL_CHARACTER)

_QUOTE, _BACKSLASH, _U = 0x22, 0x5C, 0x75


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
def hex4(data: Bytes, at: int) -> int:
    """Read four hexadecimal digits; -1 if any is not one."""
    a, b = load_u8(HEX, load_u8(data, at)), load_u8(HEX, load_u8(data, at + 1))
    c, d = load_u8(HEX, load_u8(data, at + 2)), load_u8(HEX, load_u8(data, at + 3))
    return -1 if a | b | c | d > 15 else a << 12 | b << 8 | c << 4 | d


@kernel(inline=True)
def scan_escape(data: Bytes, at: int, stop: int) -> tuple[int, int]:
    """Read the escape, or pair of escapes, whose backslash is at ``at``.

    Returns (position after it, the code point), or (-1, the Status of the first error).
    """
    if at + 1 >= stop:
        return -1, SYNTAX
    letter = load_u8(data, at + 1)
    if letter != _U:
        point = load_u8(ESCAPES, letter)
        return (at + 2, point) if point else (-1, SYNTAX)
    if at + 6 > stop:
        return -1, SYNTAX
    point = hex4(data, at + 2)
    if point < 0:
        return -1, SYNTAX
    at += 6
    if point & 0xF800 != 0xD800:
        return at, point
    if point >= 0xDC00 or at + 6 > stop or load_u8(data, at) != _BACKSLASH or load_u8(data, at + 1) != _U:
        return -1, LONE_SURROGATE
    low = hex4(data, at + 2)
    if low < 0:
        return -1, SYNTAX
    if low & 0xFC00 != 0xDC00:
        return -1, LONE_SURROGATE
    return at + 6, 0x10000 + ((point - 0xD800) << 10) + (low - 0xDC00)


@kernel(inline=True)
def utf8_length(data: Bytes, at: int, stop: int) -> int:
    """Return the length of the well-formed UTF-8 sequence at ``at``, or 0 (Unicode 15, table 3-7).

    The first byte is above 0x7F.
    """
    first = load_u8(data, at)
    if first < 0xC2 or first > 0xF4 or at + 1 >= stop:
        return 0
    second = load_u8(data, at + 1)
    if first < 0xE0:
        return 2 if second & 0xC0 == 0x80 else 0
    low, high = 0x80, 0xBF
    if first == 0xE0:
        low = 0xA0
    elif first == 0xED:
        high = 0x9F
    elif first == 0xF0:
        low = 0x90
    elif first == 0xF4:
        high = 0x8F
    length = 3 if first < 0xF0 else 4
    if at + length > stop or second < low or second > high or load_u8(data, at + 2) & 0xC0 != 0x80:
        return 0
    return length if length == 3 or load_u8(data, at + 3) & 0xC0 == 0x80 else 0


@kernel(inline=True)
def write_point(out: Bytes, to: int, point: int) -> int:
    """Write a code point as UTF-8; returns the position after it."""
    if point < 0x80:
        out[to] = point
        return to + 1
    if point < 0x800:
        out[to] = 0xC0 | (point >> 6)
        out[to + 1] = 0x80 | (point & 0x3F)
        return to + 2
    if point < 0x10000:
        out[to] = 0xE0 | (point >> 12)
        out[to + 1] = 0x80 | ((point >> 6) & 0x3F)
        out[to + 2] = 0x80 | (point & 0x3F)
        return to + 3
    out[to] = 0xF0 | (point >> 18)
    out[to + 1] = 0x80 | ((point >> 12) & 0x3F)
    out[to + 2] = 0x80 | ((point >> 6) & 0x3F)
    out[to + 3] = 0x80 | (point & 0x3F)
    return to + 4


@kernel
def scan_string(data: Bytes, at: int, stop: int) -> tuple[int, int]:
    """Validate the string whose first byte after the quote is at ``at``.

    Returns (position of the closing quote, 1 if it has escapes else 0), or (-1, the Status of the first error).
    """
    escaped = 0
    while at < stop:
        byte = load_u8(data, at)
        if byte >= 0x80:
            length = utf8_length(data, at, stop)
            if length == 0:
                return -1, INVALID_UTF8
            at += length
        elif byte == _QUOTE:
            return at, escaped
        elif byte == _BACKSLASH:
            escaped = 1
            at, state = scan_escape(data, at, stop)
            if at < 0:
                return at, state
        elif byte < 0x20:
            return -1, CONTROL_CHARACTER
        else:
            at = skip_plain(data, at + 1, stop)
    return -1, SYNTAX


@kernel
def copy_string(data: Bytes, at: int, stop: int, out: Bytes, to: int, out_stop: int) -> tuple[int, int, int]:
    """:func:`scan_string`, and write the string to ``out[to:out_stop]``, unescaped.

    It never takes more room than the escaped form, but more of ``out[to:out_stop]`` may be overwritten. Returns
    (position of the closing quote, position after it in ``out``, 0), or (-1, ``to``, the Status of the first error).
    """
    while at < stop:
        byte = load_u8(data, at)
        if byte >= 0x80:
            length = utf8_length(data, at, stop)
            if length == 0:
                return -1, to, INVALID_UTF8
            for _ in range(length):
                out[to] = load_u8(data, at)
                at += 1
                to += 1
        elif byte == _QUOTE:
            return at, to, 0
        elif byte == _BACKSLASH:
            at, point = scan_escape(data, at, stop)
            if at < 0:
                return at, to, point
            to = write_point(out, to, point)
        elif byte < 0x20:
            return -1, to, CONTROL_CHARACTER
        else:
            first = at
            out[to] = byte
            at = copy_plain(data, at + 1, stop, out, to + 1, out_stop)
            to += at - first
    return -1, to, SYNTAX
