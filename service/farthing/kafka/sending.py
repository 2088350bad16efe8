"""The batches of one send on their way, and what becomes of those that a broker refuses."""

from __future__ import annotations

import time
from collections import defaultdict, deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from farthing.blocks import OutputBatch
from farthing.errors import BrokerError
from farthing.kafka.offsets import Partition
from farthing.kafka.verdicts import INVALID_TIMESTAMP, Verdict, verdict_of
from farthing.wire.split import OutputRecord, batch_of, halves, records_of, untimed

IN_A_ROW: Final = 32
"""Refusals one after the other from which on it is not the records: their partition is held, and no letter is written.
"""


@dataclass(frozen=True, slots=True)
class Refused:
    """A record that a broker refuses, in a batch of its own."""

    batch: OutputBatch
    code: int  # Kafka's error code
    verdict: Verdict


OnRefused = Callable[[Refused], Awaitable[Sequence[OutputBatch] | None]]
"""Returns what to send in place of a refused record, to any partition; None to hold its partition."""


class HeldError(BrokerError):
    """Some partitions take nothing, whatever the record. The batches for all others are acknowledged.

    ``reasons`` has the partitions of output topics; each says what to do.
    """

    def __init__(self, reasons: Mapping[Partition, str]) -> None:
        super().__init__("; ".join(dict.fromkeys(reasons.values())), retriable=True)
        self.reasons = reasons


@dataclass(slots=True)
class Sending:
    """What is left of one send: a queue for each partition, of which only the first batch is in flight."""

    queues: dict[Partition, deque[OutputBatch]]
    on_refused: OnRefused | None
    progress: float  # when something was last written or found out, in monotonic seconds
    since: dict[Partition, float] = field(default_factory=dict)  # the same for each partition
    tries: dict[Partition, int] = field(default_factory=lambda: defaultdict(int))
    last: dict[Partition, Verdict] = field(default_factory=dict)  # why a batch must be sent again
    held: dict[Partition, str] = field(default_factory=dict)
    in_a_row: dict[Partition, int] = field(default_factory=lambda: defaultdict(int))  # refused since one was written
    _refused_now: dict[Partition, int] = field(default_factory=lambda: defaultdict(int))  # the same, in this send
    _why: dict[Partition, Verdict] = field(default_factory=dict)
    _letters: dict[Partition, list[OutputBatch]] = field(default_factory=lambda: defaultdict(list))

    def put(self, batches: Sequence[OutputBatch]) -> None:
        """Add batches behind those that wait for the same partition."""
        for batch in batches:
            partition = (batch.topic, batch.partition)
            if partition not in self.queues:
                self.queues[partition] = deque()
                self.since[partition] = time.monotonic()
            self.queues[partition].append(batch)

    def goes_on(self, partition: Partition) -> None:
        """Note that a broker has written a batch of a partition, or said what is wrong with it: time begins anew."""
        self.last.pop(partition, None)
        self.progress = self.since[partition] = time.monotonic()

    def hold(self, partition: Partition, verdict: Verdict) -> None:
        """Send no more to a partition."""
        self.held[partition] = f"produce to {partition[0]}[{partition[1]}]: {verdict}"
        self.queues.pop(partition, None)
        self._letters.pop(partition, None)

    def written(self, partition: Partition) -> OutputBatch:
        """Note that the first batch of a partition is acknowledged; returns it."""
        self.goes_on(partition)
        self.in_a_row.pop(partition, None)
        self._refused_now.pop(partition, None)
        self.put(self._letters.pop(partition, ()))
        return self.queues[partition].popleft()

    def finish(self) -> None:
        """Close the queues that are empty; letters that wait for another record to be written are sent, too."""
        empty = [partition for partition, queue in self.queues.items() if not queue]
        for partition in empty:
            del self.queues[partition]
        for partition in empty:
            self.in_a_row[partition] += self._refused_now.pop(partition, 0)
            if self.in_a_row[partition] >= IN_A_ROW and partition in self._why:
                self.hold(partition, self._why[partition])
            self.put(self._letters.pop(partition, ()))

    def give_up(self, limits_s: Mapping[Partition, float]) -> set[Partition]:
        """Hold the partitions for which a broker answers without writing, once their time is up; returns them."""
        now = time.monotonic()
        late = {p for p, limit in limits_s.items() if p in self.queues and now - self.since[p] >= limit}
        for partition in late:
            self.hold(partition, self.last[partition])
        return late

    async def take_apart(self, partition: Partition, code: int, places: Sequence[int]) -> None:
        """Replace the first batch, which is refused for a record in it; ``places`` are those that the broker names.

        In its place come its two halves, or the records that are not named; and for each that is named, or alone, what
        ``on_refused`` returns: here if it is for this partition, and else once another one is written, because if all
        are refused, it is not the records. A refused timestamp is left out, and the record stays where it is.
        """
        queue = self.queues[partition]
        batch = queue.popleft()
        self.goes_on(partition)
        if code == INVALID_TIMESTAMP:
            without = untimed(batch, places)
            if without is not None:
                queue.appendleft(without)
                return
        records = records_of(batch)
        named = {place for place in places if 0 <= place < len(records)}
        if len(records) == 1:
            named = {0}
        elif not 0 < len(named) < len(records):
            queue.extendleft(reversed(halves(batch)))
            return
        self._refused_now[partition] += 1  # those that are named together count once, as the others are yet to be tried
        self._why[partition] = verdict_of(code)
        in_place: list[OutputBatch] = []  # in the order of the records
        good: list[OutputRecord] = []  # since the last of these
        for place, record in enumerate(records):
            if place not in named:
                good.append(record)
                continue
            refused = Refused(batch_of([record], batch), code, verdict_of(code))
            instead = None if self.on_refused is None else await self.on_refused(refused)
            if instead is None:
                self.hold(partition, refused.verdict)
                return
            here = [one for one in instead if (one.topic, one.partition) == partition]
            self._letters[partition] += [one for one in instead if (one.topic, one.partition) != partition]
            if here and good:
                in_place.append(batch_of(good, batch))
                good = []
            in_place += here
        if good:
            in_place.append(batch_of(good, batch))
        queue.extendleft(reversed(in_place))
        if len(named) == len(records) and self._refused_now[partition] >= IN_A_ROW:
            self.hold(partition, verdict_of(code))
