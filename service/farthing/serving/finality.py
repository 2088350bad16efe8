"""How an answer becomes final: offsets are committed after it, or together with it in a transaction."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from farthing.errors import BrokerError
from farthing.kafka import BatchProducer, OffsetTracker, Partition, RecordConsumer
from farthing.serving.reporting import Reports


class Finality(Protocol):
    """What ``kafka.delivery`` decides."""

    @property
    def together(self) -> bool:
        """Whether a commit ends a transaction, so that nothing may be on its way meanwhile."""
        ...

    @property
    def is_open(self) -> bool:
        """Whether there is something to commit though no offset is: the answers to events of a log that is gone."""
        ...

    @property
    def is_spoiled(self) -> bool:
        """Whether something is open that can only be undone; until then nobody reads what comes after it."""
        ...

    async def commit(self, offsets: dict[Partition, int], metadata: Mapping[Partition, str], timeout_s: float) -> bool:
        """Commit; False when the group has moved on. Raises BrokerError."""
        ...

    async def undo(self) -> None:
        """Go back to where the events must be scored again, after an error. Raises BrokerError."""
        ...

    def give_up(self) -> None:
        """Leave what is not committed to the partitions' next owner."""
        ...


@dataclass(frozen=True, slots=True)
class AtLeastOnce:
    """Offsets are committed once scores are acknowledged; what was not committed is scored again."""

    consumer: RecordConsumer
    offsets: OffsetTracker
    together: bool = False
    is_open: bool = False
    is_spoiled: bool = False

    async def commit(self, offsets: dict[Partition, int], metadata: Mapping[Partition, str], timeout_s: float) -> bool:
        """Commit as a member of the group."""
        return await self.consumer.commit(offsets, timeout_s, metadata)

    async def undo(self) -> None:
        """Go back to what is acknowledged."""
        for partition in self.offsets.partitions():
            self.consumer.seek(partition, self.offsets.rewind(partition))

    def give_up(self) -> None:
        """Do nothing: what was sent is visible already."""


@dataclass(frozen=True, slots=True)
class ExactlyOnce:
    """Scores, dead letters and offsets become visible together; what is undone never does.

    After an error nobody but the broker knows what is committed, so positions are read from it again, after the
    transactional id has been taken anew: that settles the transaction in one way or the other.
    """

    consumer: RecordConsumer
    offsets: OffsetTracker
    producer: BatchProducer
    reports: Reports
    together: bool = True

    @property
    def is_open(self) -> bool:
        """Whether something was sent since the last commit, and all of it is acknowledged."""
        return self.producer.has_open

    @property
    def is_spoiled(self) -> bool:
        """Whether a transaction was given up in a rebalance, and nothing was sent since."""
        return self.producer.is_spoiled

    async def commit(self, offsets: dict[Partition, int], metadata: Mapping[Partition, str], timeout_s: float) -> bool:
        """End the transaction."""
        member = self.consumer.member
        ours = False
        if member is not None:
            try:
                marked = self.consumer.marked(offsets, metadata)
                ours = await asyncio.wait_for(self.producer.commit(offsets, marked, member), timeout_s)
            except TimeoutError as error:
                raise BrokerError(
                    f"commit of a transaction: no broker answered within {timeout_s:.0f} s", retriable=True
                ) from error
        if not ours:
            await self.undo()
        return ours

    async def undo(self) -> None:
        """Abort what is open, and begin again at what the broker says is committed, with the total from there."""
        await self.producer.recover()
        partitions = self.offsets.partitions()
        self.offsets.revoke(partitions)
        self.reports.revoke(partitions)
        self.consumer.forget_positions()

    def give_up(self) -> None:
        """See to it that what is open never becomes visible, whatever is still being sent."""
        self.producer.spoil()


def finality(consumer: RecordConsumer, offsets: OffsetTracker, producer: BatchProducer, reports: Reports) -> Finality:
    """Choose: exactly once if the producer writes in transactions."""
    if producer.is_transactional:
        return ExactlyOnce(consumer, offsets, producer, reports)
    return AtLeastOnce(consumer, offsets)
