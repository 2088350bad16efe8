"""Checks and creates the topics that routes need, and the compacted topics of the meter."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final

from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import TopicAlreadyExistsError, TopicAuthorizationFailedError, for_code

from farthing.errors import BrokerError
from farthing.kafka.asking import Asking
from farthing.kafka.connecting import connecting, reach, refused_topics
from farthing.kafka.settings import KafkaSettings
from farthing.kafka.sink_limits import describe, limits_of

LETTER_ROOM_BYTES: Final = 1 << 16
"""What a dead letter may take more than its event: headers of ours, among them the names of topic and model."""


@dataclass(frozen=True, slots=True)
class RouteTopicNames:
    """The topics of one route."""

    source: str
    sink: str
    dead_letters: str
    pacing: str | None = None  # compacted; every worker reads all of it

    @property
    def all(self) -> tuple[str, ...]:
        """Every topic of the route."""
        return (self.source, self.sink, self.dead_letters, *(() if self.pacing is None else (self.pacing,)))


@dataclass(frozen=True, slots=True)
class Finding:
    """A problem with a topic, and what to do about it."""

    topic: str
    problem: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.topic}: {self.problem}; {self.remedy}"


@asynccontextmanager
async def _admin(settings: KafkaSettings) -> AsyncIterator[Any]:
    await reach(settings)
    admin = AIOKafkaAdminClient(**settings.client_options())
    limit = settings.request_timeout_ms / 1000
    try:
        with connecting(settings):
            await asyncio.wait_for(admin.start(), limit)
            yield admin
    finally:
        await asyncio.wait_for(admin.close(), limit)


async def partition_counts(settings: KafkaSettings, topics: Sequence[str]) -> dict[str, int]:
    """Count the partitions of topics; those that do not exist are left out, and not created.

    Raises
    ------
    BrokerError
        The broker cannot be reached, or does not let this user see a topic.
    """
    await reach(settings)
    limit = settings.request_timeout_ms / 1000
    asking = Asking(settings, limit)
    try:
        with connecting(settings):
            await asyncio.wait_for(asking.connect(), limit)
            response = await asyncio.wait_for(asking.topics(topics), limit)
    finally:
        await asking.close(limit)
    found = response["topics"]
    refused = sorted(row["name"] for row in found if for_code(row["error_code"]) is TopicAuthorizationFailedError)
    if refused:
        raise refused_topics(refused)
    return {row["name"]: len(row["partitions"]) for row in found if row["error_code"] == 0 and row["partitions"]}


def findings(routes: Sequence[RouteTopicNames], counts: dict[str, int]) -> list[Finding]:
    """List what is wrong with the routes' topics: all must exist, and sinks have as many partitions as their source."""
    problems = []
    for route in routes:
        if route.source not in counts:
            problems.append(Finding(route.source, "the source topic does not exist", "create it, or fix route.source"))
        if route.pacing is not None and route.pacing not in counts:
            problems.append(Finding(route.pacing, "the pacing topic does not exist", "run `farthing topics create`"))
        for topic in (route.sink, route.dead_letters):
            if topic not in counts:
                problems.append(Finding(topic, "does not exist", "run `farthing topics create`"))
            elif route.source in counts and counts[topic] < counts[route.source]:
                problems.append(
                    Finding(
                        topic,
                        f"has {counts[topic]} partitions, its source {route.source} has {counts[route.source]}",
                        "add partitions: a score goes to the partition number of its event",
                    )
                )
    return problems


async def delete_topics(settings: KafkaSettings, names: Sequence[str]) -> None:
    """Delete topics; those that do not exist are skipped. Raises BrokerError."""
    async with _admin(settings) as admin:
        await asyncio.wait_for(admin.delete_topics(list(names)), settings.request_timeout_ms / 1000)


async def create_topics(
    settings: KafkaSettings, routes: Sequence[RouteTopicNames], *, partitions: int | None, replication_factor: int
) -> list[str]:
    """Create missing topics: sources with ``partitions`` (if given), sinks and dead-letter topics with as many.

    A pacing topic gets one partition and is compacted. A dead-letter topic takes larger records than its source:
    letters carry more headers, and are not cut so.

    Returns the names of the topics created. Raises BrokerError.
    """
    created = []
    limit = settings.request_timeout_ms / 1000
    counts = await partition_counts(settings, [name for route in routes for name in route.all])
    async with _admin(settings) as admin:
        for route in routes:
            width = counts.get(route.source, partitions)
            if width is None:
                raise BrokerError(
                    f"{route.source}: the source topic does not exist; create it, or give --partitions", retriable=False
                )
            for name in route.all:
                if name in counts:
                    continue
                topic = NewTopic(name, width, replication_factor)
                if name == route.dead_letters:
                    configs = {"max.message.bytes": str(await _letter_bytes(settings, route.source))}
                    topic = NewTopic(name, width, replication_factor, topic_configs=configs)
                if name == route.pacing:
                    topic = NewTopic(name, 1, replication_factor, topic_configs={"cleanup.policy": "compact"})
                response = await asyncio.wait_for(admin.create_topics([topic]), limit)
                for _, code, *message in response.topic_errors:
                    if code and for_code(code) is not TopicAlreadyExistsError:
                        raise BrokerError(
                            f"{name}: cannot be created: {for_code(code).__name__} {message}", retriable=False
                        )
                counts[name] = topic.num_partitions
                created.append(name)
    return created


async def _letter_bytes(settings: KafkaSettings, source: str) -> int:
    """Return how large the dead letters of a source's events may be."""
    try:
        described = await describe(settings, [source])
    except BrokerError:
        described = {}  # the broker does not say
    return limits_of(described.get(source, {})).max_message_bytes + LETTER_ROOM_BYTES


async def ensure_compacted(settings: KafkaSettings, names: Sequence[str], *, replication_factor: int) -> list[str]:
    """Create the compacted topics, of one partition, that do not exist; returns their names. Raises BrokerError."""
    limit = settings.request_timeout_ms / 1000
    existing = await partition_counts(settings, names)
    missing = [name for name in names if name not in existing]
    if not missing:
        return []
    async with _admin(settings) as admin:
        topics = [NewTopic(n, 1, replication_factor, topic_configs={"cleanup.policy": "compact"}) for n in missing]
        response = await asyncio.wait_for(admin.create_topics(topics), limit)
        for name, code, *message in response.topic_errors:
            if code and for_code(code) is not TopicAlreadyExistsError:
                raise BrokerError(
                    f"{name}: cannot be created: {for_code(code).__name__} {message}; create it (one partition, "
                    "cleanup.policy=compact) or set meter.enabled = false",
                    retriable=False,
                )
    return missing
