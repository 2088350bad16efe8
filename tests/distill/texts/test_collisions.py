"""Features that share a bucket are counted."""

import pytest

from farthing.distill.texts.collisions import count_collisions
from farthing.distill.texts.recipe import read_recipe
from farthing.features import FeatureSpec, TextFeature
from tests.distill.texts.cases import RECIPE


@pytest.fixture
def recipe(tmp_path):
    path = tmp_path / "r.toml"
    path.write_text(RECIPE)
    return read_recipe(path)[0]


def test_collisions_are_counted(recipe):
    spec = FeatureSpec(n_buckets=2, features=(TextFeature(char_ngrams=None, word_bigrams=False),))
    found = count_collisions(recipe.plan(), spec, [b'{"text":"a b c"}', b'{"text":"a"}'])
    assert (found.features, found.buckets, found.buckets_used) == (4, 2, 2)  # the bias is one
    assert found.sharing in (3, 4)
    wide = count_collisions(
        recipe.plan(), FeatureSpec(n_buckets=1 << 20, features=spec.features), [b'{"text":"a b c"}']
    )
    assert (wide.sharing, wide.occurrences_sharing) == (0, 0.0)
    assert "4 different features in 4 of 1,048,576 buckets" in wide.sentence()
