"""What came back: every event once? how late? with which labels? Counted from the score and dead-letter topics.

Two threads meet here: one counts what was fetched, the event loop notes what is sent and shows how it stands. So a
:class:`Tally` alone holds what changes, behind a lock, and gives nothing of it away: others get :class:`Totals`, which
never change.
"""

from __future__ import annotations

import json
import threading
from collections import Counter, defaultdict, deque
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

import numpy as np

from farthing.audit.offset_set import OffsetSet
from farthing.blocks import FetchedPartition, Int64s, RecordBlock, TextColumn
from farthing.demo.events import Chunk
from farthing.payload import Field, FieldPath, FieldPlan, parse, parse_path
from farthing.wire import DEAD_OFFSET_HEADER, OFFSET_HEADER, Arena, decode_whole, source_offsets

LONGEST_MS: Final = 3_600_000
"""Later answers count as this late: the demo gives up long before."""

SHOWN_FLAGGED: Final = 6
KEPT_CHUNKS: Final = 4_000  # per partition, to find the text of a flagged event

_JOINER: Final = "\u200d"  # within an emoji; all else that cannot be printed might command the terminal
_PLAN: Final = FieldPlan((Field("label", "label", "text"), Field("score", "score", "number")))


@dataclass(frozen=True, slots=True)
class Flagged:
    """An event whose label is not the mildest."""

    label: str
    score: float
    text: str


@dataclass(frozen=True, slots=True)
class Totals:
    """How the counting stands at one moment."""

    scored: int
    dead: int
    foreign: int  # records that carry no source offset of ours
    answered: int  # events that were scored or are dead letters, each counted once
    duplicated: int  # answers to events that had one already
    labels: Mapping[str, int]
    flagged: tuple[Flagged, ...]  # the last ones, the latest last
    p50_ms: int
    p99_ms: int


@dataclass(frozen=True, slots=True)
class _Counted:
    """The counts of one fetch, before they are added."""

    is_score: bool
    records: int
    foreign: int
    offsets: Int64s  # (n,) in the source
    latency_ms: Int64s  # (k,) scores by whole milliseconds
    labels: Mapping[str, int]
    flagged: tuple[tuple[int, str, float], ...]  # source offset, label, score


_TEXT: Final = parse_path("text")


class Tally:
    """Running totals of a demo, for any thread.

    ``mildest`` is the label that is not worth showing, ``text`` where the text lies in an event.
    """

    def __init__(self, sink: str, mildest: str, text: FieldPath = _TEXT) -> None:
        self.sink = sink
        self.mildest = mildest
        self._text_path = text
        self._arena = Arena()
        self._reading = threading.Lock()  # held while a fetch is decoded: the arena is for one at a time
        self._lock = threading.Lock()  # for all that stands below; never held for longer than an addition takes
        self._scored = self._dead = self._foreign = self._duplicated = 0
        self._answered_before = 0  # in the topics before they were emptied
        self._labels: Counter[str] = Counter()
        self._flagged: deque[Flagged] = deque(maxlen=SHOWN_FLAGGED)
        self._latency_ms: Int64s = np.zeros(1 << 10, np.int64)  # scores by whole milliseconds; grows
        self._seen: defaultdict[int, OffsetSet] = defaultdict(OffsetSet)
        self._sent: defaultdict[int, deque[tuple[int, Chunk]]] = defaultdict(lambda: deque(maxlen=KEPT_CHUNKS))

    def sent(self, partition: int, first_offset: int, chunk: Chunk) -> None:
        """Remember what was sent, for its text."""
        with self._lock:
            self._sent[partition].append((first_offset, chunk))

    def start_again(self) -> None:
        """Count on from offset 0: the topics were emptied."""
        with self._lock:
            self._answered_before = self._answered()
            self._seen.clear()
            self._sent.clear()

    def read(self, part: FetchedPartition, now_ms: int) -> None:
        """Count what one fetch of the score or the dead-letter topic brought."""
        with self._reading:
            for records in decode_whole(part, self._arena):
                if len(records):
                    counted = self._count(part.topic, records, now_ms)
                    with self._lock:
                        self._add(part.partition, counted)

    @property
    def totals(self) -> Totals:
        """How it stands now."""
        with self._lock:
            return Totals(
                self._scored, self._dead, self._foreign, self._answered(), self._duplicated,
                MappingProxyType(dict(self._labels)), tuple(self._flagged),
                self._percentile_ms(0.5), self._percentile_ms(0.99),
            )  # fmt: skip

    @property
    def answered(self) -> int:
        """Events that were scored or are dead letters, each counted once."""
        with self._lock:
            return self._answered()

    def _answered(self) -> int:
        return self._answered_before + sum(len(seen) for seen in self._seen.values())

    def _percentile_ms(self, share: float) -> int:
        """Give the latency that this share of the scores did not exceed, in ms; 0 before the first."""
        running = np.cumsum(self._latency_ms)
        return int(np.searchsorted(running, share * running[-1])) if running[-1] else 0

    def _count(self, topic: str, records: RecordBlock, now_ms: int) -> _Counted:
        is_score = topic == self.sink
        offsets = source_offsets(records, OFFSET_HEADER if is_score else DEAD_OFFSET_HEADER)
        ours = offsets[offsets >= 0]
        foreign = len(offsets) - len(ours)
        if not is_score:
            return _Counted(is_score, len(records), foreign, ours, np.zeros(0, np.int64), {}, ())
        late = np.bincount(np.clip(now_ms - records.timestamps_ms, 0, LONGEST_MS))
        columns = parse(records, _PLAN).columns
        labels, scores = columns["label"], columns["score"].values  # type: ignore[union-attr]
        assert isinstance(labels, TextColumn)
        names = _fixed_width(labels)
        distinct, counts = np.unique(names, return_counts=True)
        last = np.flatnonzero(names != self.mildest.encode())[-SHOWN_FLAGGED:].tolist()
        return _Counted(
            is_score, len(records), foreign, ours, late,
            {name.decode(): int(n) for name, n in zip(distinct, counts, strict=True)},
            tuple((int(offsets[k]), names[k].decode(), float(scores[k])) for k in last),
        )  # fmt: skip

    def _add(self, partition: int, counted: _Counted) -> None:
        self._foreign += counted.foreign
        self._duplicated += len(counted.offsets) - self._seen[partition].add(counted.offsets)
        if not counted.is_score:
            self._dead += counted.records
            return
        self._scored += counted.records
        self._labels.update(counted.labels)
        late = counted.latency_ms
        if len(late) > len(self._latency_ms):
            self._latency_ms = np.concatenate([self._latency_ms, np.zeros(2 * len(late), np.int64)])
        self._latency_ms[: len(late)] += late
        for offset, label, score in counted.flagged:
            text = self._text(partition, offset)
            if text is not None:
                self._flagged.append(Flagged(label, score, text))

    def _text(self, partition: int, offset: int) -> str | None:
        """Find the text of an event; None when it was sent too long ago, or not by us."""
        for first, chunk in reversed(self._sent[partition]):
            if first <= offset:
                if offset >= first + len(chunk):
                    return None
                return _text(chunk.value(offset - first), self._text_path)
        return None


def _text(value: bytes, path: FieldPath) -> str:
    """Give what a person wants to read of an event: its text if it has one, on one line, fit for a terminal."""
    whole = value.decode("utf-8", "replace")
    try:
        text = path.find(json.loads(whole))
    except (ValueError, RecursionError):  # Python's reader has limits that ours has not
        text = None
    shown = text if isinstance(text, str) else whole
    return " ".join("".join(one if one.isprintable() or one == _JOINER else " " for one in shown).split())


def _fixed_width(column: TextColumn) -> np.ndarray[tuple[int], np.dtype[np.bytes_]]:
    """Give short strings as an array of fixed-width bytes (n,)."""
    lengths = np.diff(column.indptr)
    width = max(int(lengths.max(initial=1)), 1)
    wide = np.zeros((len(lengths), width), np.uint8)
    inside = np.arange(width) < lengths[:, None]
    wide[inside] = column.data[column.indptr[0] : column.indptr[-1]]
    return wide.reshape(-1).view(f"S{width}")
