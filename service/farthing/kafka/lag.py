"""The one definition of lag: a partition's high watermark minus its next unacknowledged offset.

The next unacknowledged offset is the end of the unbroken run of events whose scores and dead letters are acknowledged,
so events that are fetched, scored or being produced count. Events that a read_committed worker may not read yet do not
count: there the last stable offset takes the place of the high watermark, as in Kafka's own consumers, so an open
transaction adds no lag until it ends. Lag is counted in offsets: control batches and compacted events count until they
have been skipped.

Undefined is not zero. Lag is None while there is no assignment (the group is joining or rebalancing), until a
partition's position and the end of its log are known, and while the log ends before the position (the topic was
recreated, or a new leader has not caught up). The lag of no partitions at all is 0.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping

from farthing.kafka.offsets import Partition


def lag(end: int | None, next_unacknowledged: int | None) -> int | None:
    """Return a partition's lag; ``end`` is its high watermark, or last stable offset."""
    if end is None or next_unacknowledged is None or end < next_unacknowledged:
        return None
    return end - next_unacknowledged


def lag_by_topic(topics: Iterable[str], lags: Mapping[Partition, int | None] | None) -> dict[str, int | None]:
    """Add up partitions' lags by topic: None where one of them is not known, or ``lags`` (the assignment) is not."""
    if lags is None:
        return dict.fromkeys(topics)
    return {topic: _sum(n for (of, _), n in lags.items() if of == topic) for topic in topics}


def _sum(lags: Iterable[int | None]) -> int | None:
    total = 0
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
        self._ends: dict[Partition, tuple[int, float]] = {}  # partition -> end, and when we learnt it

    def get(self, partition: Partition) -> int | None:
        """Return the end that a broker last gave; None if none has."""
        end = self._ends.get(partition)
        return None if end is None else end[0]

    def __setitem__(self, partition: Partition, end: int) -> None:
        """Note the end that a fetch returned."""
        self._ends[partition] = end, self._clock()

    def asked(self, ends: Mapping[Partition, int]) -> None:
        """Note ends that a broker was asked for. They only raise earlier ones, because a fetch may have overtaken them.

        Some brokers, such as the demo's, may also answer with an offset inside the last batch.
        """
        for partition, end in ends.items():
            last = self.get(partition)
            self[partition] = end if last is None else max(last, end)

    def older_than(self, seconds: float, partitions: Iterable[Partition]) -> list[Partition]:
        """Return the partitions whose end is older than ``seconds``, or was never given."""
        since = self._clock() - seconds
        return [partition for partition in partitions if self._ends.get(partition, (0, -math.inf))[1] < since]

    def forget(self, partition: Partition) -> None:
        """Forget an end: the topic has a new log now."""
        self._ends.pop(partition, None)

    def clear(self) -> None:
        """Forget all ends."""
        self._ends.clear()
