"""The source offset that a score or a dead letter carries in a header, for whoever reads them back."""

from __future__ import annotations

import numpy as np

from farthing.blocks import Bytes, Int32s, Int64s, RecordBlock
from farthing.jit import kernel
from farthing.wire.varint import MAX_VARINT_BYTES, read_varlong, read_varlong_reference


def source_offsets_reference(
    buffer: Bytes, start: Int64s, stop: Int64s, count: Int32s, name: Bytes, out: Int64s
) -> None:
    """Plain form of :func:`find_source_offsets`."""
    for k in range(len(out)):
        out[k] = -1
        at = int(start[k])
        for _ in range(int(count[k])):
            size, at = read_varlong_reference(buffer, at, int(stop[k]), MAX_VARINT_BYTES)
            key = buffer[at : at + size].tobytes()
            size, at = read_varlong_reference(buffer, at + size, int(stop[k]), MAX_VARINT_BYTES)
            value = buffer[at : at + max(size, 0)].tobytes()
            at += max(size, 0)
            if key == name.tobytes() and value.isdigit() and len(value) <= 19 and int(value) < 2**63:
                out[k] = int(value)


@kernel(reference=source_offsets_reference)
def find_source_offsets(buffer: Bytes, start: Int64s, stop: Int64s, count: Int32s, name: Bytes, out: Int64s) -> None:
    """Read each record's header ``name`` as a decimal number to ``out``; -1 where there is none."""
    for k in range(len(out)):
        out[k] = -1
        at = start[k]
        for _ in range(count[k]):
            size, at = read_varlong(buffer, at, stop[k], MAX_VARINT_BYTES)
            i = 0
            while size == len(name) and i < size and buffer[at + i] == name[i]:
                i += 1
            same = i == len(name)
            size, at = read_varlong(buffer, at + size, stop[k], MAX_VARINT_BYTES)
            if same and 0 < size <= 19:
                number = np.uint64(0)  # nineteen digits fit
                good = True  # all digits
                for i in range(size):
                    digit = np.int64(buffer[at + i]) - 48
                    good = good and bool(0 <= digit <= 9)
                    number = number * np.uint64(10) + np.uint64(digit & 15)
                if good and number < np.uint64(1 << 63):
                    out[k] = np.int64(number)
            at += max(size, 0)


def source_offsets(records: RecordBlock, name: bytes) -> Int64s:
    """Give the source offset of each record, int64 (n,), from its header ``name``; -1 where it has none.

    Scores have theirs in ``farthing.offset``, dead letters in ``farthing.error.offset``. With the partition, which is
    the same number in the source, it identifies the event. The records must come from :func:`farthing.wire.decode`,
    which has checked the headers' lengths.
    """
    out = np.empty(len(records), np.int64)
    find_source_offsets(
        records.buffer,
        records.headers_start,
        records.headers_stop,
        records.header_count,
        np.frombuffer(name, np.uint8),
        out,
    )
    return out
