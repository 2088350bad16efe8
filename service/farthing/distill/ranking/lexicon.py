"""Makes a recipe's lexicon: the words of its texts with their weights, and vectors from the teacher."""

from __future__ import annotations

import itertools
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from farthing.distill.data_files import read_texts
from farthing.distill.ranking.data import QuerySet
from farthing.distill.ranking.glosses import read_glosses
from farthing.distill.ranking.recipe import RankingRecipe
from farthing.distill.ranking.teacher import BiEncoder, continuations, letters, vocabulary
from farthing.distill.ranking.word_vectors import Learnt, learn_vectors, sentences
from farthing.distill.ranking.words import WordWeights, build_lexicon, count_texts, reduce_vectors
from farthing.distill.show import Say
from farthing.features import Lexicon
from farthing.features.lexicon import CONTINUES
from farthing.files import file_sha256

WORD_TOKENS = 16  # most tokens of a single word that the teacher reads

Floats = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class TextSource:
    """Texts without labels from which word vectors were learnt."""

    name: str
    licence: str
    texts: tuple[str, ...]
    sha256: str  # of the file or files


def lexicon_of(
    recipe: RankingRecipe, train_set: QuerySet, data: Path, teacher: BiEncoder | None, say: Say
) -> tuple[Lexicon, tuple[TextSource, ...]]:
    """Make the lexicon; also returns the texts, besides the training ones, from which its vectors were learnt."""
    words = recipe.words
    background = [read_texts(data / entry.texts) for entry in words.background]
    everyday = list(itertools.chain.from_iterable(background))
    learnt = Learnt({}, {})
    learnt_from: tuple[TextSource, ...] = ()
    if words.vectors == "minilm" and teacher is not None and words.epochs:
        learnt_from = tuple(
            TextSource(entry.name, entry.licence, tuple(texts), file_sha256(data / entry.texts))
            for entry, texts in zip(words.background, background, strict=True)
        )
        for entry in words.glosses:
            glosses = read_glosses(data / entry.folder)
            learnt_from += (TextSource(entry.name, entry.licence, glosses.texts, glosses.sha256),)
        learnt = _learnt(recipe, train_set, everyday, learnt_from, teacher, say)
    elif words.vectors == "minilm" and teacher is not None:
        counts = count_texts(
            {c.text for q in train_set.queries for c in q.candidates} | {q.text for q in train_set.queries}
        )
        chosen = _vocabulary(recipe, counts)
        learnt = Learnt(reduce_vectors(chosen, teacher(_spelt(chosen), WORD_TOKENS, say), words.dim), {})
    lexicon = build_lexicon(
        train_set, slots=words.slots, least_texts=words.least_texts, vectors=learnt.vectors,
        vector_weights=learnt.weights, background=everyday, max_pieces=words.max_pieces,
    )  # fmt: skip
    return lexicon, learnt_from


def _learnt(
    recipe: RankingRecipe,
    train_set: QuerySet,
    everyday: list[str],
    others: tuple[TextSource, ...],
    teacher: BiEncoder,
    say: Say,
) -> Learnt:
    """Learn word vectors from the teacher's vectors of the training texts' sentences, questions and other texts."""
    whole = {c.text for q in train_set.queries for c in q.candidates}
    own = sentences(whole) | {q.text for q in train_set.queries} | (whole if recipe.words.whole_texts else set())
    sources = [sorted(own), *(sorted(set(source.texts)) for source in others)]
    texts = list(itertools.chain.from_iterable(sources))
    chosen = _vocabulary(recipe, count_texts(own if recipe.words.max_pieces else texts))
    weights = WordWeights(train_set, everyday)
    taught = [teacher(part, recipe.words.max_tokens, say) for part in sources]  # one by one, so that each is kept
    return learn_vectors(
        chosen, teacher(_spelt(chosen), WORD_TOKENS, say), np.array([weights.of(w) for w in chosen], np.float32),
        texts, np.concatenate(taught), recipe.words.dim,
        epochs=recipe.words.epochs, seed=recipe.training.seed, say=say, max_pieces=recipe.words.max_pieces,
        learn_weights=recipe.words.learn_weights,
    )  # fmt: skip


def _vocabulary(recipe: RankingRecipe, counts: Counter[bytes]) -> list[bytes]:
    """Choose the words that get a vector: the most common of the texts, then those of the teacher's own list.

    With pieces, all of the teacher's list get one, so that words are mostly cut as the teacher would cut them.
    """
    words = recipe.words
    common = [w for w, n in sorted(counts.items(), key=lambda item: (-item[1], item[0])) if n >= words.least_texts]
    if words.max_pieces:
        return list(dict.fromkeys([*vocabulary(), *letters(), *common[: words.vocabulary], *continuations()]))
    return list(dict.fromkeys([*common[: words.vocabulary], *vocabulary()]))[: words.vocabulary]


def _spelt(words: list[bytes]) -> list[str]:
    return [word.removeprefix(CONTINUES).decode("utf-8", "replace") for word in words]
