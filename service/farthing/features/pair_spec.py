"""The settings of the feature kind ``pair``: which features are made of a query and a candidate.

These numbers are computed for each pair, all in integers (:mod:`farthing.features.pairs` says how). *weight* is a
word's weight in the lexicon; shares are in thousandths; a word of the query counts once however often it is repeated:

=============  ========================================================================================================
bm25           BM25 of the text (Robertson and Zaragoza 2009), weights as idf
coverage       share of the query's weight whose words are in the text
words          share of the query's words that are in the text
stems          like coverage; a word is also there when another one begins with the same ``stem_bytes`` bytes
bigrams        neighbours in the query that are neighbours in the text
run            longest run of the query's words in the text
first          place of the text's first word that is in the query and is not a question word
missed         largest weight among the query's words that are not in the text
density        share of the text's weight that is in words of the query
query_words    words of the query
text_words     words of the text
digits         words of the text that begin with a digit
title          share of the query's weight whose words are in the title
title_words    share of the title's words that are in the query
score          the first stage's score
cosine         cosine of the weighted sums of word vectors; with ``max_pieces`` also of unknown words' pieces
alignment      best cosine of each query word with a word of the text, averaged by weight; no question words
weakest        least of these best cosines, among words that weigh at least half as much as the heaviest
central        cosine of the text with the sum of all candidates' texts
opening        like coverage; a word whose first place in the text is k, from 0, counts 8 / (8 + k) of its weight
=============  ========================================================================================================

``NAME.rank`` is how many candidates of the same event have a larger number; ``NAME.relative`` is where a number lies
between the least (0) and the largest (1000) of them. Neither depends on the order of the candidates. A number that
cannot be computed (no title, no score, no vector) is :data:`ABSENT`, below every boundary.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar, Final

from farthing.errors import ConfigError

NUMBERS: Final = (
    "bm25", "coverage", "words", "stems", "bigrams", "run", "first", "missed", "density", "query_words", "text_words",
    "digits", "title", "title_words", "score", "cosine", "alignment", "weakest", "central", "opening",
)  # fmt: skip
FORMS: Final = ("", ".rank", ".relative")
NAMES: Final = tuple(name + form for form in FORMS for name in NUMBERS)
"""Columns of the table of numbers: first the plain ones, then ranks, then relative ones."""

ABSENT: Final = -(1 << 60)
MAX_QUERY_WORDS: Final = 64
MAX_INTERVALS: Final = 256
MAX_TERMS: Final = 1 << 16  # most words of a text times pieces of a word, so that sums of vectors stay below 2**31


@dataclass(frozen=True, slots=True)
class PairFeature:
    """Features of a query (one per event) and a candidate's text (one per row).

    Texts are folded and split into words as by a :class:`~farthing.features.spec.TextFeature` with both switches on;
    the first ``max_words`` words of a text and ``max_query_words`` of a query are read.

    The ids are, in this order: one for each of ``numbers`` (the interval it lies in), one for each of ``crosses`` (both
    intervals together), one for each different word of the query (met or missed), and then the ids of the kind of
    question: one with each of the text's first ``cross_words`` words, one with the number of words that begin with a
    digit, and one with the first word after the first match that is not in the query. There are two such kinds: the
    query's first ``question_words`` words together, and its heaviest question word.
    """

    kind: ClassVar[str] = "pair"
    query: str = "query"
    text: str = "text"
    title: str = ""  # row field of kind text; empty: none
    score: str = ""  # row field of kind number, the first stage's score; empty: none
    max_query_words: int = 32
    max_words: int = 256
    max_bytes: int = 4096
    stem_bytes: int = 4
    question_words: int = 2
    cross_words: int = 0
    k1: float = 1.2
    b: float = 0.75
    average_words: float = 100.0
    max_pieces: int = 0  # a word that is not in the lexicon counts by its pieces in cosine and central; 0: not at all
    score_unit: float = 0.001  # the first stage's score is rounded to a multiple of this
    numbers: Mapping[str, tuple[int, ...]] = field(default_factory=dict)  # NAMES -> ascending boundaries
    crosses: tuple[tuple[str, str], ...] = ()
    lexicon_sha256: str = ""

    def __post_init__(self) -> None:
        numbers = {name: tuple(boundaries) for name, boundaries in self.numbers.items()}
        object.__setattr__(self, "numbers", numbers)
        for name, (low, high) in _RANGES.items():
            value = getattr(self, name)
            if not low <= value <= high:
                raise ConfigError(f"pair feature: {name} is {value}, expected {low} to {high}")
        if self.max_words * self.max_pieces > MAX_TERMS:
            raise ConfigError(
                f"pair feature: {self.max_words} words of {self.max_pieces} pieces are more than {MAX_TERMS:,}; lower "
                "max_words or max_pieces"
            )
        for name, boundaries in numbers.items():
            if name not in NAMES:
                raise ConfigError(
                    f"pair feature: no number is called {name!r}; there are {', '.join(NUMBERS)}, "
                    "each also with .rank and .relative"
                )
            ascending = all(a < b for a, b in itertools.pairwise(boundaries))
            whole = all(isinstance(b, int) and abs(b) < -ABSENT for b in boundaries)
            if not boundaries or not ascending or not whole or len(boundaries) >= MAX_INTERVALS:
                raise ConfigError(
                    f"pair feature: boundaries of {name} are {boundaries}, expected ascending whole numbers, "
                    f"1 to {MAX_INTERVALS - 1} of them"
                )
        for pair in self.crosses:
            if len(pair) != 2 or not set(pair) <= numbers.keys():
                raise ConfigError(f"pair feature: cross of {pair}, expected two of {', '.join(numbers)}")


_RANGES: Final = {
    "max_query_words": (1, MAX_QUERY_WORDS), "max_words": (1, 1 << 14), "max_bytes": (1, 1 << 20),
    "stem_bytes": (1, 8), "question_words": (0, 8), "cross_words": (0, 1 << 14), "k1": (0.0, 100.0), "b": (0.0, 1.0),
    "average_words": (1.0, 1e6), "max_pieces": (0, 16), "score_unit": (1e-9, 1e9),
}  # fmt: skip
