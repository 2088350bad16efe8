"""How much of what was fetched becomes one block; the numbers are in :mod:`farthing.limits`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from farthing.limits import MAX_BLOCK_BYTES, STREAM_BYTES

SKIP_BYTES: Final = 64 << 20
"""Most bytes that one block unpacks of a partition without delivering any: before the fetch offset, or of a record that
is too long. It limits the time that a block takes."""

MIN_SHARE: Final = 1 / 8
"""The least share of a block that a partition gets when many have bytes left."""


@dataclass(frozen=True, slots=True)
class Limits:
    """The limits of one block."""

    block_bytes: int = MAX_BLOCK_BYTES
    """What its records may be charged in all. One record more is allowed if there would be none otherwise."""
    record_bytes: int = MAX_BLOCK_BYTES
    """A longer record is not held in memory: it becomes a dead letter with its first bytes. Not under block_bytes."""

    def __post_init__(self) -> None:
        if not 0 < self.block_bytes <= self.record_bytes:
            raise ValueError(f"block_bytes is {self.block_bytes}, record_bytes {self.record_bytes}: expected as many")


class Streams:
    """The decompressors that are kept from one block to the next: together they may take STREAM_BYTES."""

    def __init__(self) -> None:
        self.left = STREAM_BYTES

    def open(self, size: int) -> bool:
        """Reserve memory for one more; False when there is not enough."""
        if size > self.left:
            return False
        self.left -= size
        return True

    def close(self, size: int) -> None:
        """Give its memory back."""
        self.left += size
