"""Notices that a partition's log is no longer the one that its position belongs to.

Whatever may have replaced or cut a log makes its partitions suspects: an error, a new connection, a second without an
answer, a hole in the offsets, a new assignment. Suspects are checked before their next fetch: by topic id where the
broker has them, else by the last batch before the position; and by leader epoch, for a log that an unclean election has
cut (KIP-320).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Final, Protocol

from aiokafka import errors as kafka_errors

from farthing.blocks import FetchedPartition
from farthing.errors import BrokerError
from farthing.kafka.error_codes import error_of
from farthing.kafka.fetching import Fetching, LogName
from farthing.kafka.frames import Frames
from farthing.kafka.incarnation import Incarnation, other_log, topic_id_text
from farthing.kafka.metadata import TopicMetadata, ask_metadata
from farthing.kafka.offsets import Partition
from farthing.kafka.protocol import NO_TOPIC_ID, OFFSET_FOR_LEADER_EPOCH
from farthing.wire import BatchHead, first_head

QUIET_S: Final = 1.0
"""Seconds without an answer after which a log may have been replaced unseen."""

CONSUMER: Final = -1  # as a replica's id: none

MOST_HEADS: Final = 1_000  # that are kept of a partition until an offset after them is committed


class Bounds(Protocol):
    """Asks for the first offsets of logs, or their ends. Raises BrokerError."""

    async def __call__(self, partitions: list[Partition], *, end: bool) -> dict[Partition, int]:
        """Ask."""


@dataclass(frozen=True, slots=True)
class NewLog:
    """A log that has taken the place of the one that we knew."""

    why: str
    begins_at: int | None = None
    """Where the logs part, if they have a beginning in common."""


class LogWatch:
    """Knows which log each partition's position belongs to."""

    def __init__(
        self,
        leader: Callable[[Partition], int | None],
        bounds: Bounds,
        clock: Callable[[], float],
        *,
        timeout_s: float,
        quiet_s: float = QUIET_S,
    ) -> None:
        """``leader`` gives a partition's node, ``clock`` seconds."""
        self._frames: Frames
        self._asking: Fetching
        self._leader = leader
        self._bounds = bounds
        self._clock = clock
        self._timeout_s = timeout_s
        self._quiet_s = quiet_s
        self._topics: dict[str, TopicMetadata] = {}
        self._logs: dict[Partition, Incarnation] = {}
        self._remembered: dict[Partition, Incarnation] = {}
        self._heads: dict[Partition, deque[BatchHead]] = {}
        self._answered: dict[Partition, float] = {}  # when a broker last answered; absent: a suspect
        self._connections: dict[int, object] = {}

    def connect(self, frames: Frames, asking: Fetching) -> None:
        """Use these for questions: they must not wait behind a Fetch that a broker holds."""
        self._frames, self._asking = frames, asking

    def clear(self) -> None:
        """Begin anew with the next assignment. What was known is kept: a broker deletes commits with their topic."""
        self._remembered |= {p: replace(log, last=self._newest(p)) for p, log in self._logs.items()}
        self._logs.clear()
        self._heads.clear()
        self._answered.clear()

    def remembered(self, partition: Partition) -> Incarnation | None:
        """Return what was known of a partition's log when it last was ours."""
        return self._remembered.get(partition)

    def take_over(self, partition: Partition, known: Incarnation | None) -> None:
        """Take over a partition with what is known of the log that its position belongs to."""
        self._begin(partition, known or Incarnation())

    def begin_new(self, partition: Partition, number: int) -> bool:
        """Begin the log that is there now, if it is the next one; False if it is not."""
        if number != self.number(partition) + 1:
            return False
        self._begin(partition, Incarnation(number, self._topics.get(partition[0], TopicMetadata()).topic_id))
        self._answered[partition] = self._clock()
        return True

    def number(self, partition: Partition) -> int:
        """Return the number of the partition's log."""
        return self._logs[partition].number if partition in self._logs else 0

    def topic_id(self, partition: Partition) -> str:
        """Return the id of the topic that the partition's log belongs to; empty where none is known."""
        log = self._logs.get(partition, Incarnation())
        return "" if log.topic_id == NO_TOPIC_ID else topic_id_text(log.topic_id)

    def _begin(self, partition: Partition, log: Incarnation) -> None:
        self._logs[partition] = log
        self._heads[partition] = deque([log.last] if log.last is not None else [], MOST_HEADS)
        self._answered.pop(partition, None)

    def name(self, partition: Partition) -> LogName:
        """Return how a Fetch request names the partition."""
        log = self._logs.get(partition, Incarnation())
        epoch = self._topics.get(partition[0], TopicMetadata()).leader_epochs.get(partition[1], -1)
        return LogName(log.topic_id, epoch, log.number)

    def text(self, partition: Partition, offset: int, text: str) -> str:
        """Add to a commit's metadata which log the offset belongs to."""
        log = self._logs.get(partition)
        return text if log is None else replace(log, last=self._before(partition, offset)).written(text)

    # --- what makes a suspect

    def answered(self, partitions: Iterable[Partition]) -> None:
        """Note that a broker has answered for partitions."""
        self._answered |= dict.fromkeys(partitions, self._clock())

    def suspect(self, partitions: Iterable[Partition]) -> None:
        """Have partitions checked before their next fetch."""
        for partition in partitions:
            self._answered.pop(partition, None)

    def reconnected(self, node: int, connection: object) -> bool:
        """Whether the connection to a node is another one than it was."""
        last, self._connections[node] = self._connections.get(node), connection
        return last is not None and last is not connection

    def advanced(self, part: FetchedPartition, head: BatchHead | None) -> None:
        """Note the bytes that are handed out, with the head of the last batch in them."""
        partition = (part.topic, part.partition)
        heads = self._heads.get(partition)
        if head is None or heads is None:
            return
        while heads and heads[-1].next_offset >= head.next_offset:  # we went back
            heads.pop()
        heads.append(head)
        if self._by_batches(partition):
            first = first_head(part.data)
            if first is not None and first.base_offset > part.fetch_offset:
                self.suspect([partition])

    def suspects(self, partitions: Iterable[Partition]) -> list[Partition]:
        """Return those partitions that must be checked before they are fetched."""
        since = self._clock() - self._quiet_s
        return [p for p in partitions if p in self._logs and self._answered.get(p, since - 1) < since]

    # --- the check

    async def check(self, positions: Mapping[Partition, int]) -> dict[Partition, NewLog]:
        """Look whether the logs are still the same. A topic that is not there stays a suspect.

        Raises
        ------
        BrokerError
            A broker cannot be asked; the partitions stay suspects.
        """
        by_node: dict[int, set[str]] = {}
        for topic, number in positions:
            node = self._leader((topic, number))
            if node is not None:
                by_node.setdefault(node, set()).add(topic)
        asked: dict[str, TopicMetadata] = {}
        for node, topics in by_node.items():
            asked |= await ask_metadata(self._frames, node, sorted(topics - asked.keys()), self._timeout_s)
        self._topics |= asked
        found = {}
        for partition, position in positions.items():
            said, log = asked.get(partition[0]), self._logs.get(partition)
            if said is None or log is None:
                continue
            new = await self._compare(partition, position, said)
            if self._logs.get(partition) is not log:
                continue  # assigned anew meanwhile: what we have found is of another position
            if new is not None:
                found[partition] = new
                continue
            if log.topic_id != said.topic_id:  # the broker has ids now, or has none any more
                self._logs[partition] = replace(log, topic_id=said.topic_id)
            self.answered([partition])
        return found

    async def _compare(self, partition: Partition, position: int, topic: TopicMetadata) -> NewLog | None:
        log, last = self._logs[partition], self._before(partition, position) or self._newest(partition)
        has_ids = NO_TOPIC_ID not in (log.topic_id, topic.topic_id)
        if has_ids and log.topic_id != topic.topic_id:
            return NewLog("its topic was deleted and created again")
        if last is None:
            return None
        epoch = topic.leader_epochs.get(partition[1], -1)
        if 0 <= last.leader_epoch < epoch:
            end = await self._end_of_epoch(partition, last.leader_epoch, epoch)
            if end is not None and end < position:
                return NewLog(f"a new leader's log has other events from offset {end} on", end)
        return None if has_ids else await self._compare_batch(partition, last)

    async def _compare_batch(self, partition: Partition, last: BatchHead) -> NewLog | None:
        node = self._leader(partition)
        if node is None:
            raise BrokerError(f"{partition[0]}[{partition[1]}] has no leader now", retriable=True)
        for response in await self._asking.ask(node, {partition: last.base_offset}, most_bytes=1):
            if response.error not in (None, kafka_errors.OffsetOutOfRangeError):
                raise BrokerError(
                    f"{partition[0]}[{partition[1]}] at {last.base_offset}: {response.error.__name__}", retriable=True
                )
            first = first_head(response.part.data)
            if first is None and response.error is None and response.part.high_watermark >= last.next_offset:
                return None  # nothing can be read there, but the log goes on: it says nothing against it
            start = (await self._bounds([partition], end=False))[partition] if first is None else -1
            why = other_log(last, first, start)
            return None if why is None else NewLog(why)
        return None

    async def _end_of_epoch(self, partition: Partition, epoch: int, current: int) -> int | None:
        """Ask for the offset after the last event of a leader epoch; None if it is not known."""
        node = self._leader(partition)
        if node is None:
            raise BrokerError(f"{partition[0]}[{partition[1]}] has no leader now", retriable=True)
        rows = [{"partition": partition[1], "current_leader_epoch": current, "leader_epoch": epoch}]
        body = {"replica_id": CONSUMER, "topics": [{"topic": partition[0], "partitions": rows}]}
        try:
            answer = await self._frames.request(node, OFFSET_FOR_LEADER_EPOCH, body, self._timeout_s)
            (row,) = answer["topics"][0]["partitions"]
            if row["error_code"]:
                raise error_of(row["error_code"])
        except kafka_errors.IncompatibleBrokerVersion:
            return None
        except (kafka_errors.KafkaError, TimeoutError, OSError) as error:
            raise BrokerError(
                f"asking for the end of leader epoch {epoch}: {type(error).__name__} {error}", retriable=True
            ) from error
        return None if row["end_offset"] < 0 else int(row["end_offset"])

    def _by_batches(self, partition: Partition) -> bool:
        return self._logs[partition].topic_id == NO_TOPIC_ID

    def _newest(self, partition: Partition) -> BatchHead | None:
        heads = self._heads[partition]
        return heads[-1] if heads else None

    def _before(self, partition: Partition, offset: int) -> BatchHead | None:
        """Return the last batch known that ends at the offset or before."""
        return next((head for head in reversed(self._heads[partition]) if head.next_offset <= offset), None)
