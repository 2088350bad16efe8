"""Cards: one frame for all, and the shipped ones are what their recipes and manifests make."""

from pathlib import Path

import pytest

from farthing.distill.card import cell, frame, source, table
from farthing.distill.clicks.card import click_card
from farthing.distill.clicks.recipe import read_click_recipe
from farthing.distill.ranking.card import card as ranking_card
from farthing.distill.ranking.recipe import read_recipe as read_ranking_recipe
from farthing.distill.texts.card import card as text_card
from farthing.distill.texts.recipe import read_recipe
from farthing.scoring.manifest import CARD, MANIFEST, Manifest

MODELS = Path(__file__).parents[2] / "models"


@pytest.mark.parametrize(
    ("name", "read", "card"),
    [
        ("moderation", read_recipe, text_card),
        ("bidding", read_click_recipe, click_card),
        ("rerank", read_ranking_recipe, ranking_card),
    ],
)
def test_shipped_cards_are_made_of_recipe_and_manifest(name, read, card):
    recipe, sha256 = read(MODELS / "recipes" / f"{name}.toml")
    manifest, _ = Manifest.from_json((MODELS / "bundles" / name / MANIFEST).read_bytes())
    assert manifest.evaluation["recipe_sha256"] == sha256
    assert card(recipe, manifest) == (MODELS / "bundles" / name / CARD).read_text()


def test_the_price_of_a_core_hour_is_the_recipe_s(tmp_path):
    path = tmp_path / "bidding.toml"
    path.write_text((MODELS / "recipes" / "bidding.toml").read_text() + "\n[card]\ncore_hour_usd = 7.2\n")
    recipe, _ = read_click_recipe(path)
    manifest, _ = Manifest.from_json((MODELS / "bundles" / "bidding" / MANIFEST).read_bytes())
    seconds = manifest.evaluation["training_cpu_seconds"]
    assert f"${seconds * 0.002:.4f} at $7.2 a core-hour." in click_card(recipe, manifest)


def test_the_frame():
    metric = {"value": 0.12345, "low": 0.1, "high": 0.2}
    lines = [
        *table(["a", "b"], [["1", cell(metric)]]),
        source("s", "CC0-1.0"),
        source("t", "MIT", "N.", what=" (1 row)"),
    ]
    assert frame("n", "D.", [("", ["what"]), ("Data", lines)]) == (
        "# n\n\nD.\n\nwhat\n\n## Data\n\n| a | b |\n| --- | --- |\n| 1 | 0.123 (0.100 to 0.200) |\n"
        "- **s**. Licence: CC0-1.0.\n- **t** (1 row). Licence: MIT. N.\n"
    )
