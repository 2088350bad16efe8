"""The kernels that write record batches: the records, then the header and its CRC."""

from __future__ import annotations

from typing import Final

import numpy as np

from farthing.blocks import Bytes, Int64s
from farthing.kernels.digits import AHEAD_BYTES, count_digits, write_digits
from farthing.kernels.jit import kernel
from farthing.kernels.machine import SHORT_BYTES, copy_bytes, copy_short
from farthing.wire import layout
from farthing.wire.crc32c import crc32c, crc32c_reference
from farthing.wire.varint import size_varlong, varlong, write_varlong

ROOM_BYTES: Final = max(SHORT_BYTES, AHEAD_BYTES)  # may be overwritten after the last record
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


def header_bytes(name: str, value: str | bytes) -> bytes:
    """Encode one record header (key length, key, value length, value)."""
    key, data = name.encode(), value if isinstance(value, bytes) else value.encode()
    return varlong(len(key)) + key + varlong(len(data)) + data


def write_records_reference(
    out: Bytes, at: int, k: int, last: int, max_bytes: int,
    rows: Int64s, buffer: Bytes, key_start: Int64s, key_stop: Int64s, timestamps_ms: Int64s,
    offsets: Int64s, own: Bytes, own_indptr: Int64s, own_count: Int64s,
    values: Bytes, value_start: Int64s, value_stop: Int64s,
    fixed: Bytes, fixed_indptr: Int64s, fixed_kind: Int64s, fixed_count: int,
    extra: Bytes, extra_indptr: Int64s, extra_count: Int64s, offset_name: Bytes, base_timestamp: int,
) -> tuple[int, int, int]:  # fmt: skip
    """Plain form of :func:`write_records`."""

    def sized(data: Bytes, start: int, stop: int) -> bytes:
        return varlong(-1) if start < 0 else varlong(stop - start) + data[start:stop].tobytes()

    first, max_timestamp = k, base_timestamp
    for k in range(first, last):
        row, kind, count = rows[k], fixed_kind[k] if len(fixed_kind) else 0, fixed_count
        headers = b""
        if len(own_count):
            headers += own[own_indptr[k] : own_indptr[k + 1]].tobytes()
            count += int(own_count[k])
        headers += fixed[fixed_indptr[kind] : fixed_indptr[kind + 1]].tobytes()
        if len(extra_count):
            headers += extra[extra_indptr[k] : extra_indptr[k + 1]].tobytes()
            count += int(extra_count[k])
        if len(offset_name):
            digits = str(offsets[row]).encode()
            headers += offset_name.tobytes() + varlong(len(digits)) + digits
            count += 1
        delta_ms = (int(timestamps_ms[row]) - base_timestamp + (1 << 63)) % (1 << 64) - (1 << 63)
        record = b"\0" + varlong(delta_ms) + varlong(k - first)
        record += sized(buffer, key_start[row], key_stop[row]) + sized(values, value_start[k], value_stop[k])
        record += varlong(count) + headers
        if k > first and at + len(record) + 5 > max_bytes:
            return at, k, max_timestamp
        max_timestamp = max(max_timestamp, int(timestamps_ms[row]))
        record = varlong(len(record)) + record
        out[at : at + len(record)] = np.frombuffer(record, np.uint8)
        at += len(record)
    return at, last, max_timestamp


@kernel(reference=write_records_reference)
def write_records(
    out: Bytes, at: int, k: int, last: int, max_bytes: int,
    rows: Int64s, buffer: Bytes, key_start: Int64s, key_stop: Int64s, timestamps_ms: Int64s,
    offsets: Int64s, own: Bytes, own_indptr: Int64s, own_count: Int64s,
    values: Bytes, value_start: Int64s, value_stop: Int64s,
    fixed: Bytes, fixed_indptr: Int64s, fixed_kind: Int64s, fixed_count: int,
    extra: Bytes, extra_indptr: Int64s, extra_count: Int64s, offset_name: Bytes, base_timestamp: int,
) -> tuple[int, int, int]:  # fmt: skip
    """Write records ``k`` to ``last`` (excluded) from ``at`` on, until ``max_bytes`` would be passed; at least one.

    A record's headers are the event's own (none when ``own_count`` is empty), the ``fixed_count`` fixed ones of its
    kind (all of kind 0 when ``fixed_kind`` is empty), its extra ones (none when ``extra_count`` is empty) and, unless
    ``offset_name`` is empty, the source offset. ``offset_name`` is the encoded name of that header: its length, then
    its bytes. ``out`` needs ROOM_BYTES more than the records take.
    Returns (position after the last one written, first record not written, largest timestamp).
    """
    first = k
    max_timestamp = base_timestamp
    while k < last:
        row = rows[k]
        key_length = key_stop[row] - key_start[row] if key_start[row] >= 0 else -1
        value_length = value_stop[k] - value_start[k] if value_start[k] >= 0 else -1
        kind = fixed_kind[k] if len(fixed_kind) else 0
        count = fixed_count
        headers = fixed_indptr[kind + 1] - fixed_indptr[kind]
        if len(own_count):
            count += own_count[k]
            headers += own_indptr[k + 1] - own_indptr[k]
        if len(extra_count):
            count += extra_count[k]
            headers += extra_indptr[k + 1] - extra_indptr[k]
        digits = 0
        if len(offset_name):
            count += 1
            digits = count_digits(offsets[row])
            headers += len(offset_name) + 1 + digits  # at most 19 digits, so their count takes one byte
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
            at = copy_short(out, at, buffer, key_start[row], key_stop[row])
        at = write_varlong(out, at, value_length)
        if value_length > 0:
            at = copy_bytes(out, at, values, value_start[k], value_stop[k])
        at = write_varlong(out, at, count)
        if len(own_count):
            at = copy_bytes(out, at, own, own_indptr[k], own_indptr[k + 1])
        if len(fixed):
            at = copy_bytes(out, at, fixed, fixed_indptr[kind], fixed_indptr[kind + 1])
        if len(extra_count):
            at = copy_bytes(out, at, extra, extra_indptr[k], extra_indptr[k + 1])
        if len(offset_name):
            at = copy_short(out, at, offset_name, 0, len(offset_name))
            at = write_varlong(out, at, digits)
            at = write_digits(out, at, offsets[row])
        k += 1
    return at, k, max_timestamp


def seal_reference(batch: Bytes, codec: int, count: int, base_timestamp: int, max_timestamp: int) -> None:
    """Plain form of :func:`seal`."""
    head = np.zeros(1, layout.HEADER)
    head["batchLength"], head["magic"], head["attributes"] = len(batch) - _OVERHEAD, 2, codec
    head["partitionLeaderEpoch"] = head["producerId"] = head["producerEpoch"] = head["baseSequence"] = -1
    head["lastOffsetDelta"], head["recordsCount"] = count - 1, count
    head["baseTimestamp"], head["maxTimestamp"] = base_timestamp, max_timestamp
    batch[:H_BYTES] = head.view(np.uint8)
    head["crc"] = crc32c_reference(batch, _ATTRIBUTES, len(batch))
    batch[:H_BYTES] = head.view(np.uint8)


@kernel(reference=seal_reference)
def seal(batch: Bytes, codec: int, count: int, base_timestamp: int, max_timestamp: int) -> None:
    """Write the header of a batch whose records are already in place, without a producer id, and its CRC."""
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
