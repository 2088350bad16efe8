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
from typing import Any

import structlog
from aiokafka import errors as kafka_errors

from farthing.blocks import FetchedPartition
from farthing.errors import BrokerError
from farthing.kafka.client import leader_of, refresh_metadata
from farthing.kafka.fetching import RETRY_PAUSE_S, Fetched, Fetching, PartitionResponse, refused, why_held
from farthing.kafka.frames import Frames
from farthing.kafka.held import HeldPartitions
from farthing.kafka.lag import Lag, LogEnd, LogEnds, lag
from farthing.kafka.log_watch import QUIET_S, LogWatch
from farthing.kafka.membership import NO_METADATA, Member, Membership
from farthing.kafka.offsets import Partition
from farthing.kafka.open_requests import OpenRequests
from farthing.kafka.recovery import KnownLogs, Moved, Recovery, no_logs
from farthing.kafka.sending import HeldError
from farthing.kafka.settings import KafkaSettings
from farthing.wire import last_head

log = structlog.get_logger()

IDLE_S = 0.1
REFUSED_AGAIN_S = 5.0  # a partition that the broker cannot read is fetched again after this time


class RecordConsumer:
    """A member of the consumer group that fetches bytes.

    ``on_revoked`` is awaited before partitions are given up: it must finish and commit what is in flight there soon.
    ``on_position`` is called with each partition's first offset, the metadata committed with it, and whether the group
    has committed it; ``on_moved`` when it goes on elsewhere: if the log is another one, all that was fetched is void,
    and the caller sets the others back. ``known_logs`` is asked about partitions whose commit went with the topic.
    """

    def __init__(
        self,
        settings: KafkaSettings,
        topics: Iterable[str],
        *,
        on_revoked: Callable[[list[Partition]], Awaitable[None]],
        on_position: Callable[[Partition, int, str, bool], None],
        on_moved: Callable[[Partition, Moved], None] = lambda *_: None,
        known_logs: KnownLogs = no_logs,
    ) -> None:
        self._settings = settings
        self._membership = Membership(settings, topics, on_revoked=self._revoked, on_assigned=self._assigned)
        self._on_revoked = on_revoked
        self._on_position = on_position
        self._on_moved = on_moved
        self._timeout_s = settings.request_timeout_ms / 1000
        self._frames: Frames
        self._fetching: Fetching
        self._watch = LogWatch(
            lambda partition: leader_of(self._membership.client, partition), self._bounds, time.monotonic,
            timeout_s=self._timeout_s, quiet_s=max(QUIET_S, 2 * settings.fetch_max_wait_ms / 1000),
        )  # fmt: skip
        self._recovery = Recovery(settings, self._watch, self._bounds, self._membership.committed, known_logs)
        self._positions: dict[Partition, int | None] = {}
        self.ends = LogEnds(time.monotonic)
        self._trouble: BrokerError | None = None  # from the last request, to be raised by the next fetch
        self._held = HeldPartitions()
        self._requests = OpenRequests()
        self._rebalance_began: float | None = time.monotonic()
        self.left_out: Collection[Partition] = ()
        """Partitions that are not fetched, because what was fetched of them is not scored yet."""
        self.marks_offsets = True
        """Whether commits say which log an offset belongs to; False where a broker has no room for that."""
        self.epoch = 0
        self.rebalances = 0
        self.rebalance_seconds = 0.0

    async def start(self) -> None:
        """Join the group. Raises BrokerError."""
        await self._membership.join()
        asking = self._membership.asking
        self._watch.connect(asking, Fetching(asking, self._settings))
        self._frames = Frames(self._membership.client)
        self._fetching = Fetching(self._frames, self._settings, self._watch.name)

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
        if self._rebalance_began is not None:  # what is begun now could not be committed any more
            await asyncio.sleep(IDLE_S)
            return Fetched(epoch, (), answered=False)
        await self._find_positions()
        by_node = self._due()
        if not by_node and not self._requests.tasks:
            await asyncio.sleep(IDLE_S)
            return Fetched(epoch, (), answered=not self._positions)
        for node, positions in by_node.items():
            self._requests.begin(node, self._request(node, positions))
        parts, answered, trouble = await self._requests.answers()
        self._trouble = trouble or self._trouble
        if epoch != self.epoch:
            return Fetched(epoch, (), answered)
        expected = [part for part in parts if self._positions.get((part.topic, part.partition)) == part.fetch_offset]
        return Fetched(epoch, tuple(part for part in expected if self._advance(part)), answered)

    def _advance(self, part: FetchedPartition) -> bool:
        """Advance the position; False when there is nothing, or nothing plausible, to hand out."""
        partition = (part.topic, part.partition)
        head = last_head(part.data)
        following = part.fetch_offset if head is None else max(part.fetch_offset, head.next_offset)
        if self._held.comes_early(part, following):
            return False
        wrong = self._held.what_is_wrong(part, following)
        if wrong is not None:
            self.hold(partition, f"{wrong}; look at the broker's disk", again_in_s=REFUSED_AGAIN_S)
            return False
        if part.data:
            del self._positions[partition]  # to the end: a broker that has enough bytes leaves out the later ones
        self._positions[partition] = following
        self._watch.advanced(part, head)
        self._held.fetched(partition, empty=not part.data)
        return bool(part.data)

    async def commit(
        self, offsets: dict[Partition, int], timeout_s: float, metadata: Mapping[Partition, str] = NO_METADATA
    ) -> bool:
        """Commit offsets of partitions that are ours; see :meth:`Membership.commit`."""
        return await self._membership.commit(offsets, timeout_s, self.marked(offsets, metadata))

    def marked(self, offsets: Mapping[Partition, int], metadata: Mapping[Partition, str]) -> dict[Partition, str]:
        """Return the metadata for a commit of these offsets: what is given, and which log each belongs to."""
        if not self.marks_offsets:
            return dict(metadata)
        return {p: self._watch.text(p, offset, metadata.get(p, "")) for p, offset in offsets.items()}

    def topic_id(self, partition: Partition) -> str:
        """Return a partition's topic id; see :meth:`LogWatch.topic_id`."""
        return self._watch.topic_id(partition)

    async def close(self, timeout_s: float) -> None:
        """Leave the group; bounded in time."""
        await self._requests.close()
        await self._membership.leave(timeout_s)

    @property
    def member(self) -> Member | None:
        """Us in the group, as of the assignment; None when the group has moved on."""
        return self._membership.member

    def forget_positions(self) -> None:
        """Begin again at the group's committed offsets; what is being fetched or scored now is void."""
        self.epoch += 1
        self._positions = dict.fromkeys(self._positions)
        self._watch.clear()

    async def _revoked(self, partitions: list[Partition]) -> None:
        self.epoch += 1  # what is scored now is not produced any more
        self._rebalance_began = time.monotonic()
        log.info("rebalance_started", partitions=len(partitions))
        try:
            await self._on_revoked(partitions)
        finally:
            self._positions.clear()
            self._held.clear()
            self._recovery.clear()

    async def _assigned(self, partitions: list[Partition]) -> None:
        self.epoch += 1
        self._positions = dict.fromkeys(partitions)
        self.ends.clear()
        self._watch.clear()
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
            elif leader not in self._requests.tasks:
                by_node[leader][partition] = position
        if unknown:
            refresh_metadata(self._membership.client)
        return by_node

    async def _check_logs(self, positions: Mapping[Partition, int]) -> bool:
        """Check whether the logs are still those that we know, where there is any doubt; False if one is not."""
        rebalances = self.rebalances
        replaced = await self._watch.check({p: positions[p] for p in self._watch.suspects(positions)})
        for partition, new in replaced.items():
            moved = await self._recovery.new_log(partition, positions[partition], new)
            if rebalances == self.rebalances:
                self._move(partition, positions[partition], moved)
        return not replaced

    def _move(self, partition: Partition, position: int, moved: Moved | str) -> None:
        """Go on elsewhere, or hold the partition."""
        if self._positions.get(partition) is None or self._rebalance_began is not None:
            return  # it begins anew at what is committed
        if isinstance(moved, str):
            self.hold(partition, moved)
            return
        if moved.reason == "retention":  # what was fetched is of the same log
            if self._positions[partition] == position:
                self._positions[partition] = moved.offset
                self._on_moved(partition, moved)
            return
        if not self._watch.begin_new(partition, moved.log):
            return
        self.epoch += 1  # what was fetched may be of the old log
        self._positions[partition] = moved.offset
        self.ends.forget(partition)
        self._on_moved(partition, moved)

    async def _find_positions(self) -> None:
        """Find where to begin: at the group's committed offset, else where ``auto_offset_reset`` says."""
        epoch = self.epoch
        new = [p for p, position in self._positions.items() if position is None and not self._held.blocks(p)]
        if not new:
            return
        try:
            begins = await self._recovery.begin(new)
        except HeldError as error:
            for partition, reason in error.reasons.items():
                self.hold(partition, reason, again_in_s=REFUSED_AGAIN_S)
            return  # the others are asked for next time
        if epoch == self.epoch:
            for partition, begin in begins.items():
                self._positions[partition] = begin.offset
                self._watch.take_over(partition, begin.log)
                self._on_position(partition, begin.offset, begin.metadata, begin.committed)
                if begin.log is not None and begin.log.number and not begin.metadata:
                    self._on_moved(partition, Moved(begin.offset, begin.log.number, "known_log"))

    async def _bounds(self, partitions: list[Partition], *, end: bool) -> dict[Partition, int]:
        try:
            return await self._membership.bounds(partitions, end=end, timeout_s=self._timeout_s)
        except (kafka_errors.KafkaError, TimeoutError) as error:
            raise BrokerError(f"asking for offsets: {type(error).__name__} {error}", retriable=True) from error

    async def _request(self, node: int, positions: dict[Partition, int]) -> list[FetchedPartition]:
        """Ask one broker. An error of one partition is kept for the next call, after the bytes of the others."""
        try:
            if not await self._check_logs(positions):
                return []
            responses = await self._fetching.ask(node, positions)
        except BrokerError:
            self._watch.suspect(positions)
            refresh_metadata(self._membership.client)
            await asyncio.sleep(RETRY_PAUSE_S)
            raise
        if self._watch.reconnected(node, self._frames.connection_of(node)):
            self._watch.suspect(positions)
            return []
        return [response.part for response in responses if await self._is_good(response)]

    async def _is_good(self, response: PartitionResponse) -> bool:
        """Handle a partition's error, or keep it for the next call; without one, note the end of the log."""
        part = response.part
        partition = (part.topic, part.partition)
        try:
            error = response.error
            if error is None and await self._recovery.is_beyond(partition, part.fetch_offset, part.high_watermark):
                error = kafka_errors.OffsetOutOfRangeError
            if error is not None:
                await self._on_error(partition, part.fetch_offset, error)
                return False
        except BrokerError as trouble:
            self._trouble = trouble
            return False
        self.ends[partition] = LogEnd(part.high_watermark, response.readable_end)
        self._watch.answered([partition])
        return True

    async def _on_error(self, partition: Partition, position: int, error: type[Any]) -> None:
        if error is kafka_errors.OffsetOutOfRangeError:
            rebalances = self.rebalances
            moved = await self._recovery.out_of_range(partition, position)
            if rebalances == self.rebalances:
                self._move(partition, position, moved)
            return
        self._watch.suspect([partition])
        refresh_metadata(self._membership.client)
        if error.retriable:
            await asyncio.sleep(RETRY_PAUSE_S)
            raise refused(partition, position, error)
        self.hold(partition, why_held(position, error), again_in_s=REFUSED_AGAIN_S)
