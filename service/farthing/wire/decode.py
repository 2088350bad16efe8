"""The stage ``decode``: fetched bytes become a RecordBlock.

The bytes of all partitions are gathered into one buffer, so that the later stages cost the same however the producers
batched the events. Every checksum is verified. A partition with an unreadable batch keeps what came before it and
carries the fault; other partitions are not affected.

A block has limits (:mod:`farthing.wire.limits`). What does not fit stays in :class:`farthing.wire.unread.Unread`, and
the next block goes on from there.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from farthing.blocks import FetchedPartition, RecordBlock
from farthing.wire import layout
from farthing.wire.arena import Arena
from farthing.wire.filling import Filling
from farthing.wire.heads import last_head
from farthing.wire.limits import MIN_SHARE, Limits
from farthing.wire.unread import Unread

_LIMITS = Limits()


def decode(fetched: Sequence[FetchedPartition | Unread], arena: Arena, limits: Limits = _LIMITS) -> RecordBlock:
    """Decode what one or more fetches returned, as far as it fits into one block.

    Control batches, aborted transactions and records before the fetch offset are left out. Segments are in the order of
    ``fetched``; a segment's ``fault`` is a CorruptBatchError or an UnsupportedBatchError. Partitions that the block has
    no room for have no segment; ``Unread.done`` says whether one is wholly decoded.
    """
    block = Filling(arena, limits)
    parts = [part if isinstance(part, Unread) else Unread(part) for part in fetched]
    least = int(limits.block_bytes * MIN_SHARE)
    all_fit = sum(part.held_bytes for part in parts) <= limits.block_bytes  # unless they are compressed
    segments = []
    for k, part in enumerate(parts):
        fair = max(block.room // (len(parts) - k), least)
        segment = part.take(block, block.room if all_fit else fair, fair)
        if segment is not None:
            segments.append(segment)
        if block.is_full or block.room < least // 2:
            break
    columns = arena.columns[:, : block.n]
    return RecordBlock(
        buffer=arena.buffer[: block.used],
        offsets=columns[0],
        timestamps_ms=columns[1],
        key_start=columns[2],
        key_stop=columns[3],
        value_start=columns[4],
        value_stop=columns[5],
        headers_start=columns[6],
        headers_stop=columns[7],
        header_count=arena.header_count[: block.n],
        segments=tuple(segments),
        cut=tuple(block.cut),
    )


def decode_whole(part: FetchedPartition, arena: Arena, limits: Limits = _LIMITS) -> Iterator[RecordBlock]:
    """Decode all that one partition's fetch returned, in as many blocks as it takes; each is valid until the next."""
    unread = Unread(part)
    while not unread.done:
        yield decode([unread], arena, limits)


def next_fetch_offset(data: bytes | memoryview, fetch_offset: int) -> int:
    """Return the offset after the last whole batch in ``data``, where the next fetch goes on.

    Only headers are read and no checksums are verified: :func:`decode` does that later. Stops at the first batch that
    is implausible.
    """
    head = last_head(data)
    return fetch_offset if head is None else max(fetch_offset, head.next_offset)


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
