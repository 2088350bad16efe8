"""Lays out dead letters: events that cannot be scored, as they came, with the reason and their place.

A letter always fits its topic. Where an event is too long for it, its value, key and headers are cut, and headers of
ours give the length and digest of what was whole.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from farthing.blocks import N_STATUSES, Bytes, CutRecord, Int64s, OutputBatch, RecordBlock, Segment, Status
from farthing.wire import layout
from farthing.wire.encode import MAX_BATCH_BYTES, Columns, encode, indptr_of, named, octets, within
from farthing.wire.headers import NO_LIMIT, OwnHeaders, own_headers
from farthing.wire.topic_limits import ANY_TIME, DEFAULT_LIMITS, TopicLimits
from farthing.wire.write import header_bytes

DEAD_OFFSET_HEADER: Final = b"farthing.error.offset"
"""Header of a dead letter: its event's source offset, like :data:`farthing.wire.encode.OFFSET_HEADER` of a score."""

DEAD_LOG_HEADER: Final = b"farthing.error.log"
"""Header of a dead letter: its event's log, like :data:`farthing.wire.encode.LOG_HEADER` of a score."""

DEAD_TIMESTAMP_HEADER: Final = b"farthing.error.timestamp_ms"
"""Header of a dead letter whose timestamp is not its event's: the event's, in ASCII decimal digits."""

STAGE_OF_STATUS: Final = {status: "parse" for status in Status} | {
    Status.NULL_VALUE: "decode",
    Status.RECORD_TOO_LARGE: "decode",
    Status.NON_FINITE: "score",
    Status.MODEL_FAILED: "score",
    Status.SCORE_TOO_LARGE: "produce",
    Status.NULL_KEY: "produce",
    Status.SINK_REFUSED: "produce",
}

_FRAME_BYTES: Final = layout.HEADER_BYTES + 64  # a batch's header, and more than a record's varints and offset digits
_TIME_BYTES: Final = 64  # more than the header with the event's timestamp
_LENGTHS_BYTES: Final = 192  # more than the headers with the lengths of what was cut
_CUT_BYTES: Final = 512  # more than those with their digests too
_FIXED: Final = 6  # how many headers _error_headers writes
_PARTS: Final = ("value", "key", "headers")


@dataclass(slots=True)
class _Letters:
    """The dead letters of a block while they are made to fit. ``rows`` (m,) are their places in the block."""

    rows: Int64s
    key_stop: Int64s  # (n,) by place
    value_stop: Int64s  # (m,)
    own: OwnHeaders
    extra: dict[int, list[bytes]]  # letter -> headers of it alone
    cut: dict[int, CutRecord]  # letter -> what is known of a record that was too long to be held
    bare: set[int]  # letters that have room for the reason and the offset only

    def add(self, k: int, name: str, value: int | str | bytes) -> None:
        """Add a header to letter ``k``."""
        encoded = header_bytes(f"farthing.error.{name}", str(value) if isinstance(value, int) else value)
        self.extra.setdefault(k, []).append(encoded)


def encode_dead(
    records: RecordBlock,
    status: Bytes,
    *,
    topic: str,
    model: str,
    now_ms: int = 0,
    compression: str = "none",
    limits: TopicLimits = DEFAULT_LIMITS,
    times: tuple[int, int] = ANY_TIME,
    max_batch_bytes: int = MAX_BATCH_BYTES,
    smallest: bool = False,
    dropped: Int64s | None = None,
) -> tuple[OutputBatch, ...]:
    """Lay out a dead letter for each event whose ``status`` (n,) is not OK.

    It has the event's key, value, timestamp and all its headers (except those whose names begin with ``farthing.``:
    they are counted in ``dropped``, as by :func:`encode_scores`), then the headers ``farthing.error.reason``,
    ``.stage``, ``.model``, ``.topic``, ``.partition``, ``.time_ms`` (``now_ms``) and ``.offset``; and ``.log``, where
    the source's log has taken another's place.

    A letter that would be larger than ``limits.max_message_bytes`` is cut: the shorter of value, key and headers stay
    whole, the longer ones share the room. Then ``.value_bytes`` and ``.value_sha256`` give the length and digest of the
    whole value; likewise ``.key_...`` and ``.headers_...``, with ``.headers_count``. ``smallest`` cuts all three to
    nothing. Where even that is too large, only the headers ``.reason``, ``.log`` and ``.offset`` remain, and
    ``.value_sha256`` where it fits.

    A timestamp outside ``times`` is moved inside; then, and where the topic replaces timestamps,
    ``.timestamp_ms`` states the event's. In a compacted topic, where a second letter with the same key would replace
    the first, the key is the event's place (:func:`letter_key`), and the event's is in ``.key``.
    """
    rows = np.flatnonzero(status).astype(np.int64)
    records = records.with_heads()
    segment_of = np.searchsorted([segment.stop for segment in records.segments], rows, side="right")
    kinds = segment_of * N_STATUSES + status[rows]
    fixed = [b""] * (len(records.segments) * N_STATUSES)
    for kind in set(kinds.tolist()):
        segment, state = records.segments[kind // N_STATUSES], Status(kind % N_STATUSES)
        fixed[kind] = _error_headers(state, model, segment, now_ms)
    own = own_headers(records, rows, NO_LIMIT, dropped)
    cut = {int(np.searchsorted(rows, one.row)): one for one in records.cut if status[one.row]}
    letters = _Letters(rows, records.key_stop, records.value_stop[rows].copy(), own, {}, cut, set())
    log_bytes = _name_logs(letters, records.segments, segment_of)
    timestamps_ms = within(records.timestamps_ms, times)
    if limits.log_append_time or timestamps_ms is not records.timestamps_ms:
        stated = (timestamps_ms != records.timestamps_ms)[rows] | limits.log_append_time
        for k in np.flatnonzero(stated).tolist():
            letters.add(k, "timestamp_ms", int(records.timestamps_ms[rows[k]]))
    fixed_bytes = np.array([len(headers) for headers in fixed], np.int64)[kinds] + log_bytes
    keyed = 2 * (max((len(s.topic) for s in records.segments), default=0) + 32) if limits.compacted else 0
    room = limits.max_message_bytes - _FRAME_BYTES - keyed
    _fit(records, letters, fixed_bytes, room, smallest)
    if limits.compacted:
        keys, key_start, key_stop = _own_keys(records, letters)
    else:
        keys, key_start, key_stop = records.buffer, records.key_start, letters.key_stop
    for k in letters.bare:  # their extra headers stand for all the fixed ones, whose number is the same for all
        log_header = letters.extra[k][:1] if log_bytes[k] else []
        bare = [header_bytes("farthing.error.reason", _reason(status[rows[k]])), *log_header]
        digest = header_bytes("farthing.error.value_sha256", _value_sha256(records, letters, k))
        fits = not smallest and sum(map(len, bare)) + len(digest) <= room
        letters.extra[k] = [*bare, digest] if fits else bare
        kinds[k] = len(fixed)
    fixed.append(b"")
    columns = Columns(
        rows=rows,
        keys=keys,
        key_start=key_start,
        key_stop=key_stop,
        timestamps_ms=timestamps_ms,
        values=records.buffer,
        value_start=records.value_start[rows],
        value_stop=letters.value_stop,
        own=letters.own,
        fixed=octets(b"".join(fixed)),
        fixed_indptr=indptr_of(fixed),
        fixed_kind=kinds,
        fixed_count=_FIXED,
        offset_name=named(DEAD_OFFSET_HEADER),
        **_extra_columns(letters),
    )
    batches, too_large = encode(records, columns, topic, compression, limits, max_batch_bytes)
    if too_large:  # a limit that no letter fits: the broker's answer says so, and events are not lost silently
        open_ended = TopicLimits(max_message_bytes=NO_LIMIT)
        batches, _ = encode(records, columns, topic, compression, open_ended, max_batch_bytes)
    return batches


def share(room: int, sizes: Sequence[int]) -> list[int]:
    """Divide ``room`` bytes: what is short is kept whole, and the longer ones get equal parts of what is left."""
    parts = [0] * len(sizes)
    left, takers = max(room, 0), len(sizes)
    for place in sorted(range(len(sizes)), key=lambda place: sizes[place]):
        parts[place] = min(sizes[place], left // takers)
        left, takers = left - parts[place], takers - 1
    return parts


def _name_logs(letters: _Letters, segments: Sequence[Segment], segment_of: Int64s) -> Int64s:
    """Say in the letters of a later log which one it is; returns how many bytes that takes in each."""
    headers = [header_bytes(DEAD_LOG_HEADER.decode(), str(one.log)) if one.log else b"" for one in segments]
    lengths = np.array([len(header) for header in headers], np.int64)[segment_of]
    for k in np.flatnonzero(lengths).tolist():
        letters.extra[k] = [headers[segment_of[k]]]
    return lengths


def _fit(records: RecordBlock, letters: _Letters, fixed_bytes: Int64s, room: int, smallest: bool) -> None:
    """Cut the letters that are larger than ``room``; all of them if they are to be the smallest."""
    rows, own = letters.rows, letters.own
    key_bytes = records.key_stop[rows] - records.key_start[rows]
    value_bytes = letters.value_stop - records.value_start[rows]
    headers_bytes = np.diff(own.indptr) if len(own.count) else np.zeros(len(rows), np.int64)
    needed = fixed_bytes + _TIME_BYTES
    too_long = (key_bytes + value_bytes + headers_bytes + needed > room) | smallest
    too_long[list(letters.cut)] = True  # what is left of it may fit, and its length is to be told
    cut = np.flatnonzero(too_long).tolist()
    if not cut:
        return
    letters.key_stop = records.key_stop.copy()
    others: dict[int, tuple[Bytes, int]] = {}
    for k in cut:
        row, left = int(rows[k]), room - int(needed[k])
        if smallest or left < _LENGTHS_BYTES:
            letters.bare.add(k)
        sizes = [int(value_bytes[k]), int(key_bytes[k]), int(headers_bytes[k])]
        parts = share(0 if smallest else left - _CUT_BYTES, sizes)
        known = letters.cut.get(k)
        if known is not None:
            letters.add(k, "value_bytes", known.value_bytes)
            if left >= _CUT_BYTES:
                letters.add(k, "value_sha256", known.sha256)
            count, size, digest = known.headers
            if count:
                letters.add(k, "headers_count", count)
                letters.add(k, "headers_bytes", size)
                if left >= _CUT_BYTES:
                    letters.add(k, "headers_sha256", digest)
        value = records.buffer[records.value_start[row] : letters.value_stop[k]]
        key = records.buffer[records.key_start[row] : records.key_stop[row]]
        for name, size, part, data in zip(_PARTS, sizes, parts, (value, key, own.of(k)), strict=True):
            if part < size and not (known is not None and name == "value"):
                letters.add(k, f"{name}_bytes", size)
                if left >= _CUT_BYTES:
                    letters.add(k, f"{name}_sha256", hashlib.sha256(data.tobytes()).hexdigest())
        letters.value_stop[k] -= sizes[0] - parts[0]
        letters.key_stop[row] -= sizes[1] - parts[1]
        if parts[2] < sizes[2]:
            letters.add(k, "headers_count", int(own.count[k]))
            kept = own_headers(records, rows[k : k + 1], parts[2])
            others[k] = kept.data[: kept.indptr[1]], int(kept.count[0])
    letters.own = own.replaced(others)


def _value_sha256(records: RecordBlock, letters: _Letters, k: int) -> str:
    """Return the digest of the whole value of letter ``k``'s event."""
    known, row = letters.cut.get(k), letters.rows[k]
    if known is not None:
        return known.sha256
    return hashlib.sha256(records.buffer[records.value_start[row] : records.value_stop[row]].data).hexdigest()


def _own_keys(records: RecordBlock, letters: _Letters) -> tuple[Bytes, Int64s, Int64s]:
    """Return keys that name the events' places, and put the events' own keys into headers."""
    start, stop = np.full(len(records), -1, np.int64), np.full(len(records), -1, np.int64)
    keys = bytearray()
    for segment in records.segments:
        first, last = np.searchsorted(letters.rows, [segment.start, segment.stop]).tolist()
        for k in range(first, last):
            row = int(letters.rows[k])
            start[row] = len(keys)
            keys += letter_key(segment.topic, segment.partition, int(records.offsets[row]), segment.log)
            stop[row] = len(keys)
            if records.key_start[row] >= 0:
                letters.add(k, "key", records.buffer[records.key_start[row] : letters.key_stop[row]].tobytes())
    return np.frombuffer(keys, np.uint8), start, stop


def _extra_columns(letters: _Letters) -> dict[str, Any]:
    if not letters.extra:
        return {}
    of_each = [letters.extra.get(k, []) for k in range(len(letters.rows))]
    count = [len(headers) - (_FIXED if k in letters.bare else 0) for k, headers in enumerate(of_each)]
    extra = [b"".join(headers) for headers in of_each]
    return {
        "extra": octets(b"".join(extra)),
        "extra_indptr": indptr_of(extra),
        "extra_count": np.array(count, np.int64),
    }


def letter_key(topic: str, partition: int, offset: int, log: int) -> bytes:
    """Return the key of a letter in a compacted topic: its event's place, ``topic-partition-offset``.

    In a log that has taken another's place it is ``topic-partition-offset.log``.
    """
    return f"{topic}-{partition}-{offset}{f'.{log}' if log else ''}".encode()


def _reason(status: int) -> str:
    return Status(status).name.lower()


def _error_headers(status: Status, model: str, segment: Segment, now_ms: int) -> bytes:
    texts = {
        "reason": _reason(status), "stage": STAGE_OF_STATUS[status], "model": model, "topic": segment.topic,
        "partition": str(segment.partition), "time_ms": str(now_ms),
    }  # fmt: skip
    return b"".join(header_bytes(f"farthing.error.{name}", text) for name, text in texts.items())
