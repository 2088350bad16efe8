"""What the pair kernels read and write: columns of the table of numbers, units, and scratch for a query and a text."""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from farthing.blocks import Bytes, Int32s, Int64s
from farthing.features.lexicon import VECTOR_UNIT
from farthing.features.pair_spec import NUMBERS

Hashes = NDArray[np.uint64]

N: Final = len(NUMBERS)
(
    BM25, COVERAGE, WORDS, STEMS, BIGRAMS, RUN, FIRST, MISSED, DENSITY, QUERY_WORDS, TEXT_WORDS, DIGITS, TITLE,
    TITLE_WORDS, SCORE, COSINE, ALIGNMENT, WEAKEST, CENTRAL, OPENING,
) = range(N)  # fmt: skip
SHARE: Final = 1000
FRACTION: Final = 1 << 16  # of BM25's fixed-point divisor
BM25_UNIT: Final = 16
MOST_DIGITS: Final = 3
SCORE_LIMIT: Final = float(1 << 40)
SLOTS: Final = 256  # of the little hash tables of a query's words and stems
DOT_UNIT: Final = VECTOR_UNIT * VECTOR_UNIT
OPENING_HALF: Final = 8  # a word of the query counts half as much at this place as at the first


class Known(NamedTuple):
    """A lexicon's arrays."""

    checks: NDArray[np.uint16]
    weights: Bytes
    question: Bytes
    vectors: NDArray[np.int8]
    shift: np.uint64
    unknown: int
    vector_weights: Bytes


class Settings(NamedTuple):
    """A pair feature's settings, laid out for the kernels."""

    max_query_words: int
    max_words: int
    max_bytes: int
    stem_bytes: int
    question_words: int
    cross_words: int
    bm25_gain: int  # (k1 + 1) in FRACTION * BM25_UNIT
    bm25_base: int  # k1 * (1 - b) in FRACTION
    bm25_slope: int  # k1 * b / average_words in FRACTION
    score_unit: float
    word: np.uint64  # this and the next three: multipliers for the buckets of each kind of id
    cross: np.uint64
    digits: np.uint64
    follow: np.uint64
    shift: np.uint64  # 64 - log2(n_buckets)


class Query(NamedTuple):
    """Scratch for one query, one entry per word in order; a repeated word counts at its first place."""

    hashes: Hashes  # (max_query_words,)
    stems: Hashes
    first: Int64s  # place of the same word's first occurrence
    weight: Int64s  # 0 at a repeat
    question: Bytes
    slot: Int64s  # in the lexicon, or -1
    head: Int64s  # (SLOTS,) first word with this top byte of its hash, or -1
    follower: Int64s  # (max_query_words,) next word with the same top byte, or -1
    stem_head: Int64s
    stem_follower: Int64s
    sums: Int64s  # (dim,) weighted sum of word vectors
    kinds: Hashes  # (2,) the two kinds of question (see PairFeature)


class Text(NamedTuple):
    """Scratch for one candidate."""

    folded: Bytes
    bits: Bytes
    met: Int64s  # (max_query_words,) how often each word of the query is in the text
    place: Int64s  # (max_query_words,) its first place there
    stem_met: Bytes
    bigram_met: Bytes
    run: Int64s  # (max_query_words + 1,)
    best: Int64s  # (max_query_words,) largest dot product with a word of the text
    sums: Int32s  # (dim,): a weight of 255 times 127 times MAX_TERMS is below 2**31
    pieces: Int64s  # (max_pieces,) slots of one word's pieces
    words: Hashes  # (max_words,)
