"""When events and scores can be read: one thread that fetches from both topics, each on a connection of its own.

While it watches it looks at nothing but the headers of the batches that come, and notes up to which offset each
partition could be read at which time. Which event a score belongs to is read from the score topic afterwards.
"""

from __future__ import annotations

import selectors
import struct
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from loadtest.blocking import Address, BlockingConnection, frame_of

from farthing.errors import BrokerError
from farthing.kafka import KafkaSettings, TopicReader
from farthing.kafka.protocol import FETCH
from farthing.wire import OFFSET_HEADER, Arena, decode_whole, source_offsets

FETCH_MAX_WAIT_MS: Final = 250
MAX_BYTES: Final = 8 << 20
READ_COMMITTED: Final = 1
CONTROL: Final = 0x20  # attribute of a batch that only ends a transaction
NEVER: Final = 2**63 - 1  # in place of a time

_MARK: Final = 0x5EA_0FF5E7_000000  # stands for a fetch offset until its place in the request is found
_OFFSET: Final = struct.Struct(">q")
_LENGTH: Final = struct.Struct(">i")
_TOPIC: Final = struct.Struct(">h")
_HEAD: Final = struct.Struct(">iihii")  # correlation id, throttle time, error code, session id, topics
_ROW: Final = struct.Struct(">ihqqqi")  # partition, error code, high watermark, last stable, log start, aborted
_ABORTED_BYTES: Final = 16
_BATCH: Final = struct.Struct(">qiibIhiqqqhii")  # farthing.wire.layout has the names


def partitions_in(response: memoryview) -> Iterator[tuple[int, int, memoryview]]:
    """Take a Fetch response apart (version 11, without its size): partition, error code, record batches.

    The tables of :mod:`farthing.kafka.protocol` read it too, and everything else in it, in many times as long.
    """
    _, _, error, _, topics = _HEAD.unpack_from(response)
    if error:
        yield -1, error, response[:0]
        return
    at = _HEAD.size
    for _ in range(topics):
        at += _TOPIC.size + _TOPIC.unpack_from(response, at)[0]
        (rows,) = _LENGTH.unpack_from(response, at)
        at += _LENGTH.size
        for _ in range(rows):
            partition, error, _, _, _, aborted = _ROW.unpack_from(response, at)
            at += _ROW.size + max(aborted, 0) * _ABORTED_BYTES + _LENGTH.size  # the preferred replica
            (size,) = _LENGTH.unpack_from(response, at)
            at += _LENGTH.size
            yield partition, error, response[at : at + max(size, 0)]
            at += max(size, 0)


def reach_of(batches: memoryview, offset: int) -> tuple[int, int]:
    """Give (the offset after the last whole batch, records from ``offset`` on); ``offset`` and 0 without one."""
    at, records, following = 0, 0, offset
    while at + _BATCH.size <= len(batches):
        base, length, _, _, _, attributes, last, *_, count = _BATCH.unpack_from(batches, at)
        at += _OFFSET.size + _LENGTH.size + length
        if at > len(batches):
            break
        following = max(following, base + last + 1)
        if not attributes & CONTROL and base + last >= offset:
            records += count
    return following, records


@dataclass(slots=True)
class Seen:
    """Up to which offset a partition could be read, and when; both ascend."""

    at_ns: list[int] = field(default_factory=list)
    following: list[int] = field(default_factory=list)  # the offset after the last one that could be read

    def of(self, offsets):
        """Give when each offset, int64 (n,), could be read, by ``time.monotonic_ns``; NEVER if it was not seen."""
        return np.array([*self.at_ns, NEVER], np.int64)[np.searchsorted(self.following, offsets, side="right")]


class _Fetcher:
    """Fetches some partitions of a topic from their leader, one request after the other."""

    def __init__(self, topic: str, partitions: list[int], leader: Address, seen: Mapping[int, Seen]) -> None:
        self._seen = seen
        self._topic = topic
        self._at = dict.fromkeys(partitions, 0)
        rows = [
            {"partition": number, "fetch_offset": _MARK + number, "partition_max_bytes": MAX_BYTES}
            for number in partitions
        ]
        body = {
            "max_wait_ms": FETCH_MAX_WAIT_MS, "min_bytes": 1, "max_bytes": MAX_BYTES,
            "isolation_level": READ_COMMITTED, "topics": [{"topic": topic, "partitions": rows}],
        }  # fmt: skip
        self._frame = frame_of(FETCH, body)
        self._places = {number: self._frame.index(_OFFSET.pack(_MARK + number)) for number in partitions}
        self.connection = BlockingConnection(leader)
        self.records = 0

    def ask(self) -> None:
        for number, place in self._places.items():
            _OFFSET.pack_into(self._frame, place, self._at[number])
        self.connection.send(self._frame)

    def take(self) -> None:
        """Note what has come, which is beginning to come in now, and ask for more."""
        response = self.connection.receive()
        now_ns = time.monotonic_ns()
        for number, error, batches in partitions_in(response):
            if error:
                raise BrokerError(f"reading {self._topic}[{number}]: the broker answers with Kafka's error {error}")
            following, records = reach_of(batches, self._at[number])
            if following > self._at[number]:
                self._at[number] = following
                self.records += records
                self._seen[number].at_ns.append(now_ns)
                self._seen[number].following.append(following)
        self.ask()


class Watch:
    """Reads topics from their beginning. ``seen`` is by topic and partition."""

    def __init__(self, leaders: Mapping[str, Mapping[int, Address]]) -> None:
        """``leaders``: topic -> partition -> address. Raises BrokerError."""
        self.seen = {topic: {number: Seen() for number in led} for topic, led in leaders.items()}
        self._selector = selectors.DefaultSelector()
        self._fetchers: dict[str, list[_Fetcher]] = {}
        for topic, led in leaders.items():
            for leader in sorted(set(led.values())):
                mine = [number for number, address in led.items() if address == leader]
                fetcher = _Fetcher(topic, mine, leader, self.seen[topic])
                self._fetchers.setdefault(topic, []).append(fetcher)
                self._selector.register(fetcher.connection, selectors.EVENT_READ, fetcher)
                fetcher.ask()

    def records(self, topic: str) -> int:
        """Count the records of a topic that could be read so far."""
        return sum(fetcher.records for fetcher in self._fetchers[topic])

    def until(self, at_ns: int, is_done: Callable[[], bool] = lambda: False) -> bool:
        """Watch until a time of ``time.monotonic_ns``, or until ``is_done``; says whether it is. Raises BrokerError."""
        while not is_done():
            left_ns = at_ns - time.monotonic_ns()
            if left_ns <= 0:
                return False
            for key, _ in self._selector.select(left_ns / 1e9):
                key.data.take()
        return True

    def close(self) -> None:
        """Close all connections."""
        for fetchers in self._fetchers.values():
            for fetcher in fetchers:
                fetcher.connection.close()
        self._selector.close()


async def scored_offsets(settings: KafkaSettings, sink: str):
    """Read the score topic: partition -> (offsets of the scores, offsets of their events, -1 if a score names none).

    Raises
    ------
    BrokerError
        It cannot be read.
    """
    reader, arena = TopicReader(settings, [sink]), Arena()
    await reader.start()
    found: dict[int, list[tuple[np.ndarray, np.ndarray]]] = {}
    try:
        async for part in reader.read():
            for records in decode_whole(part, arena):
                both = records.offsets.copy(), source_offsets(records, OFFSET_HEADER)
                found.setdefault(part.partition, []).append(both)
    finally:
        await reader.close()
    return {
        partition: tuple(np.concatenate(columns) for columns in zip(*blocks, strict=True))
        for partition, blocks in found.items()
    }
