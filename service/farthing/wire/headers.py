"""Record headers: an event's own, which its score or dead letter carries on, and the source offset in ours."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum
from typing import Final

import numpy as np

from farthing.blocks import Bytes, Int32s, Int64s, RecordBlock
from farthing.kernels.jit import kernel
from farthing.kernels.machine import copy_bytes
from farthing.wire.varint import MAX_VARINT_BYTES, read_varlong, read_varlong_reference

RESERVED: Final = np.frombuffer(bytearray(b"farthing."), np.uint8)
"""Prefix of our own headers. Headers of an event that begin with it are dropped, because readers detect repeats by
ours."""

NO_LIMIT: Final = 1 << 62


class Dropped(IntEnum):
    """Why a header of an event was not carried on; indexes the counter of :func:`own_headers`."""

    RESERVED = 0  # its key begins as ours do
    OVER_LIMIT = 1  # with it, the event's headers would take more bytes than the limit


_RESERVED_PLACE: Final = int(Dropped.RESERVED)  # for the kernel
_OVER_PLACE: Final = int(Dropped.OVER_LIMIT)


@dataclass(frozen=True, slots=True)
class OwnHeaders:
    """The headers of m events that are carried on, encoded as in records."""

    data: Bytes
    indptr: Int64s  # (m+1,) into data
    count: Int64s  # (m,); empty where no event has any

    @classmethod
    def none(cls) -> OwnHeaders:
        """Return the value for events without headers."""
        return cls(np.zeros(0, np.uint8), np.zeros(0, np.int64), np.zeros(0, np.int64))

    def of(self, k: int) -> Bytes:
        """Return the headers of event ``k``."""
        return self.data[self.indptr[k] : self.indptr[k + 1]] if len(self.count) else self.data

    def replaced(self, others: Mapping[int, tuple[Bytes, int]]) -> OwnHeaders:
        """Return the same headers with those of some events replaced: event -> (headers, how many)."""
        if not len(self.count):
            return self
        count, parts, at = self.count.copy(), [], 0
        sizes = np.diff(self.indptr)
        for k in sorted(others):
            data, count[k] = others[k]
            parts += [self.data[at : self.indptr[k]], data]
            at, sizes[k] = int(self.indptr[k + 1]), len(data)
        parts.append(self.data[at : self.indptr[-1]])
        return OwnHeaders(np.concatenate(parts), np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64), count)


def keep_headers_reference(
    buffer: Bytes, start: Int64s, stop: Int64s, count: Int32s, rows: Int64s, reserved: Bytes, max_bytes: int,
    out: Bytes, indptr: Int64s, kept: Int64s, dropped: Int64s,
) -> None:  # fmt: skip
    """Plain form of :func:`keep_headers`."""
    whole = b""
    indptr[0] = 0
    for k, row in enumerate(rows.tolist()):
        at, room, kept[k] = int(start[row]), int(max_bytes), 0
        for _ in range(int(count[row])):
            begin = at
            size, at = read_varlong_reference(buffer, at, int(stop[row]), MAX_VARINT_BYTES)
            key = buffer[at : at + size].tobytes()
            size, at = read_varlong_reference(buffer, at + size, int(stop[row]), MAX_VARINT_BYTES)
            at += max(size, 0)
            if key.startswith(reserved.tobytes()):
                dropped[Dropped.RESERVED] += 1
            elif at - begin > room:
                dropped[Dropped.OVER_LIMIT] += 1
            else:
                whole += buffer[begin:at].tobytes()
                room -= at - begin
                kept[k] += 1
        indptr[k + 1] = len(whole)
    out[: len(whole)] = np.frombuffer(whole, np.uint8)


@kernel(reference=keep_headers_reference)
def keep_headers(
    buffer: Bytes, start: Int64s, stop: Int64s, count: Int32s, rows: Int64s, reserved: Bytes, max_bytes: int,
    out: Bytes, indptr: Int64s, kept: Int64s, dropped: Int64s,
) -> None:  # fmt: skip
    """Copy the headers of ``rows`` that are carried on to ``out``, unchanged.

    A header is dropped if its key begins with ``reserved``, or if it would take its event's headers past ``max_bytes``;
    a shorter one after it may still fit. Dropped headers are counted in ``dropped`` (2,). ``out`` has room for all
    headers.
    """
    at = 0
    indptr[0] = 0
    for k in range(len(rows)):
        row = rows[k]
        here = start[row]
        first = here  # start of a run of headers that is copied at once
        room = max_bytes
        n = 0
        for _ in range(count[row]):
            begin = here
            size, here = read_varlong(buffer, here, stop[row], MAX_VARINT_BYTES)
            i = 0
            while i < len(reserved) and i < size and buffer[here + i] == reserved[i]:
                i += 1
            ours = i == len(reserved)
            size, here = read_varlong(buffer, here + size, stop[row], MAX_VARINT_BYTES)
            here += max(size, 0)
            if not ours and here - begin <= room:
                room -= here - begin
                n += 1
                continue
            dropped[_RESERVED_PLACE if ours else _OVER_PLACE] += 1
            if begin > first:
                at = copy_bytes(out, at, buffer, first, begin)
            first = here
        if here > first:
            at = copy_bytes(out, at, buffer, first, here)
        kept[k] = n
        indptr[k + 1] = at


def own_headers(records: RecordBlock, rows: Int64s, max_bytes: int, dropped: Int64s | None = None) -> OwnHeaders:
    """Return the headers of ``rows`` that are carried on: at most ``max_bytes`` per event, and none of ours.

    Dropped headers are counted in ``dropped`` (len(Dropped),), by reason. The records must come from
    :func:`farthing.wire.decode`, which has checked the headers' lengths.
    """
    if not records.header_count.any():  # as in most topics: this look is all that it costs
        return OwnHeaders.none()
    data = np.empty(int((records.headers_stop - records.headers_start)[rows].sum()), np.uint8)
    indptr, kept = np.empty(len(rows) + 1, np.int64), np.empty(len(rows), np.int64)
    keep_headers(
        records.buffer, records.headers_start, records.headers_stop, records.header_count, rows, RESERVED, max_bytes,
        data, indptr, kept, np.zeros(len(Dropped), np.int64) if dropped is None else dropped,
    )  # fmt: skip
    return OwnHeaders(data, indptr, kept)


def source_offsets_reference(
    buffer: Bytes, start: Int64s, stop: Int64s, count: Int32s, name: Bytes, out: Int64s
) -> None:
    """Plain form of :func:`find_source_offsets`."""
    for k in range(len(out)):
        out[k] = -1
        at = int(start[k])
        for _ in range(int(count[k])):
            size, at = read_varlong_reference(buffer, at, int(stop[k]), MAX_VARINT_BYTES)
            key = buffer[at : at + size].tobytes()
            size, at = read_varlong_reference(buffer, at + size, int(stop[k]), MAX_VARINT_BYTES)
            value = buffer[at : at + max(size, 0)].tobytes()
            at += max(size, 0)
            if key == name.tobytes() and value.isdigit() and len(value) <= 19 and int(value) < 2**63:
                out[k] = int(value)


@kernel(reference=source_offsets_reference)
def find_source_offsets(buffer: Bytes, start: Int64s, stop: Int64s, count: Int32s, name: Bytes, out: Int64s) -> None:
    """Read each record's header ``name`` as a decimal number into ``out``; -1 where it has none."""
    for k in range(len(out)):
        out[k] = -1
        at = start[k]
        for _ in range(count[k]):
            size, at = read_varlong(buffer, at, stop[k], MAX_VARINT_BYTES)
            i = 0
            while size == len(name) and i < size and buffer[at + i] == name[i]:
                i += 1
            same = i == len(name)
            size, at = read_varlong(buffer, at + size, stop[k], MAX_VARINT_BYTES)
            if same and 0 < size <= 19:
                number = np.uint64(0)  # nineteen digits fit
                good = True  # all digits
                for i in range(size):
                    digit = np.int64(buffer[at + i]) - 48
                    good = good and bool(0 <= digit <= 9)
                    number = number * np.uint64(10) + np.uint64(digit & 15)
                if good and number < np.uint64(1 << 63):
                    out[k] = np.int64(number)
            at += max(size, 0)


def source_offsets(records: RecordBlock, name: bytes) -> Int64s:
    """Return the source offset of each record, int64 (n,), from its header ``name``; -1 where it has none.

    Scores have it in ``farthing.offset``, dead letters in ``farthing.error.offset``. Together with the partition, whose
    number is the same in the source, it identifies the event. The records must come from :func:`farthing.wire.decode`,
    which has checked the headers' lengths.
    """
    out = np.empty(len(records), np.int64)
    find_source_offsets(
        records.buffer,
        records.headers_start,
        records.headers_stop,
        records.header_count,
        np.frombuffer(name, np.uint8),
        out,
    )
    return out
