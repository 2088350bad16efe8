"""The kernels that write record batches."""

from __future__ import annotations

from typing import Final

import numpy as np

from farthing.blocks import Bytes, Int32s, Int64s
from farthing.jit import copy_bytes, kernel
from farthing.wire import layout
from farthing.wire.crc32c import crc32c
from farthing.wire.varint import size_varlong, write_varlong

H_BYTES: Final = layout.HEADER_BYTES
put_be = layout.put_be

_LENGTH: Final = layout.BATCH_LENGTH
_OVERHEAD: Final = layout.LOG_OVERHEAD
_EPOCH: Final = layout.LEADER_EPOCH
_MAGIC: Final = layout.MAGIC
_CRC: Final = layout.CRC
_ATTRIBUTES: Final = layout.ATTRIBUTES
_LAST_OFFSET_DELTA: Final = layout.LAST_OFFSET_DELTA
_BASE_TIMESTAMP: Final = layout.BASE_TIMESTAMP
_MAX_TIMESTAMP: Final = layout.MAX_TIMESTAMP
_PRODUCER_ID: Final = layout.PRODUCER_ID
_PRODUCER_EPOCH: Final = layout.PRODUCER_EPOCH
_BASE_SEQUENCE: Final = layout.BASE_SEQUENCE
_COUNT: Final = layout.RECORDS_COUNT


def header_bytes(name: str, value: str) -> bytes:
    """Lay out one record header (key length, key, value length, value)."""
    key, data = name.encode(), value.encode()
    out = np.empty(len(key) + len(data) + 10, np.uint8)
    at = write_varlong(out, 0, len(key))
    out[at : at + len(key)] = np.frombuffer(key, np.uint8)
    at = write_varlong(out, at + len(key), len(data))
    out[at : at + len(data)] = np.frombuffer(data, np.uint8)
    return out[: at + len(data)].tobytes()


@kernel(inline=True)
def count_digits(value: int) -> int:
    """Decimal digits of a number that is not negative."""
    digits = 1
    while value >= 10:
        value //= 10
        digits += 1
    return digits


@kernel
def write_records(
    out: Bytes, at: int, k: int, last: int, max_bytes: int,
    rows: Int64s, buffer: Bytes, key_start: Int64s, key_stop: Int64s, timestamps_ms: Int64s,
    offsets: Int64s, headers_start: Int64s, headers_stop: Int64s, header_count: Int32s, keep_headers: bool,
    values: Bytes, value_start: Int64s, value_stop: Int64s,
    fixed: Bytes, fixed_indptr: Int64s, fixed_kind: Int64s, extra: Bytes, extra_indptr: Int64s,
    added_headers: Int64s, offset_header: Bytes, base_timestamp: int,
) -> tuple[int, int, int]:  # fmt: skip
    """Write records ``k`` to ``last`` at ``at`` until ``max_bytes`` would be passed; at least one is written.

    A record's headers are the event's own (``keep_headers``), the fixed ones of its kind, its extra ones and, unless
    ``offset_header`` is empty, the source offset. Returns (position after, records done, largest timestamp).
    """
    first = k
    max_timestamp = base_timestamp
    while k < last:
        row = rows[k]
        key_length = key_stop[row] - key_start[row] if key_start[row] >= 0 else -1
        value_length = value_stop[k] - value_start[k] if value_start[k] >= 0 else -1
        own = headers_stop[row] - headers_start[row] if keep_headers else 0
        kind = fixed_kind[k]
        headers = own + (fixed_indptr[kind + 1] - fixed_indptr[kind]) + (extra_indptr[k + 1] - extra_indptr[k])
        digits = 0
        if len(offset_header):
            digits = count_digits(offsets[row])
            headers += size_varlong(len(offset_header)) + len(offset_header) + size_varlong(digits) + digits
        count = added_headers[k] + (header_count[row] if keep_headers else 0)
        timestamp = timestamps_ms[row]
        length = 1 + size_varlong(timestamp - base_timestamp) + size_varlong(k - first) + size_varlong(key_length)
        length += max(key_length, 0) + size_varlong(value_length) + max(value_length, 0) + size_varlong(count) + headers
        if k > first and at + length + 5 > max_bytes:
            break
        max_timestamp = max(max_timestamp, timestamp)
        at = write_varlong(out, at, length)
        out[at] = 0
        at = write_varlong(out, at + 1, timestamp - base_timestamp)
        at = write_varlong(out, at, k - first)
        at = write_varlong(out, at, key_length)
        if key_length > 0:
            at = copy_bytes(out, at, buffer, key_start[row], key_stop[row])
        at = write_varlong(out, at, value_length)
        if value_length > 0:
            at = copy_bytes(out, at, values, value_start[k], value_stop[k])
        at = write_varlong(out, at, count)
        if keep_headers:
            at = copy_bytes(out, at, buffer, headers_start[row], headers_stop[row])
        at = copy_bytes(out, at, fixed, fixed_indptr[kind], fixed_indptr[kind + 1])
        at = copy_bytes(out, at, extra, extra_indptr[k], extra_indptr[k + 1])
        if len(offset_header):
            at = write_varlong(out, at, len(offset_header))
            at = copy_bytes(out, at, offset_header, 0, len(offset_header))
            at = write_varlong(out, at, digits)
            left = offsets[row]
            for i in range(digits):
                out[at + digits - 1 - i] = 48 + left % 10
                left //= 10
            at += digits
        k += 1
    return at, k, max_timestamp


@kernel
def seal(batch: Bytes, codec: int, count: int, base_timestamp: int, max_timestamp: int) -> None:
    """Write the header of a batch whose records stand after it, with no producer id, and its CRC."""
    put_be(batch, 0, 0, 8)
    put_be(batch, _LENGTH, len(batch) - _OVERHEAD, 4)
    put_be(batch, _EPOCH, -1, 4)
    put_be(batch, _MAGIC, 2, 1)
    put_be(batch, _ATTRIBUTES, codec, 2)
    put_be(batch, _LAST_OFFSET_DELTA, count - 1, 4)
    put_be(batch, _BASE_TIMESTAMP, base_timestamp, 8)
    put_be(batch, _MAX_TIMESTAMP, max_timestamp, 8)
    put_be(batch, _PRODUCER_ID, -1, 8)
    put_be(batch, _PRODUCER_EPOCH, -1, 2)
    put_be(batch, _BASE_SEQUENCE, -1, 4)
    put_be(batch, _COUNT, count, 4)
    put_be(batch, _CRC, crc32c(batch, _ATTRIBUTES, len(batch)), 4)
