"""The main loop: takes events from their topic to their scores, stage by stage.

::

    fetch -> decode -> parse -> featurize -> score -> decide -> render -> encode -> produce -> commit
             '------------------------- farthing.serving.route --------------------------'

At any time one block is being fetched, one scored (on its own thread: the kernels release the GIL) and one produced, so
each waits only for the slowest of the three. An offset is committed only after the scores and dead letters of
everything before it are acknowledged, and only while the partition is ours. After an error of the broker the positions
go back to what was acknowledged: events may be scored again, but none is skipped.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence

import structlog

from farthing.blocks import FetchedPartition, Segment
from farthing.errors import BlockHeldError, BrokerError
from farthing.kafka import (
    BatchProducer,
    Fetched,
    HeldError,
    KafkaSettings,
    OffsetTracker,
    Partition,
    RecordConsumer,
    SinkLimits,
    Ticket,
    lag_by_topic,
)
from farthing.process.probes import Health
from farthing.serving.delivery import Delivery
from farthing.serving.metrics import Metrics
from farthing.serving.progress import Progress
from farthing.serving.reporting import NoReports, Reports
from farthing.serving.route import Route
from farthing.serving.scoring_thread import ScoringThread

log = structlog.get_logger()

COMMIT_TIMEOUT_S = 5.0
REVOKE_TIMEOUT_S = 20.0  # for what is in flight when a rebalance begins; the group waits that long for us
LEAVE_TIMEOUT_S = 2.0  # part of the drain's time that is reserved for leaving the group
CLOSE_TIMEOUT_S = 5.0  # the same after an error
HELD_AGAIN_S = 5.0  # when to try again after a model or an output topic has refused everything
NARROW_AGAIN_S = 5.0  # when to check again whether a sink with too few partitions has more now


class Pipeline:
    """Runs the routes of one worker between the consumer group and the producer."""

    def __init__(
        self,
        routes: Sequence[Route],
        kafka: KafkaSettings,
        metrics: Metrics,
        health: Health,
        *,
        commit_interval_s: float,
        stall_timeout_s: float,
        on_corrupt_batch: str,
        reports: Reports | None = None,
    ) -> None:
        self._routes: Mapping[str, Route] = {route.topics.source: route for route in routes}
        self._consumer = RecordConsumer(kafka, self._routes, on_revoked=self._on_revoked, on_position=self._on_position)
        self._producer = BatchProducer(kafka)
        self._limits = SinkLimits(kafka, [t for r in routes for t in (r.topics.sink, r.topics.dead_letters)])
        for route in routes:
            route.limits_of = self._limits.of
        self._offsets = OffsetTracker()
        self._metrics = metrics
        metrics.show_lag(self.lag)
        self._progress = Progress(metrics, health, stall_timeout_s=stall_timeout_s)
        self._commit_interval_s = commit_interval_s
        self._skip_corrupt = on_corrupt_batch == "skip"
        self._reports = NoReports() if reports is None else reports
        self._scoring = ScoringThread(stall_timeout_s)
        self._delivery = Delivery(
            self._producer, self._limits, self._offsets, self._reports, metrics, self._progress, self._scoring.call,
            self._consumer.written,
        )  # fmt: skip
        self._producing: asyncio.Task[None] | None = None
        self._joined = False
        self._next_commit = 0.0

    async def run(self, stop: asyncio.Event, *, drain_timeout_s: float) -> None:
        """Join the group and work until ``stop``; then finish what is in flight, commit and leave in time.

        Raises
        ------
        BrokerError
            The broker refuses, and trying again would not help.
        ScoreError
            The model hangs: nothing of the block is committed.
        """
        left = CLOSE_TIMEOUT_S
        working = asyncio.create_task(self._run(stop))
        stopping = asyncio.create_task(stop.wait())
        looking = asyncio.create_task(self._progress.keep_looking(self._consumer, self._offsets))
        try:
            await asyncio.wait({working, stopping, looking}, return_when=asyncio.FIRST_COMPLETED)
            if stop.is_set():
                looking.cancel()
                deadline = time.monotonic() + drain_timeout_s
                await asyncio.wait({working}, timeout=max(drain_timeout_s - LEAVE_TIMEOUT_S, 0) if self._joined else 0)
                left = max(deadline - time.monotonic(), 1.0)
                if not self._joined:
                    log.info("stopped_while_joining", note="nothing had been read")
                elif not working.done():
                    log.warning("drain_incomplete", error="time is up", note="uncommitted events are scored again")
            for task in (working, looking):
                if task.done() and not task.cancelled():
                    task.result()
        finally:
            tasks = {working, stopping, looking, *([self._producing] if self._producing is not None else ())}
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await self._consumer.close(left)
            await self._producer.close(2.0)
            await self._limits.close()
            await self._reports.close(1.0)
            self._scoring.close()

    async def _run(self, stop: asyncio.Event) -> None:
        await self._producer.start()
        await self._limits.read()
        await self._reports.start()
        await self._consumer.start()
        self._joined = True
        self._progress.begin()
        await self._loop(stop)
        try:
            try:
                await self._settle()
            except HeldError as error:  # the other partitions have something to commit
                log.warning("drain_incomplete", error=str(error), note="uncommitted events are scored again")
            await self._finish(self._offsets.partitions())
        except BrokerError as error:
            log.warning("drain_incomplete", error=str(error), note="uncommitted events are scored again")

    async def _loop(self, stop: asyncio.Event) -> None:
        fetching = asyncio.create_task(self._fetch())
        stopping = asyncio.create_task(stop.wait())
        try:
            while not stop.is_set():
                await asyncio.wait({fetching, stopping}, return_when=asyncio.FIRST_COMPLETED)
                if stop.is_set():
                    break
                try:
                    fetched = fetching.result()
                    fetching = asyncio.create_task(self._fetch())  # the next block is fetched while this one is scored
                    await self._work(fetched)
                    await self._commit_when_due()
                    if fetched.answered and not self._offsets.in_flight():
                        self._progress.calm()
                except BrokerError as error:
                    fetching.cancel()
                    await asyncio.wait({fetching})  # before positions go back: it would advance them again
                    await self._back_off(error, stopping)
                    fetching = asyncio.create_task(self._fetch())
        finally:
            stopping.cancel()
            fetching.cancel()
            await asyncio.wait({fetching})

    async def _fetch(self) -> Fetched:
        began = time.perf_counter()
        fetched = await self._consumer.fetch()
        self._metrics.stage_seconds.labels("fetch").inc(time.perf_counter() - began)
        return fetched

    async def _work(self, fetched: Fetched) -> None:
        """Score what was fetched, route by route, and pass each answer on to be produced."""
        for source, route in self._routes.items():
            parts = [part for part in fetched.partitions if part.topic == source and self._expected(part)]
            parts = await self._with_place(route, parts)
            if not parts or fetched.epoch != self._consumer.epoch:
                continue
            tickets: dict[Partition, Ticket] = {}
            try:
                answer = await self._scoring.call(route.answer, parts)
            except BlockHeldError as error:
                for part in parts if fetched.epoch == self._consumer.epoch else ():
                    self._hold((part.topic, part.partition), str(error))
                    self._consumer.seek((part.topic, part.partition), part.fetch_offset)
                continue
            if fetched.epoch != self._consumer.epoch:
                return  # there was a rebalance: the new owner begins from what is committed
            for segment in answer.segments:
                partition = (segment.topic, segment.partition)
                tickets[partition] = self._offsets.begin(partition, segment.first_offset, segment.next_offset)
            if self._producing is not None:
                await self._producing
            self._producing = asyncio.create_task(self._delivery.answer(route, parts, answer, list(tickets.values())))
            for part, segment in zip(parts, answer.segments, strict=True):
                if segment.fault is not None:
                    await self._on_fault(route, part, segment)

    def _expected(self, part: FetchedPartition) -> bool:
        """Whether the bytes begin where the last block ended; if not, the position is corrected."""
        partition = (part.topic, part.partition)
        begun = self._offsets.begun(partition)
        if begun is not None and begun != part.fetch_offset:
            self._consumer.seek(partition, begun)
        return begun == part.fetch_offset

    async def _with_place(self, route: Route, parts: list[FetchedPartition]) -> list[FetchedPartition]:
        """Hold partitions that an output topic lacks (for example if the source was widened first); others go on."""
        for topic in (route.topics.sink, route.topics.dead_letters):
            needed = max((part.partition + 1 for part in parts), default=0)
            count = await self._producer.partition_count(topic, needed=needed)
            if count is None or count >= needed:
                continue
            for part in parts:
                if part.partition >= count:
                    reason = f"{topic} has {count} partitions, its source {part.topic} has more; add partitions to it"
                    self._consumer.hold((part.topic, part.partition), reason, again_in_s=NARROW_AGAIN_S)
                    self._consumer.seek((part.topic, part.partition), part.fetch_offset)
            parts = [part for part in parts if part.partition < count]
        return parts

    async def _settle(self) -> None:
        """Wait for the block that is being produced."""
        if self._producing is not None:
            producing, self._producing = self._producing, None
            await producing

    async def _commit_when_due(self) -> None:
        if time.monotonic() < self._next_commit:
            return
        self._next_commit = time.monotonic() + self._commit_interval_s
        if self._producing is not None and self._producing.done():
            await self._settle()
        self._limits.read_when_due()
        await self._commit(self._offsets.committable(), COMMIT_TIMEOUT_S)
        # A total that was not due with the last commit, because there may not be another commit.
        await self._reports.publish(self._offsets.partitions())

    async def _commit(self, offsets: dict[Partition, int], timeout_s: float, *, last: bool = False) -> None:
        if not offsets:
            return
        began = time.perf_counter()
        metadata = self._reports.metadata(offsets)  # now, because more may be acknowledged while we publish
        await self._reports.publish(offsets, everything=last)
        ours = await self._consumer.commit(offsets, timeout_s, metadata)
        self._metrics.stage_seconds.labels("commit").inc(time.perf_counter() - began)
        self._metrics.commits.labels("committed" if ours else "not_ours").inc()
        if ours:
            self._offsets.committed(offsets)

    async def _finish(self, partitions: list[Partition]) -> None:
        """Commit what is acknowledged there, and publish the totals that were not yet due when theirs was committed."""
        await self._commit(self._offsets.committable(partitions), COMMIT_TIMEOUT_S, last=True)
        await self._reports.publish(partitions, everything=True)

    async def _back_off(self, error: BrokerError, stopping: asyncio.Task[bool]) -> None:
        """Go back to what is acknowledged after an error of the broker, pause, and try again."""
        if not error.retriable:
            raise error
        pause = 0.0
        if isinstance(error, HeldError):
            for partition, reason in error.reasons.items():
                self._hold(partition, reason)
        else:
            pause = self._progress.trouble(error)
        if self._producing is not None:
            producing, self._producing = self._producing, None
            await asyncio.wait({producing})
            if not producing.cancelled() and producing.exception() not in (None, error):
                log.warning("produce_failed", error=str(producing.exception()))
        for partition in self._offsets.partitions():
            self._consumer.seek(partition, self._offsets.rewind(partition))
        await asyncio.wait({stopping}, timeout=pause)

    def _hold(self, partition: Partition, reason: str) -> None:
        """Hold a partition whose output is refused, and say so until something of it is written."""
        self._consumer.hold(partition, reason, again_in_s=HELD_AGAIN_S, until_written=True)

    async def _on_fault(self, route: Route, part: FetchedPartition, segment: Segment) -> None:
        """Handle an unreadable batch: hold its partition, or send its bytes to the dead letters and go on after it."""
        fault = segment.fault
        assert fault is not None
        partition = (segment.topic, segment.partition)
        self._metrics.corrupt.labels(segment.topic).inc()
        can_skip = fault.next_offset is not None and fault.next_offset > segment.next_offset
        if not self._skip_corrupt or not can_skip:
            remedy = "repair the log" + (", or set worker.on_corrupt_batch = 'skip'" if can_skip else "")
            self._consumer.hold(partition, f"{fault}; {remedy}")
            return
        assert fault.next_offset is not None
        log.error("corrupt_batch_skipped", error=str(fault), continues_at=fault.next_offset)
        await self._settle()
        if self._offsets.begun(partition) != segment.next_offset:
            return  # there was a rebalance
        ticket = self._offsets.begin(partition, segment.next_offset, fault.next_offset)
        await self._delivery.letter(route, part, fault)
        if self._offsets.ack(ticket):
            self._reports.add(partition, fault.next_offset)
        self._consumer.seek(partition, fault.next_offset)

    async def _on_revoked(self, partitions: list[Partition]) -> None:
        """Finish and commit what is in flight before partitions are given up."""
        try:
            async with asyncio.timeout(REVOKE_TIMEOUT_S):
                if self._producing is not None:
                    await asyncio.wait({self._producing})
                await self._finish(partitions)
        except (BrokerError, TimeoutError) as error:
            log.warning("revoked_before_commit", error=str(error), note="the new owner scores some events again")
        finally:
            self._offsets.revoke(partitions)
            self._reports.revoke(partitions)

    def _on_position(self, partition: Partition, offset: int, metadata: str) -> None:
        self._offsets.assign(partition, offset)
        self._reports.assign(partition, offset, metadata)

    def lag(self) -> dict[str, int | None]:
        """Return the lag by route (see :mod:`farthing.kafka.lag`); None where it is unknown."""
        return lag_by_topic(self._routes, self._consumer.lag(self._offsets.next_unacknowledged))
