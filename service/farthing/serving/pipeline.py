"""The main loop: takes events from their topic to their scores, stage by stage.

::

    fetch -> decode -> parse -> featurize -> score -> decide -> render -> encode -> produce -> commit
             '------------------------- farthing.serving.route --------------------------'

At any time one block is being fetched, one scored (on its own thread, unless it is small: the kernels release the GIL)
and one produced, so each waits only for the slowest of the three. An offset is committed only after the scores and dead
letters of everything before it are acknowledged, and only while the partition is ours. After an error of the broker the
positions go back to what was acknowledged: events may be scored again, but none is skipped.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from typing import Any

import structlog

from farthing.blocks import FetchedPartition, Segment
from farthing.errors import BlockHeldError, BrokerError
from farthing.kafka import (
    BatchProducer,
    HeldError,
    KafkaSettings,
    Lag,
    OffsetTracker,
    Partition,
    RecordConsumer,
    SinkLimits,
    Ticket,
    lag_by_topic,
)
from farthing.process.probes import Health
from farthing.serving.backlog import Backlog, is_small
from farthing.serving.commits import Commits
from farthing.serving.delivery import Delivery
from farthing.serving.failpoints import failpoint
from farthing.serving.finality import finality
from farthing.serving.intake import Intake
from farthing.serving.joining import JOINING, Joining
from farthing.serving.metrics import Metrics
from farthing.serving.positions import Positions
from farthing.serving.progress import Progress
from farthing.serving.reporting import NoReports, Reports
from farthing.serving.route import Route
from farthing.serving.scoring_thread import ScoringThread
from farthing.wire import Unread

log = structlog.get_logger()

REVOKE_TIMEOUT_S = 20.0  # for what is in flight when a rebalance begins; the group waits that long for us
LEAVE_TIMEOUT_S = 2.0  # part of the drain's time that is reserved for leaving the group
HELD_AGAIN_S = 5.0  # when to try again after a model or an output topic has refused everything
CLOSE_TIMEOUT_S = 5.0  # the same after an error, and while joining
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
        linger_s: float,
        reports: Reports | None = None,
        transactional_id: str | None = None,
    ) -> None:
        """``transactional_id`` makes delivery exactly once."""
        self._routes: Mapping[str, Route] = {route.topics.source: route for route in routes}
        self._reports = NoReports() if reports is None else reports
        self._offsets = OffsetTracker()
        self._backlog = Backlog(kafka.fetch_max_bytes)
        self._positions = Positions(
            self._offsets, self._backlog, self._reports, metrics, lambda *place: self._consumer.seek(*place)
        )
        self._consumer = RecordConsumer(
            kafka, self._routes, on_revoked=self._on_revoked, on_position=self._positions.begin,
            on_moved=self._positions.move, known_logs=self._reports.known_logs,
        )  # fmt: skip
        self._reports.name_logs(self._consumer.topic_id)
        self._producer = BatchProducer(kafka, transactional_id)
        self._finality = finality(self._consumer, self._offsets, self._producer, self._reports)
        self._limits = SinkLimits(kafka, [t for r in routes for t in (r.topics.sink, r.topics.dead_letters)])
        for route in routes:
            route.limits_of = self._limits.of
        self._metrics = metrics
        self._intake = Intake(self._consumer, self._backlog, metrics, linger_s)
        metrics.show_lag(self.lag)
        topics = {source: (route.topics.sink, route.topics.dead_letters) for source, route in self._routes.items()}
        self._progress = Progress(
            kafka, topics, self._consumer, self._offsets, metrics, health, stall_timeout_s=stall_timeout_s
        )
        self._skip_corrupt = on_corrupt_batch == "skip"
        self._scoring = ScoringThread(stall_timeout_s)
        self._delivery = Delivery(
            self._producer, self._limits, self._offsets, self._reports, metrics, self._progress, self._scoring.call,
            self._consumer.written,
        )  # fmt: skip
        self._commits = Commits(
            self._consumer, self._offsets, self._finality, self._reports, metrics, self._progress, commit_interval_s
        )  # fmt: skip
        self._producing: asyncio.Task[None] | None = None
        self._joining = Joining(kafka, health)
        self.joined = False

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
        looking = asyncio.create_task(self._progress.keep_looking())
        try:
            await asyncio.wait({working, stopping, looking}, return_when=asyncio.FIRST_COMPLETED)
            if stop.is_set():
                looking.cancel()
                deadline = time.monotonic() + drain_timeout_s
                await asyncio.wait({working}, timeout=max(drain_timeout_s - LEAVE_TIMEOUT_S, 0) if self.joined else 0)
                left = max(deadline - time.monotonic(), 1.0)
                if not self.joined:
                    log.info("stopped_while_joining", note="nothing had been read; leaving the group")
                    left = CLOSE_TIMEOUT_S
                elif not working.done():
                    log.warning("drain_incomplete", error="time is up", note="uncommitted events are scored again")
            for task in (working, looking):
                if task.done() and not task.cancelled():
                    task.result()
        finally:
            tasks: set[asyncio.Task[Any]] = {working, stopping, looking, *self._commits.running}
            tasks |= set() if self._producing is None else {self._producing}
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await self._consumer.close(left)
            await self._producer.close(2.0)
            await self._limits.close()
            await self._reports.close(1.0)
            self._scoring.close()

    async def _run(self, stop: asyncio.Event) -> None:
        async with self._joining:
            await self._producer.start()
            await self._limits.read()
            await self._reports.start()
            self._joining.begin(JOINING)
            await self._consumer.start()
        self.joined = True
        self._progress.begin()
        await self._loop(stop)
        for last in (self._settle, self._commits.settle, self._commits.end_what_was_given_up, self._finish):
            try:
                await last()
            except BrokerError as error:  # other partitions may have something to commit
                log.warning("drain_incomplete", error=str(error), note="uncommitted events are scored again")

    async def _loop(self, stop: asyncio.Event) -> None:
        fetching = asyncio.create_task(self._intake.fetch())
        stopping = asyncio.create_task(stop.wait())
        try:
            while not stop.is_set():
                if not self._backlog:
                    waits = {fetching, stopping, *self._commits.running}
                    await asyncio.wait(waits, timeout=self._commits.wait_s(), return_when=asyncio.FIRST_COMPLETED)
                if stop.is_set():
                    break
                try:
                    answered = False
                    if fetching.done() and self._backlog.has_room():
                        fetched = fetching.result()
                        if fetched.epoch == self._consumer.epoch:
                            self._backlog.add(fetched.partitions)
                        answered = fetched.answered
                        fetching = asyncio.create_task(self._intake.fetch())  # while this block is scored
                    if self._offsets.has_new_starts:
                        await self._commit_when_due()
                    await self._work()
                    await self._commit_when_due()
                    if answered and not self._offsets.in_flight():
                        self._progress.calm()
                except BrokerError as error:
                    fetching.cancel()
                    await asyncio.wait({fetching})  # before positions go back: it would advance them again
                    await self._back_off(error, stopping)
                    fetching = asyncio.create_task(self._intake.fetch())
        finally:
            stopping.cancel()
            fetching.cancel()
            await asyncio.wait({fetching})

    async def _work(self) -> None:
        """Score what was fetched, one block of each route, and pass each answer on to be produced."""
        for source, route in self._routes.items():
            epoch = self._consumer.epoch
            waiting = self._backlog.next_of(source)
            if self._positions.are_after_gaps(waiting):
                await self._settle()
            parts = await self._with_place(route, [one for one in waiting if self._positions.expected(one)])
            if not parts or epoch != self._consumer.epoch:
                continue
            fetched = {one.partition: one.part for one in parts}
            try:
                answer = await self._scoring.call(route.answer, parts, small=is_small(parts))
            except BlockHeldError as error:
                for one in parts if epoch == self._consumer.epoch else ():
                    self._hold(one.partition, str(error))
                    self._positions.go_back(one.partition)
                continue
            failpoint("after_score")
            if self._producing is not None:
                await self._producing
            if epoch != self._consumer.epoch:
                return  # there was a rebalance, or another log: the events are scored again from where they go on
            tickets: dict[Partition, Ticket] = {}
            for segment in answer.segments:
                partition = (segment.topic, segment.partition)
                tickets[partition] = self._offsets.begin(partition, segment.first_offset, segment.next_offset)
            delivery = self._delivery.answer(route, fetched, answer, list(tickets.values()))
            self._producing = asyncio.create_task(delivery)
            for partition in self._backlog.settle(parts):
                self._positions.go_back(partition)
            for segment in answer.segments:
                if segment.fault is not None and epoch == self._consumer.epoch:
                    await self._on_fault(route, fetched[segment.topic, segment.partition], segment)

    async def _with_place(self, route: Route, parts: list[Unread]) -> list[Unread]:
        """Hold partitions that an output topic lacks (for example if the source was widened first); others go on."""
        lacking = await self._delivery.without_place(route, [one.partition for one in parts])
        for partition, reason in lacking.items():
            self._consumer.hold(partition, reason, again_in_s=NARROW_AGAIN_S)
            self._positions.go_back(partition)
        return [one for one in parts if one.partition not in lacking]

    async def _settle(self) -> None:
        """Wait for the block that is being produced. Whoever gives partitions up meanwhile waits for it too."""
        producing = self._producing
        if producing is not None:
            try:
                await producing
            finally:
                if self._producing is producing:
                    self._producing = None

    async def _commit_when_due(self) -> None:
        self._commits.check()
        if not self._commits.is_due():
            return
        if self._producing is not None and (self._finality.together or self._producing.done()):
            await self._settle()
        await self._commits.end_what_was_given_up()
        self._positions.pass_gaps()
        self._limits.read_when_due()
        await self._commits.commit_and_publish()

    async def _finish(self, partitions: list[Partition] | None = None) -> None:
        """Commit what is acknowledged there or anywhere, and wait a moment for the last totals to be published."""
        await self._commits.commit(partitions)
        await self._reports.publish(self._offsets.partitions() if partitions is None else partitions, everything=True)

    async def _back_off(self, error: BrokerError, stopping: asyncio.Task[bool]) -> None:
        """Go back to what is acknowledged after an error of the broker, pause, and try again."""
        if not error.passes:
            raise error
        pause = 0.0
        if isinstance(error, HeldError):
            for partition, reason in error.reasons.items():
                self._hold(partition, reason)
        else:
            pause = self._progress.trouble(error)
        if self._producing is not None:
            await asyncio.wait({self._producing})  # still ours meanwhile: whoever ends the loop now ends it too
            producing, self._producing = self._producing, None
            if not producing.cancelled() and producing.exception() not in (None, error):
                log.warning("produce_failed", error=str(producing.exception()))
        self._backlog.clear()
        for step in (self._commits.settle, self._commits.undo):
            try:
                await step()
            except BrokerError as trouble:  # nothing can be produced or committed before it succeeds
                if not trouble.passes:
                    raise
                pause = self._progress.trouble(trouble)
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
        epoch = self._consumer.epoch
        await self._settle()
        if epoch != self._consumer.epoch or self._offsets.begun(partition) != segment.next_offset:
            return  # there was a rebalance, or another log
        ticket = self._offsets.begin(partition, segment.next_offset, fault.next_offset)
        self._producing = asyncio.create_task(self._delivery.letter(route, part, fault, ticket))
        await self._settle()
        self._positions.go_back(partition)  # to after the batch

    async def _on_revoked(self, partitions: list[Partition]) -> None:
        """Finish and commit what is in flight before partitions are given up; nothing more is begun."""
        failpoint("in_revoke")
        self._backlog.clear()
        try:
            async with asyncio.timeout(REVOKE_TIMEOUT_S):
                if self._producing is not None:
                    await asyncio.wait({self._producing})
                await self._finish(partitions)
        except (BrokerError, TimeoutError) as error:
            log.warning("revoked_before_commit", error=str(error), note="the new owner scores some events again")
        finally:
            self._finality.give_up()
            self._offsets.revoke(partitions)
            self._reports.revoke(partitions)

    def lag(self) -> dict[str, Lag | None]:
        """Return the lag by route (see :mod:`farthing.kafka.lag`); None where it is unknown."""
        return lag_by_topic(self._routes, self._consumer.lag(self._offsets.next_unacknowledged))
