"""Reads the dead letters of routes as a stream: a few MiB are in memory at a time, however many there are."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import Final

from farthing.blocks import FetchedPartition
from farthing.config import RouteSettings, Settings
from farthing.dead.letters import Letter, read_letters
from farthing.errors import ConfigError
from farthing.kafka import KafkaSettings, TopicReader
from farthing.limits import block_bytes
from farthing.wire import Arena, Limits

_HEADERS_BYTES: Final = 1 << 20  # more than the headers of ours take, with a key that had to move


def chosen_routes(routes: Sequence[RouteSettings], source: str | None) -> list[RouteSettings]:
    """Choose the routes whose letters are meant: all, or the one that reads ``source``.

    Raises
    ------
    ConfigError
        No route reads it.
    """
    chosen = [route for route in routes if source in (None, route.source)]
    if not chosen:
        raise ConfigError(f"--route {source}: no route reads it; there are {', '.join(r.source for r in routes)}")
    return chosen


async def parts_of(kafka: KafkaSettings, topic: str) -> AsyncGenerator[FetchedPartition, None]:
    """Yield a topic's bytes from its first offset to its current end. Raises BrokerError."""
    reader = TopicReader(kafka, [topic])
    try:
        await reader.start()
        async for part in reader.read():
            yield part
    finally:
        await reader.close()


def worker_limits(settings: Settings, route: RouteSettings) -> Limits:
    """Return the limits within which the route's workers read events."""
    return Limits(*block_bytes(settings.worker.max_block_bytes, route.max_event_bytes, has_rows=False))


def with_headers(limits: Limits) -> Limits:
    """Return limits for records that have headers of ours besides what an event may have."""
    return Limits(limits.block_bytes, limits.record_bytes + _HEADERS_BYTES)


async def letters_of(
    kafka: KafkaSettings, route: RouteSettings, limits: Limits | None = None
) -> AsyncGenerator[Letter, None]:
    """Yield a route's letters, each partition in log order.

    A dead-letter topic that several routes share has letters of all of them: those of other sources are left out.
    ``limits`` are the workers'.

    Raises
    ------
    BrokerError, DecodeError
        The topic cannot be read.
    """
    arena = Arena()
    async with aclosing(parts_of(kafka, route.dead_letters)) as parts:
        async for part in parts:
            for letter in read_letters(part, arena, with_headers(limits or Limits())):
                if letter.source in (None, route.source):
                    yield letter
