"""The shipped bundles load, verify, and belong to their recipes."""

import hashlib
import json
from pathlib import Path

import pytest

from farthing import Scorer
from farthing.distill.clicks.recipe import read_click_recipe
from farthing.distill.ranking.recipe import read_recipe as read_ranking_recipe
from farthing.distill.texts.recipe import read_recipe
from farthing.model.shipped import find_bundle, shipped_bundles

ROOT = Path(__file__).parents[2]


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


def test_the_bidding_bundle_verifies_and_names_its_recipe():
    checked = Scorer.load("bidding", verify=False).verify()
    assert checked.golden_events >= 256
    manifest = json.loads((find_bundle("bidding") / "manifest.json").read_text())
    recipe, sha256 = read_click_recipe(ROOT / "models" / "recipes" / "bidding.toml")
    assert recipe.shipped and manifest["evaluation"]["recipe_sha256"] == sha256
    assert manifest["field_plan"] == recipe.plan().to_manifest()
    assert manifest["settings"] == recipe.campaign
    assert "demonstration" in (find_bundle("bidding") / "CARD.md").read_text()
    measured = manifest["evaluation"]["test"]
    assert measured["int8"]["auc"]["value"] >= measured["fp32"]["auc"]["value"] - 0.002


@pytest.mark.parametrize("name", ["ipinyou", "kdd12"])
def test_recipes_whose_weights_may_not_be_shipped(name):
    recipe, _ = read_click_recipe(ROOT / "models" / "recipes" / f"{name}.toml")
    assert not recipe.shipped
    assert name not in shipped_bundles()


def test_ordinary_and_rude_comments_get_the_labels_that_a_reader_expects():
    scored = Scorer.load("moderation").score_texts(
        ["thanks, great video", "have a nice day", "shut up you stupid idiot"]
    )
    assert [json.loads(value)["label"] for value in scored.values] == ["allow", "allow", "block"]


def test_the_shipped_rerank_bundle_verifies_and_names_its_recipe():
    scorer = Scorer.load("rerank", verify=False)
    assert scorer.verify().golden_events >= 48
    folder = find_bundle("rerank")
    manifest = json.loads((folder / "manifest.json").read_text())
    recipe, sha256 = read_ranking_recipe(ROOT / "models" / "recipes" / "rerank.toml")
    assert manifest["evaluation"]["recipe_sha256"] == sha256
    learnt_from = [*recipe.source, *recipe.words.background, *recipe.words.glosses]
    assert [source["name"] for source in manifest["training_data"]] == [source.name for source in learnt_from]
    card = (folder / "CARD.md").read_text()
    assert "CC BY 4.0" in card and "CC0-1.0" in card and "WordNet 3.0 Copyright 2006 by Princeton University" in card
    assert sum(file.stat().st_size for file in folder.iterdir()) < 5_000_000


def test_the_shipped_rerank_bundle_is_clearly_above_its_first_stage():
    """As its manifest has it, query by query: trec_dl21, nDCG@10."""
    manifest = json.loads((find_bundle("rerank") / "manifest.json").read_text())
    (gain,) = [entry["ndcg@10"] for entry in manifest["evaluation"]["gain_over_first_stage"].values()]
    assert 0.01 < gain["low"] < gain["value"] < gain["high"]


def test_passages_that_answer_come_before_those_that_do_not():
    event = {
        "query": "What are the symptoms of asthma ?",
        "candidates": [
            {"id": "other", "text": "Glaciers form where more snow falls than melts."},
            {"id": "cause", "text": "Asthma runs in families; researchers do not know what causes it."},
            {
                "id": "answer",
                "text": "Common signs and symptoms of asthma are coughing, wheezing and shortness of breath.",
            },
        ],
    }
    (value,) = Scorer.load("rerank").score_events([json.dumps(event).encode()]).values
    ranking = [candidate["id"] for candidate in json.loads(value)["ranking"]]
    assert ranking[0] == "answer" and ranking[-1] == "other"
