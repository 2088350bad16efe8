"""Recounts the topics: which source offsets were answered, each counted once however often it was written.

A score has its event's offset in the header ``farthing.offset``, a dead letter in ``farthing.error.offset``; the
partition number is the source's. No Python object is made for a record.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

import numpy as np

from farthing.audit.offset_set import OffsetSet
from farthing.blocks import FetchedPartition, RecordBlock
from farthing.dead.batches import REPLAY_HEADER
from farthing.wire import DEAD_OFFSET_HEADER, OFFSET_HEADER, Arena, decode_whole, source_offsets

SKIPPED_BATCH_HEADER: Final = b"farthing.error.next_offset"
"""Header of a dead letter that holds a whole unreadable batch: none of its events were counted."""


@dataclass(slots=True)
class Outcomes:
    """What became of one source partition's events, up to where the books have counted."""

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
        """``counted_to`` has the offset that the books have reached, for each source partition; None: no books."""
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
            self._count(part, records)

    def _count(self, part: FetchedPartition, records: RecordBlock) -> None:
        for segment in records.segments:
            if segment.fault is not None:
                raise segment.fault
        outcomes = self.outcomes.setdefault(part.partition, Outcomes())
        is_score = part.topic == self._sink
        offsets = source_offsets(records, OFFSET_HEADER if is_score else DEAD_OFFSET_HEADER)
        if not is_score:
            whole = source_offsets(records, SKIPPED_BATCH_HEADER) >= 0
            outcomes.skipped_batches += int(whole.sum())
            offsets = offsets[~whole]
        else:  # an event that `farthing dead replay` has scored is a dead letter in the books, and stays one
            offsets = offsets[source_offsets(records, REPLAY_HEADER) < 0]
        ours = offsets[offsets >= 0]
        outcomes.foreign += len(offsets) - len(ours)
        counted = ours if self._counted_to is None else ours[ours < self._counted_to.get(part.partition, 0)]
        outcomes.later += len(ours) - len(counted)
        outcomes.repeats += len(counted) - (outcomes.scored if is_score else outcomes.dead).add(np.sort(counted))
