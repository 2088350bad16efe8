"""The block that is being filled from what is unread of several partitions."""

from __future__ import annotations

from farthing.blocks import CutRecord
from farthing.limits import RECORD_BYTES
from farthing.wire.arena import Arena
from farthing.wire.limits import Limits


class Filling:
    """Where the next bytes and records go, and how much room is left."""

    def __init__(self, arena: Arena, limits: Limits) -> None:
        self.arena = arena
        self.limits = limits
        self.used = 0  # bytes of the arena's buffer
        self.n = 0  # records
        self.cut: list[CutRecord] = []
        self.is_full = False  # the next batch would pass the limit
        self.refused = 0  # batches that were unpacked as far as a block may be, for nothing

    @property
    def charged(self) -> int:
        """What bytes and records are charged so far."""
        return self.used + self.n * RECORD_BYTES

    @property
    def room(self) -> int:
        """What may still be charged."""
        return self.limits.block_bytes - self.charged
