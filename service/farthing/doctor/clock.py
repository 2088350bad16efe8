"""Compares this machine's clock with the newest records of the topics, because brokers do not say what time it is."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection
from typing import Final

from farthing.doctor.checks import Row, ok, skipped, warning

SECOND_MS: Final = 1_000
CLOSE_MS: Final = 5 * SECOND_MS
AHEAD: Final = ((3_600 * SECOND_MS, "an hour"), (60 * SECOND_MS, "a minute"), (CLOSE_MS, "5 s"))

NewerThan = Callable[[int], Awaitable[Collection[tuple[str, int]]]]


async def clock(newer_than: NewerThan, now_ms: Callable[[], int]) -> list[Row]:
    """Compare clocks. ``newer_than`` returns the partitions that have a record of a time (in ms) or a later one.

    A record from the future shows that the clock here is behind that of whoever stamped it. That it is ahead cannot be
    told from a quiet topic.
    """
    now = now_ms()
    *later, fresh = await asyncio.gather(*(newer_than(now + ms) for ms, _ in AHEAD), newer_than(now - CLOSE_MS))
    for found, (_, text) in zip(later, AHEAD, strict=True):
        if found:
            topic, number = min(found)
            return [
                warning(
                    "clock",
                    f"{topic}[{number}] has a record that is more than {text} ahead of this machine's clock",
                    "synchronize clocks (NTP) here and where that record was stamped: ages of events come from them",
                )
            ]
    if fresh:
        topic, number = min(fresh)
        return [ok("clock", f"within 5 s of the newest record of {topic}[{number}]")]
    return [skipped("clock", "cannot tell: no topic has a record of the last 5 s", "try again while events arrive")]
