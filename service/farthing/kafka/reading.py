"""Reads whole topics as raw record batches, from their beginning to their current end, for commands that recount.

It joins no group and commits nothing, so it can run beside workers and other readers at any time.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Iterable
from typing import Any, Final

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka import errors as kafka_errors

from farthing.blocks import FetchedPartition
from farthing.errors import BrokerError
from farthing.kafka.client import connect, disconnect, leader_of, make_client, refresh_metadata
from farthing.kafka.connecting import connecting
from farthing.kafka.fetching import RETRY_PAUSE_S, Fetching
from farthing.kafka.frames import Frames
from farthing.kafka.offsets import Partition
from farthing.kafka.settings import KafkaSettings
from farthing.kafka.topics import partition_counts
from farthing.wire import next_fetch_offset

CLOSE_TIMEOUT_S: Final = 2.0


class TopicReader:
    """Reads topics once. ``begins`` and ``ends`` are the first offsets and the ends of their logs at :meth:`start`."""

    def __init__(self, settings: KafkaSettings, topics: Iterable[str], *, named_in: str = "[[route]]") -> None:
        """``named_in``: where the settings name the topics."""
        self._settings = settings
        self._named_in = named_in
        self._topics = sorted(set(topics))
        self._client: Any = None
        self._limit_s = settings.request_timeout_ms / 1000
        self.begins: dict[Partition, int] = {}
        self.ends: dict[Partition, int] = {}

    async def start(self) -> None:
        """Connect, and ask where each partition begins and ends.

        Raises
        ------
        BrokerError
            The broker cannot be reached, or a topic does not exist.
        """
        counts = await partition_counts(self._settings, self._topics)
        for topic in self._topics:
            if topic not in counts:
                raise BrokerError(
                    f"{topic}: the topic does not exist; check {self._named_in} in the settings", retriable=False
                )
        partitions = [TopicPartition(topic, number) for topic, count in counts.items() for number in range(count)]
        options = self._settings.client_options()
        consumer = AIOKafkaConsumer(**options, isolation_level=self._settings.isolation_level)
        with connecting(self._settings):
            try:
                await asyncio.wait_for(consumer.start(), self._limit_s)
                begins = await asyncio.wait_for(consumer.beginning_offsets(partitions), self._limit_s)
                ends = await asyncio.wait_for(consumer.end_offsets(partitions), self._limit_s)
            finally:
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(consumer.stop(), self._limit_s)
            self.begins = {(tp.topic, tp.partition): int(offset) for tp, offset in begins.items()}
            self.ends = {(tp.topic, tp.partition): int(offset) for tp, offset in ends.items()}
            self._client = make_client(self._settings)
            await asyncio.wait_for(connect(self._client, self._topics), self._limit_s)

    async def close(self) -> None:
        """Disconnect."""
        if self._client is not None:
            await disconnect(self._client, CLOSE_TIMEOUT_S)

    async def read(self) -> AsyncIterator[FetchedPartition]:
        """Yield every partition's bytes, a few MiB at a time; use each before asking for the next.

        Raises
        ------
        BrokerError
            The broker refuses, or sent nothing new for ``request_timeout_ms``.
        """
        fetching = Fetching(Frames(self._client), self._settings)
        left = {partition: begin for partition, begin in self.begins.items() if begin < self.ends[partition]}
        since, trouble = time.monotonic(), "it sends nothing"
        while left:
            moved = False
            by_node = self._by_leader(left)
            for node, asked in by_node.items():
                try:
                    for response in await fetching.ask(node, asked):
                        part = response.part
                        partition = (part.topic, part.partition)
                        if response.error is not None:
                            raise self._refusal(*partition, part.fetch_offset, response.error)
                        following = next_fetch_offset(part.data, part.fetch_offset)
                        if following == part.fetch_offset:
                            continue
                        moved = True
                        yield part
                        left[partition] = following
                        if following >= self.ends[partition]:
                            del left[partition]
                except BrokerError as error:
                    if not error.retriable:
                        raise
                    trouble = str(error)
            now = time.monotonic()
            if moved:
                since = now
            elif now - since > self._limit_s:
                (topic, number), position = next(iter(left.items()))
                raise BrokerError(
                    f"reading {topic}[{number}] from offset {position} on: the broker sent nothing new for "
                    f"{self._limit_s:.0f} s ({trouble})",
                    retriable=True,
                )
            else:
                refresh_metadata(self._client)
                await asyncio.sleep(RETRY_PAUSE_S)

    def _by_leader(self, left: dict[Partition, int]) -> dict[int, dict[Partition, int]]:
        by_node: dict[int, dict[Partition, int]] = defaultdict(dict)
        for partition, position in left.items():
            leader = leader_of(self._client, partition)
            if leader is not None:
                by_node[leader][partition] = position
        return by_node

    def _refusal(self, topic: str, number: int, position: int, error: type[Any]) -> BrokerError:
        place = f"{topic}[{number}] from offset {position} on"
        if error is kafka_errors.OffsetOutOfRangeError:
            return BrokerError(f"reading {place}: retention has deleted it meanwhile; try again", retriable=False)
        retriable = bool(error.retriable)
        remedy = "" if retriable else "; check that this client may read the topic"
        return BrokerError(f"reading {place}: the broker answers {error.__name__}{remedy}", retriable=retriable)
