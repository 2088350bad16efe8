"""The shipped bundles load, verify, and belong to their recipes."""

import hashlib
import json
from pathlib import Path

import pytest

from farthing import Scorer
from farthing.bundles import find_bundle, shipped_bundles
from farthing.distill.recipe import read_recipe

ROOT = Path(__file__).parents[1]


@pytest.mark.parametrize("name", ["moderation"])
def test_a_shipped_bundle_verifies_and_names_its_recipe(name):
    assert name in shipped_bundles()
    checked = Scorer.load(name, verify=False).verify()
    assert checked.golden_events >= 256
    manifest = json.loads((find_bundle(name) / "manifest.json").read_text())
    recipe_file = ROOT / "models" / "recipes" / f"{name}.toml"
    recipe, sha256 = read_recipe(recipe_file)
    assert manifest["evaluation"]["recipe_sha256"] == sha256 == hashlib.sha256(recipe_file.read_bytes()).hexdigest()
    assert manifest["heads"] == list(recipe.heads)
    assert all(source["licence"] for source in manifest["training_data"])


def test_ordinary_and_rude_comments_get_the_labels_that_a_reader_expects():
    scored = Scorer.load("moderation").score_texts(
        ["thanks, great video", "have a nice day", "shut up you stupid idiot"]
    )
    assert [json.loads(value)["label"] for value in scored.values] == ["allow", "allow", "block"]
