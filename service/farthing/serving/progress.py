"""Watches whether the worker makes progress, for the gauges and for ``/ready``.

An error that may pass never ends a worker: it stays alive, says why it is not ready, and tries again.
"""

from __future__ import annotations

import asyncio
import time

import structlog

from farthing.errors import BrokerError
from farthing.kafka import OffsetTracker, RecordConsumer
from farthing.process.probes import Health
from farthing.serving.metrics import Metrics

log = structlog.get_logger()

LOOK_EVERY_S = 0.5
RETRY_PAUSES_S = (0.2, 0.5, 1.0, 2.0, 5.0)  # after an error of the broker; the last one repeats


class Progress:
    """Remembers when a block was last acknowledged, and how often in a row the broker has failed."""

    def __init__(self, metrics: Metrics, health: Health, *, stall_timeout_s: float) -> None:
        self._metrics = metrics
        self._health = health
        self._stall_timeout_s = stall_timeout_s
        self._trouble = 0  # times in a row that the broker failed
        self._last = time.monotonic()
        self._begun = False

    def begin(self) -> None:
        """Note that the worker has joined the group: from now on it should make progress."""
        self._begun = True
        self._last = time.monotonic()
        self._health.set("running", "scoring")

    def made(self) -> None:
        """Note that a block was acknowledged."""
        self.calm()
        self._last = time.monotonic()

    def calm(self) -> None:
        """Note that the broker answers and nothing is left to do."""
        self._trouble = 0

    def trouble(self, error: BrokerError) -> float:
        """Note that the broker failed; returns the pause before the next attempt, in seconds."""
        self._metrics.broker_errors.labels(error.stage).inc()
        pause = RETRY_PAUSES_S[min(self._trouble, len(RETRY_PAUSES_S) - 1)]
        self._trouble += 1
        if self._trouble > 1:
            self._health.set("stalled", str(error))
        log.warning("broker_trouble", error=str(error), again_in_s=pause)
        return pause

    async def keep_looking(self, consumer: RecordConsumer, offsets: OffsetTracker) -> None:
        """Keep the gauges and ``/ready`` up to date, whatever the loop is waiting for."""
        learning: asyncio.Task[None] | None = None
        try:
            while True:
                if self._begun:
                    if learning is None or learning.done():
                        if learning is not None:
                            learning.result()
                        learning = asyncio.create_task(consumer.learn_ends(LOOK_EVERY_S))
                    self._look(consumer, offsets)
                await asyncio.sleep(LOOK_EVERY_S)
        finally:
            if learning is not None:
                learning.cancel()

    def _look(self, consumer: RecordConsumer, offsets: OffsetTracker) -> None:
        lags, held = consumer.lag(offsets.next_unacknowledged) or {}, consumer.held
        self._metrics.partitions.set(len(consumer.assignment))
        self._metrics.halted.set(len(held))
        self._metrics.set_rebalances(consumer.rebalances, consumer.rebalance_seconds)
        now = time.monotonic()
        waiting = sum(lag or 0 for partition, lag in lags.items() if partition not in held)
        if not offsets.in_flight() and not waiting:
            self._last = now
        if self._trouble > 1:
            return  # /ready already says so
        if held:
            (topic, number), reason = min(held.items())
            others = f" (and {len(held) - 1} more partitions)" if len(held) > 1 else ""
            self._health.set("stalled", f"{topic}[{number}] is held{others}: {reason}")
        elif now - self._last > self._stall_timeout_s:
            what = f"a lag of {waiting:,} events" if waiting else "events in flight"
            self._health.set("stalled", f"there is {what} and no progress for {self._stall_timeout_s:.0f} s")
        else:
            self._health.set("running", "scoring")
