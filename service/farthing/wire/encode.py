"""The stage ``encode``: scores become ready-made record batches; dead letters, too (:mod:`farthing.wire.dead`).

One kernel call writes a batch, so Python runs once per batch and not once per record.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any, Final

import numpy as np

from farthing.blocks import Bytes, Int64s, OutputBatch, RecordBlock, RenderedValues, Segment, Status
from farthing.kernels.extent import extent
from farthing.wire import codec, layout
from farthing.wire.headers import Dropped, OwnHeaders, own_headers
from farthing.wire.topic_limits import ANY_TIME, DEFAULT_LIMITS, MARGIN_MS, NO_TIMESTAMP, TopicLimits
from farthing.wire.varint import varlong
from farthing.wire.write import ROOM_BYTES, header_bytes, seal, write_records

MAX_BATCH_BYTES: Final = 900_000
"""Uncompressed size at which a batch is closed: brokers refuse more than ``message.max.bytes`` (1,048,588 by default).
"""

OFFSET_HEADER: Final = b"farthing.offset"
"""Header of a score: the source offset in ASCII decimal digits. Together with the partition, whose number is the same
in the sink as in the source, it identifies the event, so that readers can detect repeats."""

LOG_HEADER: Final = b"farthing.log"
"""Header of a score beside its offset, where the source's log has taken another's place: which one it is, from 1 on."""

TIMESTAMP_HEADER: Final = b"farthing.timestamp_ms"
"""Header of a score whose event's timestamp the sink does not take: that timestamp, in ASCII decimal digits."""

_RECORD_OVERHEAD: Final = 64  # more bytes than the varints, attributes and offset digits of one record take
_NO_LIMITS: Final = TopicLimits(max_message_bytes=1 << 62)
_NO_BYTES: Final = np.zeros(0, np.uint8)
_NONE: Final = np.zeros(0, np.int64)
_TWO_NONE: Final = np.zeros(2, np.int64)


@dataclass(frozen=True, slots=True, kw_only=True)
class Columns:
    """What goes into one partition's batches: m records, their places in the block and the bytes they carry."""

    rows: Int64s  # (m,) places in the RecordBlock, ascending
    keys: Bytes
    key_start: Int64s  # (n,) into keys, for each place in the RecordBlock; -1 for null
    key_stop: Int64s  # (n,)
    timestamps_ms: Int64s  # (n,)
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
    limits: TopicLimits = DEFAULT_LIMITS,
    times: tuple[int, int] = ANY_TIME,
    max_batch_bytes: int = MAX_BATCH_BYTES,
    max_header_bytes: int = 0,
    dropped: Int64s | None = None,
    status: Bytes | None = None,
) -> tuple[OutputBatch, ...]:
    """Lay out one score record for each value, in the partition of ``topic`` with the same number as its event's.

    It has the event's key and timestamp, the value, the event's headers up to ``max_header_bytes`` (names and lengths
    count; a header that would pass the limit is dropped whole), and the header ``farthing.offset``. A batch is closed
    before it would pass ``max_batch_bytes`` (uncompressed) or ``limits.max_message_bytes``. A timestamp outside
    ``times`` is moved inside, and the header ``farthing.timestamp_ms`` states the event's.

    A record that the topic would refuse is left out, and ``status`` (n,) at its event says why: NULL_KEY where the
    topic is compacted, SCORE_TOO_LARGE where a batch of it alone, without the event's headers, is too large. Dropped
    headers are counted in ``dropped``, int64 (len(Dropped),).
    """
    status = np.zeros(len(records), np.uint8) if status is None else status
    dropped = np.zeros(len(Dropped), np.int64) if dropped is None else dropped
    wanted: Any = slice(None)
    if limits.compacted:
        keyless = records.key_start[values.events] < 0
        status[values.events[keyless]] = Status.NULL_KEY
        wanted = ~keyless
    rows = values.events[wanted]
    timestamps_ms = within(records.timestamps_ms, times)
    columns = Columns(
        rows=rows,
        keys=records.buffer,
        key_start=records.key_start,
        key_stop=records.key_stop,
        timestamps_ms=timestamps_ms,
        values=values.data,
        value_start=values.indptr[:-1][wanted],
        value_stop=values.indptr[1:][wanted],
        own=own_headers(records, rows, max_header_bytes, dropped),
        offset_name=_OFFSET_NAME,
        **_extra_headers(records, rows, timestamps_ms),
    )
    batches, too_large = encode(records, columns, topic, compression, limits, max_batch_bytes)
    with_headers = [k for k in too_large if len(columns.own.count) and columns.own.count[k]]
    if with_headers:  # no event is refused for what is only carried on
        dropped[Dropped.OVER_LIMIT] += columns.own.count[with_headers].sum()
        bare = columns.own.replaced({k: (_NO_BYTES, 0) for k in with_headers})
        batches, too_large = encode(records, replace(columns, own=bare), topic, compression, limits, max_batch_bytes)
    status[rows[too_large]] = Status.SCORE_TOO_LARGE
    return batches


def within(timestamps_ms: Int64s, times: tuple[int, int]) -> Int64s:
    """Return timestamps with those outside ``times`` moved inside, near its nearer end; NO_TIMESTAMP stays."""
    earliest, latest = times
    if not len(timestamps_ms) or (timestamps_ms.min() >= earliest and timestamps_ms.max() <= latest):
        return timestamps_ms
    margin = min(MARGIN_MS, (latest - earliest) // 4)
    kept = (timestamps_ms == NO_TIMESTAMP) | ((timestamps_ms >= earliest) & (timestamps_ms <= latest))
    return np.where(kept, timestamps_ms, np.clip(timestamps_ms, earliest + margin, latest - margin))


def _extra_headers(records: RecordBlock, rows: Int64s, timestamps_ms: Int64s) -> dict[str, Any]:
    """Return the columns of the headers that not every score has: its log's number, and a timestamp that was changed.

    Nothing runs once for each record unless a timestamp was changed.
    """
    if timestamps_ms is records.timestamps_ms and not any(segment.log for segment in records.segments):
        return {}  # nearly always
    logs = np.array([segment.log for segment in records.segments], np.int64)
    starts = [segment.start for segment in records.segments]
    counts = np.diff(np.searchsorted(rows, [*starts, len(records)]))
    of_log = [header_bytes(LOG_HEADER.decode(), str(log)) if log else b"" for log in logs.tolist()]
    if timestamps_ms is records.timestamps_ms:
        lengths = np.repeat([len(header) for header in of_log], counts)
        return {
            "extra": octets(b"".join(header * n for header, n in zip(of_log, counts.tolist(), strict=True))),
            "extra_indptr": np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64),
            "extra_count": (lengths > 0).astype(np.int64),
        }
    before, after = records.timestamps_ms[rows], timestamps_ms[rows]
    changed, name = before != after, TIMESTAMP_HEADER.decode()
    extra = [header_bytes(name, str(t)) if c else b"" for t, c in zip(before.tolist(), changed.tolist(), strict=True)]
    segment_of = np.repeat(np.arange(len(logs)), counts)
    extra = [of_log[k] + header for k, header in zip(segment_of.tolist(), extra, strict=True)]
    n_extra = changed.astype(np.int64) + (logs[segment_of] > 0)
    return {"extra": octets(b"".join(extra)), "extra_indptr": indptr_of(extra), "extra_count": n_extra}


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
    columns = Columns(
        rows=np.arange(m),
        keys=key_data,
        key_start=key_start,
        key_stop=key_stop,
        timestamps_ms=timestamps_ms,
        values=values if values.flags.writeable else values.copy(),
        value_start=indptr[:-1],
        value_stop=indptr[1:],
        fixed=octets(headers),
        fixed_indptr=np.array([0, len(headers)]),
        fixed_count=header_count,
    )
    ((batch,), _) = encode(block, columns, topic, compression, _NO_LIMITS, _NO_LIMITS.max_message_bytes)
    return batch


def encode(
    records: RecordBlock, columns: Columns, topic: str, compression: str, limits: TopicLimits, max_batch_bytes: int
) -> tuple[tuple[OutputBatch, ...], list[int]]:
    """Lay out the records of each partition of a block; returns the batches, and which records are too large."""
    number = codec.CODEC_NAMES.index(compression)
    bounds = np.searchsorted(columns.rows, [segment.start for segment in records.segments] + [len(records)])
    batches: list[OutputBatch] = []
    too_large: list[int] = []
    most = min(max_batch_bytes, limits.max_message_bytes)
    for index, segment in enumerate(records.segments):
        k, last = int(bounds[index]), int(bounds[index + 1])
        if k == last:
            continue
        room = _capacity(columns, k, last)
        while k < last:
            out = np.empty(room, np.uint8)
            first_timestamp = int(columns.timestamps_ms[columns.rows[k]])
            stop, after, max_timestamp = write_records(
                out, layout.HEADER_BYTES, k, last, most,
                columns.rows, columns.keys, columns.key_start, columns.key_stop, columns.timestamps_ms,
                records.offsets, columns.own.data, columns.own.indptr, columns.own.count,
                columns.values, columns.value_start, columns.value_stop,
                columns.fixed, columns.fixed_indptr, columns.fixed_kind, columns.fixed_count,
                columns.extra, columns.extra_indptr, columns.extra_count, columns.offset_name, first_timestamp,
            )  # fmt: skip
            room -= stop - layout.HEADER_BYTES  # what is written took no more than was reserved for it
            batch, packed_by = pack(out[:stop], number, limits.max_message_bytes)
            if len(batch) > limits.max_message_bytes:
                too_large += range(k, after)  # a record that has the batch to itself, because it is larger than most
            else:
                seal(batch, packed_by, after - k, first_timestamp, max_timestamp)
                batches.append(OutputBatch(topic, segment.partition, batch, after - k, max_timestamp))
            k = after
    return tuple(batches), too_large


def pack(plain: Bytes, number: int, max_message_bytes: int) -> tuple[Bytes, int]:
    """Compress a batch's records with codec ``number``, unless it is small enough only as it is.

    Returns the batch, whose header is not written yet, and its codec.
    """
    if not number:
        return plain, 0
    packed = codec.compress(number, plain[layout.HEADER_BYTES :])
    if layout.HEADER_BYTES + len(packed) > max_message_bytes >= len(plain):
        return plain, 0
    batch = np.empty(layout.HEADER_BYTES + len(packed), np.uint8)
    batch[layout.HEADER_BYTES :] = packed
    return batch, number


def _capacity(columns: Columns, k: int, last: int) -> int:
    """Return an upper bound of the bytes that records ``k`` to ``last`` (excluded) take in a batch, with ROOM_BYTES."""
    span = slice(int(columns.rows[k]), int(columns.rows[last - 1]) + 1)  # with rows in between that are not written
    size = layout.HEADER_BYTES + (last - k) * (_RECORD_OVERHEAD + len(columns.offset_name)) + ROOM_BYTES
    size += extent(columns.value_start[k:last], columns.value_stop[k:last])[0]
    size += extent(columns.key_start[span], columns.key_stop[span])[0]
    if len(columns.own.count):
        size += int(columns.own.indptr[last] - columns.own.indptr[k])
    if len(columns.fixed):
        size += (last - k) * extent(columns.fixed_indptr[:-1], columns.fixed_indptr[1:])[1]
    return size + len(columns.extra)


def named(header: bytes) -> Bytes:
    """Return a header's name as the kernel wants it, with its length in front."""
    return octets(varlong(len(header)) + header)


def octets(data: bytes) -> Bytes:
    """Return bytes as a writeable array: for read-only ones numba would compile the kernel a second time."""
    return np.frombuffer(bytearray(data), np.uint8)


def indptr_of(parts: list[bytes]) -> Int64s:
    """Return where each of the parts begins once they are joined, and where the last one ends."""
    return np.concatenate([[0], np.cumsum([len(part) for part in parts])]).astype(np.int64)


_OFFSET_NAME: Final = named(OFFSET_HEADER)
