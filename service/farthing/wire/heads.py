"""Reads single batch headers: which batch a position follows, and which one a log begins with."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from farthing.wire import layout, table
from farthing.wire.batches import index_batches

DELETE_HORIZON: Final = 0x40


@dataclass(frozen=True, slots=True)
class BatchHead:
    """What identifies a batch in its log."""

    base_offset: int
    next_offset: int  # the one after its last record
    crc: int
    leader_epoch: int
    count: int  # records in it
    rewritten: bool = False  # compaction keeps its tombstones for a while and has noted until when (KIP-534)


def last_head(data: bytes | memoryview) -> BatchHead | None:
    """Return the header of the last whole batch in fetched bytes; None if there is none."""
    buffer = np.frombuffer(data, np.uint8)
    if not buffer.flags.writeable:  # the kernel is compiled for writeable arrays alone
        buffer = buffer.copy()
    rows = np.empty((len(data) // layout.HEADER_BYTES + 1, table.N_COLUMNS), np.int64)
    n_batches, _, _ = index_batches(buffer, 0, len(data), rows, 0, False)
    return _head(data, int(rows[n_batches - 1][table.START]) - layout.HEADER_BYTES) if n_batches else None


def first_head(data: bytes | memoryview) -> BatchHead | None:
    """Return the header that fetched bytes begin with, though its batch may be cut; None if there is none."""
    return _head(data, 0) if len(data) >= layout.HEADER_BYTES else None


def _head(data: bytes | memoryview, at: int) -> BatchHead:
    base_offset, _, epoch, _, crc, attributes, last_offset_delta, *_, count = layout.HEADER_FORM.unpack_from(data, at)
    next_offset = base_offset + last_offset_delta + 1
    return BatchHead(base_offset, next_offset, crc, epoch, count, bool(attributes & DELETE_HORIZON))
