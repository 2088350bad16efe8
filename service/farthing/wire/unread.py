"""What is still to be decoded of one partition's fetched bytes, and how much of it fits into a block."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

import numpy as np

from farthing.blocks import Bytes, FetchedPartition, Int64s, Segment
from farthing.errors import DecodeError
from farthing.limits import MAX_STREAMS, RECORD_BYTES, STREAM_BYTES
from farthing.wire import codec, layout, table
from farthing.wire.arena import Arena
from farthing.wire.batches import fit_batches, index_batches, keep_batches, move_batches, select_batches
from farthing.wire.faults import WHAT, batch_fault, header_fault
from farthing.wire.filling import Filling
from farthing.wire.limits import Streams
from farthing.wire.pieces import BatchReader
from farthing.wire.records import read_records
from farthing.wire.unpack import state_bytes, windows

_INDEX_BYTES: Final = 4 << 20  # batches are indexed so many bytes at a time, or one batch
_NO_ROWS: Final = np.zeros((0, table.N_COLUMNS), np.int64)
_NONE_ABORTED: Final = (np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0, np.uint8))


class Unread:
    """The bytes of ``part`` from ``next_offset`` on. A block takes its share of them with :meth:`take`."""

    def __init__(self, part: FetchedPartition, streams: Streams | None = None) -> None:
        self.part = part
        self._streams = Streams() if streams is None else streams
        self.next_offset = part.fetch_offset
        self.done = False
        self.begun = False  # a block has taken from it
        self.had_turn = False  # since this was last set to False
        self.stopped = False  # the last block ended at its next batch, which did not fit into what was left
        self.needs = 0  # memory for a decompressor that was not to be had: the next batch fits into no block
        self._buffer: Bytes = np.frombuffer(part.data, np.uint8)
        self._at = 0  # where the bytes begin that are not indexed
        self._indexed_to = part.fetch_offset
        self._rows: Int64s = _NO_ROWS  # of the batches that are indexed, to be delivered and not read
        self._fault: DecodeError | None = None  # after them
        self._batch: BatchReader | None = None  # of the first of them, if it is read piece by piece
        self._stream_bytes = 0
        self._is_own = False
        self._aborted = _NONE_ABORTED
        if part.aborted:
            aborted = np.array(sorted((first, pid) for pid, first in part.aborted), np.int64)
            self._aborted = (aborted[:, 1].copy(), aborted[:, 0].copy(), np.zeros(len(aborted), np.uint8))

    @property
    def partition(self) -> tuple[str, int]:
        """Topic and number."""
        return self.part.topic, self.part.partition

    @property
    def is_kept_open(self) -> bool:
        """Whether a decompressor is kept for the next block."""
        return self._stream_bytes > 0

    @property
    def held_bytes(self) -> int:
        """How many fetched bytes are kept."""
        return len(self._buffer)

    def take(self, block: Filling, share: int, piece: int) -> Segment | None:
        """Decode whole batches until they are charged ``share``, or a ``piece`` of one that fits into no block.

        None when there is nothing to say. Sets ``block.is_full`` when the next batch would pass the block's limit.
        """
        begin, first, charged = block.n, self.next_offset, block.charged
        self.begun, self.had_turn, self.stopped = True, True, False
        fault = None
        while fault is None:
            if self._batch is None and not len(self._rows) and not self._index(block.arena):
                self.done, fault = True, self._fault
                break
            left = share - (block.charged - charged)
            if left <= 0 or block.room <= 0:
                break
            if self._batch is not None:
                fault = self._read_piece(block, min(piece, block.room))
                if self._batch is not None:
                    break
            elif len(self._rows):
                n, records = self._fill(block, left)
                if n:
                    fault = self._read_batches(block, n, records)
                elif block.charged:
                    block.is_full = self.stopped = True
                    break
                elif not self._open(block):
                    block.refused += 1
                    block.is_full = block.refused == MAX_STREAMS
                    break
        if fault is not None:
            self.done = True
        if self.done:
            self.close()
        elif block.n == begin and self.next_offset == first:
            return None
        return Segment(
            self.part.topic, self.part.partition, begin, block.n, first, self.next_offset, fault, self.part.log
        )

    def close(self) -> None:
        """Give up what is left."""
        self._buffer, self._rows, self._batch = self._buffer[:0], _NO_ROWS, None
        self._streams.close(self._stream_bytes)
        self._stream_bytes = 0

    def keep(self) -> None:
        """Copy what is left, so that the whole response is not kept for it."""
        if self.done or self._is_own:
            return
        start = int(self._rows[0, table.START]) - layout.HEADER_BYTES if len(self._rows) else self._at
        self._buffer = np.frombuffer(bytearray(self._buffer[start:].data), np.uint8)
        move_batches(self._rows, -start)
        self._at -= start
        self._is_own = True
        self.part = replace(self.part, data=self._buffer.data)

    def _index(self, arena: Arena) -> bool:
        """Index the next batches; False at the end or at a fault. Those that are not delivered are passed by."""
        while self._fault is None and self._at + layout.LOG_OVERHEAD <= len(self._buffer):
            if not self._buffer.flags.writeable:  # only short responses are; kernels are compiled for writeable arrays
                self._buffer = self._buffer.copy()
            stop = len(self._buffer)
            if stop - self._at > _INDEX_BYTES:
                batch = layout.LOG_OVERHEAD + int(layout.be32(self._buffer, self._at + layout.BATCH_LENGTH))
                stop = min(self._at + max(_INDEX_BYTES, batch), stop)
            arena.reserve_batches(0, (stop - self._at) // layout.HEADER_BYTES + 1)
            rows = arena.table
            n, at, wrong = index_batches(self._buffer, self._at, stop, rows, 0, True)
            if wrong:
                self._fault = header_fault(self.part, self._buffer, at, wrong)
            if n == 0:
                break
            select_batches(self._buffer, rows, 0, n, self.part.fetch_offset, *self._aborted)
            self._at = at
            self._indexed_to = int(rows[n - 1, table.BASE_OFFSET] + rows[n - 1, table.LAST_OFFSET_DELTA]) + 1
            n = keep_batches(rows, n)
            if n:
                self._rows = rows[:n].copy()
                return True
            self._pass(self._indexed_to)
        return False

    def _fill(self, block: Filling, share: int) -> tuple[int, int]:
        """Bring batches into the arena until they are charged ``share``; returns how many, and their records."""
        n, size, records, packed = fit_batches(self._rows, block.room, share, RECORD_BYTES)
        rows = self._rows[:n]
        if not packed and n:
            start = int(rows[0, table.START]) - layout.HEADER_BYTES
            if int(rows[-1, table.STOP]) - start == size:  # they follow one another
                block.arena.reserve_bytes(block.used, size)
                block.arena.buffer[block.used : block.used + size] = self._buffer[start : start + size]
                move_batches(rows, block.used - start)
                block.used += size
                return n, records
        began, records = block.used, 0
        for k, row in enumerate(rows):
            spent, before = block.used - began + records * RECORD_BYTES, records
            records += int(row[table.COUNT])
            if spent >= share or not self._bring(block, row, block.room - records * RECORD_BYTES):
                return k, before
        return n, records

    def _bring(self, block: Filling, row: Int64s, limit: int) -> bool:
        """Bring one batch's records into the arena; False when they take more than ``limit`` bytes or are damaged."""
        data, number = self._buffer[row[table.START] : row[table.STOP]], int(row[table.ATTRIBUTES]) & layout.CODEC_MASK
        size, arena = len(data), block.arena
        if limit < (size if number == 0 else 0):
            return False
        arena.reserve_bytes(block.used, limit if number else size)
        if number == 0:
            arena.buffer[block.used : block.used + size] = data
        else:
            try:
                size = codec.decompress_into(number, data.data, arena.buffer[block.used : block.used + limit])
            except codec.CodecError:
                return False  # read piece by piece it will show which
        row[table.START], row[table.STOP] = block.used, block.used + size
        block.used += size
        return True

    def _read_batches(self, block: Filling, n: int, records: int) -> DecodeError | None:
        """Read the ``n`` batches that were brought into the arena; returns what is wrong with one."""
        arena, begin, rows = block.arena, block.n, self._rows
        arena.reserve_records(begin, records)
        block.n, good = read_records(
            arena.buffer, rows, 0, n, self.part.fetch_offset, begin, arena.columns, arena.header_count,
            arena.record,
        )  # fmt: skip
        if good:
            self._pass(_end(rows[good - 1]))
        if block.n > begin:
            self._pass(int(arena.columns[0, block.n - 1]) + 1)
        self._drop(good)
        return None if good == n else self._damage(rows[good], WHAT[table.BAD_RECORD])

    def _open(self, block: Filling) -> bool:
        """Begin to read the next batch piece by piece, if one more decompressor is allowed."""
        number = int(self._rows[0, table.ATTRIBUTES]) & layout.CODEC_MASK
        data = self._buffer[self._rows[0, table.START] : self._rows[0, table.STOP]]
        need = max(state_bytes(number, data) if number else 0, STREAM_BYTES // MAX_STREAMS)
        if not self._streams.open(need):
            self.needs = need
            return False
        self.keep()
        row = self._rows[0].copy()
        found = windows(number, self._buffer[row[table.START] : row[table.STOP]])
        self._batch = BatchReader(row, found, self.part.fetch_offset, block.limits.record_bytes)
        self._stream_bytes, self.needs = need, 0
        return True

    def _read_piece(self, block: Filling, room: int) -> DecodeError | None:
        """Read a piece of the batch that is being read so; returns what is wrong with it."""
        batch, row = self._batch, self._rows[0]
        assert batch is not None
        piece = batch.read(block.arena, block.used, block.n, room)
        block.used, block.n = piece.used, piece.n
        block.cut += piece.cut
        self._pass(batch.next_offset)
        if piece.damage is not None:
            return self._damage(row, piece.damage)
        if piece.finished:
            self._batch = None
            self._streams.close(self._stream_bytes)
            self._stream_bytes = 0
            self._pass(_end(row))
            self._drop(1)
        return None

    def _drop(self, n: int) -> None:
        """Forget batches that were read."""
        self._rows = self._rows[n:]
        if not len(self._rows):
            self._pass(self._indexed_to)

    def _damage(self, row: Int64s, what: str) -> DecodeError:
        return batch_fault(self.part, row, what, max(self.next_offset, int(row[table.BASE_OFFSET])))

    def _pass(self, offset: int) -> None:
        self.next_offset = max(self.next_offset, offset)


def _end(row: Int64s) -> int:
    """Return the offset after a batch."""
    return int(row[table.BASE_OFFSET] + row[table.LAST_OFFSET_DELTA]) + 1
