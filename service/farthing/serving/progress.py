"""Watches whether the worker makes progress, for the gauges and for ``/ready``.

An error that may pass never ends a worker: it stays alive, says why it is not ready, and tries again. What makes it
unready is decided in :mod:`farthing.serving.readiness`.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence

import structlog

from farthing.errors import BrokerError
from farthing.kafka import BrokerWatch, KafkaSettings, OffsetTracker, Partition, RecordConsumer
from farthing.process.probes import Health
from farthing.serving.metrics import Metrics
from farthing.serving.readiness import LeaderView, PartitionView, Readiness, Sample

log = structlog.get_logger()

LOOK_EVERY_S = 0.5
RETRY_PAUSES_S = (0.2, 0.5, 1.0, 2.0, 5.0)  # after an error of the broker; the last one repeats


class Progress:
    """Looks at the worker twice a second, and counts how often in a row the broker has failed."""

    def __init__(
        self,
        kafka: KafkaSettings,
        topics: Mapping[str, Sequence[str]],
        consumer: RecordConsumer,
        offsets: OffsetTracker,
        metrics: Metrics,
        health: Health,
        *,
        stall_timeout_s: float,
    ) -> None:
        """``topics`` maps each source topic to those that its scores and dead letters go to."""
        self._group = kafka.group_id
        self._consumer = consumer
        self._offsets = offsets
        self._metrics = metrics
        self._health = health
        self._readiness = Readiness(stall_timeout_s)
        self._watch = BrokerWatch(
            kafka, topics, consumer.ends, assignment=lambda: consumer.assignment, on_change=consumer.refresh
        )
        self._commits = 0
        self._undone = False  # since the last commit: what was acknowledged then is to be scored again
        self._trouble = 0  # times in a row that the broker failed
        self._error: str | None = None  # of the last time, from the second on
        self._joined = asyncio.Event()

    def begin(self) -> None:
        """Note that the worker has joined the group: from now on it should make progress."""
        self._joined.set()
        self._health.set("running", "scoring")

    def made(self) -> None:
        """Note that a block was acknowledged."""
        self.calm()

    def committed(self) -> None:
        """Note that a commit was acknowledged."""
        self._commits += 1
        self._undone = False
        self.calm()

    def undone(self) -> None:
        """Note that what was acknowledged and not committed is void: the next acknowledgement is no progress yet."""
        self._undone = True

    def calm(self) -> None:
        """Note that the broker answers: something was acknowledged, or nothing is left to do."""
        if self._undone and not self._is_all_committed():
            return
        self._undone = False
        self._trouble, self._error = 0, None

    def _is_all_committed(self) -> bool:
        lags = self._consumer.lag(self._offsets.next_unacknowledged)
        if lags is None or self._offsets.committable():
            return False
        return all(lag is not None and not lag.readable for lag in lags.values())

    def trouble(self, error: BrokerError) -> float:
        """Note that the broker failed; returns the pause before the next attempt, in seconds."""
        self._metrics.broker_errors.labels(error.stage).inc()
        pause = RETRY_PAUSES_S[min(self._trouble, len(RETRY_PAUSES_S) - 1)]
        self._trouble += 1
        if self._trouble > 1:
            self._error = str(error)
        log.warning("broker_trouble", error=str(error), again_in_s=pause)
        return pause

    async def keep_looking(self) -> None:
        """Keep the gauges and ``/ready`` up to date, whatever the loop is waiting for."""
        await self._joined.wait()
        watching = asyncio.create_task(self._watch.run())
        try:
            while not watching.done():
                self._look()
                await asyncio.sleep(LOOK_EVERY_S)
            watching.result()
        finally:
            watching.cancel()
            await asyncio.wait({watching})

    def _look(self) -> None:
        consumer = self._consumer
        self._metrics.partitions.set(len(consumer.assignment))
        self._metrics.halted.set(len(consumer.held))
        self._metrics.set_rebalances(consumer.rebalances, consumer.rebalance_seconds)
        self._health.set(*self._readiness.look(self._sample(), time.monotonic()))

    def _sample(self) -> Sample:
        consumer, offsets, watch = self._consumer, self._offsets, self._watch
        lags, held = consumer.lag(offsets.next_unacknowledged), consumer.held
        partitions = None
        if lags is not None:
            partitions = {}
            for partition, lag in lags.items():
                end = consumer.ends.get(partition)
                partitions[partition] = PartitionView(
                    leader=self._leader(partition),
                    lag=lag,
                    next_unacknowledged=offsets.next_unacknowledged(partition),
                    readable_end=None if end is None else end.readable,
                    held=held.get(partition),
                )
        return Sample(
            epoch=consumer.epoch,
            partitions=partitions,
            written={partition: self._leader(partition) for partition in watch.written},
            missing=watch.missing,
            group=self._group,
            coordinator=watch.coordinator,
            coordinator_answers=watch.coordinator_answers,
            coordinator_problem=watch.coordinator_problem,
            commits=self._commits,
            uncommitted=self._undone or bool(offsets.committable()),
            trouble=self._error,
        )

    def _leader(self, partition: Partition) -> LeaderView:
        name, problem = self._watch.leader(partition)
        return LeaderView(self._watch.answers(partition), name, problem)
