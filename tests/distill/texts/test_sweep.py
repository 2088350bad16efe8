"""Which sizes a sweep tries."""

import pytest

from farthing.distill.texts.recipe import read_recipe
from farthing.distill.texts.sweep import combinations
from farthing.errors import ConfigError
from tests.distill.texts.cases import RECIPE


@pytest.fixture
def recipe(tmp_path):
    path = tmp_path / "r.toml"
    path.write_text(RECIPE)
    return read_recipe(path)[0]


def test_a_sweep_tries_every_combination(recipe):
    with pytest.raises(ConfigError, match="sweep"):
        combinations(recipe)
    sweep = recipe.sweep.model_copy(
        update={"n_buckets": (1024, 2048), "char_ngrams": ((3, 4), "none"), "word_bigrams": (False,), "epochs": 2}
    )
    tried = combinations(recipe.model_copy(update={"sweep": sweep}))
    assert len(tried) == 4
    specs = [r.spec() for r in tried]
    assert [s.n_buckets for s in specs] == [1024, 1024, 2048, 2048]
    assert [s.features[0].char_ngrams for s in specs] == [(3, 4), None] * 2
    assert all(r.training.epochs == 2 and not r.spec().features[0].word_bigrams for r in tried)
