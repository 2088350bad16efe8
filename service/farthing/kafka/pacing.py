"""Keeps campaigns' pacing multipliers from a compacted topic: the latest valid value of each key.

A record's key is a campaign's name, its value ``{"multiplier": 0.8}``, more than 0 and at most 1; a null value (a
tombstone) sets the multiplier back to 1. The whole topic is read at start and then followed. After an error it is read
again from the beginning, so that nothing is missed that a failed fetch has lost; until then the last values hold.

Only campaigns that are configured are kept, so that the topic cannot fill the memory.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Literal

import structlog
from aiokafka import AIOKafkaConsumer
from aiokafka.errors import KafkaError

from farthing.errors import BrokerError, ConfigError, StartError
from farthing.kafka.connecting import connecting
from farthing.kafka.settings import KafkaSettings
from farthing.kafka.topics import partition_counts

log = structlog.get_logger()

UNPACED = 1.0
"""The multiplier of a campaign that the topic does not name."""

MAX_VALUE_BYTES = 4096
POLL_MS = 500
RETRY_PAUSES_S = (0.5, 1.0, 2.0, 5.0)  # the last one repeats

Update = Literal["applied", "invalid", "unknown_campaign"]


def read_multiplier(value: bytes) -> float | None:
    """Read a record's value; None unless it is a JSON object with a ``multiplier`` above 0 and at most 1."""
    if len(value) > MAX_VALUE_BYTES:
        return None
    try:
        document = json.loads(value.decode("utf-8"))
    except (ValueError, RecursionError):
        return None
    multiplier = document.get("multiplier") if isinstance(document, dict) else None
    if not isinstance(multiplier, int | float) or isinstance(multiplier, bool):
        return None
    return float(multiplier) if math.isfinite(multiplier) and 0.0 < multiplier <= 1.0 else None


class PacingTable:
    """The current multipliers. One task applies records; any thread reads: the mapping is replaced, never changed."""

    def __init__(self, campaigns: Iterable[str]) -> None:
        self._campaigns = frozenset(campaigns)
        self._values: Mapping[str, float] = {}

    def multiplier(self, campaign: str) -> float:
        """Return a campaign's multiplier."""
        return self._values.get(campaign, UNPACED)

    def apply(self, key: bytes | None, value: bytes | None) -> Update:
        """Apply one record; an invalid one leaves the last value."""
        name = key.decode("utf-8", "replace") if key is not None else ""
        if name not in self._campaigns:
            return "unknown_campaign"
        if value is None:
            self._values = {other: multiplier for other, multiplier in self._values.items() if other != name}
            return "applied"
        multiplier = read_multiplier(value)
        if multiplier is None:
            return "invalid"
        self._values = {**self._values, name: multiplier}
        return "applied"


class PacingReader:
    """Reads one pacing topic into a table and follows it.

    Parameters
    ----------
    settings:
        How to reach the broker.
    topic:
        The compacted topic.
    campaigns:
        The names to keep.
    on_update:
        Called with what became of each record.
    """

    def __init__(
        self, settings: KafkaSettings, topic: str, campaigns: Iterable[str], *, on_update: Callable[[Update], None]
    ) -> None:
        self.table = PacingTable(campaigns)
        self._settings = settings
        self._topic = topic
        self._on_update = on_update
        self._consumer: Any = None
        self._following: asyncio.Task[None] | None = None
        self._limit_s = settings.request_timeout_ms / 1000

    async def start(self) -> None:
        """Read the whole topic as it is now, then start a task that follows it.

        Raises
        ------
        StartError
            The topic does not exist.
        BrokerError
            The broker cannot be reached, or does not send the topic within ``request_timeout_ms``.
        """
        try:
            with connecting(self._settings):
                await asyncio.wait_for(self._read_whole(), self._limit_s)
        except BaseException:
            await self.close(1.0)
            raise
        self._following = asyncio.create_task(self._follow())

    async def close(self, timeout_s: float) -> None:
        """Stop following and disconnect, within ``timeout_s``."""
        if self._following is not None:
            self._following.cancel()
            await asyncio.wait({self._following}, timeout=timeout_s)
            self._following = None
        await self._disconnect(timeout_s)

    async def _disconnect(self, timeout_s: float) -> None:
        consumer, self._consumer = self._consumer, None
        if consumer is not None:
            with contextlib.suppress(TimeoutError, KafkaError):
                await asyncio.wait_for(consumer.stop(), timeout_s)

    async def _read_whole(self) -> None:
        """Read every partition from its beginning to its current end."""
        if self._topic not in await partition_counts(self._settings, [self._topic]):
            # aiokafka would wait for it for ever.
            raise StartError(
                f"{self._topic}: the pacing topic does not exist; run `farthing topics create`, or fix route.pacing"
            )
        # No group: each worker needs all of it. Values come as bytes: errors inside aiokafka's fetcher are lost.
        self._consumer = AIOKafkaConsumer(
            self._topic,
            **self._settings.client_options(),
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            isolation_level=self._settings.isolation_level,
        )
        await self._consumer.start()
        partitions = self._consumer.assignment()
        await self._consumer.seek_to_beginning(*partitions)
        ends = await self._consumer.end_offsets(partitions)
        while any([await self._consumer.position(p) < end for p, end in ends.items()]):
            await self._take()

    async def _take(self) -> None:
        for records in (await self._consumer.getmany(timeout_ms=POLL_MS)).values():
            for record in records:
                update = self.table.apply(record.key, record.value)
                self._on_update(update)
                if update == "invalid":
                    log.warning(
                        "pacing_refused", topic=record.topic, partition=record.partition, offset=record.offset,
                        expected='{"multiplier": number over 0 and at most 1}', note="the last good value holds",
                    )  # fmt: skip

    async def _follow(self) -> None:
        trouble = 0
        while True:
            try:
                if self._consumer is None:
                    with connecting(self._settings):
                        await asyncio.wait_for(self._read_whole(), self._limit_s)
                    log.info("pacing_resumed", topic=self._topic)
                await self._take()
                trouble = 0
            except (KafkaError, BrokerError, ConfigError, StartError, TimeoutError, OSError) as error:
                pause = RETRY_PAUSES_S[min(trouble, len(RETRY_PAUSES_S) - 1)]
                trouble += 1
                log.warning(
                    "pacing_trouble", topic=self._topic, error=str(error) or type(error).__name__, again_in_s=pause,
                    note="the last multipliers hold",
                )  # fmt: skip
                await self._disconnect(1.0)
                await asyncio.sleep(pause)
