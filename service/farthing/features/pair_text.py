"""Reads a candidate's text and title: computes the pair's numbers and its word ids."""

from __future__ import annotations

from typing import Final

import numpy as np

from farthing.blocks import Bytes, Int32s, Int64s
from farthing.features.folding import fold_text as fold
from farthing.features.hashing import bucket, combine, low_bytes, token
from farthing.features.lexicon import WORD_SALT, find_word
from farthing.features.pair_layout import (
    ALIGNMENT,
    BIGRAMS,
    BM25,
    CENTRAL,
    COSINE,
    COVERAGE,
    DENSITY,
    DIGITS,
    DOT_UNIT,
    FIRST,
    FRACTION,
    MISSED,
    MOST_DIGITS,
    OPENING,
    OPENING_HALF,
    QUERY_WORDS,
    RUN,
    SHARE,
    STEMS,
    TEXT_WORDS,
    TITLE,
    TITLE_WORDS,
    WEAKEST,
    WORDS,
    Known,
    Query,
    Settings,
    Text,
)  # fmt: skip
from farthing.features.pair_query import pieces_of, place_in, stem_slot
from farthing.features.pair_spec import ABSENT
from farthing.features.text import next_bit
from farthing.features.word_vectors import add_vector, cosine, dot
from farthing.kernels.jit import kernel
from farthing.kernels.machine import load_u8, load_u64

MET, NOT_MET = np.uint64(1), np.uint64(2)

_SALT: Final = np.uint64(WORD_SALT)
_NOTHING: Final = np.uint64(0)
_EVERYTHING: Final = np.uint64(0xFFFFFFFFFFFFFFFF)
_ZERO, _NINE = 48, 57


@kernel(inline=True)
def lengthen_runs(h: np.uint64, n: int, query: Query, text: Text, longest: int) -> int:
    """Extend the runs of query words that end at this word of the text; returns the longest so far."""
    for j in range(n - 1, -1, -1):
        if query.hashes[j] == h:
            text.run[j + 1] = text.run[j] + 1
            if text.run[j + 1] > 1:
                text.bigram_met[j] = 1
            longest = max(longest, text.run[j + 1])
        else:
            text.run[j + 1] = 0
    return longest


@kernel(inline=True)
def compare_meaning(begin: int, end: int, slot: int, lexicon: Known, query: Query, n: int, text: Text) -> None:
    """Add a word's vector to the text's sum and compare it with the query's words; an unknown word adds its pieces."""
    if slot >= 0:
        add_vector(lexicon.vectors, slot, np.int32(lexicon.vector_weights[slot]), text.sums)
        for j in range(n):
            if query.slot[j] >= 0 and query.weight[j] > 0 and not query.question[j]:
                text.best[j] = max(text.best[j], dot(lexicon.vectors, slot, lexicon.vectors, query.slot[j]))
    elif len(text.pieces) > 0:
        for k in range(pieces_of(begin, end, lexicon, text)):
            add_vector(lexicon.vectors, text.pieces[k], np.int32(lexicon.vector_weights[text.pieces[k]]), text.sums)


@kernel
def read_text(
    data: Bytes, start: int, stop: int, table: Bytes, s: Settings, lexicon: Known, query: Query, n: int, text: Text,
    row: Int64s, ids: Int32s, at: int,
) -> int:  # fmt: skip
    """Read a candidate's text: its numbers into ``row``, its word ids to ``ids`` from ``at`` on."""
    n_bytes = fold(data, start, min(stop, start + s.max_bytes), table, True, True, text.folded, text.bits)
    dim = lexicon.vectors.shape[1]
    for i in range(n):
        text.met[i] = text.run[i] = text.best[i] = 0
        text.stem_met[i] = text.bigram_met[i] = 0
    text.run[n] = 0
    for d in range(dim):
        text.sums[d] = 0
    words, digits, text_weight, longest = 0, 0, np.int64(0), np.int64(0)
    running = False
    first = np.int64(-1)
    follow = _NOTHING
    begin = next_bit(text.bits, 0, n_bytes, _NOTHING)
    while begin < n_bytes and words < s.max_words:
        end = min(next_bit(text.bits, begin, n_bytes, _EVERYTHING), n_bytes)
        h = token(text.folded, begin, end, _SALT)
        text.words[words] = h
        byte = load_u8(text.folded, begin)
        digits += 1 if _ZERO <= byte <= _NINE else 0
        slot = find_word(h, lexicon.checks, lexicon.shift)
        weight = np.int64(lexicon.weights[slot]) if slot >= 0 else lexicon.unknown
        text_weight += weight
        i = place_in(query, h)
        if i >= 0:
            if text.met[i] == 0:
                text.place[i] = words
            text.met[i] += 1
            longest = lengthen_runs(h, n, query, text, longest)
            running = True
            if first < 0 and not query.question[i]:
                first = np.int64(words)
        elif running:
            for j in range(n + 1):
                text.run[j] = 0
            running = False
        if i < 0 and first >= 0 and follow == _NOTHING:
            follow = h
        stem = low_bytes(load_u64(text.folded, begin), min(end - begin, s.stem_bytes))
        j = query.stem_head[stem_slot(stem)]
        while j >= 0:
            if query.stems[j] == stem:
                text.stem_met[j] = 1
            j = query.stem_follower[j]
        if dim:
            compare_meaning(begin, end, slot, lexicon, query, n, text)
        words += 1
        begin = next_bit(text.bits, end, n_bytes, _NOTHING)
    number_text(s, lexicon, query, n, text, words, text_weight, row)
    row[RUN], row[FIRST], row[DIGITS] = longest, first if first >= 0 else ABSENT, digits
    return word_ids(s, query, n, text, words, digits, follow, ids, at)


@kernel
def number_text(
    s: Settings, lexicon: Known, query: Query, n: int, text: Text, words: int, text_weight: int, row: Int64s
) -> None:
    """Compute the pair's numbers from the words that query and text have in common."""
    total = met_weight = stem_weight = bm25 = missed = aligned = asked = np.int64(0)
    different = met = bigrams = heaviest = opening = np.int64(0)
    density = np.int64(0)
    divisor = s.bm25_base + s.bm25_slope * words
    for i in range(n):
        bigrams += text.bigram_met[i]
        if query.first[i] != i:
            continue
        weight = query.weight[i]
        different += 1
        total += weight
        if text.met[i] > 0:
            met += 1
            met_weight += weight
            density += weight * text.met[i]
            opening += weight * SHARE * OPENING_HALF // (OPENING_HALF + text.place[i])
            bm25 += weight * text.met[i] * s.bm25_gain // (text.met[i] * FRACTION + divisor)
            text.best[i] = DOT_UNIT
        else:
            missed = max(missed, weight)
        if text.stem_met[i]:
            stem_weight += weight
        if not query.question[i]:
            heaviest = max(heaviest, weight)
            aligned += weight * text.best[i]
            asked += weight
    row[BM25], row[BIGRAMS], row[MISSED] = bm25, bigrams, missed
    row[QUERY_WORDS], row[TEXT_WORDS] = n, words
    row[COVERAGE] = met_weight * SHARE // total if total > 0 else ABSENT
    row[STEMS] = stem_weight * SHARE // total if total > 0 else ABSENT
    row[WORDS] = met * SHARE // different if different > 0 else ABSENT
    row[OPENING] = opening // total if total > 0 else ABSENT
    row[DENSITY] = density * SHARE // text_weight if text_weight > 0 else ABSENT
    row[COSINE] = row[ALIGNMENT] = row[WEAKEST] = row[CENTRAL] = ABSENT
    dim = lexicon.vectors.shape[1]
    if dim == 0:
        return
    product = square_query = square_text = np.int64(0)
    for d in range(dim):
        part = np.int64(text.sums[d])
        product += query.sums[d] * part
        square_query += query.sums[d] * query.sums[d]
        square_text += part * part
    row[COSINE] = cosine(product, square_query, square_text)
    if asked > 0:
        row[ALIGNMENT] = aligned * SHARE // (asked * DOT_UNIT)
        weakest = np.int64(DOT_UNIT)
        for i in range(n):
            if query.first[i] == i and not query.question[i] and 2 * query.weight[i] >= heaviest:
                weakest = min(weakest, text.best[i])
        row[WEAKEST] = weakest * SHARE // DOT_UNIT


@kernel
def word_ids(
    s: Settings, query: Query, n: int, text: Text, words: int, digits: int, follow: np.uint64, ids: Int32s, at: int
) -> int:
    """Write a candidate's word ids; returns the position after them."""
    for i in range(n):
        if query.first[i] == i:
            state = MET if text.met[i] > 0 else NOT_MET
            ids[at] = bucket(combine(query.hashes[i], state), s.word, s.shift)
            at += 1
    if s.question_words == 0:
        return at
    for k in range(2):
        kind = query.kinds[k]
        for w in range(min(words, s.cross_words)):
            ids[at] = bucket(combine(kind, text.words[w]), s.cross, s.shift)
            at += 1
        ids[at] = bucket(combine(kind, np.uint64(min(digits, MOST_DIGITS))), s.digits, s.shift)
        ids[at + 1] = bucket(combine(kind, follow), s.follow, s.shift)
        at += 2
    return at


@kernel
def read_title(
    data: Bytes, start: int, stop: int, table: Bytes, s: Settings, query: Query, n: int, text: Text, row: Int64s
) -> None:
    """Read a candidate's title: computes the numbers ``title`` and ``title_words``."""
    row[TITLE] = row[TITLE_WORDS] = ABSENT
    n_bytes = fold(data, start, min(stop, start + s.max_bytes), table, True, True, text.folded, text.bits)
    total = np.int64(0)
    for i in range(n):
        total += query.weight[i]
        text.met[i] = 0
    words, inside, met_weight = 0, 0, np.int64(0)
    begin = next_bit(text.bits, 0, n_bytes, _NOTHING)
    while begin < n_bytes and words < s.max_words:
        end = min(next_bit(text.bits, begin, n_bytes, _EVERYTHING), n_bytes)
        i = place_in(query, token(text.folded, begin, end, _SALT))
        if i >= 0:
            inside += 1
            if text.met[i] == 0:
                met_weight += query.weight[i]
            text.met[i] = 1
        words += 1
        begin = next_bit(text.bits, end, n_bytes, _NOTHING)
    if words > 0:
        row[TITLE] = met_weight * SHARE // total if total > 0 else ABSENT
        row[TITLE_WORDS] = inside * SHARE // words
