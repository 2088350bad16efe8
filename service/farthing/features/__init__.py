"""Fields to hashed feature ids. One seeded hash, one kernel for training and serving."""

from farthing.features.featurize import Featurizer, featurize_texts
from farthing.features.hashing import HASH_NAME
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
    "NumericFeature",
    "TextFeature",
    "featurize_texts",
]
