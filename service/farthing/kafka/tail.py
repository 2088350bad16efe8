"""Reads the newest part of a compacted topic of one partition, without a group: from an offset to its present end."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Sequence
from typing import Final

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError

from farthing.errors import BrokerError
from farthing.kafka.connecting import connecting
from farthing.kafka.settings import KafkaSettings

MOST_RECORDS: Final = 5_000
"""Records that are handed on together."""

POLL_MS: Final = 500

Keyed = tuple[bytes | None, bytes | None]


async def read_tail(
    settings: KafkaSettings,
    topic: str,
    since: int | None,
    take: Callable[[Sequence[Keyed]], None],
    *,
    whole_if: int,
    progress: Callable[[int, int], None] = lambda _position, _end: None,
) -> tuple[int, int]:
    """Read the topic's partition 0 from ``since`` to its present end.

    Parameters
    ----------
    settings:
        How to reach the broker.
    topic:
        Its name. Of a topic that does not exist nothing is read.
    since:
        The offset to begin at. The whole topic is read if it is None or not in the log (a topic that was created anew
        begins at 0 again), or if the log is short.
    take:
        Called with (key, value) of consecutive records, oldest first.
    whole_if:
        The whole topic is read if its log spans no more offsets than this.
    progress:
        Called with the position and the end now and then.

    Returns
    -------
    The offset that reading began at, and the end that it reached.

    Raises
    ------
    BrokerError
        The broker cannot be reached, refuses, or sent nothing for ``request_timeout_ms``.
    """
    limit_s = settings.request_timeout_ms / 1000
    consumer = AIOKafkaConsumer(**settings.client_options(), enable_auto_commit=False, auto_offset_reset="earliest")
    place = TopicPartition(topic, 0)
    with connecting(settings):
        try:
            await asyncio.wait_for(consumer.start(), limit_s)
            consumer.assign([place])
            begin = (await asyncio.wait_for(consumer.beginning_offsets([place]), limit_s))[place]
            end = (await asyncio.wait_for(consumer.end_offsets([place]), limit_s))[place]
            whole = since is None or not begin <= since <= end or end - begin <= whole_if
            start = position = begin if whole or since is None else since
            consumer.seek(place, start)
            moved_s = time.monotonic()
            while position < end:
                progress(position, end)
                found = await consumer.getmany(place, timeout_ms=POLL_MS, max_records=MOST_RECORDS)
                take([(record.key, record.value) for record in found.get(place, ())])
                before, position = position, await asyncio.wait_for(consumer.position(place), limit_s)
                if position != before:
                    moved_s = time.monotonic()
                elif time.monotonic() - moved_s > limit_s:
                    raise BrokerError(
                        f"reading {topic}[0] from offset {position} on: the broker sent nothing for {limit_s:.0f} s",
                        retriable=True,
                    )
            return start, end
        finally:
            with contextlib.suppress(TimeoutError, KafkaError):
                await asyncio.wait_for(consumer.stop(), limit_s)
