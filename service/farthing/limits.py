"""How much memory a worker takes at most, and the limits that this follows from.

A block is charged for its bytes, unpacked, and for each record as if it had RECORD_BYTES more: the columns, headers and
answers of a small event take more memory than the event. A record that is longer than a block may be is not held in
memory: it becomes a dead letter with its first bytes.
"""

from __future__ import annotations

from typing import Final

MAX_BLOCK_BYTES: Final = 16 << 20
"""What the records of one block may be charged unless ``worker.max_block_bytes`` says otherwise."""

RECORD_BYTES: Final = 192
"""What a record is charged for besides its own bytes."""

ROWS_DIVISOR: Final = 8
"""The blocks of a route whose events have rows (candidates, impressions) are so many times smaller: a row may be three
bytes long, and takes as much memory as a small event."""

STREAM_BYTES: Final = 1 << 27
"""Most memory of all decompressors that are kept from one block to the next: one with the largest window of zstd."""

MAX_STREAMS: Final = 4
"""How many there are at most."""


def block_bytes(max_block_bytes: int, max_event_bytes: int, *, has_rows: bool) -> tuple[int, int]:
    """Return what a block of a route may be charged, and the length of its longest record.

    An event that the route accepts always fits, with a key and headers of a megabyte.
    """
    record = max(max_block_bytes, max_event_bytes + (1 << 20))
    return (max(max_block_bytes // ROWS_DIVISOR, 1 << 20) if has_rows else record), record
