"""Reads a query: hashes and weighs its words, and puts them into two small hash tables to look up texts' words in."""

from __future__ import annotations

from typing import Final

import numpy as np

from farthing.blocks import Bytes
from farthing.features.folding import fold_text as fold
from farthing.features.hashing import M, combine, low_bytes, token
from farthing.features.lexicon import WORD_SALT, find_word
from farthing.features.pair_layout import SLOTS, Known, Query, Settings, Text
from farthing.features.text import next_bit
from farthing.features.word_vectors import cut_word
from farthing.kernels.jit import kernel
from farthing.kernels.machine import load_u64

_TOP_BYTE: Final = np.uint64(56)
_SALT: Final = np.uint64(WORD_SALT)
_NOTHING: Final = np.uint64(0)
_EVERYTHING: Final = np.uint64(0xFFFFFFFFFFFFFFFF)


@kernel(inline=True)
def stem_slot(stem: np.uint64) -> int:
    """Return a stem's place among SLOTS."""
    return np.int64((stem * M) >> _TOP_BYTE)


@kernel(inline=True)
def pieces_of(begin: int, end: int, lexicon: Known, text: Text) -> int:
    """Cut the word ``text.folded[begin:end]`` into ``text.pieces``; returns the number of pieces."""
    return cut_word(text.folded, begin, end, lexicon.checks, lexicon.shift, lexicon.vector_weights, text.pieces)


@kernel
def read_query(
    data: Bytes, start: int, stop: int, table: Bytes, s: Settings, lexicon: Known, query: Query, text: Text
) -> int:
    """Fold and hash a query into ``query``; returns its number of words."""
    n_bytes = fold(data, start, min(stop, start + s.max_bytes), table, True, True, text.folded, text.bits)
    for slot in range(SLOTS):
        query.head[slot] = -1
        query.stem_head[slot] = -1
    dim = lexicon.vectors.shape[1]
    for d in range(dim):
        query.sums[d] = 0
    n = 0
    begin = next_bit(text.bits, 0, n_bytes, _NOTHING)
    while begin < n_bytes and n < s.max_query_words:
        end = min(next_bit(text.bits, begin, n_bytes, _EVERYTHING), n_bytes)
        h = token(text.folded, begin, end, _SALT)
        query.hashes[n] = h
        query.stems[n] = low_bytes(load_u64(text.folded, begin), min(end - begin, s.stem_bytes))
        slot = find_word(h, lexicon.checks, lexicon.shift)
        query.slot[n] = slot
        query.question[n] = lexicon.question[slot] if slot >= 0 else 0
        place = np.int64(h >> _TOP_BYTE)
        same = query.head[place]
        while same >= 0 and query.hashes[same] != h:
            same = query.follower[same]
        if same >= 0:
            query.first[n], query.weight[n] = same, 0
        else:
            query.first[n] = n
            query.weight[n] = np.int64(lexicon.weights[slot]) if slot >= 0 else lexicon.unknown
            query.follower[n] = query.head[place]
            query.head[place] = n
            place = stem_slot(query.stems[n])
            query.stem_follower[n] = query.stem_head[place]
            query.stem_head[place] = n
            if slot >= 0:
                for d in range(dim):
                    query.sums[d] += np.int64(lexicon.vector_weights[slot]) * np.int64(lexicon.vectors[slot, d])
            elif dim and len(text.pieces) > 0:
                for k in range(pieces_of(begin, end, lexicon, text)):
                    for d in range(dim):
                        query.sums[d] += np.int64(lexicon.vector_weights[text.pieces[k]]) * np.int64(
                            lexicon.vectors[text.pieces[k], d]
                        )
        n += 1
        begin = next_bit(text.bits, end, n_bytes, _NOTHING)
    kind = _SALT
    for i in range(min(n, s.question_words)):
        kind = combine(kind, query.hashes[i])
    query.kinds[0] = kind
    query.kinds[1] = _SALT
    heaviest = np.int64(-1)
    for i in range(n):
        if query.question[i] and query.weight[i] > heaviest and query.first[i] == i:
            heaviest = query.weight[i]
            query.kinds[1] = query.hashes[i]
    return n


@kernel(inline=True)
def place_in(query: Query, h: np.uint64) -> int:
    """Look a word up in the query by its hash; returns its first place there, or -1."""
    i = query.head[np.int64(h >> _TOP_BYTE)]
    while i >= 0 and query.hashes[i] != h:
        i = query.follower[i]
    return i
