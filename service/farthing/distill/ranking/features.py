"""The feature spec of a rerank recipe: boundaries are quantiles of the numbers of the training pairs."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
from numpy.typing import NDArray

from farthing.blocks import FieldColumns
from farthing.distill.ranking.recipe import PairSettings
from farthing.errors import ConfigError
from farthing.features import FeatureSpec, Lexicon, PairFeature
from farthing.features.pair_featurizer import Pairs
from farthing.features.pair_spec import ABSENT, NAMES

SMALL_RANKS = (1, 2, 3, 4, 5, 7, 10, 15, 20, 30, 50, 100, 200)


def make_spec(
    settings: PairSettings, lexicon: Lexicon, train: FieldColumns, average_words: float, *, max_pieces: int = 0
) -> FeatureSpec:
    """Choose boundaries on the training pairs; ``max_pieces`` is that of the lexicon.

    Ranks have fixed boundaries, so that lists longer than those in the training data are handled too.

    Raises
    ------
    ConfigError
        A number is unknown, or is absent from all pairs.
    """
    base: dict[str, Any] = {
        "average_words": average_words,
        "max_pieces": max_pieces,
        **settings.settings,
        "lexicon_sha256": hashlib.sha256(lexicon.to_npz()).hexdigest(),
    }
    unknown = sorted(set(settings.numbers) - set(NAMES))
    if unknown:
        raise ConfigError(f"pairs.numbers: {', '.join(unknown)} unknown; there are {', '.join(NAMES)}")
    probe = Pairs(PairFeature(**base), lexicon, seed=settings.seed, place=0, bits=10)
    table = probe.numbers(train)
    numbers = {name: boundaries_of(name, table[:, NAMES.index(name)], settings.intervals) for name in settings.numbers}
    feature = PairFeature(**base, numbers=numbers, crosses=settings.crosses)
    return FeatureSpec(n_buckets=settings.n_buckets, seed=settings.seed, features=(feature,))


def boundaries_of(name: str, values: NDArray[np.int64], intervals: int) -> tuple[int, ...]:
    """Split a number's values into intervals with about equally many values; absent ones are the first interval."""
    if name.endswith(".rank"):
        return SMALL_RANKS
    present = values[values != ABSENT]
    if not len(present):
        raise ConfigError(f"pairs.numbers: {name} is absent from all training pairs; leave it out")
    steps = np.quantile(present, np.linspace(0, 1, intervals)[:-1], method="higher")
    cuts = sorted({int(present.min()) if (values == ABSENT).any() else int(present.min()) + 1, *map(int, steps[1:])})
    return tuple(cuts)
