"""Commits the offsets of what is acknowledged, with the running totals as metadata."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from typing import Final

from farthing.errors import BrokerError
from farthing.kafka import OffsetTracker, Partition, RecordConsumer
from farthing.serving.failpoints import failpoint
from farthing.serving.metrics import Metrics
from farthing.serving.progress import Progress
from farthing.serving.reporting import Reports

COMMIT_TIMEOUT_S: Final = 5.0
_METADATA_TOO_LONG: Final = "OffsetMetadataTooLarge"


class Commits:
    """Commits, one at a time: each is retried by itself, and an older one must not come after a newer one."""

    def __init__(
        self, consumer: RecordConsumer, offsets: OffsetTracker, reports: Reports, metrics: Metrics, progress: Progress
    ) -> None:
        self._consumer = consumer
        self._offsets = offsets
        self._reports = reports
        self._metrics = metrics
        self._progress = progress
        self._turn = asyncio.Lock()

    async def commit(self, partitions: list[Partition] | None = None) -> None:
        """Commit what is acknowledged, of some partitions or of all. Raises BrokerError."""
        offsets = self._offsets.committable(partitions)
        if not offsets:
            return
        metadata = self._reports.metadata(offsets)  # now, because more may be acknowledged meanwhile
        async with self._turn:
            await self._commit(offsets, metadata)

    async def _commit(self, offsets: dict[Partition, int], metadata: Mapping[Partition, str]) -> None:
        began = time.perf_counter()
        failpoint("before_commit")
        while True:
            try:
                ours = await self._consumer.commit(offsets, COMMIT_TIMEOUT_S, metadata)
                break
            except BrokerError as error:
                if _METADATA_TOO_LONG not in str(error) or not metadata:
                    raise
                offsets = self._offsets.committable(list(offsets))  # as they are when the total is written again
                metadata = self._reports.metadata(offsets, refused=True)
        failpoint("after_commit")
        self._metrics.stage_seconds.labels("commit").inc(time.perf_counter() - began)
        self._metrics.commits.labels("committed" if ours else "not_ours").inc()
        if ours:
            self._offsets.committed(offsets)
            self._progress.committed()
