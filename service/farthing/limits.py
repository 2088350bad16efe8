"""How much memory a worker takes at most, and the limits that this follows from.

A block is charged for its bytes, unpacked, and for each record as if it had RECORD_BYTES more: the columns, headers and
answers of a small event take more memory than the event. A record that is longer than a block may be is not held in
memory: it becomes a dead letter with its first bytes.
"""

from __future__ import annotations

from typing import Final

MAX_EVENT_BYTES: Final = 1 << 20
"""The longest value that is scored unless ``route.max_event_bytes`` says otherwise; the longest cell of a data file."""

MAX_BLOCK_BYTES: Final = 16 << 20
"""What the records of one block may be charged unless ``worker.max_block_bytes`` says otherwise."""

RECORD_BYTES: Final = 192
"""What a record is charged for besides its own bytes."""

ROWS_DIVISOR: Final = 16
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


AT_REST_BYTES: Final = 400 << 20
"""What a worker takes before its first event, with a shipped bundle: the interpreter, compiled kernels, ONNX Runtime. A
larger bundle takes as much more as its files."""

_STAGES: Final = 28
"""What a block takes on its way, as a multiple of what it may be charged: columns, features, activations, answers, and
the answers of the block before, which are being acknowledged. Measured with
the shipped bundles: up to 15, for comments of thirteen bytes and for bid requests whose impressions have three."""

_ARENA: Final = 4
"""What each further route keeps between its blocks, as a multiple."""


def worst_case_bytes(
    *,
    max_block_bytes: int,
    max_event_bytes: tuple[int, ...],
    fetch_max_bytes: int,
    max_partition_fetch_bytes: int,
    brokers: int = 1,
    largest_batch_bytes: int = 0,
) -> int:
    """Return the most memory that a worker takes, whatever it is sent; what it takes at rest is included.

    Parameters
    ----------
    max_block_bytes, fetch_max_bytes, max_partition_fetch_bytes:
        The settings of these names.
    max_event_bytes:
        The setting of each route.
    brokers:
        How many lead partitions of the source topics.
    largest_batch_bytes:
        The sources' ``max.message.bytes``, where it is above ``max_partition_fetch_bytes``: a broker sends the first
        batch whole.
    """
    largest = max(max_partition_fetch_bytes, largest_batch_bytes)
    fetch = max(fetch_max_bytes, largest)
    block = max(block_bytes(max_block_bytes, size, has_rows=False)[0] for size in (*max_event_bytes, 0))
    fetched = 3 * brokers * fetch + fetch_max_bytes + MAX_STREAMS * largest
    streams = STREAM_BYTES + MAX_STREAMS * block  # each keeps an incomplete record besides
    return AT_REST_BYTES + fetched + streams + (_STAGES + _ARENA * max(len(max_event_bytes) - 1, 0)) * block
