"""Makes more lists to learn from: training queries with the training texts that a first stage finds for them.

The first stage is BM25 with a search engine's usual parameters (k1 0.9, b 0.4: Anserini), so that a student learns how
to use a first stage's score and rank. Pieces of the texts serve as queries too: they are as varied as the texts.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from farthing.distill.ranking.data import Candidate, Query, QuerySet
from farthing.distill.ranking.words import inverse_document_frequency
from farthing.errors import DataError
from farthing.features.text import folded_words

K1, B = 0.9, 0.4
PIECE_WORDS = (3, 9)
RUN_TEXTS = (3, 8)
RUN_WORDS = 20  # shorter runs are left out
_SENTENCE = re.compile(r"(?<=[.!?])\s+| - |; |: ")

Floats = NDArray[np.float32]


class FirstStage:
    """BM25 over some texts, with an inverted index."""

    def __init__(self, texts: Sequence[str]) -> None:
        self.texts = tuple(texts)
        postings: dict[bytes, tuple[list[int], list[int]]] = {}
        lengths = np.zeros(len(texts))
        for number, text in enumerate(texts):
            words = folded_words(text.encode())
            lengths[number] = len(words)
            counts: dict[bytes, int] = {}
            for word in words:
                counts[word] = counts.get(word, 0) + 1
            for word, count in counts.items():
                where, how_often = postings.setdefault(word, ([], []))
                where.append(number)
                how_often.append(count)
        norm = K1 * (1 - B + B * lengths / max(float(lengths.mean()), 1.0))
        self._parts: dict[bytes, tuple[NDArray[np.int64], NDArray[np.float64]]] = {}
        for word, (where, how_often) in postings.items():
            places, tf = np.array(where), np.array(how_often)
            idf = inverse_document_frequency(len(texts), len(places))
            self._parts[word] = places, idf * tf * (K1 + 1) / (tf + norm[places])

    def scores(self, query: str) -> NDArray[np.float64]:
        """Return the scores of all texts."""
        scores = np.zeros(len(self.texts))
        for word in set(folded_words(query.encode())):
            if word in self._parts:
                places, part = self._parts[word]
                scores[places] += part
        return scores

    def search(self, query: str, depth: int) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Return the numbers and scores of the best texts, best first; fewer than ``depth`` if fewer have a word."""
        scores = self.scores(query)
        best = np.argsort(-scores, kind="stable")[:depth]
        best = best[scores[best] > 0]
        return best, scores[best]


def pieces(texts: Sequence[str], n: int, rng: np.random.Generator) -> list[tuple[str, str]]:
    """Cut ``n`` short runs of words out of texts: (piece, the text that it is from)."""
    cut = []
    low, high = PIECE_WORDS
    for text in itertools.cycle([texts[k] for k in rng.permutation(len(texts))]):
        sentences = [s.split() for s in _SENTENCE.split(text)]
        sentences = [s for s in sentences if len(s) >= low]
        if sentences:
            words = sentences[int(rng.integers(len(sentences)))]
            size = int(rng.integers(low, min(high, len(words)) + 1))
            start = int(rng.integers(len(words) - size + 1))
            cut.append((" ".join(words[start : start + size]).rstrip(".,;:"), text))
        if len(cut) >= n:
            break
    return cut


def runs(texts: Sequence[str], seed: int) -> QuerySet:
    """Join all short texts in groups of RUN_TEXTS neighbours: passages for :func:`make_lists`.

    Raises DataError if no passage has RUN_WORDS.
    """
    rng = np.random.default_rng(seed)
    passages, start = [], 0
    while start < len(texts):
        stop = start + int(rng.integers(RUN_TEXTS[0], RUN_TEXTS[1] + 1))
        passages.append(". ".join(texts[start:stop]))
        start = stop
    candidates = tuple(
        Candidate(str(k), text, None, None) for k, text in enumerate(passages) if len(text.split()) >= RUN_WORDS
    )
    if not candidates:
        raise DataError(
            f"glosses: no {RUN_TEXTS[1]} neighbours have {RUN_WORDS} words together; leave lists.glosses out"
        )
    return QuerySet((Query("runs", "", candidates, np.zeros(len(candidates), np.float32)),), "")


def make_lists(
    train: QuerySet, *, queries: int, sentences: int, depth: int, seed: int, name: str = "list"
) -> QuerySet:  # fmt: skip
    """Retrieve texts for training queries and for pieces of texts; gains are 1 for a query's answers, 0 for a piece.

    The text that a piece was cut from is left out of its list, because it would teach that only copies are relevant.
    Texts keep their titles. Lists are shuffled, and queries that find fewer than two texts are left out.
    """
    rng = np.random.default_rng(seed)
    titles = {c.text: c.title for q in train.queries for c in q.candidates}
    stage = FirstStage(sorted(titles))
    asked = [
        (query.text, {c.text for c, gain in zip(query.candidates, query.gains, strict=True) if gain > 0}, "")
        for query in (train.queries[k] for k in sorted(rng.permutation(len(train))[:queries]))
    ]
    if sentences:
        cut = pieces(stage.texts, sentences, np.random.default_rng(seed))
        asked += [(piece, set[str](), text) for piece, text in cut]
    lists = []
    for number, (text, answers, source) in enumerate(asked):
        best, scores = stage.search(text, depth)
        hits = [(stage.texts[k], float(s)) for k, s in zip(best, scores, strict=True) if stage.texts[k] != source]
        if len(hits) < 2:
            continue
        candidates = tuple(Candidate(str(k), t, titles[t], round(s, 4)) for k, (t, s) in enumerate(hits))
        gains = np.array([t in answers for t, _ in hits], np.float32)
        lists.append(Query(f"{name}-{number}", text, candidates, gains).shuffled(rng))
    return QuerySet(tuple(lists), train.sha256)


def forget(data: QuerySet, share: float, rng: np.random.Generator) -> QuerySet:
    """Remove the titles from a share of the lists, and the first stage's scores from a share: events may lack them."""
    queries = []
    for query in data.queries:
        no_title, no_score = rng.random(2) < share
        candidates = tuple(
            Candidate(c.id, c.text, None if no_title else c.title, None if no_score else c.score)
            for c in query.candidates
        )
        queries.append(Query(query.id, query.text, candidates, query.gains))
    return QuerySet(tuple(queries), data.sha256)


def standard_scores(query: Query) -> Floats:
    """Return the first stage's scores with mean 0 and deviation 1; zeros if the list has none, or all are equal."""
    if any(c.score is None for c in query.candidates):
        return np.zeros(len(query.candidates), np.float32)
    scores = np.array([c.score for c in query.candidates], np.float32)
    deviation = float(scores.std())
    return (scores - scores.mean()) / np.float32(deviation) if deviation > 0 else np.zeros_like(scores)
