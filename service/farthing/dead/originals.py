"""Fetches events from their source again, where their dead letters had no room for all of them."""

from __future__ import annotations

import hashlib

from farthing.dead.batches import Again
from farthing.dead.letters import Letter, record_headers
from farthing.kafka import KafkaSettings, TopicReader
from farthing.wire import Arena, Limits, decode_whole


class Gone(Exception):
    """The event cannot be had again; the message says why."""


class Originals:
    """Reads single events of one source. Connects when the first one is asked for."""

    def __init__(self, kafka: KafkaSettings, topic: str, limits: Limits | None = None) -> None:
        """``limits``: those of the workers, which could not score a longer record either."""
        self._kafka, self._topic, self._limits = kafka, topic, limits or Limits()
        self._reader: TopicReader | None = None
        self._begins: dict[tuple[str, int], int] = {}
        self._ends: dict[tuple[str, int], int] = {}
        self._arena = Arena()

    async def fetch(self, letter: Letter) -> Again:
        """Return a letter's whole event.

        Raises
        ------
        Gone
            The source does not have it any more, or has another event in its place; or it is too long.
        BrokerError
            The broker refuses.
        """
        offset = letter.offset
        assert offset is not None
        place = f"{self._topic}[{letter.partition}] {offset}"
        if self._reader is None:
            self._reader = TopicReader(self._kafka, [self._topic])
            await self._reader.start()
            self._begins, self._ends = dict(self._reader.begins), dict(self._reader.ends)
        partition = (self._topic, letter.partition)
        if not self._begins.get(partition, 0) <= offset < self._ends.get(partition, 0):
            raise Gone(f"the letter is cut, and {place} is not in the source any more")
        self._reader.begins = {partition: offset}
        self._reader.ends = {partition: offset + 1}
        async for part in self._reader.read():
            records = next((block for block in decode_whole(part, self._arena, self._limits) if len(block)), None)
            if records is None:
                raise Gone(f"the letter is cut, and {place} cannot be read")
            if int(records.offsets[0]) != offset:
                break
            if records.cut and records.cut[0].row == 0:
                raise Gone(
                    f"the letter is cut, and {place} is longer than worker.max_block_bytes: raise it to at least "
                    f"{records.cut[0].record_bytes}, then replay"
                )
            key, value = (
                None if start[0] < 0 else records.buffer[start[0] : stop[0]].tobytes()
                for start, stop in (
                    (records.key_start, records.key_stop),
                    (records.value_start, records.value_stop),
                )
            )
            event = Again(int(records.timestamps_ms[0]), key, value, tuple(record_headers(records, 0)))
            if not is_of(letter, event):
                raise Gone(f"the letter is cut, and {place} is another event now: the source was made anew")
            return event
        raise Gone(f"the letter is cut, and {place} is not in the source any more")

    async def close(self) -> None:
        """Disconnect."""
        if self._reader is not None:
            await self._reader.close()


def is_of(letter: Letter, event: Again) -> bool:
    """Whether an event is the letter's: equal where the letter is whole, as it says of it where it is cut.

    A letter that has nothing but the event's place must have its time too: another event may be in that place now.
    """
    if letter.is_bare and letter.digest("value") is None and event.timestamp_ms != letter.event_timestamp_ms:
        return False
    for part, there, found in (("key", letter.key, event.key), ("value", letter.value, event.value)):
        digest, size = letter.error.get(f"{part}_sha256"), letter.error.get(f"{part}_bytes")
        if digest is not None:
            if hashlib.sha256(found or b"").hexdigest() != digest:
                return False
        elif size is not None:
            if size != f"{len(found or b'')}":
                return False
        elif part not in letter.cut and found != there:
            return False
    return True
