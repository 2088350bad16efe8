"""A set of offsets of one partition: one bit for each, in pages; full pages take no memory."""

from __future__ import annotations

from typing import Final

import numpy as np

from farthing.blocks import Bytes, Int64s
from farthing.kernels.jit import kernel

PAGE_BITS: Final = 20
PAGE: Final = 1 << PAGE_BITS
"""Offsets in a page: 128 KiB of bits."""


def mark_reference(bits: Bytes, places: Int64s) -> int:
    """Plain form of :func:`mark`."""
    new = 0
    for place in places.tolist():
        byte, bit = place >> 3, 1 << (place & 7)
        new += not int(bits[byte]) & bit
        bits[byte] |= bit
    return new


@kernel(reference=mark_reference)
def mark(bits: Bytes, places: Int64s) -> int:
    """Set bits, the lowest of a byte first; returns how many were clear. Places are int64 (n,) below 8 x len(bits)."""
    new = 0
    for k in range(len(places)):
        place = places[k]
        byte = place >> 3
        bit = np.uint8(1 << (place & 7))
        if bits[byte] & bit == 0:
            new += 1
        bits[byte] |= bit
    return new


class OffsetSet:
    """Offsets from 0 on. Only pages (of 2**20 offsets) that are partly filled take memory: one bit per offset."""

    def __init__(self) -> None:
        self._pages: dict[int, Bytes | None] = {}  # None: full
        self._counts: dict[int, int] = {}

    def __len__(self) -> int:
        return sum(self._counts.values())

    def add(self, offsets: Int64s) -> int:
        """Add offsets of at least 0, in any order, with repeats; returns how many were new."""
        pages = offsets >> PAGE_BITS
        new = 0
        for number in np.unique(pages).tolist():
            before = self._counts.setdefault(number, 0)
            if before == PAGE:
                continue
            bits = self._pages.get(number)
            if bits is None:
                bits = self._pages[number] = np.zeros(PAGE // 8, np.uint8)
            added = int(mark(bits, offsets[pages == number] & (PAGE - 1)))
            new += added
            self._counts[number] = before + added
            if before + added == PAGE:
                self._pages[number] = None
        return new

    def count(self, start: int, stop: int) -> int:
        """Count the offsets from ``start`` to before ``stop``."""
        return sum(
            self._counts[number] if first <= 0 and last >= PAGE else int(self._bits(number, first, last).sum())
            for number in self._counts
            for first, last in [(start - number * PAGE, stop - number * PAGE)]
            if first < PAGE and last > 0
        )

    def shared(self, other: OffsetSet) -> int:
        """Count the offsets that are in both sets."""
        return sum(
            int((self._bits(number, 0, PAGE) & other._bits(number, 0, PAGE)).sum())
            for number in self._counts.keys() & other._counts.keys()
        )

    def _bits(self, number: int, first: int, last: int) -> Bytes:
        """Return a page's places from ``first`` to before ``last``, clipped to the page, one byte each."""
        first, last = max(first, 0), max(min(last, PAGE), 0)
        bits = self._pages[number]
        if bits is None:
            return np.ones(max(last - first, 0), np.uint8)
        low = first >> 3
        return np.unpackbits(bits[low : (last + 7) >> 3], bitorder="little")[first - 8 * low : last - 8 * low]
