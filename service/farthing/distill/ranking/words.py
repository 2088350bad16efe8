"""Makes the lexicon of a rerank bundle: weights from the training texts, question words, word vectors."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from farthing.distill.ranking.data import QuerySet
from farthing.errors import ConfigError
from farthing.features import Lexicon, make_lexicon
from farthing.features.lexicon import CONTINUES
from farthing.features.text import folded_words
from farthing.features.word_vectors import cut_word_reference

LARGEST_WEIGHT = 255
QUESTION_SHARE = 0.01  # a question word is in one query of a hundred ...
QUESTION_LIFT = 2.0  # ... and twice as common in queries as in texts
PIECE_WEIGHT = 157  # weight of an unknown word's continuation in sums of vectors

Floats = NDArray[np.float32]


def inverse_document_frequency(n_texts: int, n_with: int) -> float:
    """Return a word's idf as in Lucene's BM25: never negative."""
    return math.log(1 + (n_texts - n_with + 0.5) / (n_with + 0.5))


class WordWeights:
    """Weights of words: idf in the texts to learn from, scaled so that a word in none of them has 255.

    A word weighs no more than it would in ``background``, texts of everyday language: "our" is rare on health pages,
    but that does not make it informative.
    """

    def __init__(self, train: QuerySet, background: Sequence[str] = ()) -> None:
        texts = {candidate.text for query in train.queries for candidate in query.candidates}
        self.counts, self.n_texts = count_texts(texts), len(texts)
        self.everyday, self._n_everyday = count_texts(background), len(background)
        self._step = LARGEST_WEIGHT / inverse_document_frequency(self.n_texts, 0)

    def of(self, word: bytes) -> int:
        """Return the weight of a folded word or a continuation, 0 to 255."""
        if word.startswith(CONTINUES):
            return PIECE_WEIGHT
        idf = inverse_document_frequency(self.n_texts, self.counts[word])
        if self.everyday[word]:
            idf = min(idf, inverse_document_frequency(self._n_everyday, self.everyday[word]))
        return round(idf * self._step)


def build_lexicon(
    train: QuerySet, *, slots: int, least_texts: int, vectors: Mapping[bytes, Floats],
    vector_weights: Mapping[bytes, int] | None = None, background: Sequence[str] = (), max_pieces: int = 0,
) -> Lexicon:  # fmt: skip
    """Make the lexicon of a training set.

    Parameters
    ----------
    train:
        Its texts give the weights, with ``background``: :class:`WordWeights`.
    slots:
        Room for words: :func:`farthing.features.make_lexicon`.
    least_texts:
        Words in fewer texts are unknown, unless they have a vector.
    vectors:
        Word vectors.
    vector_weights:
        Weights in sums of vectors, where they differ from the words' own.
    background:
        Texts of everyday language.
    max_pieces:
        A word with a weight but no vector gets the sum of its pieces' vectors, if it has at most this many pieces.

    Raises
    ------
    ConfigError
        There is no room for a piece, so that words would be cut in another way than when the vectors were learnt.
    """
    word_weights = WordWeights(train, background)
    counts, everyday = word_weights.counts, word_weights.everyday
    weights = {
        word: word_weights.of(word)
        for word, n in sorted(counts.items(), key=lambda item: (-item[1], item[0]))
        if n >= least_texts or word in vectors or everyday[word] >= least_texts
    }
    for word in [*vectors, *sorted(word for word, n in everyday.items() if n >= least_texts)]:
        weights.setdefault(word, word_weights.of(word))
    question = question_words(train, word_weights)
    for word in question:
        weights.setdefault(word, LARGEST_WEIGHT)
    whole, in_sums = dict[bytes, Floats](), dict(vector_weights or {})
    if max_pieces:
        alone = [word for word in weights if word not in vectors]
        whole, in_sums = _of_pieces(alone, vectors, in_sums, word_weights, max_pieces)
    pieces = [entry for entry in vectors if max_pieces and (entry.startswith(CONTINUES) or len(entry) == 1)]
    lexicon = make_lexicon(
        {**{piece: weights[piece] for piece in pieces}, **weights}, slots=slots, unknown=LARGEST_WEIGHT,
        question=question, vectors={**whole, **vectors}, vector_weights=in_sums,
    )  # fmt: skip
    if without := [piece.decode("utf-8", "replace") for piece in pieces if lexicon.find(piece) < 0]:
        raise ConfigError(
            f"words.slots: {slots:,} have no room for {len(without):,} pieces of words ({', '.join(without[:5])}); "
            "raise it"
        )
    return lexicon


def question_words(train: QuerySet, weights: WordWeights) -> list[bytes]:
    """Return words that are in many queries and are much more common there than in texts."""
    asked = count_texts(query.text for query in train.queries)
    return [
        word
        for word, n in asked.items()
        if n >= QUESTION_SHARE * len(train) and n / len(train) >= QUESTION_LIFT * weights.counts[word] / weights.n_texts
    ]


def _of_pieces(
    alone: Sequence[bytes],
    vectors: Mapping[bytes, Floats],
    given: Mapping[bytes, int],
    word_weights: WordWeights,
    max_pieces: int,
) -> tuple[dict[bytes, Floats], dict[bytes, int]]:
    """Make vectors from pieces for words without one; also returns words' weights in sums, 0 if there is no vector."""
    weights = {entry: given.get(entry, word_weights.of(entry)) for entry in vectors}
    whole = composed(alone, vectors, weights, max_pieces)
    in_sums = {
        **given,
        **{word: min(round(float(np.linalg.norm(v))), LARGEST_WEIGHT) for word, v in whole.items()},
        **{word: 0 for word in alone if word not in whole},
    }
    return whole, in_sums


def composed(
    words: Sequence[bytes], vectors: Mapping[bytes, Floats], weights: Mapping[bytes, int], max_pieces: int
) -> dict[bytes, Floats]:
    """Return the vectors of words that are made of pieces with a vector: the weighted sum of these."""
    entries = list(vectors)
    place = {entry: k for k, entry in enumerate(entries)}
    vectors_of: dict[bytes, Floats] = {}
    for word in words:
        pieces = [entries[k] for k in cut_word_reference(word, lambda piece: place.get(piece, -1), max_pieces)]
        if pieces:
            vectors_of[word] = np.sum([np.float32(weights[piece]) * vectors[piece] for piece in pieces], axis=0)
    return vectors_of


def count_texts(texts: Iterable[str]) -> Counter[bytes]:
    """Count the texts that have each folded word."""
    counts: Counter[bytes] = Counter()
    for text in texts:
        counts.update(set(folded_words(text.encode())))
    return counts


def average_words(train: QuerySet) -> float:
    """Return the mean number of words of the training texts."""
    texts = {candidate.text for query in train.queries for candidate in query.candidates}
    return round(float(np.mean([len(folded_words(text.encode())) for text in texts])), 1)


def reduce_vectors(words: Sequence[bytes], vectors: Floats, dim: int, *, dropped: int = 1) -> dict[bytes, Floats]:
    """Reduce word vectors to ``dim`` elements by PCA, centred and without their ``dropped`` main directions.

    The main directions say how frequent a word is, not what it means (Mu and Viswanath 2018).
    """
    centred = vectors.astype(np.float64) - vectors.mean(axis=0, dtype=np.float64)
    _, basis = np.linalg.eigh(centred.T @ centred)
    kept = basis[:, ::-1][:, dropped : dropped + dim]
    signs = np.sign(kept[np.abs(kept).argmax(axis=0), np.arange(dim)])  # eigenvectors are unique only up to sign
    reduced = (centred @ (kept * signs)).astype(np.float32)
    return dict(zip(words, reduced, strict=True))
