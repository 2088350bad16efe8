"""What was fetched and is not scored yet: partitions take turns, and what waits here is bounded.

A fetch as a rule becomes one block. One that unpacks to more waits here for the next blocks, and meanwhile its
partitions are not fetched, while others are. A batch that fits into no block needs a decompressor that is kept; when
there is none to be had, the partition's bytes are given up and fetched again later.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Iterable, Sequence
from typing import Final

from farthing.blocks import FetchedPartition
from farthing.kafka.offsets import Partition
from farthing.wire import Streams, Unread

SMALL_BYTES: Final = 16 << 10
"""What is fetched at once of at most this size is a small block: about a hundred short events."""


def is_small(parts: Iterable[Unread]) -> bool:
    """Whether little is to be decoded. What it unpacks to is not known yet."""
    return sum(unread.held_bytes for unread in parts) <= SMALL_BYTES


class Backlog:
    """Fetched bytes by partition, in the order of their turns.

    ``most_bytes`` may wait from one block to the next before nothing more is fetched; what a decompressor is being
    kept for is not counted, because there are few of those.
    """

    def __init__(self, most_bytes: int) -> None:
        self._most_bytes = most_bytes
        self._queues: OrderedDict[Partition, deque[Unread]] = OrderedDict()
        self._streams = Streams()
        self._behind: set[Partition] = set()  # what a block had no room for
        self._needs: dict[Partition, int] = {}  # partitions that wait for a decompressor, and its memory

    def __bool__(self) -> bool:
        """Whether anything is to be scored."""
        return bool(self._queues)

    def add(self, parts: Iterable[FetchedPartition]) -> None:
        """Append what was fetched."""
        for part in parts:
            self._queues.setdefault((part.topic, part.partition), deque()).append(Unread(part, self._streams))

    def next_of(self, topic: str) -> list[Unread]:
        """Give what each partition of a topic has next, those first whose turn it is."""
        return [queue[0] for partition, queue in self._queues.items() if partition[0] == topic]

    def drop(self, partitions: Iterable[Partition]) -> None:
        """Give up what waits of some partitions."""
        for partition in partitions:
            self._behind.discard(partition)
            for unread in self._queues.pop(partition, ()):
                unread.close()

    def clear(self) -> None:
        """Give everything up. The scoring thread may still be reading some of it, so nothing is closed."""
        self._queues.clear()
        self._behind.clear()
        self._needs.clear()
        self._streams = Streams()

    def settle(self, taken: Sequence[Unread]) -> list[Partition]:
        """Note that a block was made of these. Returns the partitions whose bytes were given up."""
        dropped = []
        for unread in taken:
            partition, queue = unread.partition, self._queues.get(unread.partition)
            if queue is None or queue[0] is not unread:
                continue
            if unread.had_turn:
                self._needs.pop(partition, None)
            if unread.done:
                queue.popleft()
                self._behind.discard(partition)
                if not queue:
                    del self._queues[partition]
            elif unread.needs:
                self._needs[partition] = unread.needs
                dropped.append(partition)
            else:
                unread.keep()
                self._behind.add(partition)
                if unread.had_turn:
                    self._queues.move_to_end(partition, last=not unread.stopped)
                unread.had_turn = False
        self.drop(dropped)
        return dropped

    def has_room(self) -> bool:
        """Whether more may be fetched."""
        waiting = (unread for queue in self._queues.values() for unread in queue if not unread.is_kept_open)
        return sum(unread.held_bytes for unread in waiting) <= self._most_bytes

    def left_out(self) -> set[Partition]:
        """Give the partitions that are not to be fetched now."""
        out = set(self._behind)
        left = self._streams.left
        for partition, needs in self._needs.items():
            if needs > left:
                out.add(partition)
            left -= needs
        return out
