"""Computes a pair feature for the columns of a block: lays its settings out for the kernels and calls them in order."""

from __future__ import annotations

import itertools

import numpy as np

from farthing.blocks import (
    Bytes,
    Column,
    FeatureBlock,
    FieldColumns,
    Int32s,
    Int64s,
    NumberColumn,
    Presence,
    TextColumn,
)
from farthing.errors import ConfigError
from farthing.features import hashing
from farthing.features.folding import fold_table
from farthing.features.hashing import bucket_reference, combine_reference
from farthing.features.lexicon import Lexicon
from farthing.features.pair_layout import BM25_UNIT, FRACTION, SLOTS, Known, Query, Settings, Text
from farthing.features.pair_reference import Candidate, PairReference
from farthing.features.pair_relations import emit, relate
from farthing.features.pair_spec import NAMES, PairFeature
from farthing.features.pairs import scan_pairs
from farthing.features.spec import TextFeature
from farthing.features.text import PADDING

_NO_BYTES = np.zeros(0, np.uint8)
_NO_NUMBERS = np.zeros(0, np.float64)
_NO_INDPTR = np.zeros(0, np.int64)
_MASK = (1 << 64) - 1
_TABLE = fold_table(TextFeature())  # texts are folded like a text feature's by default


def number_hash(number: int, interval: int) -> int:
    """Hash an interval of the feature's ``number``-th number."""
    return combine_reference(number + 1, interval + 1)


def cross_hash(cross: int, a: int, b: int) -> int:
    """Hash two intervals of the feature's ``cross``-th cross."""
    return combine_reference(combine_reference(-cross - 1 & _MASK, a + 1), b + 1)


def bm25_divisor(feature: PairFeature) -> tuple[int, int]:
    """Return what BM25's divisor adds to the count, in FRACTION: a constant, and an amount per word of the text."""
    base = round(feature.k1 * (1 - feature.b) * FRACTION)
    return base, round(feature.k1 * feature.b / feature.average_words * FRACTION)


class Pairs:
    """Makes the ids of a pair feature.

    Parameters
    ----------
    feature:
        Its settings.
    lexicon:
        The words' weights and vectors.
    seed, place, bits:
        The spec's seed, the feature's place in the spec, and log2 of its number of buckets.
    """

    def __init__(self, feature: PairFeature, lexicon: Lexicon, *, seed: int, place: int, bits: int) -> None:
        self.feature = feature
        self._reference = PairReference(feature, lexicon, seed=seed, place=place, bits=bits)
        self._dim = lexicon.dim
        self._lexicon = Known(
            lexicon.checks, lexicon.weights, lexicon.question, lexicon.vectors,
            np.uint64(lexicon.shift), int(lexicon.unknown[0]), lexicon.vector_weights,
        )  # fmt: skip

        def salt(use: int) -> int:
            return hashing.salt(seed, 64 * place + use)

        base, slope = bm25_divisor(feature)
        self._settings = Settings(
            max_query_words=feature.max_query_words,
            max_words=feature.max_words,
            max_bytes=feature.max_bytes,
            stem_bytes=feature.stem_bytes,
            question_words=feature.question_words,
            cross_words=feature.cross_words,
            bm25_gain=round((feature.k1 + 1) * FRACTION * BM25_UNIT),
            bm25_base=base,
            bm25_slope=slope,
            score_unit=float(feature.score_unit),
            word=np.uint64(salt(hashing.SALT_PAIR_WORD_BUCKET)),
            cross=np.uint64(salt(hashing.SALT_PAIR_CROSS_BUCKET)),
            digits=np.uint64(salt(hashing.SALT_PAIR_DIGITS_BUCKET)),
            follow=np.uint64(salt(hashing.SALT_PAIR_FOLLOW_BUCKET)),
            shift=np.uint64(64 - bits),
        )
        self._lay_out_ids(salt(hashing.SALT_PAIR_NUMBER), salt(hashing.SALT_PAIR_NUMBER_BUCKET), bits)

    def _lay_out_ids(self, start: int, multiplier: int, bits: int) -> None:
        names, boundaries = list(self.feature.numbers), list(self.feature.numbers.values())
        crosses = [(names.index(a), names.index(b)) for a, b in self.feature.crosses]

        def id_of(h: int) -> int:
            return bucket_reference(combine_reference(start, h), multiplier, bits)

        sizes = [len(b) + 1 for b in boundaries]
        self._columns = np.array([NAMES.index(name) for name in names], np.int64)
        self._boundaries = np.array([b for each in boundaries for b in each], np.int64)
        self._boundary_indptr = np.cumsum([0, *map(len, boundaries)], dtype=np.int64)
        self._number_ids = np.array(
            [id_of(number_hash(k, i)) for k, size in enumerate(sizes) for i in range(size)], np.int32
        )
        self._crosses = np.array(crosses, np.int64).reshape(-1, 2)
        self._cross_ids = np.array(
            [
                id_of(cross_hash(c, i, j))
                for c, (a, b) in enumerate(crosses)
                for i, j in itertools.product(range(sizes[a]), range(sizes[b]))
            ],
            np.int32,
        )
        self._cross_indptr = np.cumsum([0, *(sizes[a] * sizes[b] for a, b in crosses)], dtype=np.int64)
        self._needed = np.zeros(len(NAMES), np.uint8)
        self._needed[self._columns] = 1

    def __call__(self, columns: FieldColumns, *, bias: int) -> FeatureBlock:
        """Make every row's ids; a bias of -1 is left out. Rows whose text is missing get only the bias."""
        numbers, ids, ids_indptr = self._scan(columns, self._needed)
        presence = self._text(columns, self.feature.text).presence
        n_rows = len(presence)
        per_row = 1 + len(self._columns) + len(self._crosses)
        out = np.empty(n_rows * per_row + len(ids), np.int32)
        indptr = np.empty(n_rows + 1, np.int64)
        emit(
            numbers, presence, self._columns, self._boundaries, self._boundary_indptr, self._number_ids,
            self._crosses, self._cross_ids, self._cross_indptr, bias, ids, ids_indptr,
            np.empty(len(self._columns), np.int64), out, indptr,
        )  # fmt: skip
        return FeatureBlock(indptr, out[: indptr[-1]])

    def ids_reference(self, columns: FieldColumns) -> list[list[int]]:
        """Plain form of a call: each row's ids without the bias, by :class:`PairReference`, one event after another."""
        f, rows = self.feature, []
        queries, texts = self._text(columns, f.query), self._text(columns, f.text)
        titles = self._text(columns, f.title) if f.title else None
        scores = self._number(columns, f.score).values if f.score else None
        for event in range(len(columns)):
            candidates = [
                Candidate(
                    _value(texts, row),
                    None if titles is None else _value(titles, row),
                    None if scores is None or np.isnan(scores[row]) else float(scores[row]),
                )
                for row in range(columns.row_indptr[event], columns.row_indptr[event + 1])
            ]
            rows += self._reference.ids(_value(queries, event) or b"", candidates)
        return rows

    def numbers(self, columns: FieldColumns) -> Int64s:
        """Return all numbers, to choose boundaries by: int64 (n_rows, len(NAMES))."""
        return self._scan(columns, np.ones(len(NAMES), np.uint8))[0]

    def _scan(self, columns: FieldColumns, needed: Bytes) -> tuple[Int64s, Int32s, Int64s]:
        f, s = self.feature, self._settings
        queries, texts = self._text(columns, f.query), self._text(columns, f.text)
        titles = self._text(columns, f.title) if f.title else None
        n_rows = len(texts.presence)
        if n_rows != columns.row_indptr[-1] or len(queries.presence) != len(columns):
            raise ConfigError(
                f"pair feature: {f.query} must be a field outside the plan's array and {f.text} one inside it"
            )
        scores = self._number(columns, f.score) if f.score else None
        for name, column in ((f.title, titles), (f.score, scores)):
            if column is not None and len(column.presence) != n_rows:
                raise ConfigError(f"pair feature: {name} must be a field inside the plan's array, as {f.text} is")
        lengths = [queries.indptr, texts.indptr] + ([titles.indptr] if titles else [])
        longest = min(max(int(np.diff(indptr).max(initial=0)) for indptr in lengths), f.max_bytes)
        words = int(np.minimum(np.diff(texts.indptr) // 2 + 1, min(f.cross_words, f.max_words)).sum())
        # Numbers of rows that are left out, and of columns that are not needed, are never read.
        numbers = np.empty((n_rows, len(NAMES)), np.int64)
        sums = np.empty((n_rows, self._dim), np.int64)
        ids = np.empty(n_rows * (f.max_query_words + 4) + 2 * words, np.int32)
        ids_indptr = np.zeros(n_rows + 1, np.int64)
        scan_pairs(
            columns.row_indptr, queries.data, queries.indptr, texts.data, texts.indptr, texts.presence,
            titles.data if titles else _NO_BYTES, titles.indptr if titles else _NO_INDPTR,
            scores.values if scores else _NO_NUMBERS, _TABLE,
            s, self._lexicon, self._query(), self._room(longest), numbers, sums, ids, ids_indptr,
        )  # fmt: skip
        relate(columns.row_indptr, texts.presence, sums, needed, numbers)
        return numbers, ids, ids_indptr

    def _query(self) -> Query:
        n = self.feature.max_query_words
        return Query(
            hashes=np.zeros(n, np.uint64), stems=np.zeros(n, np.uint64), first=np.zeros(n, np.int64),
            weight=np.zeros(n, np.int64), question=np.zeros(n, np.uint8), slot=np.zeros(n, np.int64),
            head=np.zeros(SLOTS, np.int64), follower=np.zeros(n, np.int64), stem_head=np.zeros(SLOTS, np.int64),
            stem_follower=np.zeros(n, np.int64), sums=np.zeros(self._dim, np.int64), kinds=np.zeros(2, np.uint64),
        )  # fmt: skip

    def _room(self, longest: int) -> Text:
        n, room = self.feature.max_query_words, longest + PADDING
        return Text(
            folded=np.zeros(room, np.uint8), bits=np.zeros(room // 8 + PADDING, np.uint8), met=np.zeros(n, np.int64),
            place=np.zeros(n, np.int64), stem_met=np.zeros(n, np.uint8), bigram_met=np.zeros(n, np.uint8),
            run=np.zeros(n + 1, np.int64), best=np.zeros(n, np.int64), sums=np.zeros(self._dim, np.int32),
            words=np.zeros(self.feature.max_words, np.uint64), pieces=np.zeros(self.feature.max_pieces, np.int64),
        )  # fmt: skip

    def _text(self, columns: FieldColumns, name: str) -> TextColumn:
        column = _column(columns, name)
        if not isinstance(column, TextColumn):
            raise ConfigError(f"pair feature: {name} needs a field of kind text")
        return column

    def _number(self, columns: FieldColumns, name: str) -> NumberColumn:
        column = _column(columns, name)
        if not isinstance(column, NumberColumn):
            raise ConfigError(f"pair feature: {name} needs a field of kind number")
        return column


def _value(column: TextColumn, slot: int) -> bytes | None:
    there = column.presence[slot] == Presence.PRESENT
    return column.data[column.indptr[slot] : column.indptr[slot + 1]].tobytes() if there else None


def _column(columns: FieldColumns, name: str) -> Column:
    if name not in columns.columns:
        raise ConfigError(f"pair feature: the field plan has no field {name!r} ({', '.join(columns.columns)})")
    return columns.columns[name]
