"""Reads one batch's records piece by piece: a batch that does not fit into a block, whatever it unpacks to.

Between two pieces stay the decompressor's state and the bytes of one incomplete record. A record over the limit is
passed by (:mod:`farthing.wire.long_record`), and the records after it are read.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from farthing.blocks import Bytes, CutRecord, Int64s
from farthing.limits import RECORD_BYTES
from farthing.wire import table
from farthing.wire.arena import Arena
from farthing.wire.codec import CodecError
from farthing.wire.faults import WHAT
from farthing.wire.limits import SKIP_BYTES
from farthing.wire.long_record import LongRecord
from farthing.wire.records import read_piece
from farthing.wire.unpack import Windows

_NOTHING: Final = np.zeros(0, np.uint8)
_FEW_BYTES: Final = 7  # of the shortest record


@dataclass(frozen=True, slots=True)
class Piece:
    """What one call of :meth:`BatchReader.read` did."""

    used: int  # the end of the arena's bytes in use
    n: int  # places filled in all
    finished: bool
    cut: tuple[CutRecord, ...] = ()
    damage: str | None = None  # what is wrong with the next record


class BatchReader:
    """Reads the batch ``row`` of a table, whose uncompressed bytes are ``windows``, from ``fetch_offset`` on."""

    def __init__(self, row: Int64s, windows: Windows, fetch_offset: int, record_bytes: int) -> None:
        self._row = row
        self._windows = windows
        self._fetch_offset = fetch_offset
        self._record_bytes = record_bytes
        self._left = int(row[table.COUNT])
        self._previous = -1  # offset delta of the last record read
        self._carry: Bytes = _NOTHING  # bytes that are unpacked and not read
        self._long: LongRecord | None = None  # the record that is being passed by
        self._ended = False

    @property
    def next_offset(self) -> int:
        """The offset after the last record read."""
        return max(self._fetch_offset, int(self._row[table.BASE_OFFSET]) + self._previous + 1)

    def read(self, arena: Arena, used: int, n: int, room: int) -> Piece:
        """Read records into the arena from ``used`` and ``n`` on, until they are charged ``room``: at least one.

        ``record_bytes`` more may be used for the last of them. A call reads none only if SKIP_BYTES were passed by.
        """
        pass_ = _Pass(arena, used, n, room)
        pass_.append(self._carry, is_new=False)
        self._carry = _NOTHING
        state = table.MORE
        while state == table.MORE:
            state = self._step(pass_)
            if state == table.MORE:
                if pass_.is_enough():
                    break
                state = self._unpack(pass_)
        if state in (table.MORE, table.FULL):
            self._carry = pass_.unread().copy()
        damage = pass_.damage or (WHAT[table.BAD_RECORD] if state == table.BAD else None)
        return Piece(pass_.end, pass_.n, state == table.ALL, tuple(pass_.cut), damage)

    def _unpack(self, pass_: _Pass) -> int:
        """Unpack the next window, or note that there is none."""
        try:
            window = next(self._windows, None)
        except CodecError as error:
            pass_.damage = str(error)
            return table.BAD
        if window is None:
            self._ended = True
        else:
            pass_.append(window)
        return table.MORE

    def _step(self, pass_: _Pass) -> int:
        """Read what is unpacked. Returns ALL, MORE, FULL or BAD."""
        while True:
            if self._long is None:
                state = self._read_records(pass_)
                if state != table.MORE:
                    return state
                self._long = LongRecord.of(pass_.unread(), self._record_bytes)
                if self._long is None:
                    return table.MORE
            pass_.at += self._long.feed(pass_.unread())
            if self._long.is_damaged:
                return table.BAD
            if not self._long.is_complete:
                pass_.drop_read()
                return table.BAD if self._ended else table.MORE
            if self._left == 1 and len(pass_.unread()):
                return table.BAD
            if self._left == 1 and not self._ended:
                pass_.drop_read()
                return table.MORE
            delta = self._long.offset_delta
            if not self._previous < delta <= int(self._row[table.LAST_OFFSET_DELTA]):
                return table.BAD
            self._left, self._previous = self._left - 1, delta
            if int(self._row[table.BASE_OFFSET]) + delta >= self._fetch_offset:
                pass_.put(self._long, self._row)
            self._long = None

    def _read_records(self, pass_: _Pass) -> int:
        arena, n = pass_.arena, pass_.n
        most = n + max(1, pass_.left // (RECORD_BYTES + _FEW_BYTES))
        arena.reserve_records(n, most - n)
        pass_.n, pass_.at, self._left, self._previous, state = read_piece(
            arena.buffer, pass_.at, pass_.filled, self._ended, self._row, self._left, self._previous,
            self._fetch_offset, n, most, arena.columns, arena.header_count, arena.record,
        )  # fmt: skip
        if pass_.n > n:
            pass_.end = pass_.at
        else:
            pass_.drop_read()
        return state


class _Pass:
    """One call's places in the arena: records up to ``end``, bytes read up to ``at``, unpacked up to ``filled``."""

    def __init__(self, arena: Arena, used: int, n: int, room: int) -> None:
        self.arena = arena
        self.end = self.at = self.filled = used
        self.n = n
        self.cut: list[CutRecord] = []
        self.damage: str | None = None
        self._first, self._start, self._room = n, used, room
        self._unpacked = 0

    @property
    def left(self) -> int:
        """How much more may be charged."""
        return self._room - (self.end - self._start) - (self.n - self._first) * RECORD_BYTES

    def is_enough(self) -> bool:
        """Whether the next record is left for another block."""
        return self._unpacked > SKIP_BYTES or (self.n > self._first and self.left <= self.filled - self.at)

    def unread(self) -> Bytes:
        """Give the bytes that are unpacked and not read."""
        return self.arena.buffer[self.at : self.filled]

    def append(self, window: bytes | Bytes, *, is_new: bool = True) -> None:
        """Add bytes to those that are unread."""
        self.arena.reserve_bytes(self.filled, len(window))
        self.arena.buffer[self.filled : self.filled + len(window)] = np.frombuffer(window, np.uint8)
        self.filled += len(window)
        self._unpacked += len(window) if is_new else 0

    def drop_read(self) -> None:
        """Forget the bytes that were read since ``end``: no record is in them."""
        if self.at > self.end:
            unread = self.unread().copy()
            self.at, self.filled = self.end, self.end + len(unread)
            self.arena.buffer[self.at : self.filled] = unread

    def put(self, record: LongRecord, row: Int64s) -> None:
        """Add what is kept of a record over the limit, in the place of its bytes."""
        unread, head, n = self.unread().copy(), record.head, self.n
        self.arena.reserve_bytes(self.end, len(head) + len(unread))
        self.arena.reserve_records(n, 1)
        self.arena.buffer[self.end : self.end + len(head)] = np.frombuffer(head, np.uint8)
        self.arena.columns[:, n] = record.columns(row, self.end)
        self.arena.header_count[n] = 0
        self.cut.append(record.cut(n, self.end))
        self.end = self.at = self.end + len(head)
        self.n = n + 1
        self.filled = self.at
        self.append(unread, is_new=False)
