"""The one definition of lag: a partition's high watermark minus its next unacknowledged offset.

The next unacknowledged offset is the end of the unbroken run of events whose scores and dead letters are acknowledged,
so events that are fetched, scored or being produced count. So do events that a read_committed worker may not read yet,
because a producer's transaction that began before them is still open: these are the unreadable part of the lag, from
the last stable offset on. Lag is counted in offsets: control batches and compacted events count until they have been
skipped.

Undefined is not zero. Lag is None while there is no assignment (the group is joining or rebalancing), until a
partition's position and the end of its log are known, and while the log ends before the position (the topic was
recreated, or a new leader has not caught up). The lag of no partitions at all is 0.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from farthing.kafka.offsets import Partition


@dataclass(frozen=True, slots=True)
class LogEnd:
    """Where a partition's log ends, as its leader last said."""

    high_watermark: int
    readable: int
    """The last stable offset where only committed transactions are read, else the high watermark."""


@dataclass(frozen=True, slots=True)
class Lag:
    """A partition's lag in offsets, or a topic's; ``unreadable`` is the part of it behind open transactions."""

    events: int
    unreadable: int = 0

    @property
    def readable(self) -> int:
        """The part that can be read now."""
        return self.events - self.unreadable

    def __add__(self, other: Lag) -> Lag:
        return Lag(self.events + other.events, self.unreadable + other.unreadable)


def lag(end: LogEnd | None, next_unacknowledged: int | None) -> Lag | None:
    """Return a partition's lag; None where it is not known."""
    if end is None or next_unacknowledged is None or end.high_watermark < next_unacknowledged:
        return None
    readable = max(min(end.readable, end.high_watermark), next_unacknowledged)
    return Lag(end.high_watermark - next_unacknowledged, end.high_watermark - readable)


def lag_by_topic(topics: Iterable[str], lags: Mapping[Partition, Lag | None] | None) -> dict[str, Lag | None]:
    """Add up partitions' lags by topic: None where one of them is not known, or ``lags`` (the assignment) is not."""
    if lags is None:
        return dict.fromkeys(topics)
    return {topic: _sum(n for (of, _), n in lags.items() if of == topic) for topic in topics}


def _sum(lags: Iterable[Lag | None]) -> Lag | None:
    total = Lag(0)
    for n in lags:
        if n is None:
            return None
        total += n
    return total


class LogEnds:
    """The end of each partition's log, from the last fetch, or from asking a broker when no fetch has returned it."""

    def __init__(self, clock: Callable[[], float]) -> None:
        """``clock`` returns seconds."""
        self._clock = clock
        self._ends: dict[Partition, tuple[LogEnd, float]] = {}  # partition -> end, and when we learnt it
        self._answers: dict[Partition, int] = {}

    def get(self, partition: Partition) -> LogEnd | None:
        """Return the end that a broker last gave; None if none has."""
        end = self._ends.get(partition)
        return None if end is None else end[0]

    def answers(self, partition: Partition) -> int:
        """Count how often a broker has given the partition's end."""
        return self._answers.get(partition, 0)

    def __setitem__(self, partition: Partition, end: LogEnd) -> None:
        """Note the end that a fetch returned."""
        self._ends[partition] = end, self._clock()
        self._answers[partition] = self.answers(partition) + 1

    def asked(self, ends: Mapping[Partition, LogEnd]) -> None:
        """Note ends that a broker was asked for. They only raise earlier ones, because a fetch may have overtaken them.

        Some brokers, such as the demo's, may also answer with an offset inside the last batch.
        """
        for partition, end in ends.items():
            last = self.get(partition)
            if last is not None:
                end = LogEnd(max(last.high_watermark, end.high_watermark), max(last.readable, end.readable))
            self[partition] = end

    def older_than(self, seconds: float, partitions: Iterable[Partition]) -> list[Partition]:
        """Return the partitions whose end is older than ``seconds``, or was never given."""
        since = self._clock() - seconds
        never = (None, -math.inf)
        return [partition for partition in partitions if self._ends.get(partition, never)[1] < since]

    def forget(self, partition: Partition) -> None:
        """Forget an end: the topic has a new log now."""
        self._ends.pop(partition, None)

    def clear(self) -> None:
        """Forget all ends."""
        self._ends.clear()
