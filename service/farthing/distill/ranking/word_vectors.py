"""Word vectors that a teacher's vectors of whole texts are learnt into: their weighted mean comes close to the text's.

A teacher's vector of a word alone says little of what the word does in a text. So the vectors begin there and are
trained until the mean over a text's words, weighted as serving weighs them, points where the teacher's vector of the
text does, reduced by principal components (Arora et al. 2017 for the weighted mean; Tulkens and van Dongen 2024,
Model2Vec, for learning it from a sentence encoder).
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from farthing.distill.pytorch import import_torch
from farthing.features.text import folded_words

BATCH = 512
LEARNING_RATE = 3e-3
DROPPED = 0.2  # share of a text's words left out in a step: a vector must not lean on its neighbours
SIMILARITY = 5.0  # weight of the texts' likeness to one another, beside their own direction
FEWEST_WORDS = 3
_SENTENCE = re.compile(r"(?<=[.!?])\s+")

Floats = NDArray[np.float32]


def sentences(texts: Iterable[str]) -> set[str]:
    """Cut texts into sentences of FEWEST_WORDS or more."""
    return {s for text in texts for s in _SENTENCE.split(text) if len(s.split()) >= FEWEST_WORDS}


def learn_vectors(
    words: Sequence[bytes], alone: Floats, weights: Floats, texts: Sequence[str], taught: Floats,
    dim: int, *, epochs: int, seed: int, say: Callable[[str], None],
) -> dict[bytes, Floats]:  # fmt: skip
    """Learn a vector for each word. Deterministic by the seed, on one thread.

    Parameters
    ----------
    words:
        n folded words.
    alone:
        float32 (n, d): the teacher's vector of each word alone, where its own begins.
    weights:
        float32 (n,): how much a word counts in a mean, 0 or more.
    texts, taught:
        m texts, and float32 (m, d): the teacher's vectors of them.
    dim:
        Elements of the vectors that are made, at most d.
    epochs, seed, say:
        How long; by what chance; told each epoch.

    Returns
    -------
    A vector of length one for each word: a word that no text has keeps the direction of its own.
    """
    torch = import_torch()
    torch.manual_seed(seed)
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    rng = np.random.default_rng(seed)
    indptr, ids = _ids_of(words, texts)
    known = np.flatnonzero(np.diff(indptr))
    mean = taught.mean(axis=0)
    basis = _directions(taught - mean, dim)
    wanted = _unit((taught - mean) @ basis)
    vectors = torch.nn.Parameter(torch.from_numpy(_unit((alone - alone.mean(axis=0)) @ basis)))
    optimizer = torch.optim.Adam([vectors], lr=LEARNING_RATE)
    normalize = torch.nn.functional.normalize
    for epoch in range(epochs):
        order = rng.permutation(known)
        total = 0.0
        for rows in np.array_split(order, max(len(order) // BATCH, 1)):
            counts = indptr[rows + 1] - indptr[rows]
            begins = np.cumsum(counts) - counts
            chosen = ids[np.arange(counts.sum()) + np.repeat(indptr[rows] - begins, counts)]
            weight = weights[chosen] * (rng.random(len(chosen)) >= DROPPED)
            means = torch.nn.functional.embedding_bag(
                torch.from_numpy(chosen), normalize(vectors, dim=1), torch.from_numpy(begins), mode="sum",
                per_sample_weights=torch.from_numpy(weight.astype(np.float32)),
            )  # fmt: skip
            x, y = normalize(means, dim=1, eps=1e-6), torch.from_numpy(wanted[rows])
            loss = (1 - (x * y).sum(dim=1)).mean() + SIMILARITY * ((x @ x.T - y @ y.T) ** 2).mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            total += loss.item() * len(rows)
        say(f"word vectors: epoch {epoch + 1}/{epochs}, loss {total / max(len(known), 1):.4f}")
    return dict(zip(words, _unit(vectors.detach().numpy()), strict=True))


def _ids_of(words: Sequence[bytes], texts: Sequence[str]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Give each text's known words, one text after the other: (m+1,) where each begins, and their numbers."""
    place = {word: k for k, word in enumerate(words)}
    found = [[place[w] for w in folded_words(text.encode()) if w in place] for text in texts]
    indptr = np.concatenate([[0], np.cumsum([len(row) for row in found])]).astype(np.int64)
    return indptr, np.array(list(itertools.chain.from_iterable(found)), np.int64)


def _directions(centred: Floats, dim: int) -> Floats:
    """Give the ``dim`` directions of the widest spread, (d, dim); each one's largest element is above 0."""
    _, basis = np.linalg.eigh(centred.T.astype(np.float64) @ centred.astype(np.float64))
    kept = basis[:, ::-1][:, :dim]
    signs = np.sign(kept[np.abs(kept).argmax(axis=0), np.arange(kept.shape[1])])
    return np.asarray(kept * signs, np.float32)


def _unit(rows: Floats) -> Floats:
    return np.asarray(rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-9), np.float32)
