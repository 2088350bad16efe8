"""The stage ``decode``: fetched bytes become a RecordBlock.

The bytes of all partitions are gathered into one buffer, so that the later stages cost the same however the producers
batched the events. Every checksum is verified. A partition with an unreadable batch keeps what came before it and
carries the fault; other partitions are not affected.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from farthing.blocks import Bytes, FetchedPartition, Int32s, Int64s, RecordBlock, Segment
from farthing.errors import CorruptBatchError, DecodeError, UnsupportedBatchError
from farthing.wire import codec, layout, table
from farthing.wire.batches import index_batches, select_batches
from farthing.wire.crc32c import crc32c
from farthing.wire.records import read_records

_WHAT = {
    table.BAD_LENGTH: "shorter than a batch header",
    table.BAD_COUNT: "its record count, base offset and last offset delta cannot all be true",
    table.BAD_RECORD: "a record's lengths do not add up to the batch's",
}


class Arena:
    """Memory that blocks are decoded into and that is used again: a RecordBlock is valid until the next is decoded."""

    def __init__(self) -> None:
        self.buffer: Bytes = np.empty(1 << 16, np.uint8)
        self.table: Int64s = np.empty((64, table.N_COLUMNS), np.int64)
        self.columns: Int64s = np.empty((8, 1024), np.int64)
        self.header_count: Int32s = np.empty(1024, np.int32)
        self.record: Int64s = np.empty(9, np.int64)

    def reserve_bytes(self, used: int, more: int) -> None:
        """Make room for ``more`` bytes after the first ``used``, which are kept."""
        if used + more > len(self.buffer):
            grown = np.empty(max(used + more, 2 * len(self.buffer)), np.uint8)
            grown[:used] = self.buffer[:used]
            self.buffer = grown

    def reserve_batches(self, used: int, more: int) -> None:
        """Make room for ``more`` rows of the batch table, after the first ``used``, which are kept."""
        if used + more > len(self.table):
            grown = np.empty((max(used + more, 2 * len(self.table)), table.N_COLUMNS), np.int64)
            grown[:used] = self.table[:used]
            self.table = grown

    def reserve_records(self, used: int, more: int) -> None:
        """Make room for ``more`` records in the columns, after the first ``used``, which are kept."""
        if used + more > len(self.header_count):
            size = max(used + more, 2 * len(self.header_count))
            columns = np.empty((8, size), np.int64)
            columns[:, :used] = self.columns[:, :used]
            header_count = np.empty(size, np.int32)
            header_count[:used] = self.header_count[:used]
            self.columns, self.header_count = columns, header_count


def decode(fetched: Sequence[FetchedPartition], arena: Arena) -> RecordBlock:
    """Decode what one or more fetches returned.

    Control batches, aborted transactions and records before the fetch offset are left out. Segments are in the order of
    ``fetched``; a segment's ``fault`` is a CorruptBatchError or an UnsupportedBatchError.
    """
    arena.reserve_bytes(0, sum(len(part.data) for part in fetched))
    used = 0
    starts = []
    for part in fetched:
        starts.append(used)
        arena.buffer[used : used + len(part.data)] = np.frombuffer(part.data, np.uint8)
        used += len(part.data)
    n = 0
    segments = []
    for part, start in zip(fetched, starts, strict=True):
        segment, used = _decode_partition(part, arena, start, used, n)
        segments.append(segment)
        n = segment.stop
    columns = arena.columns[:, :n]
    return RecordBlock(
        buffer=arena.buffer[:used],
        offsets=columns[0],
        timestamps_ms=columns[1],
        key_start=columns[2],
        key_stop=columns[3],
        value_start=columns[4],
        value_stop=columns[5],
        headers_start=columns[6],
        headers_stop=columns[7],
        header_count=arena.header_count[:n],
        segments=tuple(segments),
    )


def _decode_partition(part: FetchedPartition, arena: Arena, start: int, used: int, n: int) -> tuple[Segment, int]:
    """Decode the partition's bytes, which begin at ``start``, into rows from ``n`` on.

    ``used`` is the buffer's end so far: decompressed records are added there. Returns the segment and the new end.
    """
    stop = start + len(part.data)
    arena.reserve_batches(0, len(part.data) // layout.HEADER_BYTES + 1)
    n_batches, at, wrong = index_batches(arena.buffer, start, stop, arena.table, 0, True)
    fault = _header_fault(part, arena.buffer, at, wrong) if wrong else None
    aborted = np.array(sorted((first, pid) for pid, first in part.aborted), np.int64).reshape(-1, 2)
    select_batches(
        arena.buffer,
        arena.table,
        0,
        n_batches,
        part.fetch_offset,
        aborted[:, 1].copy(),
        aborted[:, 0].copy(),
        np.zeros(len(aborted), np.uint8),
    )
    rows = arena.table[:n_batches]
    compressed = np.flatnonzero(rows[:, table.ATTRIBUTES] & layout.CODEC_MASK)
    for k in compressed:
        if rows[k, table.KEEP]:
            try:
                used = _decompress(arena, rows[k], used)
            except codec.CodecError as error:
                n_batches, fault = int(k), _fault(part, rows[k], str(error))
                break
    rows = rows[:n_batches]
    arena.reserve_records(n, int(rows[rows[:, table.KEEP] == 1, table.COUNT].sum()))
    stop_row, good = read_records(
        arena.buffer, arena.table, 0, n_batches, part.fetch_offset, n, arena.columns, arena.header_count, arena.record
    )
    if good < n_batches:
        n_batches, fault = good, _fault(part, rows[good], _WHAT[table.BAD_RECORD])
    next_offset = part.fetch_offset
    if n_batches:
        row = arena.table[n_batches - 1]
        next_offset = max(next_offset, int(row[table.BASE_OFFSET] + row[table.LAST_OFFSET_DELTA]) + 1)
    return Segment(part.topic, part.partition, n, stop_row, part.fetch_offset, next_offset, fault), used


def _decompress(arena: Arena, row: Int64s, used: int) -> int:
    """Decompress one batch's records to the end of the buffer and point its table row there."""
    start, stop = int(row[table.START]), int(row[table.STOP])
    arena.reserve_bytes(used, codec.MAX_UNCOMPRESSED_BYTES)
    source = arena.buffer[start:stop].data
    target = arena.buffer[used : used + codec.MAX_UNCOMPRESSED_BYTES]
    size = codec.decompress_into(int(row[table.ATTRIBUTES]) & layout.CODEC_MASK, source, target)
    if int(row[table.COUNT]) * layout.MIN_RECORD_BYTES > size:
        raise codec.CodecError(f"{int(row[table.COUNT])} records cannot fit in {size} uncompressed bytes")
    row[table.START], row[table.STOP] = used, used + size
    return used + size


def _fault(part: FetchedPartition, row: Int64s, what: str) -> CorruptBatchError:
    base_offset = int(row[table.BASE_OFFSET])
    return CorruptBatchError(
        f"unreadable record batch: {what}",
        topic=part.topic,
        partition=part.partition,
        base_offset=base_offset,
        next_offset=base_offset + int(row[table.LAST_OFFSET_DELTA]) + 1,
    )


def _header_fault(part: FetchedPartition, buffer: Bytes, at: int, wrong: int) -> DecodeError:
    """Describe what :func:`index_batches` found wrong at ``at``."""
    base_offset = int(layout.be64(buffer, at))
    place = {"topic": part.topic, "partition": part.partition, "base_offset": base_offset}
    if wrong == table.BAD_MAGIC:
        magic = int(buffer[at + layout.MAGIC])
        if magic in (0, 1):
            return UnsupportedBatchError(
                f"a message set of format v{magic}: only record batches v2 (Kafka 0.11 and later) can be read. "
                "Copy the topic to one whose message format is v2, or let the old segments expire",
                topic=part.topic,
                partition=part.partition,
                base_offset=base_offset,
            )
        return CorruptBatchError(f"magic byte is {magic}, expected 2", **place)  # type: ignore[arg-type]
    if wrong == table.BAD_LENGTH:
        length = int(layout.be32(buffer, at + layout.BATCH_LENGTH))
        return CorruptBatchError(f"batchLength is {length}: {_WHAT[wrong]}", **place)  # type: ignore[arg-type]
    delta = int(layout.be32(buffer, at + layout.LAST_OFFSET_DELTA))
    plausible = delta >= 0 and part.fetch_offset <= base_offset + delta < table.MAX_INT64
    following = base_offset + delta + 1 if plausible else None
    if wrong == table.BAD_CODEC:
        number = int(layout.be16(buffer, at + layout.ATTRIBUTES)) & layout.CODEC_MASK
        return UnsupportedBatchError(
            f"compression codec {number} is not one of {', '.join(codec.CODEC_NAMES)}",
            topic=part.topic,
            partition=part.partition,
            base_offset=base_offset,
            next_offset=following,
        )
    if wrong == table.BAD_CRC:
        stored = int(layout.be32(buffer, at + layout.CRC)) & 0xFFFFFFFF
        stop = at + layout.LOG_OVERHEAD + int(layout.be32(buffer, at + layout.BATCH_LENGTH))
        computed = int(crc32c(buffer, at + layout.ATTRIBUTES, stop))
        what = f"stored crc {stored:#010x}, computed {computed:#010x}"
    else:
        what = _WHAT[wrong]
    return CorruptBatchError(
        what, topic=part.topic, partition=part.partition, base_offset=base_offset, next_offset=following
    )


def next_fetch_offset(data: bytes | memoryview, fetch_offset: int) -> int:
    """Return the offset after the last whole batch in ``data``, where the next fetch goes on.

    Only headers are read and no checksums are verified: :func:`decode` does that later. Stops at the first batch that
    is implausible.
    """
    buffer = np.frombuffer(data, np.uint8)
    if not buffer.flags.writeable:  # only short responses are; the kernel is compiled for writeable arrays alone
        buffer = buffer.copy()
    rows = np.empty((len(data) // layout.HEADER_BYTES + 1, table.N_COLUMNS), np.int64)
    n_batches, _, _ = index_batches(buffer, 0, len(data), rows, 0, False)
    if n_batches == 0:
        return fetch_offset
    row = rows[n_batches - 1]
    return max(fetch_offset, int(row[table.BASE_OFFSET] + row[table.LAST_OFFSET_DELTA]) + 1)


def raw_batch(data: bytes | memoryview, base_offset: int | None) -> bytes:
    """Return the bytes of the batch that begins at ``base_offset``, unchanged; empty when it is not in ``data``."""
    buffer, at = np.frombuffer(data, np.uint8), 0
    while at + layout.HEADER_BYTES <= len(data):
        stop = at + layout.LOG_OVERHEAD + int(layout.be32(buffer, at + layout.BATCH_LENGTH))
        if int(layout.be64(buffer, at)) == base_offset:
            return bytes(data[at:stop])
        if stop <= at:
            break
        at = stop
    return b""
