"""Makes the dead letter of a record batch that cannot be read. Those of single events are made with the scores."""

from __future__ import annotations

import time

import numpy as np

from farthing.blocks import FetchedPartition, OutputBatch
from farthing.errors import DecodeError
from farthing.wire import MAX_DEAD_VALUE_BYTES, encode_records, header_bytes, raw_batch


def letter_of_batch(part: FetchedPartition, fault: DecodeError, *, topic: str, model: str) -> OutputBatch:
    """Make a dead letter whose value is the batch as it came, cut if it is too long for the broker.

    ``fault.base_offset`` says which batch of ``part.data`` it is. Headers: ``farthing.error.reason`` (the error's
    name), ``.message``, ``.stage``, ``.model``, ``.topic``, ``.partition``, ``.offset`` and ``.next_offset``: the
    offsets from ``.offset`` to before ``.next_offset`` were skipped.
    """
    raw = raw_batch(part.data, fault.base_offset)[:MAX_DEAD_VALUE_BYTES]
    headers = {
        "reason": type(fault).__name__, "message": str(fault), "stage": fault.stage, "model": model,
        "topic": part.topic, "partition": str(part.partition), "offset": str(fault.first_offset),
        "next_offset": str(fault.next_offset),
    }  # fmt: skip
    return encode_records(
        topic,
        part.partition,
        np.frombuffer(raw, np.uint8),
        np.array([0, len(raw)], np.int64),
        np.array([time.time_ns() // 1_000_000], np.int64),
        headers=b"".join(header_bytes(f"farthing.error.{name}", value) for name, value in headers.items()),
        header_count=len(headers),
    )
