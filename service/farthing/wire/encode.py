"""The stage ``encode``: scores and dead letters become ready-made record batches.

One kernel call writes a batch, so Python runs once per batch and not once per record.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import Final

import numpy as np

from farthing.blocks import Bytes, Int64s, OutputBatch, RecordBlock, RenderedValues, Segment, Status
from farthing.wire import codec, layout
from farthing.wire.crc32c import append_zeros, crc32c
from farthing.wire.headers import NO_LIMIT, OwnHeaders, own_headers
from farthing.wire.varint import varlong
from farthing.wire.write import ROOM_BYTES, header_bytes, seal, write_records

MAX_BATCH_BYTES: Final = 900_000
"""Uncompressed size at which a batch is closed: brokers refuse more than ``message.max.bytes`` (1,048,588 by default).
"""

MAX_DEAD_VALUE_BYTES: Final = 900_000
"""A longer value is cut in its dead letter, so that the broker accepts it."""

OFFSET_HEADER: Final = b"farthing.offset"
"""Header of a score: the source offset in ASCII decimal digits. Together with the partition, whose number is the same
in the sink as in the source, it identifies the event, so that readers can detect repeats."""

DEAD_OFFSET_HEADER: Final = b"farthing.error.offset"
"""The same for a dead letter."""

STAGE_OF_STATUS: Final = {
    status: {Status.NULL_VALUE: "decode", Status.RECORD_TOO_LARGE: "decode", Status.NON_FINITE: "score"}.get(
        status, "parse"
    )
    for status in Status
}

_RECORD_OVERHEAD: Final = 64  # more bytes than the varints, attributes and offset digits of one record take
_ERROR_HEADERS: Final = 5  # how many _error_headers writes
_NO_BYTES: Final = np.zeros(0, np.uint8)
_NONE: Final = np.zeros(0, np.int64)
_TWO_NONE: Final = np.zeros(2, np.int64)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Columns:
    """What goes into one partition's batches: m records, their places in the block and the bytes they carry."""

    rows: Int64s  # (m,) places in the RecordBlock, ascending
    values: Bytes
    value_start: Int64s  # (m,) into values
    value_stop: Int64s  # (m,); -1 for null
    own: OwnHeaders = field(default_factory=OwnHeaders.none)  # the events' own headers that are carried on
    fixed: Bytes = field(default_factory=lambda: _NO_BYTES)  # header bytes by kind
    fixed_indptr: Int64s = field(default_factory=lambda: _TWO_NONE)  # (n_kinds+1,)
    fixed_kind: Int64s = field(default_factory=lambda: _NONE)  # (m,), or empty: all of kind 0
    fixed_count: int = 0  # fixed headers of each record
    extra: Bytes = field(default_factory=lambda: _NO_BYTES)  # headers of single records
    extra_indptr: Int64s = field(default_factory=lambda: _NONE)  # (m+1,) into extra, or empty
    extra_count: Int64s = field(default_factory=lambda: _NONE)  # (m,) extra headers of each, or empty: none
    # Name of the offset header, with its length in front; empty: no such header.
    offset_name: Bytes = field(default_factory=lambda: _NO_BYTES)


def encode_scores(
    records: RecordBlock,
    values: RenderedValues,
    *,
    topic: str,
    compression: str = "none",
    max_batch_bytes: int = MAX_BATCH_BYTES,
    max_header_bytes: int = 0,
    dropped: Int64s | None = None,
) -> tuple[OutputBatch, ...]:
    """Lay out one score record for each value, in the partition of ``topic`` with the same number as its event's.

    It has the event's key and timestamp, the value, the event's headers up to ``max_header_bytes`` (names and lengths
    count; a header that would pass the limit is dropped whole), and the header ``farthing.offset``. A batch is closed
    before it would pass ``max_batch_bytes`` (uncompressed); a longer record has a batch to itself. Dropped headers are
    counted in ``dropped``, int64 (len(Dropped),).
    """
    columns = _Columns(
        rows=values.events,
        values=values.data,
        value_start=values.indptr[:-1],
        value_stop=values.indptr[1:],
        own=own_headers(records, values.events, max_header_bytes, dropped),
        offset_name=_name(OFFSET_HEADER),
    )
    return _encode(records, columns, topic, compression, max_batch_bytes)


def encode_dead(
    records: RecordBlock,
    status: Bytes,
    *,
    topic: str,
    model: str,
    compression: str = "none",
    max_batch_bytes: int = MAX_BATCH_BYTES,
    max_value_bytes: int = MAX_DEAD_VALUE_BYTES,
    dropped: Int64s | None = None,
) -> tuple[OutputBatch, ...]:
    """Lay out a dead letter for each event whose ``status`` (n,) is not OK.

    It has the event's key, value, timestamp and all its headers (except those whose names begin with ``farthing.``:
    they are counted in ``dropped``, as by :func:`encode_scores`), then the headers ``farthing.error.reason``,
    ``.stage``, ``.model``, ``.topic``, ``.partition`` and ``.offset``. A value longer than ``max_value_bytes`` is cut;
    then ``farthing.error.value_bytes`` and ``.value_sha256`` give the length and digest of the whole.
    """
    rows = np.flatnonzero(status).astype(np.int64)
    records = records.with_heads()
    segment_of = np.searchsorted([segment.stop for segment in records.segments], rows, side="right")
    fixed = [
        _error_headers(Status(state), model, segment) for segment in records.segments for state in range(len(Status))
    ]
    value_stop = records.value_stop[rows].copy()
    lengths = value_stop - records.value_start[rows]
    extra = [b""] * len(rows)
    extra_count = np.zeros(len(rows), np.int64)
    known = {int(np.searchsorted(rows, cut.row)): (cut.value_bytes, cut.sha256) for cut in records.cut}
    for k in sorted({*np.flatnonzero(lengths > max_value_bytes).tolist(), *known}):
        whole = records.buffer[records.value_start[rows[k]] : value_stop[k]]
        size, digest = known[k] if k in known else (len(whole), hashlib.sha256(whole.data).hexdigest())
        extra[k] = header_bytes("farthing.error.value_bytes", str(size))
        extra[k] += header_bytes("farthing.error.value_sha256", digest)
        extra_count[k] = 2
        value_stop[k] = min(value_stop[k], records.value_start[rows[k]] + max_value_bytes)
    columns = _Columns(
        rows=rows,
        values=records.buffer,
        value_start=records.value_start[rows],
        value_stop=value_stop,
        own=own_headers(records, rows, NO_LIMIT, dropped),
        fixed=_bytes(b"".join(fixed)),
        fixed_indptr=_indptr(fixed),
        fixed_kind=segment_of * len(Status) + status[rows],
        fixed_count=_ERROR_HEADERS,
        extra=_bytes(b"".join(extra)),
        extra_indptr=_indptr(extra),
        extra_count=extra_count,
        offset_name=_name(DEAD_OFFSET_HEADER),
    )
    return _encode(records, columns, topic, compression, max_batch_bytes)


def encode_records(
    topic: str,
    partition: int,
    values: Bytes,
    indptr: Int64s,
    timestamps_ms: Int64s,
    *,
    headers: bytes = b"",
    header_count: int = 0,
    keys: tuple[Bytes, Int64s] | None = None,
    compression: str = "none",
) -> OutputBatch:
    """Lay out one batch: value k is ``values[indptr[k]:indptr[k+1]]``. Every record has ``headers``.

    ``keys`` are laid out like the values: (data, indptr). Without them the keys are null.
    """
    m = len(timestamps_ms)
    minus = np.full(m, -1, np.int64)
    key_data, key_start, key_stop = (_NO_BYTES, minus, minus) if keys is None else (keys[0], keys[1][:-1], keys[1][1:])
    block = RecordBlock(
        key_data, np.arange(m), timestamps_ms, key_start, key_stop, minus, minus, minus, minus, np.zeros(m, np.int32),
        (Segment(topic, partition, 0, m, 0, m),),
    )  # fmt: skip
    columns = _Columns(
        rows=np.arange(m),
        values=values if values.flags.writeable else values.copy(),
        value_start=indptr[:-1],
        value_stop=indptr[1:],
        fixed=_bytes(headers),
        fixed_indptr=np.array([0, len(headers)]),
        fixed_count=header_count,
    )
    (batch,) = _encode(block, columns, topic, compression, 1 << 62)
    return batch


def stamp_producer(batch: Bytes, producer_id: int, producer_epoch: int, base_sequence: int) -> None:
    """Write an idempotent producer's identity (KIP-98) into a batch's header, in place, and update its CRC.

    The new checksum is computed from the old one and the changed bytes; the records are not read.
    """
    first, stop = layout.PRODUCER_ID, layout.BASE_SEQUENCE + 4
    before = batch[first:stop].copy()
    layout.put_be(batch, layout.PRODUCER_ID, producer_id, 8)
    layout.put_be(batch, layout.PRODUCER_EPOCH, producer_epoch, 2)
    layout.put_be(batch, layout.BASE_SEQUENCE, base_sequence, 4)
    changed = before ^ batch[first:stop]
    # For equal lengths crc(a) ^ crc(b) depends on a ^ b alone: the inversions and the equal bytes cancel out.
    difference = crc32c(changed, 0, len(changed)) ^ crc32c(np.zeros_like(changed), 0, len(changed))
    crc = int(layout.be32(batch, layout.CRC)) ^ int(append_zeros(difference, len(batch) - stop))
    layout.put_be(batch, layout.CRC, crc, 4)


def _encode(
    records: RecordBlock, columns: _Columns, topic: str, compression: str, max_batch_bytes: int
) -> tuple[OutputBatch, ...]:
    number = codec.CODEC_NAMES.index(compression)
    bounds = np.searchsorted(columns.rows, [segment.start for segment in records.segments] + [len(records)])
    batches: list[OutputBatch] = []
    for index, segment in enumerate(records.segments):
        k, last = int(bounds[index]), int(bounds[index + 1])
        if k == last:
            continue
        room = _capacity(records, columns, k, last)
        while k < last:
            out = np.empty(room, np.uint8)
            first_timestamp = int(records.timestamps_ms[columns.rows[k]])
            stop, after, max_timestamp = write_records(
                out, layout.HEADER_BYTES, k, last, max_batch_bytes,
                columns.rows, records.buffer, records.key_start, records.key_stop, records.timestamps_ms,
                records.offsets, columns.own.data, columns.own.indptr, columns.own.count,
                columns.values, columns.value_start, columns.value_stop,
                columns.fixed, columns.fixed_indptr, columns.fixed_kind, columns.fixed_count,
                columns.extra, columns.extra_indptr, columns.extra_count, columns.offset_name, first_timestamp,
            )  # fmt: skip
            room -= stop - layout.HEADER_BYTES  # what is written took no more than was reserved for it
            if number:
                packed = codec.compress(number, out[layout.HEADER_BYTES : stop])
                batch = np.empty(layout.HEADER_BYTES + len(packed), np.uint8)
                batch[layout.HEADER_BYTES :] = packed
            else:
                batch = out[:stop]
            seal(batch, number, after - k, first_timestamp, max_timestamp)
            batches.append(OutputBatch(topic, segment.partition, batch, after - k, max_timestamp))
            k = after
    return tuple(batches)


def _capacity(records: RecordBlock, columns: _Columns, k: int, last: int) -> int:
    """Return an upper bound of the bytes that records ``k`` to ``last`` (excluded) take in a batch, with ROOM_BYTES."""
    span = slice(int(columns.rows[k]), int(columns.rows[last - 1]) + 1)  # with rows in between that are not written
    size = layout.HEADER_BYTES + (last - k) * (_RECORD_OVERHEAD + len(columns.offset_name)) + ROOM_BYTES
    size += int(columns.value_stop[k:last].sum() - columns.value_start[k:last].sum())
    size += int(records.key_stop[span].sum() - records.key_start[span].sum())
    if len(columns.own.count):
        size += int(columns.own.indptr[last] - columns.own.indptr[k])
    if len(columns.fixed):
        size += (last - k) * int(np.diff(columns.fixed_indptr).max())
    return size + len(columns.extra)


def _error_headers(status: Status, model: str, segment: Segment) -> bytes:
    return (
        header_bytes("farthing.error.reason", status.name.lower())
        + header_bytes("farthing.error.stage", STAGE_OF_STATUS[status])
        + header_bytes("farthing.error.model", model)
        + header_bytes("farthing.error.topic", segment.topic)
        + header_bytes("farthing.error.partition", str(segment.partition))
    )


def _name(header: bytes) -> Bytes:
    return _bytes(varlong(len(header)) + header)


def _bytes(data: bytes) -> Bytes:
    """Return bytes as a writeable array: for read-only ones numba would compile the kernel a second time."""
    return np.frombuffer(bytearray(data), np.uint8)


def _indptr(parts: list[bytes]) -> Int64s:
    return np.concatenate([[0], np.cumsum([len(part) for part in parts])]).astype(np.int64)
