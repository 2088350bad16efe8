"""Reports to the ledger: publishes the running totals of our partitions, and a heartbeat once a second.

Neither ever holds scoring up. Totals are published in the background and are committed with their offsets whether they
are published or not: what a broker does not take follows when it does, or from the partition's next owner. Each kind
has a producer of its own, so that a topic without a leader does not silence the other.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import replace
from typing import Final

import structlog

from farthing.errors import BrokerError, ConfigError
from farthing.kafka import BatchProducer, Incarnation, KafkaSettings, Partition
from farthing.meter.records import Heartbeat
from farthing.serving.accounting import PUBLISH_EVERY_S, Accounting
from farthing.serving.known_logs import known_logs
from farthing.serving.metrics import Metrics
from farthing.serving.publishing import MakeTopics, Publisher

log = structlog.get_logger()

LAST_S: Final = 5.0
"""How long giving partitions up, or stopping, waits for the last totals."""

LAST_IN_TROUBLE_S: Final = 1.0
"""The same while the last attempt had failed: the topic may take them by now, and the next attempt is seconds away."""

WORTH_SAYING_S: Final = 5.0  # in /ready: a leader that moves takes less


class Reporter:
    """Publishes usage and heartbeats.

    It is the pipeline's :class:`farthing.serving.reporting.Reports`; calls about partitions and blocks go straight to
    the accounting.
    """

    def __init__(
        self,
        kafka: KafkaSettings,
        accounting: Accounting,
        heartbeat: Callable[[], Heartbeat],
        *,
        usage_topic: str,
        heartbeat_topic: str,
        stopping: Callable[[], bool],
        make_topics: MakeTopics | None = None,
        metrics: Metrics | None = None,
    ) -> None:
        """Make a reporter.

        A last heartbeat says that the worker stops only if ``stopping()`` is true at the end. ``make_topics`` creates
        missing topics.
        """
        self._accounting = accounting
        self.assign, self.move, self.add = accounting.assign, accounting.move, accounting.add
        self.metadata, self.revoke = accounting.metadata, accounting.revoke
        self.name_logs = accounting.name_logs
        self._kafka = kafka
        self._usage_topic = usage_topic
        self._heartbeat = heartbeat
        self._stopping = stopping

        def publisher(topic: str, kind: str) -> Publisher:
            errors = None if metrics is None else metrics.report_errors.labels(kind)
            return Publisher(
                BatchProducer(kafka),
                topic,
                make_topics=make_topics,
                on_error=(lambda: None) if errors is None else errors.inc,
            )

        self._beats = publisher(heartbeat_topic, "heartbeat")
        self._usage = publisher(usage_topic, "usage")
        self._wanted = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []
        if metrics is not None:
            metrics.usage_unpublished.set_function(lambda: self._usage.trouble_s)

    async def start(self) -> None:
        """Start publishing. Whether a broker takes it shows later, in :meth:`trouble`."""
        self._tasks = [asyncio.create_task(_forever(step)) for step in (self._beat, self._publish)]

    @property
    def trouble(self) -> str | None:
        """What cannot be published for some time, and why, for ``/ready``; None if there is nothing to say."""
        said = []
        for what, publisher in (("usage", self._usage), ("heartbeats", self._beats)):
            if publisher.trouble is not None and publisher.trouble_s > WORTH_SAYING_S:
                said.append(f"{what} not published for {publisher.trouble_s:.0f} s ({publisher.trouble})")
        if said and self._usage.trouble is not None:
            said.append("totals are committed with the offsets and will be published")
        return "; ".join(said) or None

    async def publish(self, partitions: Iterable[Partition], *, everything: bool = False) -> None:
        """Have the totals that are due published; with ``everything``, wait a moment for those of these partitions."""
        self._wanted.set()
        if not everything:
            return
        records = self._accounting.due(partitions, everything=True)
        if records:
            sending = asyncio.create_task(self._usage.send(records))
            try:
                await asyncio.wait({sending}, timeout=LAST_S if self._usage.trouble is None else LAST_IN_TROUBLE_S)
            finally:
                if not sending.done():
                    sending.cancel()
                    log.warning("last_usage_not_published", note="the partitions' next owner publishes it")
            if sending.done() and not sending.cancelled():
                self._accounting.published(sending.result())

    async def known_logs(self, partitions: list[Partition]) -> Mapping[Partition, Incarnation]:
        """Look up in the usage topic which logs the books know; see :func:`farthing.serving.known_logs.known_logs`."""
        return await known_logs(self._kafka, self._usage_topic, partitions)

    async def close(self, timeout_s: float) -> None:
        """Send a last heartbeat if the worker was asked to stop, and disconnect; all within ``timeout_s``."""
        deadline = time.monotonic() + timeout_s
        if self._tasks:
            for task in self._tasks:
                task.cancel()
            await asyncio.wait(self._tasks, timeout=timeout_s / 4)
            if self._stopping():  # a worker that failed goes silent, so that the ledger reports it as missing
                await self._say_stopped(timeout_s / 2)
        closing = (publisher.close(max(deadline - time.monotonic(), 0)) for publisher in (self._beats, self._usage))
        await asyncio.gather(*closing)

    async def _say_stopped(self, timeout_s: float) -> None:
        beat = self._heartbeat()
        # Later than one of the same millisecond: of two with the same time the ledger keeps the first.
        last = replace(beat, state="stopped", at_ms=beat.at_ms + 1)
        try:
            await asyncio.wait_for(self._beats.attempt([last]), timeout_s)
        except (BrokerError, ConfigError, TimeoutError) as error:
            reason = str(error) or f"no broker acknowledged it within {timeout_s:.1f} s"
            log.warning("heartbeat_not_sent", error=reason, note="the ledger will miss this worker for an hour")

    async def _beat(self) -> None:
        await self._beats.send([self._heartbeat()])
        await asyncio.sleep(max(PUBLISH_EVERY_S, self._beats.pause_s))

    async def _publish(self) -> None:
        await self._wanted.wait()
        self._wanted.clear()
        records = self._accounting.due(self._accounting.partitions())
        if not records:
            return
        was_in_trouble = self._usage.trouble is not None
        self._accounting.published(await self._usage.send(records))
        if was_in_trouble and self._usage.trouble is None:
            self._accounting.publish_all_again()
        await asyncio.sleep(self._usage.pause_s)


async def _forever(step: Callable[[], Awaitable[None]]) -> None:
    """Repeat a step for as long as the worker runs: a bug in the meter is no reason to stop reporting."""
    while True:
        try:
            await step()
        except Exception as error:
            log.error("report_failed", error=repr(error), note=f"tried again in {WORTH_SAYING_S:.0f} s")
            await asyncio.sleep(WORTH_SAYING_S)
