"""The kernels that read the headers of record batches into a table and mark which batches are to be delivered.

They never read outside the bytes they are given. The table's columns, and what can be wrong with a batch, are in
:mod:`farthing.wire.table`.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from farthing.blocks import Bytes, Int64s
from farthing.kernels.jit import kernel
from farthing.wire import layout
from farthing.wire.crc32c import crc32c, crc32c_reference
from farthing.wire.records import is_abort_marker, is_abort_marker_reference
from farthing.wire.table import (
    ATTRIBUTES,
    BAD_CODEC,
    BAD_COUNT,
    BAD_CRC,
    BAD_LENGTH,
    BAD_MAGIC,
    BASE_OFFSET,
    BASE_TIMESTAMP,
    COUNT,
    FINE,
    KEEP,
    LAST_OFFSET_DELTA,
    MAX_INT64,
    MAX_TIMESTAMP,
    PRODUCER_ID,
    START,
    STOP,
)  # fmt: skip

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
TRANSACTIONAL: Final = layout.TRANSACTIONAL
CONTROL: Final = layout.CONTROL
be16, be32, be64 = layout.be16, layout.be32, layout.be64


def index_batches_reference(
    buffer: Bytes, start: int, stop: int, table: Int64s, n: int, check_crc: bool
) -> tuple[int, int, int]:
    """Plain form of :func:`index_batches`."""
    at = start
    while at + H_MAGIC < stop:
        seen = buffer[at : min(at + H_BYTES, stop)].tobytes()
        head = np.frombuffer(seen.ljust(H_BYTES, b"\0"), layout.HEADER)[0]
        length, end = int(head["batchLength"]), at + H_OVERHEAD + int(head["batchLength"])
        if head["magic"] != 2:
            return n, at, BAD_MAGIC
        if length < H_BYTES - H_OVERHEAD:
            return n, at, BAD_LENGTH
        if end > stop:
            break
        if check_crc and crc32c_reference(buffer, at + H_ATTRIBUTES, end) != head["crc"]:
            return n, at, BAD_CRC
        base_offset, last_delta, count = (int(head[k]) for k in ("baseOffset", "lastOffsetDelta", "recordsCount"))
        codec = int(head["attributes"]) & CODEC_MASK
        most = (end - at - H_BYTES) // MIN_RECORD if codec == 0 else last_delta + 1
        if min(last_delta, base_offset, count) < 0 or count > min(most, last_delta + 1):
            return n, at, BAD_COUNT
        if base_offset + last_delta + 1 > MAX_INT64:
            return n, at, BAD_COUNT
        if codec > 4:
            return n, at, BAD_CODEC
        names = ("attributes", "baseTimestamp", "maxTimestamp", "producerId", "recordsCount")
        table[n] = (at + H_BYTES, end, base_offset, last_delta, *(int(head[k]) for k in names), 1)
        n, at = n + 1, end
    return n, at, FINE


@kernel(reference=index_batches_reference)
def index_batches(buffer: Bytes, start: int, stop: int, table: Int64s, n: int, check_crc: bool) -> tuple[int, int, int]:
    """Read the headers of the whole batches in ``buffer[start:stop]`` into ``table`` from row ``n`` on.

    Returns (rows filled in all, position of the first batch not read, what is wrong there). An incomplete last batch is
    not an error: it is left for the next fetch.
    """
    at = start
    while at + H_OVERHEAD + 5 <= stop:  # up to the magic byte
        length = be32(buffer, at + H_LENGTH)
        magic = np.int64(buffer[at + H_MAGIC])
        if magic != 2:
            # v0 and v1 message sets have another layout, but their magic byte is at the same place (KIP-32).
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
        if base_offset >= MAX_INT64 - last_offset_delta:  # the checksum does not cover base offsets
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


def select_batches_reference(
    buffer: Bytes, table: Int64s, first: int, last: int, fetch_offset: int,
    aborted_ids: Int64s, aborted_offsets: Int64s, began: Bytes,
) -> None:  # fmt: skip
    """Plain form of :func:`select_batches`; it does not need ``began``."""
    waiting = list(zip(aborted_offsets.tolist(), aborted_ids.tolist(), strict=True))
    aborting: set[int] = set()
    for row in table[first:last]:
        last_offset, producer = int(row[BASE_OFFSET] + row[LAST_OFFSET_DELTA]), int(row[PRODUCER_ID])
        control = bool(row[ATTRIBUTES] & CONTROL)
        if producer >= 0:
            aborting |= {pid for offset, pid in waiting if offset <= last_offset}
            waiting = [entry for entry in waiting if entry[0] > last_offset]
            if row[ATTRIBUTES] & TRANSACTIONAL and producer in aborting:
                row[KEEP] = 0
            if control and is_abort_marker_reference(buffer, int(row[START]), int(row[STOP])):
                aborting.discard(producer)
        if control or last_offset < fetch_offset:
            row[KEEP] = 0


@kernel(reference=select_batches_reference)
def select_batches(
    buffer: Bytes, table: Int64s, first: int, last: int, fetch_offset: int,
    aborted_ids: Int64s, aborted_offsets: Int64s, began: Bytes,
) -> None:  # fmt: skip
    """Clear KEEP for control batches, for batches of aborted transactions and for batches before ``fetch_offset``.

    The rule is Kafka's (``CompletedFetch.nextFetchedRecord``): an aborted transaction begins at its first offset and
    ends with its producer's abort marker. ``aborted_offsets`` ascend; ``began``, zeros at first and one entry for each
    of them, becomes 1 when the transaction has begun and 2 when it has ended.
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


def fit_batches_reference(table: Int64s, room: int, share: int, record_bytes: int) -> tuple[int, int, int, int]:
    """Plain form of :func:`fit_batches`."""
    n, charged, size, records, packed = 0, 0, 0, 0, 0
    for row in table.tolist():
        is_packed = bool(row[ATTRIBUTES] & CODEC_MASK)
        own = 0 if is_packed else row[STOP] - row[START] + H_BYTES
        if charged >= share or charged + own + row[COUNT] * record_bytes > room:
            break
        charged += own + row[COUNT] * record_bytes
        n, size, records, packed = n + 1, size + own, records + row[COUNT], packed + is_packed
    return n, size, records, packed


@kernel(reference=fit_batches_reference)
def fit_batches(table: Int64s, room: int, share: int, record_bytes: int) -> tuple[int, int, int, int]:
    """Count the first batches that fit into ``room`` and begin within ``share``, of which all are delivered.

    A batch is charged ``record_bytes`` for each record, and its length if it is not compressed. Returns (batches, bytes
    of those that are not compressed, with their headers, records, compressed batches).
    """
    charged, size, records, packed = 0, 0, 0, 0
    for k in range(len(table)):
        row = table[k]
        own = 0
        is_packed = 1
        if (row[ATTRIBUTES] & CODEC_MASK) == 0:
            own = row[STOP] - row[START] + H_BYTES
            is_packed = 0
        charge = own + row[COUNT] * record_bytes
        if charged >= share or charged + charge > room:
            return k, size, records, packed
        charged += charge
        size += own
        records += row[COUNT]
        packed += is_packed
    return len(table), size, records, packed


def keep_batches_reference(table: Int64s, n: int) -> int:
    """Plain form of :func:`keep_batches`."""
    kept = table[:n][table[:n, KEEP] == 1]
    table[: len(kept)] = kept
    return len(kept)


@kernel(reference=keep_batches_reference)
def keep_batches(table: Int64s, n: int) -> int:
    """Move the rows that are to be delivered, of the first ``n``, to the front; returns how many they are."""
    kept = 0
    for k in range(n):
        if table[k, KEEP] == 1:
            if kept < k:
                for c in range(table.shape[1]):
                    table[kept, c] = table[k, c]
            kept += 1
    return kept


def move_batches_reference(table: Int64s, by: int) -> None:
    """Plain form of :func:`move_batches`."""
    table[:, [START, STOP]] += by


@kernel(reference=move_batches_reference)
def move_batches(table: Int64s, by: int) -> None:
    """Note that the records of these batches lie ``by`` bytes further on."""
    for k in range(len(table)):
        table[k, START] += by
        table[k, STOP] += by
