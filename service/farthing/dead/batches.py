"""Lays out single records of any shape as a record batch: null keys and values, and headers of each one's own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np

from farthing.blocks import OutputBatch
from farthing.dead.letters import Header
from farthing.wire import layout
from farthing.wire.varint import varlong
from farthing.wire.write import seal

REPLAY_HEADER: Final = b"farthing.replay"
"""Header of a record that was sent again from a dead letter: the event's first offset, in ASCII decimal digits."""


class Again(NamedTuple):
    """A record to write."""

    timestamp_ms: int
    key: bytes | None
    value: bytes | None
    headers: tuple[Header, ...]

    @property
    def size(self) -> int:
        """Bytes that it takes in a batch, or a few less."""
        named = sum(len(name) + len(value or b"") + 4 for name, value in self.headers)
        return len(self.key or b"") + len(self.value or b"") + named + 32


def lay_out(topic: str, partition: int, records: Sequence[Again]) -> OutputBatch:
    """Make one batch, uncompressed."""
    first = records[0].timestamp_ms
    body = bytearray(layout.HEADER_BYTES)
    for k, record in enumerate(records):
        encoded = b"".join(
            [b"\0", varlong(record.timestamp_ms - first), varlong(k), _sized(record.key), _sized(record.value),
             varlong(len(record.headers)), *(_sized(name) + _sized(value) for name, value in record.headers)]
        )  # fmt: skip
        body += varlong(len(encoded)) + encoded
    data = np.frombuffer(body, np.uint8)
    last = max(record.timestamp_ms for record in records)
    seal(data, 0, len(records), first, last)
    return OutputBatch(topic, partition, data, len(records), last)


def _sized(data: bytes | None) -> bytes:
    return varlong(-1) if data is None else varlong(len(data)) + data
