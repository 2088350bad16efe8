"""The kernels that read record batches: headers to a table, records to columns. No call of them reads outside.

``table`` is int64 (n_batches, N_COLUMNS), one row a batch, in the columns named below.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from farthing.blocks import Bytes, Int32s, Int64s
from farthing.jit import kernel
from farthing.wire import layout
from farthing.wire.crc32c import crc32c
from farthing.wire.varint import MAX_VARINT_BYTES, MAX_VARLONG_BYTES, read_varlong

# Columns of the table.
START: Final = 0  # of the records, in the arena's buffer
STOP: Final = 1
BASE_OFFSET: Final = 2
LAST_OFFSET_DELTA: Final = 3
ATTRIBUTES: Final = 4
BASE_TIMESTAMP: Final = 5
MAX_TIMESTAMP: Final = 6
PRODUCER_ID: Final = 7
COUNT: Final = 8
KEEP: Final = 9  # 1: to be delivered; 0: control or aborted, or before the fetch offset
N_COLUMNS: Final = 10

# What is wrong with a batch.
FINE: Final = 0
BAD_LENGTH: Final = 1
BAD_MAGIC: Final = 2
BAD_CRC: Final = 3
BAD_COUNT: Final = 4
BAD_CODEC: Final = 5
BAD_RECORD: Final = 6

H_LENGTH: Final = layout.BATCH_LENGTH
H_MAGIC: Final = layout.MAGIC
H_CRC: Final = layout.CRC
H_ATTRIBUTES: Final = layout.ATTRIBUTES
H_BYTES: Final = layout.HEADER_BYTES
H_OVERHEAD: Final = layout.LOG_OVERHEAD
H_LAST_OFFSET_DELTA: Final = layout.LAST_OFFSET_DELTA
H_BASE_TIMESTAMP: Final = layout.BASE_TIMESTAMP
H_MAX_TIMESTAMP: Final = layout.MAX_TIMESTAMP
H_PRODUCER_ID: Final = layout.PRODUCER_ID
H_COUNT: Final = layout.RECORDS_COUNT
MIN_RECORD: Final = layout.MIN_RECORD_BYTES
CODEC_MASK: Final = layout.CODEC_MASK
APPEND_TIME: Final = layout.LOG_APPEND_TIME
TRANSACTIONAL: Final = layout.TRANSACTIONAL
CONTROL: Final = layout.CONTROL
be16, be32, be64 = layout.be16, layout.be32, layout.be64


@kernel
def index_batches(buffer: Bytes, start: int, stop: int, table: Int64s, n: int, check_crc: bool) -> tuple[int, int, int]:
    """Read the headers of the whole batches in ``buffer[start:stop]`` into ``table`` from row ``n`` on.

    Returns (rows filled in all, position of the first batch not read, what is wrong there). A last batch that is
    not all there is not wrong: it is left for the next fetch.
    """
    at = start
    while at + H_OVERHEAD + 5 <= stop:  # up to the magic byte
        length = be32(buffer, at + H_LENGTH)
        magic = np.int64(buffer[at + H_MAGIC])
        if magic != 2:
            # v0 and v1 message sets have another layout, but their magic byte stands at the same place (KIP-32).
            return n, at, BAD_MAGIC
        if length < H_BYTES - H_OVERHEAD:
            return n, at, BAD_LENGTH
        end = at + H_OVERHEAD + length
        if end > stop:
            break
        if check_crc and crc32c(buffer, at + H_ATTRIBUTES, end) != (be32(buffer, at + H_CRC) & 0xFFFFFFFF):
            return n, at, BAD_CRC
        attributes = be16(buffer, at + H_ATTRIBUTES)
        count = be32(buffer, at + H_COUNT)
        last_offset_delta = be32(buffer, at + H_LAST_OFFSET_DELTA)
        codec = attributes & CODEC_MASK
        base_offset = be64(buffer, at)
        if last_offset_delta < 0 or base_offset < 0 or count < 0 or count > last_offset_delta + 1:
            return n, at, BAD_COUNT
        if codec == 0 and count * MIN_RECORD > length - (H_BYTES - H_OVERHEAD):
            return n, at, BAD_COUNT
        if codec > 4:
            return n, at, BAD_CODEC
        row = table[n]
        row[START] = at + H_BYTES
        row[STOP] = end
        row[BASE_OFFSET] = base_offset
        row[LAST_OFFSET_DELTA] = last_offset_delta
        row[ATTRIBUTES] = attributes
        row[BASE_TIMESTAMP] = be64(buffer, at + H_BASE_TIMESTAMP)
        row[MAX_TIMESTAMP] = be64(buffer, at + H_MAX_TIMESTAMP)
        row[PRODUCER_ID] = be64(buffer, at + H_PRODUCER_ID)
        row[COUNT] = count
        row[KEEP] = 1
        n += 1
        at = end
    return n, at, FINE


@kernel
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
    if at < 0 or key_length < 4 or at + 4 > stop:
        return False
    return be16(buffer, at + 2) == 0


@kernel
def select_batches(
    buffer: Bytes, table: Int64s, first: int, last: int, fetch_offset: int,
    aborted_ids: Int64s, aborted_offsets: Int64s, began: Bytes,
) -> None:  # fmt: skip
    """Clear KEEP of control batches, of aborted transactions' batches and of what lies before ``fetch_offset``.

    The rule is Kafka's (``CompletedFetch.nextFetchedRecord``): an aborted transaction begins at its first offset and
    ends with its producer's abort marker. ``aborted_offsets`` ascend; ``began`` (one each, zeros at first) becomes 1
    for a transaction that is open and 2 for one that ended.
    """
    for k in range(first, last):
        row = table[k]
        last_offset = row[BASE_OFFSET] + row[LAST_OFFSET_DELTA]
        control = (row[ATTRIBUTES] & CONTROL) != 0
        if len(aborted_ids) and row[PRODUCER_ID] >= 0:
            for i in range(len(aborted_ids)):
                if began[i] == 0 and aborted_offsets[i] <= last_offset:
                    began[i] = 1
            if control and is_abort_marker(buffer, row[START], row[STOP]):
                for i in range(len(aborted_ids)):
                    if began[i] == 1 and aborted_ids[i] == row[PRODUCER_ID]:
                        began[i] = 2
            elif (row[ATTRIBUTES] & TRANSACTIONAL) != 0:
                for i in range(len(aborted_ids)):
                    if began[i] == 1 and aborted_ids[i] == row[PRODUCER_ID]:
                        row[KEEP] = 0
        if control or last_offset < fetch_offset:
            row[KEEP] = 0


@kernel(inline=True)
def read_record(buffer: Bytes, at: int, stop: int, out: Int64s) -> int:
    """Read one record at ``at`` into ``out``; returns the position after it, or -1 when anything in it is wrong.

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


@kernel
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
    """Read the records of batches ``first`` to ``last`` into ``columns`` from place ``n`` on.

    ``columns`` is int64 (8, capacity): offset, timestamp, key start and stop, value start and stop, headers start and
    stop; ``record`` is int64 (9,), room for one.
    Returns (places filled in all, the batch that is wrong or ``last``); of a wrong batch nothing is kept.
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
                return kept, k
            previous = record[1]
            offset = row[BASE_OFFSET] + record[1]
            if offset < fetch_offset:
                continue
            columns[0, n] = offset
            if row[ATTRIBUTES] & APPEND_TIME:
                columns[1, n] = row[MAX_TIMESTAMP]
            else:
                columns[1, n] = row[BASE_TIMESTAMP] + record[0]
            for c in range(6):
                columns[2 + c, n] = record[2 + c]
            header_count[n] = record[8]
            n += 1
        if at != row[STOP]:
            return kept, k
    return n, last
