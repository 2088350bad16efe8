"""Makes the dead letter of a record batch that cannot be read. Those of single events are made with the scores."""

from __future__ import annotations

import hashlib
import time

import numpy as np

from farthing.blocks import FetchedPartition, OutputBatch
from farthing.errors import DecodeError
from farthing.wire import DEFAULT_LIMITS, TopicLimits, encode_records, header_bytes, letter_key, raw_batch

MOST_MESSAGE_BYTES = 1_000  # of the error's text
_FRAME_BYTES = 512  # more than a batch with one record takes around value, key and headers, and those of a cut


def letter_of_batch(
    part: FetchedPartition, fault: DecodeError, *, topic: str, model: str, limits: TopicLimits = DEFAULT_LIMITS
) -> OutputBatch:
    """Make a dead letter whose value is the batch as it came, cut if it is too long for the topic.

    ``fault.base_offset`` says which batch of ``part.data`` it is. Headers: ``farthing.error.reason`` (the error's
    name), ``.message``, ``.stage``, ``.model``, ``.topic``, ``.partition``, ``.time_ms``, ``.offset`` and
    ``.next_offset``: the offsets from ``.offset`` to before ``.next_offset`` were skipped. ``.log`` says which log they
    are of, if it has taken another's place. If the value is cut, ``.value_bytes`` and ``.value_sha256`` give the length
    and digest of the whole.
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
    return encode_records(
        topic,
        part.partition,
        np.frombuffer(raw, np.uint8),
        np.array([0, len(raw)], np.int64),
        np.array([now_ms], np.int64),
        headers=b"".join(header_bytes(f"farthing.error.{name}", value) for name, value in headers.items()),
        header_count=len(headers),
        keys=None if key is None else (np.frombuffer(bytearray(key), np.uint8), np.array([0, len(key)], np.int64)),
    )
