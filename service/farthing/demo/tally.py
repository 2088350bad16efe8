"""What came back: every event once? how late? with which labels? Counted from the score and dead-letter topics."""

from __future__ import annotations

import json
from collections import Counter, deque
from dataclasses import dataclass, field
from typing import Final

import numpy as np

from farthing.blocks import Bytes, FetchedPartition, Int64s, TextColumn
from farthing.demo.events import Chunk
from farthing.payload import Field, FieldPath, FieldPlan, parse, parse_path
from farthing.wire import DEAD_OFFSET_HEADER, OFFSET_HEADER, Arena, decode, source_offsets

LONGEST_MS: Final = 60_000
SHOWN_FLAGGED: Final = 6
KEPT_CHUNKS: Final = 4_000  # per partition, to find the text of a flagged event

_PLAN: Final = FieldPlan((Field("label", "label", "text"), Field("score", "score", "number")))


class Seen:
    """Which offsets of one partition were seen. Memory is for those after the first that is missing."""

    def __init__(self) -> None:
        self.distinct = 0
        self.duplicates = 0
        self._base = 0  # all before it were seen
        self._after: Bytes = np.zeros(1 << 16, np.uint8)

    def add(self, offsets: Int64s) -> None:
        """Note offsets, in any order."""
        fresh, counts = np.unique(offsets, return_counts=True)
        self.duplicates += int(counts.sum()) - len(fresh)
        ahead = fresh[fresh >= self._base] - self._base
        if len(ahead) and ahead[-1] >= len(self._after):
            grown = np.zeros(max(int(ahead[-1]) + 1, 2 * len(self._after)), np.uint8)
            grown[: len(self._after)] = self._after
            self._after = grown
        new = ahead[self._after[ahead] == 0]
        self.distinct += len(new)
        self.duplicates += len(fresh) - len(new)
        self._after[new] = 1
        prefix = int(np.argmin(self._after)) if self._after[0] else 0
        if prefix:
            self._after[:-prefix] = self._after[prefix:].copy()
            self._after[-prefix:] = 0
            self._base += prefix


@dataclass(slots=True)
class Flagged:
    """An event whose label is not the mildest."""

    label: str
    score: float
    text: str


@dataclass
class Tally:
    """Running totals of a demo. ``mildest`` is the label that is not worth showing."""

    sink: str
    mildest: str
    text: FieldPath = parse_path("text")  # noqa: RUF009 - frozen; where the text lies in an event
    scored: int = 0
    dead: int = 0
    foreign: int = 0  # records that carry no source offset of ours
    labels: Counter[str] = field(default_factory=Counter)
    flagged: deque[Flagged] = field(default_factory=lambda: deque(maxlen=SHOWN_FLAGGED))
    latency_ms: Int64s = field(default_factory=lambda: np.zeros(LONGEST_MS + 1, np.int64))
    _seen: dict[int, Seen] = field(default_factory=dict)
    _sent: dict[int, deque[tuple[int, Chunk]]] = field(default_factory=dict)
    _arena: Arena = field(default_factory=Arena)
    _duplicates_before: int = 0
    _distinct_before: int = 0

    def sent(self, partition: int, first_offset: int, chunk: Chunk) -> None:
        """Remember what was sent, for its text."""
        self._sent.setdefault(partition, deque(maxlen=KEPT_CHUNKS)).append((first_offset, chunk))

    def start_again(self) -> None:
        """Count on from offset 0: the topics were emptied."""
        self._duplicates_before, self._distinct_before = self.duplicated, self.answered
        self._seen.clear()
        self._sent.clear()

    @property
    def answered(self) -> int:
        """Events that were scored or are dead letters, each counted once."""
        return self._distinct_before + sum(seen.distinct for seen in self._seen.values())

    @property
    def duplicated(self) -> int:
        """Answers more than one, of all events together."""
        return self._duplicates_before + sum(seen.duplicates for seen in self._seen.values())

    def percentile_ms(self, share: float) -> int:
        """Give the latency that this share of the scores did not exceed, in ms; 0 before the first."""
        total = int(self.latency_ms.sum())
        return int(np.searchsorted(np.cumsum(self.latency_ms), share * total)) if total else 0

    def read(self, part: FetchedPartition, now_ms: int) -> None:
        """Count what one fetch of the score or the dead-letter topic brought."""
        records = decode([part], self._arena)
        if not len(records):
            return
        is_score = part.topic == self.sink
        offsets = source_offsets(records, OFFSET_HEADER if is_score else DEAD_OFFSET_HEADER)
        self.foreign += int((offsets < 0).sum())
        self._seen.setdefault(part.partition, Seen()).add(offsets[offsets >= 0])
        if not is_score:
            self.dead += len(records)
            return
        self.scored += len(records)
        late = np.clip(now_ms - records.timestamps_ms, 0, LONGEST_MS)
        self.latency_ms += np.bincount(late, minlength=LONGEST_MS + 1)
        columns = parse(records, _PLAN).columns
        labels = columns["label"]
        assert isinstance(labels, TextColumn)
        names = _fixed_width(labels)
        found, counts = np.unique(names, return_counts=True)
        self.labels.update({name.decode(): int(n) for name, n in zip(found, counts, strict=True)})
        for k in np.flatnonzero(names != self.mildest.encode())[-SHOWN_FLAGGED:]:
            self._flag(part.partition, int(offsets[k]), names[k].decode(), float(columns["score"].values[k]))  # type: ignore[union-attr]

    def _flag(self, partition: int, offset: int, label: str, score: float) -> None:
        for first, chunk in reversed(self._sent.get(partition, ())):
            if first <= offset:
                if offset < first + len(chunk):
                    self.flagged.append(Flagged(label, score, _text(chunk.value(offset - first), self.text)))
                return


def _text(value: bytes, path: FieldPath) -> str:
    """Give what a person wants to read of an event: its text if it has one, on one line."""
    text = path.find(json.loads(value))  # it was scored, so it is JSON
    return " ".join((text if isinstance(text, str) else value.decode()).split())


def _fixed_width(column: TextColumn) -> np.ndarray[tuple[int], np.dtype[np.bytes_]]:
    """Give short strings as an array of fixed-width bytes (n,)."""
    lengths = np.diff(column.indptr)
    width = max(int(lengths.max(initial=1)), 1)
    wide = np.zeros((len(lengths), width), np.uint8)
    inside = np.arange(width) < lengths[:, None]
    wide[inside] = column.data[column.indptr[0] : column.indptr[-1]]
    return wide.reshape(-1).view(f"S{width}")
