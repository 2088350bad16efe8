"""Where each partition goes on: the consumer, the tracker of offsets and the books agree about it.

A block begins where the last one ended. When a partition goes on elsewhere, because retention has passed it or its log
is another one, that is noted here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from farthing.kafka import Moved, OffsetTracker, Partition
from farthing.serving.backlog import Backlog
from farthing.serving.metrics import Metrics
from farthing.serving.reporting import Reports
from farthing.wire import Unread


@dataclass(frozen=True, slots=True)
class Positions:
    """The positions of our partitions. ``seek`` has the consumer fetch a partition from an offset on."""

    offsets: OffsetTracker
    backlog: Backlog
    reports: Reports
    metrics: Metrics
    seek: Callable[[Partition, int], None]
    _gaps: dict[Partition, Moved] = field(default_factory=dict)  # made by retention after events that are under way

    def begin(self, partition: Partition, offset: int, metadata: str, committed: bool = True) -> None:
        """Take over a partition; ``metadata`` was committed with its offset, if that was ``committed``."""
        self._gaps.pop(partition, None)
        self.offsets.assign(partition, offset, committed=committed)
        self.reports.assign(partition, offset, metadata)
        self.metrics.took_over(partition)

    def expected(self, unread: Unread) -> bool:
        """Whether the bytes begin where the last block ended; if not, the position is corrected."""
        self._pass(unread.partition)
        if self.offsets.begun(unread.partition) == unread.next_offset:
            return True
        self.go_back(unread.partition)
        return False

    def are_after_gaps(self, waiting: Iterable[Unread]) -> bool:
        """Whether some of these bytes come after a gap: then what is before it must be acknowledged first."""
        return any(
            one.partition in self._gaps and self._gaps[one.partition].offset == one.next_offset for one in waiting
        )

    def pass_gaps(self) -> None:
        """Note the gaps before which everything is acknowledged."""
        for partition in list(self._gaps):
            self._pass(partition)

    def go_back(self, partition: Partition) -> None:
        """Give up what was fetched of a partition, and fetch it again from where the last block ended."""
        self.backlog.drop([partition])
        self._seek_begun(partition)

    def move(self, partition: Partition, moved: Moved) -> None:
        """Go on elsewhere in one partition.

        In another log, what was fetched is void, so the others fetch again what no block has begun. Blocks that are
        being produced are of use: they are counted, but for those of the moved partition.
        """
        if moved.reason == "retention":
            self._gaps[partition] = moved
            self._pass(partition)
            return
        self._gaps.pop(partition, None)
        self.offsets.assign(partition, moved.offset, committed=False)
        self.reports.move(partition, moved.offset, moved.log, moved.lost)
        self.metrics.moved(partition, moved)
        if moved.reason == "known_log":
            return  # nothing was fetched of it
        self.backlog.clear()  # the scoring thread may still be reading some of it
        for other in self.offsets.partitions():
            self._seek_begun(other)

    def _pass(self, partition: Partition) -> None:
        """Go on after a gap, if everything before it is acknowledged: the events in it are lost."""
        gap = self._gaps.get(partition)
        if gap is not None and self.offsets.skip(partition, gap.left, gap.offset):
            del self._gaps[partition]
            self.reports.move(partition, gap.offset, gap.log, gap.lost)
            self.metrics.moved(partition, gap)

    def _seek_begun(self, partition: Partition) -> None:
        begun = self.offsets.begun(partition)
        if begun is not None:
            self.seek(partition, begun)
