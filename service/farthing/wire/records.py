"""The kernels that read records into columns. They never read outside their batch.

The batches are the rows of a table (:mod:`farthing.wire.table`).
"""

from __future__ import annotations

from typing import Final

import numpy as np

from farthing.blocks import Bytes, Int32s, Int64s
from farthing.kernels.jit import kernel
from farthing.wire import layout
from farthing.wire.table import (
    ALL,
    ATTRIBUTES,
    BAD,
    BASE_OFFSET,
    BASE_TIMESTAMP,
    COUNT,
    FULL,
    KEEP,
    LAST_OFFSET_DELTA,
    MAX_TIMESTAMP,
    MORE,
    START,
    STOP,
)  # fmt: skip
from farthing.wire.varint import MAX_VARINT_BYTES, MAX_VARLONG_BYTES, read_varlong, read_varlong_reference

MIN_RECORD: Final = layout.MIN_RECORD_BYTES
APPEND_TIME: Final = layout.LOG_APPEND_TIME
MAX_RECORD: Final = (1 << 31) - 1  # a record's length is an int32 in Kafka
be16 = layout.be16


class _Cursor:
    """Reads a record's parts one after another; raises ValueError when they do not fit into ``buffer[at:stop]``."""

    def __init__(self, buffer: Bytes, at: int, stop: int) -> None:
        self.buffer, self.at, self.stop = buffer, at, stop

    def number(self, max_bytes: int = MAX_VARINT_BYTES) -> int:
        value, at = read_varlong_reference(self.buffer, self.at, self.stop, max_bytes)
        if at < 0:
            raise ValueError("the bytes end in a number")
        self.at = at
        return value

    def span(self, *, nullable: bool) -> tuple[int, int]:
        """Skip a length and that many bytes; returns their start and stop, both -1 for null."""
        size = self.number()
        if size == -1 and nullable:
            return -1, -1
        if not 0 <= size <= self.stop - self.at:
            raise ValueError("the bytes end in a field")
        self.at += size
        return self.at - size, self.at


def is_abort_marker_reference(buffer: Bytes, start: int, stop: int) -> bool:
    """Plain form of :func:`is_abort_marker`."""
    cursor = _Cursor(buffer, start, stop)
    try:
        cursor.number()
        cursor.at += 1
        cursor.number(MAX_VARLONG_BYTES)
        cursor.number()
        first, last = cursor.span(nullable=False)
    except ValueError:
        return False
    return last - first >= 4 and buffer[first + 2 : first + 4].tobytes() == b"\0\0"


@kernel(reference=is_abort_marker_reference)
def is_abort_marker(buffer: Bytes, start: int, stop: int) -> bool:
    """Whether a control batch's record says that a transaction was aborted (key: version int16, type int16 = 0)."""
    _, at = read_varlong(buffer, start, stop, MAX_VARINT_BYTES)
    if at < 0 or at >= stop:
        return False
    at += 1  # attributes
    _, at = read_varlong(buffer, at, stop, MAX_VARLONG_BYTES)
    if at >= 0:
        _, at = read_varlong(buffer, at, stop, MAX_VARINT_BYTES)
    if at < 0:
        return False
    key_length, at = read_varlong(buffer, at, stop, MAX_VARINT_BYTES)
    if at < 0 or key_length < 4 or key_length > stop - at:
        return False
    return be16(buffer, at + 2) == 0


@kernel(inline=True)
def read_record(buffer: Bytes, at: int, stop: int, out: Int64s) -> int:
    """Read the record at ``at`` into ``out``; returns the position after it, or -1 when anything in it is wrong.

    ``out`` is int64 (9,): timestamp delta, offset delta, key start and stop, value start and stop, headers start and
    stop, header count.
    """
    length, at = read_varlong(buffer, at, stop, MAX_VARINT_BYTES)
    if at < 0 or length < MIN_RECORD - 1 or length > stop - at:
        return -1
    end = at + length
    out[0], at = read_varlong(buffer, at + 1, end, MAX_VARLONG_BYTES)
    if at < 0:
        return -1
    out[1], at = read_varlong(buffer, at, end, MAX_VARINT_BYTES)
    if at < 0:
        return -1
    for field in range(2):  # key, value
        size, at = read_varlong(buffer, at, end, MAX_VARINT_BYTES)
        if at < 0 or size > end - at or size < -1:
            return -1
        if size < 0:
            out[2 + 2 * field] = -1
            out[3 + 2 * field] = -1
        else:
            out[2 + 2 * field] = at
            at += size
            out[3 + 2 * field] = at
    count, at = read_varlong(buffer, at, end, MAX_VARINT_BYTES)
    if at < 0 or count < 0:
        return -1
    out[6] = at
    out[7] = end
    out[8] = count
    for _ in range(count):
        size, at = read_varlong(buffer, at, end, MAX_VARINT_BYTES)
        if at < 0 or size < 0 or size > end - at:
            return -1
        at += size
        size, at = read_varlong(buffer, at, end, MAX_VARINT_BYTES)
        if at < 0 or size < -1 or size > end - at:
            return -1
        if size > 0:
            at += size
    return end if at == end else -1


@kernel(inline=True)
def put_record(row: Int64s, record: Int64s, n: int, columns: Int64s, header_count: Int32s) -> None:
    """Write what :func:`read_record` found in the batch ``row`` to place ``n`` of the columns."""
    columns[0, n] = row[BASE_OFFSET] + record[1]
    if row[ATTRIBUTES] & APPEND_TIME:
        columns[1, n] = row[MAX_TIMESTAMP]
    else:
        columns[1, n] = row[BASE_TIMESTAMP] + record[0]
    for c in range(6):
        columns[2 + c, n] = record[2 + c]
    header_count[n] = record[8]


def _plain_record(batch: _Cursor) -> list[int]:
    """Read one record and move past it; returns what :func:`read_record` writes to ``out``."""
    start, stop = batch.span(nullable=False)
    if stop - start < MIN_RECORD - 1:
        raise ValueError("shorter than any record")
    inside = _Cursor(batch.buffer, start + 1, stop)  # after the attributes
    out = [inside.number(MAX_VARLONG_BYTES), inside.number()]
    out += [*inside.span(nullable=True), *inside.span(nullable=True)]  # key, value
    count = inside.number()
    out += [inside.at, stop, count]
    for _ in range(count):
        inside.span(nullable=False)
        inside.span(nullable=True)
    if count < 0 or inside.at != stop:
        raise ValueError("lengths do not add up")
    return out


def read_records_reference(
    buffer: Bytes, table: Int64s, first: int, last: int, fetch_offset: int, n: int,
    columns: Int64s, header_count: Int32s, record: Int64s,
) -> tuple[int, int]:  # fmt: skip
    """Plain form of :func:`read_records`; it does not need ``record``."""
    for k in range(first, last):
        row = [int(value) for value in table[k]]
        batch, kept, previous = _Cursor(buffer, row[START], row[STOP]), n, -1
        if not row[KEEP]:
            continue
        try:
            for _ in range(row[COUNT]):
                delta_ms, offset_delta, *places, count = _plain_record(batch)
                if not previous < offset_delta <= row[LAST_OFFSET_DELTA]:
                    raise ValueError("offsets do not ascend")
                previous = offset_delta
                if row[BASE_OFFSET] + offset_delta >= fetch_offset:
                    time_ms = row[MAX_TIMESTAMP] if row[ATTRIBUTES] & APPEND_TIME else row[BASE_TIMESTAMP] + delta_ms
                    time_ms = (time_ms + (1 << 63)) % (1 << 64) - (1 << 63)  # nonsense wraps, as in the kernel
                    columns[:, n] = (row[BASE_OFFSET] + offset_delta, time_ms, *places)
                    header_count[n] = count
                    n += 1
        except ValueError:
            return n, k
        if batch.at != row[STOP]:
            return max(n - 1, kept), k
    return n, last


@kernel(reference=read_records_reference)
def read_records(
    buffer: Bytes,
    table: Int64s,
    first: int,
    last: int,
    fetch_offset: int,
    n: int,
    columns: Int64s,
    header_count: Int32s,
    record: Int64s,
) -> tuple[int, int]:
    """Read the records of batches ``first`` to ``last`` (excluded) into ``columns`` from place ``n`` on.

    ``columns`` is int64 (8, capacity): offset, timestamp, key start and stop, value start and stop, headers start and
    stop; ``record`` is int64 (9,), scratch for one record.
    Returns (places filled in all, the first bad batch or ``last``). Of a bad batch the records before the damage are
    kept; the last one is not, when more bytes follow than there should be.
    """
    for k in range(first, last):
        row = table[k]
        if row[KEEP] == 0:
            continue
        kept = n
        at = row[START]
        previous = np.int64(-1)
        for _ in range(row[COUNT]):
            at = read_record(buffer, at, row[STOP], record)
            if at < 0 or record[1] <= previous or record[1] > row[LAST_OFFSET_DELTA]:
                return n, k
            previous = record[1]
            if row[BASE_OFFSET] + record[1] >= fetch_offset:
                put_record(row, record, n, columns, header_count)
                n += 1
        if at != row[STOP]:
            return max(n - 1, kept), k
    return n, last


def read_piece_reference(
    buffer: Bytes, at: int, stop: int, ended: bool, row: Int64s, left: int, previous: int, fetch_offset: int,
    n: int, most: int, columns: Int64s, header_count: Int32s, record: Int64s,
) -> tuple[int, int, int, int, int]:  # fmt: skip
    """Plain form of :func:`read_piece`; it does not need ``record``."""
    state = BAD
    try:
        while left and n < most:
            length, body = read_varlong_reference(buffer, at, stop, MAX_VARINT_BYTES)
            if body < 0 and not ended and stop - at < MAX_VARINT_BYTES:
                state = MORE
                break
            if body < 0 or not MIN_RECORD - 1 <= length <= MAX_RECORD:
                raise ValueError("no length of a record")
            if (length > stop - body or (left == 1 and length == stop - body)) and not ended:
                state = MORE
                break
            if length > stop - body or (left == 1 and length < stop - body):
                raise ValueError("the bytes and the records do not end together")
            inside = _Cursor(buffer, at, stop)
            delta_ms, offset_delta, *places, count = _plain_record(inside)
            if not previous < offset_delta <= row[LAST_OFFSET_DELTA]:
                raise ValueError("offsets do not ascend")
            at, left, previous = inside.at, left - 1, int(offset_delta)
            offset = int(row[BASE_OFFSET]) + offset_delta
            if offset >= fetch_offset:
                time_ms = int(row[MAX_TIMESTAMP] if row[ATTRIBUTES] & APPEND_TIME else row[BASE_TIMESTAMP])
                time_ms += 0 if row[ATTRIBUTES] & APPEND_TIME else delta_ms
                columns[:, n] = (offset, (time_ms + (1 << 63)) % (1 << 64) - (1 << 63), *places)
                header_count[n] = count
                n += 1
        else:
            if left:
                state = FULL
            elif at == stop:
                state = ALL if ended else MORE
    except ValueError:
        pass
    return n, at, left, previous, state


@kernel(reference=read_piece_reference)
def read_piece(
    buffer: Bytes, at: int, stop: int, ended: bool, row: Int64s, left: int, previous: int, fetch_offset: int,
    n: int, most: int, columns: Int64s, header_count: Int32s, record: Int64s,
) -> tuple[int, int, int, int, int]:  # fmt: skip
    """Read the whole records in ``buffer[at:stop]``, a piece of the batch ``row``, into places ``n`` to ``most``.

    ``left`` records of the batch are still to come, the last one had the offset delta ``previous``, and ``ended`` says
    that no bytes follow. The batch's last record is read only then, so that what is wrong at the end is noticed while
    there is still a record to give up. Returns (places filled in all, position after the last record read, records
    left, its offset delta, ALL, MORE, FULL or BAD).
    """
    while left > 0 and n < most:
        length, body = read_varlong(buffer, at, stop, MAX_VARINT_BYTES)
        if body < 0:
            return n, at, left, previous, (BAD if ended or stop - at >= MAX_VARINT_BYTES else MORE)
        if length < MIN_RECORD - 1 or length > MAX_RECORD:
            return n, at, left, previous, BAD
        if length > stop - body or (left == 1 and length == stop - body):
            if not ended:
                return n, at, left, previous, MORE
            if length > stop - body:
                return n, at, left, previous, BAD
        elif left == 1:
            return n, at, left, previous, BAD
        end = read_record(buffer, at, stop, record)
        if end < 0 or record[1] <= previous or record[1] > row[LAST_OFFSET_DELTA]:
            return n, at, left, previous, BAD
        at = end
        left -= 1
        previous = record[1]
        if row[BASE_OFFSET] + record[1] >= fetch_offset:
            put_record(row, record, n, columns, header_count)
            n += 1
    if left > 0:
        return n, at, left, previous, FULL
    if at < stop:
        return n, at, left, previous, BAD
    return n, at, left, previous, (ALL if ended else MORE)
