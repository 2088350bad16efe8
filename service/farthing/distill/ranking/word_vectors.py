"""Learns word vectors from a teacher's vectors of whole texts, so that their weighted mean is close to the text's.

A teacher's vector of a word alone says little about what the word does in a text. So the vectors begin there, and are
trained until the mean over a text's words, weighted as in serving, points in the direction of the teacher's vector of
the text, reduced by principal components (Arora et al. 2017 for the weighted mean; Tulkens and van Dongen 2024,
Model2Vec, for learning it from a sentence encoder).
"""

from __future__ import annotations

import functools
import itertools
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from farthing.distill.pytorch import seeded_torch
from farthing.distill.ranking.words import LARGEST_WEIGHT
from farthing.distill.show import Say
from farthing.features.text import folded_words
from farthing.features.word_vectors import cut_word_reference

BATCH = 512
LEARNING_RATE = 3e-3
DROPPED = 0.2  # share of a text's words left out in a step, so that a vector does not depend on its neighbours
SIMILARITY = 5.0  # weight of the similarity between texts, relative to their own direction
FEWEST_WORDS = 3
CUT = 0.04  # share of known words that are cut in a text, so that pieces are learnt; a text is cut once, for all epochs
FULL_WEIGHT = 0.999  # quantile of the learnt weights that becomes the largest
_SENTENCE = re.compile(r"(?<=[.!?])\s+")

Floats = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Learnt:
    """What was learnt about words."""

    vectors: dict[bytes, Floats]  # of length one
    weights: dict[bytes, int]  # in sums of vectors, 1 to LARGEST_WEIGHT; empty when they were not learnt


def sentences(texts: Iterable[str]) -> set[str]:
    """Split texts into sentences of at least FEWEST_WORDS."""
    return {s for text in texts for s in _SENTENCE.split(text) if len(s.split()) >= FEWEST_WORDS}


def learn_vectors(
    words: Sequence[bytes], alone: Floats, weights: Floats, texts: Sequence[str], taught: Floats,
    dim: int, *, epochs: int, seed: int, say: Say, max_pieces: int = 0, learn_weights: bool = False,
) -> Learnt:  # fmt: skip
    """Learn a vector for each word, and its weight if ``learn_weights``. Deterministic for a seed, on one thread.

    Parameters
    ----------
    words:
        n folded words, and with ``max_pieces`` continuations (``##ing``).
    alone:
        float32 (n, d): the teacher's vector of each word alone, from which the word's own starts.
    weights:
        float32 (n,): how much a word counts in a mean, 0 to 255; with ``learn_weights`` where its weight starts.
    texts, taught:
        m texts, and float32 (m, d): the teacher's vectors of them.
    dim:
        Number of elements of the new vectors, at most d.
    epochs, seed, say:
        Number of epochs; random seed; called with a line after each epoch.
    max_pieces:
        Most pieces of a word that has no vector of its own: :func:`farthing.features.word_vectors.cut_word`.
    learn_weights:
        Whether weights are learnt too.

    Returns
    -------
    A vector of length one for each word; a word that is in no text keeps the direction of its vector alone.
    """
    torch = seeded_torch(seed)
    rng = np.random.default_rng(seed)
    indptr, ids = _ids_of(words, texts, max_pieces, rng)
    with_words = np.flatnonzero(np.diff(indptr))
    mean = taught.mean(axis=0)
    basis = _directions(taught - mean, dim)
    target = _unit((taught - mean) @ basis)
    learner = _Learner(torch, _unit((alone - alone.mean(axis=0)) @ basis), weights, learn_weights)
    for epoch in range(epochs):
        order = rng.permutation(with_words)
        total = 0.0
        for rows in np.array_split(order, max(len(order) // BATCH, 1)):
            counts = indptr[rows + 1] - indptr[rows]
            begins = np.cumsum(counts) - counts
            chosen = ids[np.arange(counts.sum()) + np.repeat(indptr[rows] - begins, counts)]
            kept = (rng.random(len(chosen)) >= DROPPED).astype(np.float32)
            total += learner.step(chosen, begins, kept, target[rows]) * len(rows)
        say(f"word vectors: epoch {epoch + 1}/{epochs}, loss {total / max(len(with_words), 1):.4f}")
    vectors = dict(zip(words, learner.vectors(), strict=True))
    return Learnt(vectors, dict(zip(words, learner.weights(), strict=True)) if learn_weights else {})


class _Learner:
    """Vectors and, if they are learnt, the logarithms of weights, with an optimizer."""

    def __init__(self, torch: Any, vectors: Floats, weights: Floats, learn_weights: bool) -> None:
        self._torch, self._given = torch, None if learn_weights else weights
        self._vectors = torch.nn.Parameter(torch.from_numpy(vectors))
        self._log_weights = torch.nn.Parameter(torch.from_numpy(np.log(np.maximum(weights, 1).astype(np.float32))))
        learnt = [self._vectors, self._log_weights] if learn_weights else [self._vectors]
        self._optimizer = torch.optim.Adam(learnt, lr=LEARNING_RATE)

    def step(self, ids: NDArray[np.int64], begins: NDArray[np.int64], kept: Floats, target: Floats) -> float:
        """Learn from some texts: their words one text after another, where each begins, and their directions."""
        torch, normalize = self._torch, self._torch.nn.functional.normalize
        weight = self._log_weights[ids].exp() if self._given is None else torch.from_numpy(self._given[ids])
        means = torch.nn.functional.embedding_bag(
            torch.from_numpy(ids), normalize(self._vectors, dim=1), torch.from_numpy(begins), mode="sum",
            per_sample_weights=weight * torch.from_numpy(kept),
        )  # fmt: skip
        x, y = normalize(means, dim=1, eps=1e-6), torch.from_numpy(target)
        loss = (1 - (x * y).sum(dim=1)).mean() + SIMILARITY * ((x @ x.T - y @ y.T) ** 2).mean()
        self._optimizer.zero_grad()
        loss.backward()
        self._optimizer.step()
        return float(loss.item())

    def vectors(self) -> Floats:
        """Return the vectors, of length one."""
        return _unit(self._vectors.detach().numpy())

    def weights(self) -> list[int]:
        """Return the learnt weights in steps, 1 to LARGEST_WEIGHT."""
        learnt = self._log_weights.detach().exp().numpy()
        unit = float(np.quantile(learnt, FULL_WEIGHT)) / LARGEST_WEIGHT
        steps: list[int] = np.clip(np.rint(learnt / unit), 1, LARGEST_WEIGHT).astype(int).tolist()
        return steps


def _ids_of(
    words: Sequence[bytes], texts: Sequence[str], max_pieces: int, rng: np.random.Generator
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the texts' known words and pieces, one text after another: (m+1,) where each begins, their numbers."""
    place = {word: k for k, word in enumerate(words)}

    @functools.cache
    def cut(word: bytes) -> list[int]:
        return cut_word_reference(word, lambda piece: -1 if piece == word else place.get(piece, -1), max_pieces)

    def ids_of(text: str) -> list[int]:
        ids = []
        for word in folded_words(text.encode()):
            has_vector = word in place
            pieces = cut(word) if max_pieces and not (has_vector and rng.random() >= CUT) else []
            ids += pieces or ([place[word]] if has_vector else [])
        return ids

    rows = [ids_of(text) for text in texts]
    indptr = np.concatenate([[0], np.cumsum([len(row) for row in rows])]).astype(np.int64)
    return indptr, np.array(list(itertools.chain.from_iterable(rows)), np.int64)


def _directions(centred: Floats, dim: int) -> Floats:
    """Return the ``dim`` directions of the widest spread, (d, dim); the largest element of each is positive."""
    _, basis = np.linalg.eigh(centred.T.astype(np.float64) @ centred.astype(np.float64))
    kept = basis[:, ::-1][:, :dim]
    signs = np.sign(kept[np.abs(kept).argmax(axis=0), np.arange(kept.shape[1])])
    return np.asarray(kept * signs, np.float32)


def _unit(rows: Floats) -> Floats:
    return np.asarray(rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-9), np.float32)
