"""Keeps track of which offsets may be committed: pure bookkeeping without a client or a clock.

Invariants, for each partition:

1. A block begins where the last one ended; ``begin`` with any other is a bug and raises.
2. The committable offset is the end of the longest run of acknowledged blocks from the start. It never passes a block
   that is in flight or has failed, whatever the order of the acknowledgements.
3. After ``revoke`` nothing of the partition is ever committed by this assignment again: late acknowledgements are
   ignored, because their tickets are from an older assignment.
4. The committable offset never goes back.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

Partition = tuple[str, int]
"""(topic, partition)"""

_NOTHING: Final = -1  # no offset is committed


@dataclass(frozen=True, slots=True)
class Ticket:
    """A block of one partition that is in flight."""

    partition: Partition
    assignment: int
    number: int


@dataclass(slots=True)
class _Flight:
    number: int
    next_offset: int
    acked: bool = False


@dataclass(slots=True)
class _Owned:
    assignment: int
    begun: int  # where the next block must begin
    done: int  # everything before is acknowledged
    committed: int
    flights: deque[_Flight] = field(default_factory=deque)


class OffsetTracker:
    """Tracks what is in flight, acknowledged and committed in each of our partitions."""

    def __init__(self) -> None:
        self._owned: dict[Partition, _Owned] = {}
        self._assignments = 0
        self._numbers = 0

    def assign(self, partition: Partition, offset: int, *, committed: bool = True) -> None:
        """Take over a partition; its first block begins at ``offset``.

        If that is not what the group has committed, it is committable at once: the end of a log, where a partition
        without a commit may begin, is another one when it is asked for again.
        """
        self._assignments += 1
        self._owned[partition] = _Owned(self._assignments, offset, offset, offset if committed else _NOTHING)

    @property
    def has_new_starts(self) -> bool:
        """Whether a partition of ours has never been committed in its log."""
        return any(owned.committed == _NOTHING for owned in self._owned.values())

    def revoke(self, partitions: Iterable[Partition]) -> None:
        """Give up partitions. Those that are not ours are ignored."""
        for partition in partitions:
            self._owned.pop(partition, None)

    def begun(self, partition: Partition) -> int | None:
        """Return the offset at which the partition's next block must begin; None when the partition is not ours."""
        owned = self._owned.get(partition)
        return None if owned is None else owned.begun

    def next_unacknowledged(self, partition: Partition) -> int | None:
        """Return the offset before which everything is acknowledged; None when the partition is not ours."""
        owned = self._owned.get(partition)
        return None if owned is None else owned.done

    def begin(self, partition: Partition, first_offset: int, next_offset: int) -> Ticket:
        """Note a block in flight.

        Raises
        ------
        ValueError
            The partition is not ours, or the block does not begin where the last one ended.
        """
        owned = self._owned.get(partition)
        if owned is None:
            raise ValueError(f"{partition[0]}[{partition[1]}] is not ours")
        if first_offset != owned.begun or next_offset < first_offset:
            raise ValueError(
                f"{partition[0]}[{partition[1]}]: block {first_offset}..{next_offset}, expected one from {owned.begun}"
            )
        self._numbers += 1
        owned.begun = next_offset
        owned.flights.append(_Flight(self._numbers, next_offset))
        return Ticket(partition, owned.assignment, self._numbers)

    def ack(self, ticket: Ticket) -> bool:
        """Note that a block's whole output is acknowledged; False when the partition is no longer ours."""
        owned = self._owned.get(ticket.partition)
        if owned is None or owned.assignment != ticket.assignment:
            return False
        for flight in owned.flights:
            if flight.number == ticket.number:
                flight.acked = True
                break
        else:
            return False
        while owned.flights and owned.flights[0].acked:
            owned.done = owned.flights.popleft().next_offset
        return True

    def rewind(self, partition: Partition) -> int:
        """Forget what is in flight; the next block begins at the returned offset. Late acknowledgements are ignored."""
        owned = self._owned[partition]
        owned.flights.clear()
        owned.begun = owned.done
        return owned.done

    def skip(self, partition: Partition, left: int, offset: int) -> bool:
        """Go on at ``offset`` once everything before ``left`` is acknowledged: there are no events in between.

        Returns
        -------
        False if that is not so, yet or any more.
        """
        owned = self._owned.get(partition)
        if owned is None or owned.flights or owned.done != left or offset < left:
            return False
        owned.begun = owned.done = offset
        return True

    def in_flight(self, partitions: Iterable[Partition] | None = None) -> int:
        """Count blocks in flight, of some partitions or of all."""
        chosen = self._owned if partitions is None else [p for p in partitions if p in self._owned]
        return sum(len(self._owned[p].flights) for p in chosen)

    def committable(self, partitions: Iterable[Partition] | None = None) -> dict[Partition, int]:
        """Return the offsets that may be committed and have not been yet."""
        chosen = list(self._owned) if partitions is None else [p for p in partitions if p in self._owned]
        return {p: self._owned[p].done for p in chosen if self._owned[p].done > self._owned[p].committed}

    def committed(self, offsets: dict[Partition, int]) -> None:
        """Note that offsets from :meth:`committable` have been committed."""
        for partition, offset in offsets.items():
            owned = self._owned.get(partition)
            if owned is not None:
                owned.committed = max(owned.committed, offset)

    def partitions(self) -> list[Partition]:
        """List the partitions that are ours."""
        return list(self._owned)
