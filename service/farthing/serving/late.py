"""Dead letters that are made late: of events whose scores, or first letters, a broker refused."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np

from farthing.blocks import FetchedPartition, Int64s, OutputBatch, RecordBlock, Segment
from farthing.errors import DecodeError
from farthing.meter.tenants import PART, SCORED, TENANT, TenantRows
from farthing.serving.failing import part_of
from farthing.wire import Arena, decode_whole, layout


@dataclass(frozen=True, slots=True)
class LateLetter:
    """A letter, and how the counts change when an event that was counted as scored is dead instead."""

    batches: tuple[OutputBatch, ...] = field(repr=False)
    usage: Int64s  # (N_COUNTS,)
    tenants: TenantRows | None


def record_at(part: FetchedPartition, offset: int) -> RecordBlock:
    """Decode one record of what was fetched, into memory of its own.

    Raises
    ------
    DecodeError
        There is no such record.
    """
    batch, whole = _batch_with(part.data, offset), replace(part, fetch_offset=offset)
    if batch is not None:  # it was delivered, so it is committed, though its producer may have aborted one before it
        whole = replace(whole, data=batch, aborted=())
    records = next((block for block in decode_whole(whole, Arena()) if len(block)), None)
    if records is None or records.offsets[0] != offset:
        raise DecodeError("what was fetched has no such record", topic=part.topic, partition=part.partition,
                          base_offset=offset)  # fmt: skip
    segment = Segment(part.topic, part.partition, 0, 1, offset, offset + 1, log=part.log)
    return replace(part_of(records, 0, 1), segments=(segment,))


def _batch_with(data: bytes | memoryview, offset: int) -> bytes | memoryview | None:
    """Return the batch with an offset; None if none says that it has it."""
    buffer, at = np.frombuffer(data, np.uint8), 0
    while at + layout.HEADER_BYTES <= len(data):
        stop = at + layout.LOG_OVERHEAD + int(layout.be32(buffer, at + layout.BATCH_LENGTH))
        base = int(layout.be64(buffer, at))
        if base <= offset <= base + int(layout.be32(buffer, at + layout.LAST_OFFSET_DELTA)):
            return data[at:stop]
        if stop <= at:
            break
        at = stop
    return None


def difference(before: TenantRows | None, after: TenantRows | None) -> TenantRows | None:
    """Return how the rows of the same events change, event by event and tenant by tenant."""
    if before is None or after is None:
        return None
    rows = after.rows.copy()
    rows[:, SCORED:] -= before.rows[:, SCORED:]
    assert (rows[:, [PART, TENANT]] == before.rows[:, [PART, TENANT]]).all()
    return TenantRows(after.names, rows)
