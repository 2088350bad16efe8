"""Makes the dead letter of a record batch that cannot be read. Those of single events are made with the scores."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from farthing.blocks import Bytes, FetchedPartition, Int64s, OutputBatch
from farthing.errors import DecodeError
from farthing.kafka.sending import Refused
from farthing.kafka.sink_limits import SinkLimits
from farthing.kafka.verdicts import INVALID_RECORD, TOO_LARGE
from farthing.wire import DEFAULT_LIMITS, TopicLimits, encode_records, header_bytes, letter_key, raw_batch
from farthing.wire.split import records_of

MOST_MESSAGE_BYTES = 1_000  # of the error's text
_FRAME_BYTES = 512  # more than a batch with one record takes around value, key and headers, and those of a cut
_PLACE: Final = ("reason", "offset", "next_offset", "log")  # what a letter must say


def letter_of_batch(
    part: FetchedPartition, fault: DecodeError, *, topic: str, model: str, limits: TopicLimits = DEFAULT_LIMITS
) -> OutputBatch:
    """Make a dead letter whose value is the batch as it came, cut if it is too long for the topic.

    ``fault.base_offset`` says which batch of ``part.data`` it is. Headers: ``farthing.error.reason`` (the error's
    name), ``.message``, ``.stage``, ``.model``, ``.topic``, ``.partition``, ``.time_ms``, ``.offset`` and
    ``.next_offset``: the offsets from ``.offset`` to before ``.next_offset`` were skipped. ``.log`` says which log they
    are of, if it has taken another's place. If the value is cut, ``.value_bytes`` and ``.value_sha256`` give the length
    and digest of the whole. Where even the headers are too long for the topic, ``.reason``, ``.offset``,
    ``.next_offset`` and ``.log`` alone remain.
    """
    raw, now_ms = raw_batch(part.data, fault.base_offset), time.time_ns() // 1_000_000
    headers = {
        "reason": type(fault).__name__, "message": str(fault)[:MOST_MESSAGE_BYTES], "stage": fault.stage,
        "model": model, "topic": part.topic, "partition": str(part.partition), "time_ms": str(now_ms),
        "offset": str(fault.first_offset), "next_offset": str(fault.next_offset),
    }  # fmt: skip
    if part.log:
        headers["log"] = str(part.log)
    key = letter_key(part.topic, part.partition, int(fault.first_offset or 0), part.log) if limits.compacted else None
    taken = sum(len(name) + len(text.encode()) + 24 for name, text in headers.items()) + len(key or b"") + _FRAME_BYTES
    room = max(limits.max_message_bytes - taken, 0)
    if len(raw) > room:
        headers |= {"value_bytes": str(len(raw)), "value_sha256": hashlib.sha256(raw).hexdigest()}
        raw = raw[:room]
    keys = None if key is None else (np.frombuffer(bytearray(key), np.uint8), np.array([0, len(key)], np.int64))
    letter = _letter(topic, part.partition, raw, headers, now_ms, keys)
    if len(letter.data) <= limits.max_message_bytes:
        return letter
    return _letter(topic, part.partition, b"", {k: v for k, v in headers.items() if k in _PLACE}, now_ms, keys)


def _letter(
    topic: str, partition: int, raw: bytes, headers: Mapping[str, str], now_ms: int, keys: tuple[Bytes, Int64s] | None
) -> OutputBatch:
    return encode_records(
        topic,
        partition,
        np.frombuffer(raw, np.uint8),
        np.array([0, len(raw)], np.int64),
        np.array([now_ms], np.int64),
        headers=b"".join(header_bytes(f"farthing.error.{name}", value) for name, value in headers.items()),
        header_count=len(headers),
        keys=keys,
    )


@dataclass(slots=True)
class ShorterLetters:
    """Makes the letter of a batch again, each time that the broker refuses it: with a key, or shorter."""

    make: Callable[..., OutputBatch]  # with ``limits``
    limits: SinkLimits
    _keyed: bool = False
    _most: int | None = None  # bytes of the next one

    async def __call__(self, refused: Refused) -> Sequence[OutputBatch] | None:
        """Return the letter to write instead; None if even the shortest is refused."""
        await self.limits.read_after_refusal()  # they have changed, or the broker does not state them
        (record,) = records_of(refused.batch)
        size, was_keyed = len(refused.batch.data), self._keyed
        if refused.code == INVALID_RECORD and record.has_null_key:
            self._keyed = True
        else:
            self._most = size // 2 if refused.code in TOO_LARGE else 0
        limits = self.limits.of(refused.batch.topic)
        most = limits.max_message_bytes if self._most is None else min(self._most, limits.max_message_bytes)
        letter = self.make(limits=replace(limits, compacted=limits.compacted or self._keyed, max_message_bytes=most))
        return [letter] if len(letter.data) < size or self._keyed > was_keyed else None
