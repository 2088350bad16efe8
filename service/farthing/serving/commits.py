"""Commits the offsets of what is acknowledged, with the running totals as metadata, and has the totals published.

At least once, this goes on in the background while events are scored: a coordinator or a ledger's topic that is slow
holds nothing up. A transaction ends between two blocks.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from typing import Final

import structlog

from farthing.errors import BrokerError
from farthing.kafka import REFUSED_AGAIN_S, HeldError, OffsetTracker, Partition, RecordConsumer
from farthing.serving.failpoints import failpoint
from farthing.serving.finality import Finality
from farthing.serving.metrics import Metrics
from farthing.serving.progress import Progress
from farthing.serving.reporting import Reports

log = structlog.get_logger()

COMMIT_TIMEOUT_S: Final = 5.0
_METADATA_TOO_LONG: Final = "OffsetMetadataTooLarge"


class Commits:
    """Commits, one at a time: each is retried by itself, and an older one must not come after a newer one."""

    def __init__(
        self,
        consumer: RecordConsumer,
        offsets: OffsetTracker,
        finality: Finality,
        reports: Reports,
        metrics: Metrics,
        progress: Progress,
        interval_s: float = 0.0,
    ) -> None:
        """``interval_s`` is the time from one commit to the next, in seconds."""
        self._consumer = consumer
        self._offsets = offsets
        self._finality = finality
        self._reports = reports
        self._metrics = metrics
        self._progress = progress
        self._turn = asyncio.Lock()
        self._interval_s = interval_s
        self._next = 0.0  # monotonic seconds
        self._running: asyncio.Task[None] | None = None

    def is_due(self) -> bool:
        """Whether it is time for a commit; if so, the next one is due an interval later.

        Where a partition begins that was never committed is committed at once, before anything there is scored.
        """
        now = time.monotonic()
        if now < self._next and not self._offsets.has_new_starts:
            return False
        self._next = now + self._interval_s
        return True

    def wait_s(self) -> float | None:
        """Return how long to wait for something else until a commit is due; None while there is nothing to commit."""
        if not (self._offsets.in_flight() or self._offsets.committable() or self._finality.is_open):
            return None
        return max(self._next - time.monotonic(), 0.0)

    @property
    def running(self) -> set[asyncio.Task[None]]:
        """What goes on in the background: one task or none."""
        return set() if self._running is None else {self._running}

    async def commit_and_publish(self) -> None:
        """Commit what is acknowledged and publish totals; in the background where that is safe. Raises BrokerError."""
        if self._finality.together or self._offsets.has_new_starts:
            await self.settle()
            await self._commit_and_publish()
        elif self._running is None:  # otherwise the last time takes longer than the interval
            self._running = asyncio.create_task(self._commit_and_publish())

    async def _commit_and_publish(self) -> None:
        await self.commit()
        await self._reports.publish(self._offsets.partitions())

    def check(self) -> None:
        """Raise what went wrong in the background, once. Raises BrokerError."""
        if self._running is not None and self._running.done():
            running, self._running = self._running, None
            running.result()

    async def settle(self) -> None:
        """Wait for what goes on in the background. Raises BrokerError."""
        if self._running is not None:
            await asyncio.wait({self._running})
            self.check()

    async def undo(self) -> None:
        """Go back to where the events must be scored again, after an error. Raises BrokerError."""
        if self._finality.together:
            self._progress.undone()
        await self._finality.undo()

    async def end_what_was_given_up(self) -> None:
        """Abort a transaction that a rebalance has spoiled: nothing may be sent any more that would. Raises as undo."""
        if self._finality.is_spoiled:
            await self.undo()

    async def commit(self, partitions: list[Partition] | None = None) -> None:
        """Commit what is acknowledged, of some partitions or of all. Raises BrokerError."""
        offsets = self._offsets.committable(partitions)
        if not offsets and not self._finality.is_open:
            return
        metadata = self._reports.metadata(offsets)  # now, because more may be acknowledged meanwhile
        epoch = self._consumer.epoch
        async with self._turn:
            if epoch == self._consumer.epoch:  # otherwise it was undone meanwhile, or a rebalance commits it
                await self._commit(offsets, metadata)

    async def _commit(self, offsets: dict[Partition, int], metadata: Mapping[Partition, str]) -> None:
        began, epoch = time.perf_counter(), self._consumer.epoch
        failpoint("before_commit")
        while True:
            try:
                ours = await self._finality.commit(offsets, metadata, COMMIT_TIMEOUT_S)
                break
            except HeldError as error:
                if self._finality.together:
                    raise
                for partition, reason in error.reasons.items():
                    self._consumer.hold(partition, reason, again_in_s=REFUSED_AGAIN_S)
                    del offsets[partition]  # all others are committed
                ours = True
                break
            except BrokerError as error:
                if _METADATA_TOO_LONG not in str(error) or not (metadata or self._consumer.marks_offsets):
                    raise
                if not metadata:
                    self._consumer.marks_offsets = False
                    log.warning(
                        "commit_metadata_too_long",
                        note="raise offset.metadata.max.bytes to 4096 on the brokers: after a restart a source topic "
                        "that was created again may not be noticed",
                    )
                offsets = self._offsets.committable(list(offsets))  # as they are when the total is written again
                metadata = self._reports.metadata(offsets, refused=bool(metadata))
                if self._finality.together:
                    raise  # the transaction is broken; the next one has shorter metadata
        failpoint("after_commit")
        self._metrics.took("commit", time.perf_counter() - began)
        self._metrics.commits.labels("committed" if ours else "not_ours").inc()
        if ours:
            if epoch == self._consumer.epoch:  # otherwise a partition's log may be another one now
                self._offsets.committed(offsets)
            self._progress.committed()
        elif self._finality.together:
            self._progress.undone()
