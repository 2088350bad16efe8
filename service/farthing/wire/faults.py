"""The errors that say which batch cannot be read, and why."""

from __future__ import annotations

from typing import Final

from farthing.blocks import Bytes, FetchedPartition, Int64s
from farthing.errors import CorruptBatchError, DecodeError, UnsupportedBatchError
from farthing.wire import codec, layout, table
from farthing.wire.crc32c import crc32c

WHAT: Final = {
    table.BAD_LENGTH: "shorter than a batch header",
    table.BAD_COUNT: "its record count, base offset and last offset delta cannot all be true",
    table.BAD_RECORD: "a record's lengths do not add up to the batch's",
}


def batch_fault(part: FetchedPartition, row: Int64s, what: str, first: int) -> CorruptBatchError:
    """Say that a batch, a row of the table, is damaged: its records from offset ``first`` on cannot be read."""
    base_offset = int(row[table.BASE_OFFSET])
    following = base_offset + int(row[table.LAST_OFFSET_DELTA]) + 1
    if first > base_offset:
        what += f"; the events before {first} are good, those from there to {following - 1} cannot be read"
    return CorruptBatchError(
        f"unreadable record batch: {what}",
        topic=part.topic,
        partition=part.partition,
        base_offset=base_offset,
        first_offset=first,
        next_offset=following,
    )


def header_fault(part: FetchedPartition, buffer: Bytes, at: int, wrong: int) -> DecodeError:
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
        return CorruptBatchError(f"batchLength is {length}: {WHAT[wrong]}", **place)  # type: ignore[arg-type]
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
        what = WHAT[wrong]
    return CorruptBatchError(
        what, topic=part.topic, partition=part.partition, base_offset=base_offset, next_offset=following
    )
