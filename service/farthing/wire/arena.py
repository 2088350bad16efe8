"""The memory that record blocks are decoded into."""

from __future__ import annotations

from typing import Final

import numpy as np

from farthing.blocks import Bytes, Int32s, Int64s
from farthing.wire import table

_GROW_BYTES: Final = 4 << 20  # the buffer doubles, but grows by no more than this beyond what is needed


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
            grown = np.empty(max(used + more, min(2 * len(self.buffer), len(self.buffer) + _GROW_BYTES)), np.uint8)
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
