"""Makes perturbed copies of texts for a teacher to label, so that a student learns more from it than the gold set has.

The copies need not make sense: they only have to be close to real texts, so that the student follows the teacher there
too (Tang et al. 2019, Distilling task-specific knowledge from BERT into simple neural networks).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from farthing.distill.texts.recipe import Augment


def perturb(texts: Sequence[str], settings: Augment, seed: int) -> list[str]:
    """Make ``settings.copies`` copies of each text: words left out or swapped, halves of two texts joined.

    The same seed gives the same copies. A copy that comes out empty is left out.
    """
    rng = np.random.default_rng([seed, 0xA06])
    words = [text.split() for text in texts]
    pool = [word for row in words for word in row]
    copies = []
    for _ in range(settings.copies):
        partners = rng.permutation(len(words))
        for row, partner in zip(words, partners, strict=True):
            chosen = row
            if row and words[partner] and rng.random() < settings.join:
                other = words[partner]
                chosen = row[: -(-len(row) // 2)] + other[len(other) // 2 :]
                if rng.random() < 0.5:
                    chosen = other[: -(-len(other) // 2)] + row[len(row) // 2 :]
            draws = rng.random(len(chosen))
            swapped = rng.integers(0, max(len(pool), 1), len(chosen))
            copy = [
                pool[k] if draw < settings.drop_words + settings.swap_words else word
                for word, draw, k in zip(chosen, draws, swapped, strict=True)
                if draw >= settings.drop_words
            ]
            if copy:
                copies.append(" ".join(copy))
    return copies
