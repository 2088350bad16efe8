"""Recounts the topics: which source offsets were answered, each counted once however often it was written.

A score has its event's offset in the header ``farthing.offset``, a dead letter in ``farthing.error.offset``; the
partition number is the source's. No Python object is made for a record.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

from farthing.audit.offset_set import OffsetSet
from farthing.blocks import FetchedPartition, Int64s, RecordBlock
from farthing.dead.batches import REPLAY_HEADER
from farthing.wire import (
    DEAD_LOG_HEADER,
    DEAD_OFFSET_HEADER,
    LOG_HEADER,
    OFFSET_HEADER,
    Arena,
    decode_whole,
    source_offsets,
)

_LOG_BITS: Final = 32

SKIPPED_BATCH_HEADER: Final = b"farthing.error.next_offset"
"""Header of a dead letter that holds a whole unreadable batch: none of its events were counted."""


def place_of(partition: int, log: int) -> int:
    """Return one number for a log of a partition: the partition's own for the first log."""
    return partition | log << _LOG_BITS


def partition_and_log(place: int) -> tuple[int, int]:
    """Take apart what :func:`place_of` returned."""
    return place & ((1 << _LOG_BITS) - 1), place >> _LOG_BITS


@dataclass(slots=True)
class Outcomes:
    """What became of the events of one log of a source partition, up to where the books have counted."""

    scored: OffsetSet = field(default_factory=OffsetSet)
    dead: OffsetSet = field(default_factory=OffsetSet)
    repeats: int = 0  # records of events that had one already
    later: int = 0  # records of events that the books have not reached
    foreign: int = 0  # records without the header: not written by Farthing
    skipped_batches: int = 0  # dead letters that hold whole batches

    def both(self) -> int:
        """Count events that were scored and are dead letters too."""
        return self.scored.shared(self.dead)


class Recount:
    """Counts one route's sink and dead-letter topic."""

    def __init__(self, sink: str, dead_letters: str, counted_to: Mapping[int, int] | None) -> None:
        """Begin.

        ``counted_to`` has the offset that the books have reached, by source partition and log (:func:`place_of`); None:
        there are no books.
        """
        self._sink = sink
        self._dead_letters = dead_letters
        self._counted_to = counted_to
        self._arena = Arena()
        self.outcomes: dict[int, Outcomes] = {}

    @property
    def topics(self) -> tuple[str, str]:
        """Both topics."""
        return self._sink, self._dead_letters

    def read(self, part: FetchedPartition) -> None:
        """Count what one fetch of either topic returned.

        Raises
        ------
        DecodeError
            A record batch cannot be read.
        """
        for records in decode_whole(part, self._arena):
            for segment in records.segments:
                if segment.fault is not None:
                    raise segment.fault
            self._sort_out(part, records)

    def _sort_out(self, part: FetchedPartition, records: RecordBlock) -> None:
        """Count the records of each log apart."""
        is_score = part.topic == self._sink
        offsets = source_offsets(records, OFFSET_HEADER if is_score else DEAD_OFFSET_HEADER)
        logs = np.maximum(source_offsets(records, LOG_HEADER if is_score else DEAD_LOG_HEADER), 0)
        whole = np.zeros(len(offsets), np.bool_) if is_score else source_offsets(records, SKIPPED_BATCH_HEADER) >= 0
        if is_score:  # an event that `farthing dead replay` has scored is a dead letter in the books, and stays one
            kept = source_offsets(records, REPLAY_HEADER) < 0
            offsets, logs, whole = offsets[kept], logs[kept], whole[kept]
        for number in np.unique(logs).tolist() or [0]:
            chosen = logs == number
            self._count(place_of(part.partition, number), offsets[chosen], whole[chosen], is_score=is_score)

    def _count(self, place: int, offsets: Int64s, whole: NDArray[np.bool_], *, is_score: bool) -> None:
        outcomes = self.outcomes.setdefault(place, Outcomes())
        outcomes.skipped_batches += int(whole.sum())
        offsets = offsets[~whole]
        ours = offsets[offsets >= 0]
        outcomes.foreign += len(offsets) - len(ours)
        counted = ours if self._counted_to is None else ours[ours < self._counted_to.get(place, 0)]
        outcomes.later += len(ours) - len(counted)
        outcomes.repeats += len(counted) - (outcomes.scored if is_score else outcomes.dead).add(np.sort(counted))
