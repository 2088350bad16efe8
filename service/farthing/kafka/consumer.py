"""Fetches raw record batches of the partitions that the group assigns to us, and keeps their positions itself.

aiokafka's ``getmany`` advances positions and may then raise, which loses what it has taken; here a position advances
only when the bytes are handed out, and :meth:`RecordConsumer.seek` sets it back.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import structlog
from aiokafka import errors as kafka_errors

from farthing.blocks import FetchedPartition
from farthing.errors import BrokerError
from farthing.kafka.fetching import RETRY_PAUSE_S, Fetching, PartitionResponse
from farthing.kafka.frames import Frames
from farthing.kafka.held import HeldPartitions
from farthing.kafka.lag import Lag, LogEnd, LogEnds, lag
from farthing.kafka.membership import NO_METADATA, Membership, leader_of, refresh_metadata
from farthing.kafka.offsets import Partition
from farthing.kafka.settings import KafkaSettings
from farthing.wire import next_fetch_offset

log = structlog.get_logger()

IDLE_S = 0.1
TRUNCATED_AFTER_S = 3.0
REFUSED_AGAIN_S = 5.0  # a partition that the broker cannot read is fetched again after this time

# The broker cannot read one partition's log, which is no reason to stop the others.
_PARTITION_REFUSED = (kafka_errors.CorruptRecordException, kafka_errors.UnknownError)


@dataclass(frozen=True, slots=True)
class Fetched:
    """What one fetch returned. It is void once the consumer has another ``epoch``, because of a rebalance.

    ``answered`` says that some broker answered, perhaps with nothing new, or that there was no partition to ask for.
    """

    epoch: int
    partitions: tuple[FetchedPartition, ...]
    answered: bool = True


class RecordConsumer:
    """A member of the consumer group that fetches bytes.

    ``on_revoked`` is awaited before partitions are given up: it must finish and commit what is in flight there soon.
    ``on_position`` is called with each partition's first offset once there is one, and the metadata committed with it.
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
        self._fetching: Fetching
        self._positions: dict[Partition, int | None] = {}
        self.ends = LogEnds(time.monotonic)
        self._trouble: BrokerError | None = None  # from the last request, to be raised by the next fetch
        self._beyond_since: dict[Partition, float] = {}  # since when our position is beyond the log's end
        self._held = HeldPartitions()
        self._requests: dict[int, asyncio.Task[list[FetchedPartition]]] = {}
        self._rebalance_began: float | None = time.monotonic()
        self.left_out: Collection[Partition] = ()
        """Partitions that are not fetched, because what was fetched of them is not scored yet."""
        self.epoch = 0
        self.rebalances = 0
        self.rebalance_seconds = 0.0

    async def start(self) -> None:
        """Join the group. Raises BrokerError."""
        await self._membership.join()
        self._frames = Frames(self._membership.client)
        self._fetching = Fetching(self._frames, self._settings)

    @property
    def assignment(self) -> list[Partition]:
        """The partitions assigned to us now."""
        return list(self._positions)

    @property
    def held(self) -> Mapping[Partition, str]:
        """Partitions of ours that are not fetched, with the reason."""
        return self._held.reasons

    def lag(self, next_unacknowledged: Callable[[Partition], int | None]) -> dict[Partition, Lag | None] | None:
        """Return each partition's lag (see :mod:`farthing.kafka.lag`); None while there is no assignment."""
        if self._rebalance_began is not None:
            return None
        return {p: lag(self.ends.get(p), next_unacknowledged(p)) for p in self._positions}

    def refresh(self) -> None:
        """Have the client ask now which partitions there are and who leads them."""
        refresh_metadata(self._membership.client)

    def seek(self, partition: Partition, offset: int) -> None:
        """Continue fetching from ``offset``; what is being fetched now is dropped."""
        if partition in self._positions:
            self._positions[partition] = offset

    def hold(
        self, partition: Partition, reason: str, *, again_in_s: float = math.inf, until_written: bool = False
    ) -> None:
        """Stop fetching a partition for ``again_in_s``, by default until the next assignment; others go on."""
        if partition in self._positions:
            self._held.hold(partition, reason, again_in_s, until_written=until_written)

    def written(self, partition: Partition) -> None:
        """Note that the output for what was fetched of a partition is acknowledged."""
        self._held.written(partition)

    async def fetch(self) -> Fetched:
        """Wait for the next bytes of any partition, about ``fetch_max_wait_ms`` at most.

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
        for node, positions in by_node.items():
            self._requests[node] = asyncio.create_task(self._request(node, positions))
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
        """Advance the position; False when there is nothing, or nothing plausible, to hand out."""
        partition = (part.topic, part.partition)
        following = next_fetch_offset(part.data, part.fetch_offset)
        if self._held.comes_early(part, following):
            return False
        wrong = self._held.what_is_wrong(part, following)
        if wrong is not None:
            self.hold(partition, f"{wrong}; look at the broker's disk", again_in_s=REFUSED_AGAIN_S)
            return False
        if part.data:
            del self._positions[partition]  # to the end: a broker that has enough bytes leaves out the later ones
        self._positions[partition] = following
        self._held.fetched(partition, empty=not part.data)
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
        self.ends.clear()
        seconds = time.monotonic() - self._rebalance_began if self._rebalance_began is not None else 0.0
        self._rebalance_began = None
        self.rebalances += 1
        self.rebalance_seconds += seconds
        log.info("rebalance_finished", partitions=len(partitions), seconds=round(seconds, 2))

    def _due(self) -> dict[int, dict[Partition, int]]:
        """Group the partitions to fetch by their leaders, leaving out nodes that still hold a request."""
        by_node: dict[int, dict[Partition, int]] = defaultdict(dict)
        unknown = False
        for partition, position in self._positions.items():
            if position is None or self._held.blocks(partition) or partition in self.left_out:
                continue
            leader = leader_of(self._membership.client, partition)
            if leader is None:
                unknown = True
            elif leader not in self._requests:
                by_node[leader][partition] = position
        if unknown:
            refresh_metadata(self._membership.client)
        return by_node

    async def _find_positions(self) -> None:
        """Find where to begin: at the group's committed offset, else where ``auto_offset_reset`` says."""
        epoch = self.epoch
        new = [partition for partition, position in self._positions.items() if position is None]
        if not new:
            return
        try:
            begins = await self._membership.committed(new, self._timeout_s)
        except (kafka_errors.KafkaError, TimeoutError) as error:
            raise BrokerError(f"reading committed offsets: {type(error).__name__} {error}", retriable=True) from error
        missing = [partition for partition in new if partition not in begins]
        if missing:
            begins |= {partition: (offset, "") for partition, offset in (await self._reset(missing)).items()}
        if epoch == self.epoch:
            for partition, (offset, metadata) in begins.items():
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

    async def _request(self, node: int, positions: dict[Partition, int]) -> list[FetchedPartition]:
        """Ask one broker. An error of one partition is kept for the next call, after the bytes of the others."""
        try:
            responses = await self._fetching.ask(node, positions)
        except BrokerError:
            refresh_metadata(self._membership.client)
            await asyncio.sleep(RETRY_PAUSE_S)
            raise
        return [response.part for response in responses if await self._is_good(response)]

    async def _is_good(self, response: PartitionResponse) -> bool:
        """Handle a partition's error, or keep it for the next call; without one, note the end of the log."""
        part = response.part
        partition = (part.topic, part.partition)
        try:
            error = response.error
            if error is None and await self._is_truncated(partition, part.fetch_offset, part.high_watermark):
                error = kafka_errors.OffsetOutOfRangeError
            if error is not None:
                await self._on_error(partition, part.fetch_offset, error)
                return False
        except BrokerError as trouble:
            self._trouble = trouble
            return False
        self.ends[partition] = LogEnd(part.high_watermark, response.readable_end)
        return True

    async def _is_truncated(self, partition: Partition, position: int, high_watermark: int) -> bool:
        """Return whether the log has been shorter than our position for a while.

        Apache Kafka answers OFFSET_OUT_OF_RANGE when a topic has been deleted and created again. Not every broker does,
        and a worker would then wait for ever and look healthy. A new leader's high watermark may be behind for a moment
        (KIP-207), so the broker is asked for the end of the log before we believe it.
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
                self.ends.forget(partition)
                self._on_position(partition, offset, "")
            return
        if error in _PARTITION_REFUSED:
            reason = f"the broker answers {error.__name__} to a fetch at offset {position}: look at its log"
            self.hold(partition, reason, again_in_s=REFUSED_AGAIN_S)
            return
        advice = "" if error.retriable else "; check that the topic exists and that this client may read it"
        if error.invalid_metadata or error.retriable:
            refresh_metadata(self._membership.client)
            await asyncio.sleep(RETRY_PAUSE_S)
        raise BrokerError(
            f"fetch of {topic}[{number}] at {position}: {error.__name__}{advice}", retriable=error.retriable
        )
