"""What came back for a run's events: how many scores and dead letters, how late, and how many twice.

An event belongs to the run if its offset is at or after the end of the source topic when the run began. Answers to
earlier events are left out.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from loadtest.histogram import counts_of

from farthing.audit.offset_set import OffsetSet
from farthing.blocks import FetchedPartition, RecordBlock
from farthing.wire import DEAD_OFFSET_HEADER, OFFSET_HEADER, Arena, decode_whole, source_offsets


@dataclass(slots=True)
class RouteResults:
    """Running totals of one route since ``ends``; histograms of what came since :meth:`taken`."""

    sink: str
    ends: Mapping[int, int]  # partition -> offset from which on events belong to the run
    scored: int = 0
    dead: int = 0
    repeated: int = 0  # answers to events that had one
    foreign: int = 0  # records that carry no source offset
    bytes: dict[str, int] = field(default_factory=lambda: {"score": 0, "dead": 0})
    _fresh: dict[str, Counter[int]] = field(default_factory=lambda: {"score": Counter(), "dead": Counter()})
    _seen: dict[int, OffsetSet] = field(default_factory=dict)

    def read(self, part: FetchedPartition, now_ms: int, arena: Arena) -> None:
        """Count what one fetch of the score or the dead-letter topic brought."""
        for records in decode_whole(part, arena):
            self._count(part, now_ms, records)

    def _count(self, part: FetchedPartition, now_ms: int, records: RecordBlock) -> None:
        is_score = part.topic == self.sink
        offsets = source_offsets(records, OFFSET_HEADER if is_score else DEAD_OFFSET_HEADER)
        ours = offsets >= self.ends.get(part.partition, 0)
        self.foreign += int((offsets < 0).sum())
        n = int(ours.sum())
        if not n:
            return
        seen = self._seen.setdefault(part.partition, OffsetSet())
        self.repeated += n - seen.add(offsets[ours] - self.ends.get(part.partition, 0))
        kind = "score" if is_score else "dead"
        if is_score:
            self.scored += n
        else:
            self.dead += n
        lengths = np.where(records.value_start >= 0, records.value_stop - records.value_start, 0)
        self.bytes[kind] += int(lengths[ours].sum())
        self._fresh[kind].update(counts_of(now_ms - records.timestamps_ms[ours]))

    def taken(self) -> dict[str, Any]:
        """Give the totals, and the latencies (ms -> events) since the last call."""
        fresh, self._fresh = self._fresh, {"score": Counter(), "dead": Counter()}
        return {
            "scored": self.scored,
            "dead": self.dead,
            "repeated": self.repeated,
            "foreign": self.foreign,
            "bytes": dict(self.bytes),
            "latency_ms": {kind: list(counts.items()) for kind, counts in fresh.items()},
        }
