"""Passes a record by that is too long to be held in memory; keeps its head, its length and digests of what it had."""

from __future__ import annotations

import hashlib
from typing import Final, Self

import numpy as np

from farthing.blocks import Bytes, CutRecord, Int64s
from farthing.wire import layout, table
from farthing.wire.varint import MAX_VARINT_BYTES, MAX_VARLONG_BYTES, read_varlong_reference

HEAD_BYTES: Final = 1 << 20
"""How much of the record is kept, more than a dead letter's value may have. A longer key is not taken apart."""


class LongRecord:
    """One such record, fed with its bytes."""

    def __init__(self, size: int, first: int) -> None:
        """``size`` counts the length in front, which takes ``first`` bytes."""
        self.head = bytearray()
        self.offset_delta = -1
        self.is_damaged = False
        self._size, self._first = size, first
        self._seen = 0
        self._delta_ms = 0
        self._key = (-1, -1)
        self._value = (-1, -1)  # in the record; the whole record when its key is as long as the head
        self._sha256 = hashlib.sha256()
        self._count = b""  # how many headers there are, as it is written, as far as it was fed
        self._headers_count = 0
        self._headers_bytes = 0
        self._headers_sha256 = hashlib.sha256()

    @classmethod
    def of(cls, unread: Bytes, most: int) -> Self | None:
        """Begin with the record at the start of ``unread``; None if it has at most ``most`` bytes, or no length yet."""
        length, at = read_varlong_reference(unread, 0, len(unread), MAX_VARINT_BYTES)
        return None if at < 0 or at + length <= most else cls(at + length, at)

    @property
    def is_complete(self) -> bool:
        """Whether all of it was fed."""
        return self._seen == self._size

    def feed(self, data: Bytes) -> int:
        """Take the record's next bytes; returns how many of ``data`` they are."""
        taken = data[: self._size - self._seen]
        start = 0
        if self._seen < HEAD_BYTES and len(taken):
            start = min(len(taken), HEAD_BYTES - self._seen)
            self.head += taken[:start].tobytes()
            self._seen += start
            if self._seen == min(HEAD_BYTES, self._size):
                self._take_apart()
        first, last = (min(max(place - self._seen + start, start), len(taken)) for place in self._value)
        self._sha256.update(taken[first:last].data)
        if last < len(taken):
            self._pass_headers(taken[last:].tobytes())
        self._seen += len(taken) - start
        return len(taken)

    def _take_apart(self) -> None:
        """Find the key and the value, and begin the digest with what the head has of it."""
        head = np.frombuffer(self.head, np.uint8)
        stop = len(head)
        self._delta_ms, at = read_varlong_reference(head, self._first + 1, stop, MAX_VARLONG_BYTES)
        self.offset_delta, at = read_varlong_reference(head, at, stop, MAX_VARINT_BYTES)
        size, at = read_varlong_reference(head, at, stop, MAX_VARINT_BYTES)
        self._value = (0, self._size)
        if not -1 <= size <= self._size - at:
            self.is_damaged = True
        elif at + size + MAX_VARINT_BYTES <= stop:
            self._key = (at, at + size) if size >= 0 else (-1, -1)
            size, at = read_varlong_reference(head, at + max(size, 0), stop, MAX_VARINT_BYTES)
            if at < 0 or not -1 <= size <= self._size - at:
                self.is_damaged = True
            elif size >= 0:
                self._value = (at, at + size)
        self._sha256.update(self.head[self._value[0] : self._value[1]])
        self._pass_headers(bytes(self.head[self._value[1] :]))

    def _pass_headers(self, data: bytes) -> None:
        """Count what follows the value: the number of headers, then the headers."""
        if not self._headers_bytes and data:
            data = self._count + data
            number = np.frombuffer(data[:MAX_VARINT_BYTES], np.uint8)
            self._headers_count, at = read_varlong_reference(number, 0, len(number), MAX_VARINT_BYTES)
            if at < 0 or self._headers_count < 0:
                self.is_damaged = self.is_damaged or at >= 0 or len(data) >= MAX_VARINT_BYTES
                self._count = data[:MAX_VARINT_BYTES]
                return
            self._count, data = data[:at], data[at:]
        self._headers_bytes += len(data)
        self._headers_sha256.update(data)

    def columns(self, row: Int64s, at: int) -> tuple[int, ...]:
        """Give the record's columns, of the batch ``row``, when its head lies at ``at``: the value is null."""
        append_time = int(row[table.ATTRIBUTES]) & layout.LOG_APPEND_TIME
        time_ms = int(row[table.MAX_TIMESTAMP]) if append_time else int(row[table.BASE_TIMESTAMP]) + self._delta_ms
        time_ms = (time_ms + (1 << 63)) % (1 << 64) - (1 << 63)  # nonsense wraps, as in the kernels
        key = self._key if self._key[0] < 0 else (at + self._key[0], at + self._key[1])
        end = at + len(self.head)
        return (int(row[table.BASE_OFFSET]) + self.offset_delta, time_ms, *key, -1, -1, end, end)

    def cut(self, row: int, at: int) -> CutRecord:
        """Describe it for its dead letter."""
        start, stop = self._value
        return CutRecord(
            row=row,
            start=at + start,
            stop=at + min(stop, len(self.head)),
            record_bytes=self._size,
            value_bytes=stop - start,
            sha256=self._sha256.hexdigest(),
            headers=(self._headers_count, self._headers_bytes, self._headers_sha256.hexdigest()),
        )
