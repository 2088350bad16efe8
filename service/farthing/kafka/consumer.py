"""Raw fetch: record batch bytes of the partitions that the group gives us, with positions of our own.

aiokafka's ``getmany`` advances positions and then may raise, which loses what it had taken; here a position advances
only when the bytes are handed out, and goes back by :meth:`RecordConsumer.seek`.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import structlog
from aiokafka import errors as kafka_errors
from aiokafka.protocol.fetch import FetchRequest

from farthing.blocks import FetchedPartition
from farthing.errors import BrokerError
from farthing.kafka.frames import Frames, aborted_transactions
from farthing.kafka.held import HeldPartitions
from farthing.kafka.lag import LogEnds, lag
from farthing.kafka.membership import NO_METADATA, Membership, leader_of
from farthing.kafka.offsets import Partition
from farthing.kafka.settings import KafkaSettings
from farthing.wire import next_fetch_offset

log = structlog.get_logger()

IDLE_S = 0.1
RETRY_PAUSE_S = 0.2
READ_COMMITTED = 1
TRUNCATED_AFTER_S = 3.0
REFUSED_AGAIN_S = 5.0  # a partition that the broker cannot read is asked for again after this time

# The broker's own trouble with one partition's log: no reason to stop the others.
_PARTITION_REFUSED = (kafka_errors.CorruptRecordException, kafka_errors.UnknownError)


@dataclass(frozen=True, slots=True)
class Fetched:
    """What one fetch brought. It is void when ``epoch`` is no longer the consumer's: a rebalance came between.

    ``answered`` tells that some broker answered, perhaps with nothing new, or that there was nobody to ask.
    """

    epoch: int
    partitions: tuple[FetchedPartition, ...]
    answered: bool = True


class RecordConsumer:
    """A member of the consumer group that fetches bytes.

    ``on_revoked`` is awaited before partitions are given up: finish and commit what is in flight there, in good time.
    ``on_position`` is told each partition's first offset when its position is known, and the metadata that was
    committed with it.
    """

    def __init__(
        self,
        settings: KafkaSettings,
        topics: Iterable[str],
        *,
        on_revoked: Callable[[list[Partition]], Awaitable[None]],
        on_position: Callable[[Partition, int, str], None],
    ) -> None:
        self._settings = settings
        self._membership = Membership(settings, topics, on_revoked=self._revoked, on_assigned=self._assigned)
        self._on_revoked = on_revoked
        self._on_position = on_position
        self._timeout_s = settings.request_timeout_ms / 1000
        self._frames: Frames
        self._positions: dict[Partition, int | None] = {}
        self._ends = LogEnds(time.monotonic)  # the offset after the last event that may be read
        self._trouble: BrokerError | None = None  # of the last request, to be raised by the next fetch
        self._beyond_since: dict[Partition, float] = {}  # the log's end lies before our position
        self._held = HeldPartitions()
        self._requests: dict[int, asyncio.Task[list[FetchedPartition]]] = {}
        self._rebalance_began: float | None = time.monotonic()
        self.epoch = 0
        self.rebalances = 0
        self.rebalance_seconds = 0.0

    async def start(self) -> None:
        """Join the group. Raises BrokerError."""
        await self._membership.join()
        self._frames = Frames(self._membership.client)

    @property
    def assignment(self) -> list[Partition]:
        """The partitions that are ours now."""
        return list(self._positions)

    @property
    def held(self) -> Mapping[Partition, str]:
        """Partitions that are ours and not fetched, with the reason."""
        return self._held.reasons

    def lag(self, next_unacknowledged: Callable[[Partition], int | None]) -> dict[Partition, int | None] | None:
        """Give each partition's lag (see :mod:`farthing.kafka.lag`); None while there is no assignment."""
        if self._rebalance_began is not None:
            return None
        return {p: lag(self._ends.get(p), next_unacknowledged(p)) for p in self._positions}

    async def learn_ends(self, after_s: float) -> None:
        """Ask where those logs end of which no fetch told for ``after_s``: held partitions, or scoring that is slow."""
        partitions = self._ends.older_than(after_s, self._positions)
        if not partitions:
            return
        epoch = self.epoch
        try:
            ends = await self._bounds(partitions, end=True)
        except BrokerError:
            return  # what was heard last stands; the next fetch meets the same broker and says so
        if epoch == self.epoch:
            self._ends.asked(ends)

    def seek(self, partition: Partition, offset: int) -> None:
        """Fetch on from ``offset``; what is being fetched is dropped."""
        if partition in self._positions:
            self._positions[partition] = offset

    def hold(self, partition: Partition, reason: str, *, again_in_s: float = math.inf) -> None:
        """Fetch this partition no more for ``again_in_s``, by default until the next assignment; others go on."""
        if partition in self._positions:
            self._held.hold(partition, reason, again_in_s)

    async def fetch(self) -> Fetched:
        """Wait for the next bytes of any partition, for about ``fetch_max_wait_ms`` at most.

        Raises
        ------
        BrokerError
            The broker cannot be reached or refuses; positions are kept.
        """
        self._membership.check()
        trouble, self._trouble = self._trouble, None
        if trouble is not None:
            raise trouble
        epoch = self.epoch
        await self._find_positions()
        by_node = self._due()
        if not by_node and not self._requests:
            await asyncio.sleep(IDLE_S)
            return Fetched(epoch, (), answered=not self._positions)
        for node, partitions in by_node.items():
            self._requests[node] = asyncio.create_task(self._request(node, partitions))
        done, _ = await asyncio.wait(self._requests.values(), return_when=asyncio.FIRST_COMPLETED)
        parts: list[FetchedPartition] = []
        answered = False
        for node in [node for node, task in self._requests.items() if task in done]:
            task = self._requests.pop(node)
            error = task.exception()
            if error is None:
                answered = True
                parts += [
                    part
                    for part in task.result()
                    if self._positions.get((part.topic, part.partition)) == part.fetch_offset
                ]
            elif isinstance(error, BrokerError):
                self._trouble = error
            else:
                raise error
        if epoch != self.epoch:
            return Fetched(epoch, (), answered)
        return Fetched(epoch, tuple(part for part in parts if self._advance(part)), answered)

    def _advance(self, part: FetchedPartition) -> bool:
        """Move the position on; False when there is nothing, or nothing plausible, to hand out."""
        partition = (part.topic, part.partition)
        following = next_fetch_offset(part.data, part.fetch_offset)
        if self._held.comes_early(part, following):
            return False
        wrong = self._held.what_is_wrong(part, following)
        if wrong is not None:
            self.hold(partition, f"{wrong}; look at the broker's disk", again_in_s=REFUSED_AGAIN_S)
            return False
        self._positions[partition] = following
        self._held.fetched(partition)
        return bool(part.data)

    async def commit(
        self, offsets: dict[Partition, int], timeout_s: float, metadata: Mapping[Partition, str] = NO_METADATA
    ) -> bool:
        """Commit offsets of partitions that are ours; see :meth:`Membership.commit`."""
        return await self._membership.commit(offsets, timeout_s, metadata)

    async def close(self, timeout_s: float) -> None:
        """Leave the group; bounded in time."""
        for task in self._requests.values():
            task.cancel()
        await asyncio.gather(*self._requests.values(), return_exceptions=True)
        self._requests.clear()
        await self._membership.leave(timeout_s)

    async def _revoked(self, partitions: list[Partition]) -> None:
        self._rebalance_began = time.monotonic()
        log.info("rebalance_started", partitions=len(partitions))
        try:
            await self._on_revoked(partitions)
        finally:
            self.epoch += 1
            self._positions.clear()
            self._held.clear()
            self._beyond_since.clear()

    async def _assigned(self, partitions: list[Partition]) -> None:
        self.epoch += 1
        self._positions = dict.fromkeys(partitions)
        self._ends.clear()
        seconds = time.monotonic() - self._rebalance_began if self._rebalance_began is not None else 0.0
        self._rebalance_began = None
        self.rebalances += 1
        self.rebalance_seconds += seconds
        log.info("rebalance_finished", partitions=len(partitions), seconds=round(seconds, 2))

    def _due(self) -> dict[int, list[tuple[Partition, int]]]:
        """Group the partitions to fetch by their leaders, leaving out nodes that still hold a request."""
        by_node: dict[int, list[tuple[Partition, int]]] = defaultdict(list)
        unknown = False
        for partition, position in self._positions.items():
            if position is None or self._held.blocks(partition):
                continue
            leader = leader_of(self._membership.client, partition)
            if leader is None:
                unknown = True
            elif leader not in self._requests:
                by_node[leader].append((partition, position))
        if unknown:
            self._membership.client.force_metadata_update()
        return by_node

    async def _find_positions(self) -> None:
        """Begin where the group has committed, else as ``auto_offset_reset`` says."""
        epoch = self.epoch
        new = [partition for partition, position in self._positions.items() if position is None]
        if not new:
            return
        try:
            found = await self._membership.committed(new, self._timeout_s)
        except (kafka_errors.KafkaError, TimeoutError) as error:
            raise BrokerError(f"reading committed offsets: {type(error).__name__} {error}", retriable=True) from error
        missing = [partition for partition in new if partition not in found]
        if missing:
            found |= {partition: (offset, "") for partition, offset in (await self._reset(missing)).items()}
        if epoch == self.epoch:
            for partition, (offset, metadata) in found.items():
                self._positions[partition] = offset
                self._on_position(partition, offset, metadata)

    async def _reset(self, partitions: list[Partition]) -> dict[Partition, int]:
        policy = self._settings.auto_offset_reset
        if policy == "none":
            topic, number = partitions[0]
            raise BrokerError(
                f"{topic}[{number}] has no committed offset within the log and kafka.auto_offset_reset = 'none'; "
                "commit one for the group, or set 'earliest'",
                retriable=False,
            )
        return await self._bounds(partitions, end=policy == "latest")

    async def _bounds(self, partitions: list[Partition], *, end: bool) -> dict[Partition, int]:
        """Ask for the logs' first offsets or ends. Raises BrokerError."""
        try:
            return await self._membership.bounds(partitions, end=end, timeout_s=self._timeout_s)
        except (kafka_errors.KafkaError, TimeoutError) as error:
            raise BrokerError(f"asking for offsets: {type(error).__name__} {error}", retriable=True) from error

    async def _request(self, node: int, partitions: list[tuple[Partition, int]]) -> list[FetchedPartition]:
        settings = self._settings
        topics: dict[str, list[tuple[int, int, int]]] = defaultdict(list)
        for (topic, number), position in partitions:
            topics[topic].append((number, position, settings.max_partition_fetch_bytes))
        isolation = READ_COMMITTED if settings.isolation_level == "read_committed" else 0
        request = FetchRequest(settings.fetch_max_wait_ms, 1, settings.fetch_max_bytes, isolation, list(topics.items()))
        client = self._membership.client
        try:
            response = await self._frames.fetch(node, request, self._timeout_s + 5)
        except (kafka_errors.KafkaError, TimeoutError, OSError) as error:
            client.force_metadata_update()
            await asyncio.sleep(RETRY_PAUSE_S)
            raise BrokerError(f"fetch from broker {node}: {type(error).__name__} {error}", retriable=True) from error
        return await self._read(response, {partition: position for partition, position in partitions})

    async def _read(self, response: Any, asked: dict[Partition, int]) -> list[FetchedPartition]:
        """Take a response apart. One partition's trouble is kept for the next call: the others' bytes come first."""
        parts = []
        for topic, rows in response.topics:
            for row in rows:
                number, code, high_watermark, *_ = row
                partition = (topic, number)
                try:
                    if code != 0:
                        await self._on_error(partition, asked[partition], kafka_errors.for_code(code))
                        continue
                    if await self._is_truncated(partition, asked[partition], high_watermark):
                        await self._on_error(partition, asked[partition], kafka_errors.OffsetOutOfRangeError)
                        continue
                except BrokerError as error:
                    self._trouble = error
                    continue
                committed_only = self._settings.isolation_level == "read_committed" and len(row) > 4 and row[3] >= 0
                self._ends[partition] = row[3] if committed_only else high_watermark
                parts.append(
                    FetchedPartition(
                        topic, number, asked[partition], high_watermark, row[-1] or b"", aborted_transactions(row)
                    )
                )
        return parts

    async def _is_truncated(self, partition: Partition, position: int, high_watermark: int) -> bool:
        """Tell whether the log has been shorter than our position for a while.

        Apache Kafka says OFFSET_OUT_OF_RANGE when a topic was deleted and created again; not every broker does, and
        then a worker would wait for ever and look well. A new leader's high watermark may lie behind for a moment
        (KIP-207), so the broker is asked for the end of the log before it is believed.
        """
        now = time.monotonic()
        if high_watermark >= position:
            self._beyond_since.pop(partition, None)
            return False
        if now - self._beyond_since.setdefault(partition, now) < TRUNCATED_AFTER_S:
            return False
        del self._beyond_since[partition]
        return (await self._bounds([partition], end=True))[partition] < position

    async def _on_error(self, partition: Partition, position: int, error: type[Any]) -> None:
        topic, number = partition
        if error is kafka_errors.OffsetOutOfRangeError:
            epoch = self.epoch
            offset = (await self._reset([partition]))[partition]
            log.error("offset_out_of_range", topic=topic, partition=number, offset=position, continues_at=offset)
            if epoch == self.epoch and self._positions.get(partition) == position:
                self._positions[partition] = offset
                self._ends.forget(partition)
                self._on_position(partition, offset, "")
            return
        if error in _PARTITION_REFUSED:
            reason = f"the broker answers {error.__name__} to a fetch at offset {position}: look at its log"
            self.hold(partition, reason, again_in_s=REFUSED_AGAIN_S)
            return
        known = "" if error.retriable else "; check that the topic exists and that this client may read it"
        if error.invalid_metadata or error.retriable:
            self._membership.client.force_metadata_update()
            await asyncio.sleep(RETRY_PAUSE_S)
        raise BrokerError(
            f"fetch of {topic}[{number}] at {position}: {error.__name__}{known}", retriable=error.retriable
        )
