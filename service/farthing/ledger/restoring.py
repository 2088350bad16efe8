"""Keeps the books and the topics consistent, whatever Faust has committed, written or lost.

The books are restored from the changelogs, and then the topics that workers write are read again from where the
changelogs are known to hold everything. That place is itself kept in a table, two minutes late: later than any write
may still fail. It stays where it is after a write that did fail. Without it, or where the log is short or has begun
anew, the whole topic is read. Records are running totals, so reading one again changes nothing.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Collection, Sequence
from typing import Any, Final

import structlog

from farthing.kafka import KafkaSettings, read_tail
from farthing.kafka.offsets import Partition
from farthing.meter.records import FORMAT_VERSION

log = structlog.get_logger()

LATE_S: Final = 120.0  # or three times kafka.request_timeout_ms: longer than Faust's producer tries
NOTE_EVERY_S: Final = 10.0
Records = Collection[tuple[bytes | None, bytes | None]]  # key and value
_BEGINNING: Final = b'{"v":%d,' % FORMAT_VERSION
WHOLE_IF: Final = 20_000  # offsets: a few seconds of reading


class Restoring:
    """Knows how far the changelogs hold what the topics say, and brings the books up to date from there."""

    def __init__(self, app: Any, kafka: KafkaSettings, table: Any, places: Sequence[Partition]) -> None:
        """``places`` are the only partitions of the usage and the heartbeat topic, as Faust names them.

        ``table`` has an offset for each.
        """
        self._app = app
        self._kafka = kafka
        self._table = table
        self._places = places
        self._late_s = max(LATE_S, 3 * kafka.request_timeout_ms / 1_000)
        self._noted: deque[tuple[float, Partition, int]] = deque()
        self._next_note_s = 0.0
        self.lost = 0  # writes to a changelog that failed

    @property
    def is_ours(self) -> bool:
        """Whether this member of the group keeps the books."""
        return self._places[0] in self._app.assignor.assigned_actives()

    @property
    def member_id(self) -> str:
        """By which the group knows us; empty if it is not known."""
        consumer = getattr(getattr(self._app.consumer, "_thread", None), "_consumer", None)
        return str(getattr(getattr(consumer, "_coordinator", None), "member_id", "") or "")

    async def ask(self) -> None:
        """Ask the broker for the end of the usage topic; returns when it has answered."""
        await self._app.consumer.highwaters(self._places[0])

    async def catch_up(self, topic: str, post: Callable[[Records], int], say: Callable[[str], None]) -> int:
        """Read what a topic has and the changelogs may lack; returns how many accounts or workers it changed.

        Raises
        ------
        BrokerError
            The topic cannot be read.
        """
        changed = 0

        def take(records: Records) -> None:
            nonlocal changed
            ours = dict(record for record in records if _looks_like_ours(record[1]))  # the last of each key
            changed += post([*ours.items(), *(record for record in records if not _looks_like_ours(record[1]))])

        def progress(position: int, end: int) -> None:
            say(f"restoring the books: {topic} is read, {end - position:,} offsets are left")

        since = _offset(self._table.get(topic.encode()))
        start, end = await read_tail(self._kafka, topic, since, take, whole_if=WHOLE_IF, progress=progress)
        log.info("caught_up", topic=topic, from_offset=start, to_offset=end, changed=changed)
        return changed

    def note(self) -> None:
        """Note how far Faust has read, now and then, and keep what was noted two minutes ago."""
        now = time.monotonic()
        if now < self._next_note_s or self.lost or not self._app.started:
            return
        self._next_note_s = now + NOTE_EVERY_S
        committed = getattr(self._app.consumer, "_committed_offset", {})
        self._noted += [(now, place, offset) for place in self._places if (offset := committed.get(place)) is not None]
        kept: dict[Partition, int] = {}
        while self._noted and now - self._noted[0][0] >= self._late_s:
            _, place, offset = self._noted.popleft()
            kept[place] = offset
        for place, offset in kept.items():
            if _offset(self._table.get(place[0].encode())) != offset:
                self._table[place[0].encode()] = b"%d" % offset

    def on_lost(self, error: BaseException) -> None:
        """Note that a write to a changelog failed: at the next start it will be made up for from the topic."""
        if not self.lost:
            log.warning("changelog_write_lost", error=repr(error), note="the next start reads it from its topic again")
        self.lost += 1


def _looks_like_ours(value: bytes | None) -> bool:
    """Whether a value may stand for the earlier ones of its key: anyone may have written garbage under it."""
    return value is not None and value.startswith(_BEGINNING) and value.endswith(b"}")


def _offset(value: bytes | None) -> int | None:
    """Read a kept place; None if there is none, or something else: then the whole topic is read."""
    return int(value) if value is not None and len(value) < 20 and value.isdigit() else None
