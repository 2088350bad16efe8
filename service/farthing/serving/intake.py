"""Fetches the next bytes, and waits a moment first if the last ones were few: a block costs much however small it is.

Only what comes right after other events waits longer for that: one event now and then finds a request that is waiting
for it at the broker.
"""

from __future__ import annotations

import asyncio
import time

from farthing.kafka import Fetched, RecordConsumer
from farthing.serving.backlog import SMALL_BYTES, Backlog
from farthing.serving.failpoints import failpoint
from farthing.serving.metrics import Metrics


class Intake:
    """Fetches what the backlog has room for."""

    def __init__(self, consumer: RecordConsumer, backlog: Backlog, metrics: Metrics, linger_s: float) -> None:
        """``linger_s`` is how long to wait after a fetch that brought few bytes, in seconds."""
        self._consumer = consumer
        self._backlog = backlog
        self._metrics = metrics
        self._linger_s = linger_s
        self._brought_few = False

    async def fetch(self) -> Fetched:
        """Wait for the next bytes of any partition. Raises BrokerError."""
        if self._brought_few and self._linger_s:
            await asyncio.sleep(self._linger_s)
        self._consumer.left_out = self._backlog.left_out()
        began = time.perf_counter()
        fetched = await self._consumer.fetch()
        failpoint("after_fetch")
        self._metrics.took("fetch", time.perf_counter() - began)
        self._brought_few = 0 < sum(len(part.data) for part in fetched.partitions) <= SMALL_BYTES
        return fetched
