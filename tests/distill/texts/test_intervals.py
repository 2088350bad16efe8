"""Boundaries of numbers from the training files, and recipes of the task classify."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from farthing.distill.texts.intervals import quantiles, with_boundaries
from farthing.distill.texts.recipe import read_recipe
from farthing.errors import ConfigError, DataError

RECIPE = """
name = "spam"
task = "classify"
description = "Spam."
[[field]]
name = "channel"
path = "channel"
[[field]]
name = "price"
path = "cost.price"
kind = "number"
[[source]]
name = "made"
train = "train.jsonl"
gold = { spam = "spam" }
licence = "CC0-1.0"
[features]
n_buckets = 1024
[[features.features]]
kind = "categorical"
field = "channel"
[[features.features]]
kind = "numeric"
field = "price"
intervals = 4
[[features.features]]
kind = "cross"
fields = ["channel", "price"]
"""


def recipe(tmp_path, text=RECIPE):
    path = tmp_path / "r.toml"
    path.write_text(text)
    return read_recipe(path)[0]


def test_boundaries_part_the_training_rows_evenly(tmp_path):
    lines = [f'{{"cost":{{"price":{k}}},"spam":0}}' for k in range(100)] + ['{"cost":{"price":null}}', "{}"]
    (tmp_path / "train.jsonl").write_text("\n".join(lines))
    read = recipe(tmp_path)
    assert read.labels == ("none", "spam")
    settled = with_boundaries(read, tmp_path)
    assert settled.spec().features[1].boundaries == (25.0, 50.0, 75.0)
    assert settled.spec().features[2].fields == ("channel", "price")
    assert with_boundaries(settled, tmp_path) is settled


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=200), st.integers(2, 20))
def test_boundaries_ascend_and_leave_something_below_each(values, intervals):
    edges = quantiles(values, intervals)
    assert edges == sorted(set(edges)) and len(edges) < intervals
    assert all(any(v < edge for v in values) for edge in edges)


def test_numbers_that_are_missing_have_no_say():
    assert quantiles([float("nan"), 1.0, 2.0, float("nan"), 3.0, 4.0], 2) == [3.0]
    assert quantiles([float("nan")], 4) == quantiles([5.0, 5.0], 4) == []


def test_a_column_with_one_value_is_told(tmp_path):
    (tmp_path / "train.jsonl").write_text('{"cost":{"price":3}}\n{"cost":{"price":3}}\n')
    with pytest.raises(DataError, match=r"train\.jsonl: the number field price \(cost\.price\) has fewer than two"):
        with_boundaries(recipe(tmp_path), tmp_path)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("intervals = 4", "intervals = 1", "intervals is 1, expected 2 to 256"),
        ("intervals = 4", "intervals = 4\nboundaries = [1.0]", "numeric features without boundaries"),
        ('kind = "number"\n', "", r"features \['price'\] have intervals but are not a \[\[field\]\] of kind number"),
        ("spam = ", "none = ", "a head is called 'none'"),
    ],
)
def test_recipes_that_cannot_be(tmp_path, old, new, said):
    with pytest.raises(ConfigError, match=said):
        recipe(tmp_path, RECIPE.replace(old, new, 1))


def test_training_and_serving_see_the_same_intervals(tmp_path):
    rng = np.random.default_rng(0)
    (tmp_path / "train.jsonl").write_text(
        "\n".join(f'{{"cost":{{"price":{x:.3f}}},"spam":0}}' for x in rng.lognormal(0, 1, 500))
    )
    spec = with_boundaries(recipe(tmp_path), tmp_path).spec()
    assert spec == type(spec).from_manifest(spec.to_manifest())
