"""Knows which letters' events the target of a replay has already: from its records, and from the run itself.

A record says of which event it is in headers, and any producer can write those; a source that is a copy of another
Farthing topic has that topic's. So a record counts only if it is the event of a letter that was chosen: the same place
in the source, the same key and, unless it is a score, the same value. 16 bytes are kept of each letter.
"""

from __future__ import annotations

import hashlib
import secrets
from array import array
from collections import defaultdict
from collections.abc import Iterator
from typing import Final

import numpy as np
from numpy.typing import NDArray

from farthing.audit.offset_set import OffsetSet
from farthing.audit.recount import place_of
from farthing.blocks import Int64s, RecordBlock
from farthing.dead.batches import REPLAY_HEADER
from farthing.dead.letters import Letter, bytes_at
from farthing.wire import LOG_HEADER, OFFSET_HEADER, source_offsets

_UNKNOWN: Final = b"?"


class Done:
    """The events of one route's letters that need not be replayed: :meth:`want` all, then :meth:`read` the target."""

    def __init__(self, *, scored: bool) -> None:
        """``scored``: the target is the sink, whose records have scores for values."""
        self._scored = scored
        self._salt = secrets.token_bytes(16)  # so that nobody can make a record that looks like a letter's
        self._offsets: dict[int, array[int]] = defaultdict(lambda: array("q"))  # by partition
        self._marks = array("q")
        self._sorted: tuple[dict[int, Int64s], Int64s] | None = None  # both, once all are known
        self._done: dict[int, OffsetSet] = {}  # by place_of

    def want(self, letter: Letter) -> None:
        """Note a letter."""
        if letter.offset is None:
            return
        self._offsets[letter.partition].append(letter.offset)
        place, value = place_of(letter.partition, letter.log), None if self._scored else letter.digest("value")
        self._marks.append(self._mark(place, letter.offset, letter.digest("key"), value))

    def read(self, partition: int, records: RecordBlock) -> None:
        """Note which of the letters' events are among a partition's records in the target."""
        if self._sorted is None:
            offsets = {number: np.unique(np.frombuffer(one, np.int64)) for number, one in self._offsets.items()}
            self._sorted = offsets, np.unique(np.frombuffer(self._marks, np.int64))
        wanted, marks = self._sorted
        if partition not in wanted:
            return
        stated = source_offsets(records, OFFSET_HEADER if self._scored else REPLAY_HEADER)
        rows = np.flatnonzero(_is_in(wanted[partition], stated))
        logs = np.maximum(source_offsets(records, LOG_HEADER), 0) if len(rows) else stated
        for row in rows.tolist():
            place, offset = place_of(partition, int(logs[row])), int(stated[row])
            if _is_in(marks, np.array(list(self._marks_of(place, offset, records, row)), np.int64)).any():
                self._add(place, offset)

    def has(self, letter: Letter) -> bool:
        """Whether the target has the letter's event, or this run has taken one of the same place."""
        assert letter.offset is not None
        done = self._done.get(place_of(letter.partition, letter.log))
        return done is not None and bool(done.count(letter.offset, letter.offset + 1))

    def add(self, letter: Letter) -> None:
        """Note that this run takes the letter's event."""
        assert letter.offset is not None
        self._add(place_of(letter.partition, letter.log), letter.offset)

    def _add(self, place: int, offset: int) -> None:
        self._done.setdefault(place, OffsetSet()).add(np.array([offset], np.int64))

    def _marks_of(self, place: int, offset: int, records: RecordBlock, row: int) -> Iterator[int]:
        """Yield the marks of the letters that a record may be of: a cut one may say nothing of its key or value."""
        key, value = (
            hashlib.sha256(bytes_at(records, starts[row], stops[row]) or b"").digest()
            for starts, stops in ((records.key_start, records.key_stop), (records.value_start, records.value_stop))
        )
        for one in (key, None):
            for other in (None,) if self._scored else (value, None):
                yield self._mark(place, offset, one, other)

    def _mark(self, place: int, offset: int, key: bytes | None, value: bytes | None) -> int:
        said = b"%d:%d:%b:%b" % (place, offset, key or _UNKNOWN, value or _UNKNOWN)
        return int.from_bytes(hashlib.blake2b(said, digest_size=8, key=self._salt).digest(), "little", signed=True)


def _is_in(known: Int64s, wanted: Int64s) -> NDArray[np.bool_]:
    """Say which of ``wanted`` are in ``known``, which is sorted and not empty."""
    at = np.minimum(np.searchsorted(known, wanted), len(known) - 1)
    found: NDArray[np.bool_] = known[at] == wanted
    return found
