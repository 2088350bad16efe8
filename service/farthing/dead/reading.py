"""Reads the dead letters of routes as a stream: a few MiB are in memory at a time, however many there are."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing

from farthing.blocks import FetchedPartition
from farthing.config import RouteSettings
from farthing.dead.letters import Letter, read_letters
from farthing.errors import ConfigError
from farthing.kafka import KafkaSettings, TopicReader
from farthing.wire import Arena


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


async def letters_of(kafka: KafkaSettings, route: RouteSettings) -> AsyncGenerator[Letter, None]:
    """Yield a route's letters, each partition in log order.

    A dead-letter topic that several routes share has letters of all of them: those of other sources are left out.

    Raises
    ------
    BrokerError, DecodeError
        The topic cannot be read.
    """
    arena = Arena()
    async with aclosing(parts_of(kafka, route.dead_letters)) as parts:
        async for part in parts:
            for letter in read_letters(part, arena):
                if letter.source in (None, route.source):
                    yield letter
