"""Turns fields into hashed feature ids, with one seeded hash and the same kernels for training and serving."""

from farthing.features.featurize import Featurizer, featurize_texts
from farthing.features.hashing import HASH_NAME
from farthing.features.lexicon import Lexicon, make_lexicon
from farthing.features.pair_spec import PairFeature
from farthing.features.spec import (
    CategoricalFeature,
    CrossFeature,
    Feature,
    FeatureSpec,
    NumericFeature,
    TextFeature,
)

__all__ = [
    "HASH_NAME",
    "CategoricalFeature",
    "CrossFeature",
    "Feature",
    "FeatureSpec",
    "Featurizer",
    "Lexicon",
    "NumericFeature",
    "PairFeature",
    "TextFeature",
    "featurize_texts",
    "make_lexicon",
]
