"""Publishes records of one kind to their compacted topic, and never stops anything else by that.

A topic that is missing is made. While it cannot be written to (no right, no leader, a full disk, a limit that is too
low) the attempts become rarer, the reason is kept for ``/ready`` and is logged once in a while.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, Protocol, TypeVar

import numpy as np
import structlog

from farthing.blocks import Bytes, Int64s, OutputBatch
from farthing.errors import BrokerError
from farthing.kafka import BatchProducer
from farthing.meter.records import Heartbeat, UsageRecord
from farthing.wire import encode_records

log = structlog.get_logger()

RETRY_PAUSES_S: Final = (1.0, 2.0, 5.0, 10.0, 30.0)  # after a failed attempt; the last one repeats
SAY_AGAIN_S: Final = 60.0
MOST_BATCH_BYTES: Final = 256 << 10
"""Bytes of values in a batch: well below the limit that a topic has by default, so that many partitions fit."""

NO_TIMESTAMP_MS: Final = -1
"""Kafka's NO_TIMESTAMP. A broker refuses a timestamp too far from its own clock; the times that count are inside."""

MakeTopics = Callable[[Sequence[str]], Awaitable[list[str]]]


class Record(Protocol):
    """What is published."""

    @property
    def key(self) -> bytes:
        """The record's Kafka key."""

    def encode(self) -> bytes:
        """Return the record's Kafka value."""


R = TypeVar("R", UsageRecord, Heartbeat)


class Publisher:
    """Sends to one topic, one call at a time."""

    def __init__(
        self,
        producer: BatchProducer,
        topic: str,
        *,
        make_topics: MakeTopics | None,
        on_error: Callable[[], None] = lambda: None,
    ) -> None:
        """``make_topics`` creates the topic if it is missing; ``on_error`` is called for each failed attempt."""
        self._producer = producer
        self._topic = topic
        self._make_topics = make_topics
        self._on_error = on_error
        self._sending = asyncio.Lock()
        self._started = self._found = False
        self._failures = 0
        self._since_s = self._said_s = -math.inf
        self.trouble: str | None = None
        """Why the last attempt failed; None if it did not."""

    @property
    def trouble_s(self) -> float:
        """Seconds since attempts fail; 0 if the last one did not."""
        return 0.0 if self.trouble is None else time.monotonic() - self._since_s

    @property
    def pause_s(self) -> float:
        """Seconds to wait before the next attempt."""
        return 0.0 if not self._failures else RETRY_PAUSES_S[min(self._failures, len(RETRY_PAUSES_S)) - 1]

    async def send(self, records: Sequence[R]) -> list[R]:
        """Send records if the topic takes them; returns those that are acknowledged. Raises nothing."""
        acknowledged: list[R] = []
        try:
            await self.attempt(records, acknowledged)
        except Exception as error:
            self._fail(error)
        else:
            if self.trouble is not None:
                log.info("published_again", topic=self._topic, after_s=round(self.trouble_s, 1))
            self._failures, self.trouble = 0, None
        return acknowledged

    async def attempt(self, records: Sequence[R], acknowledged: list[R] | None = None) -> None:
        """Send records, and add to ``acknowledged`` those that are. Raises BrokerError."""
        acknowledged = [] if acknowledged is None else acknowledged
        async with self._sending:
            if not self._started:
                await self._producer.start()
                self._started = True
            if not self._found and self._make_topics is not None:
                made = await self._make_topics([self._topic])
                if made:
                    log.info("topics_created", topics=made)
            self._found = True
            for some in _batches(records):
                await self._send(some, acknowledged)

    async def _send(self, records: Sequence[R], acknowledged: list[R]) -> None:
        """Send one batch; if the broker refuses it, halve it, unless it refuses even the smallest record."""
        try:
            await self._producer.send([batch_of(self._topic, records)])
        except BrokerError as error:
            if error.retriable or len(records) == 1:
                raise
            by_size = sorted(records, key=lambda record: len(record.encode()))
            await self._send(by_size[:1], acknowledged)
            half = 1 + len(by_size) // 2
            refusal: BrokerError | None = None
            for some in (by_size[1:half], by_size[half:]):
                try:
                    if some:
                        await self._send(some, acknowledged)
                except BrokerError as error_of_some:
                    if error_of_some.retriable:
                        raise
                    refusal = error_of_some
            if refusal is not None:
                raise refusal from None
        else:
            acknowledged += records

    def _fail(self, error: Exception) -> None:
        now = time.monotonic()
        if self.trouble is None:
            self._since_s = now
        self.trouble = str(error) or repr(error)
        self._failures += 1
        self._found = False  # it may be gone: look, and make it again
        self._on_error()
        if now - self._said_s >= SAY_AGAIN_S:
            self._said_s = now
            log.warning("not_published", topic=self._topic, error=self.trouble, again_in_s=self.pause_s)

    async def close(self, timeout_s: float) -> None:
        """Disconnect, within ``timeout_s``."""
        await self._producer.close(timeout_s)


def batch_of(topic: str, records: Sequence[Record]) -> OutputBatch:
    """Encode records as one batch for the only partition of their topic."""
    keys, values = ([record.key for record in records], [record.encode() for record in records])
    times_ms = np.full(len(records), NO_TIMESTAMP_MS)
    return encode_records(topic, 0, *_column(values), times_ms, keys=_column(keys))


def _batches(records: Sequence[R]) -> list[list[R]]:
    """Share records out to batches, in order."""
    batches: list[list[R]] = []
    left = 0
    for record in records:
        size = len(record.encode())
        if not batches or size > left:
            batches.append([])
            left = MOST_BATCH_BYTES
        batches[-1].append(record)
        left -= size
    return batches


def _column(values: Sequence[bytes]) -> tuple[Bytes, Int64s]:
    return np.frombuffer(bytearray(b"".join(values)), np.uint8), np.cumsum([0, *map(len, values)], dtype=np.int64)
