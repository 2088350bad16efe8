"""Recipes, leak removal, metrics and quantization; none of it needs PyTorch."""

import gzip
import json

import numpy as np
import pytest

from farthing.distill.data import hold_out, key_of, read_labelled, without
from farthing.distill.measure import auc, average_precision, expected_calibration_error, macro_f1, measure
from farthing.distill.quantize import quantize
from farthing.distill.recipe import read_recipe
from farthing.distill.train import Student, forward
from farthing.errors import ConfigError
from farthing.features import FeatureSpec, featurize_texts
from farthing.scoring.graph import reference_logits


def write(path, rows):
    path.write_bytes(gzip.compress("\n".join(json.dumps(row) for row in rows).encode()))
    return path


def test_data_are_read_and_bad_lines_named(tmp_path):
    data = read_labelled(write(tmp_path / "a.gz", [{"text": "a", "label": 1}, {"text": "b", "label": 0}]))
    assert data.texts == ("a", "b")
    with pytest.raises(ConfigError, match=r"b\.gz:2"):
        read_labelled(write(tmp_path / "b.gz", [{"text": "a", "label": 1}, {"text": "b"}]))
    with pytest.raises(ConfigError, match="--data"):
        read_labelled(tmp_path / "none")


def test_leaks_and_repeats_are_left_out(tmp_path):
    rows = [{"text": t, "label": 0} for t in ("RT Hello, World!", "hello world", "other", "Other.")]
    data = read_labelled(write(tmp_path / "a.gz", rows))
    assert without(data, {key_of("Hello world")}).texts == ("other",)


def test_holding_out_is_the_same_at_every_run(tmp_path):
    rows = [{"text": f"text {k % 300}", "label": k % 2} for k in range(600)]
    data = read_labelled(write(tmp_path / "a.gz", rows))
    train, dev = hold_out(data)
    assert hold_out(data)[1].texts == dev.texts
    assert 20 < len(dev) < 120
    assert not {key_of(t) for t in train.texts} & {key_of(t) for t in dev.texts}


def test_metrics_on_cases_worked_by_hand():
    y = np.array([0, 0, 1, 1], np.float32)
    assert auc(y, np.array([0.1, 0.4, 0.35, 0.8], np.float32)) == 0.75
    assert auc(y, np.full(4, 0.5, np.float32)) == 0.5
    assert average_precision(y, np.array([0.1, 0.4, 0.35, 0.8], np.float32)) == pytest.approx(0.8333, abs=1e-4)
    assert macro_f1(y, np.array([0, 1, 1, 1], np.float32), 0.5) == pytest.approx((0.8 + 2 / 3) / 2)
    assert expected_calibration_error(y, np.array([0, 0, 1, 1], np.float32)) == 0
    found = measure(y, np.array([0.1, 0.4, 0.35, 0.8], np.float32), 0.5)
    assert found["auc"]["low"] <= 0.75 <= found["auc"]["high"]


def test_quantized_logits_stay_near_the_floats():
    rng = np.random.default_rng(0)
    spec = FeatureSpec(n_buckets=1 << 10)
    features = featurize_texts(spec, [f"some words {k} and {k * 7} more" for k in range(400)])
    student = Student(
        rng.normal(0, 0.3, (1 << 10, 16)).astype(np.float32), rng.normal(0, 0.3, (16, 32)).astype(np.float32),
        rng.normal(0, 0.1, 32).astype(np.float32), rng.normal(0, 0.3, (32, 3)).astype(np.float32), np.zeros(3, np.float32),
    )  # fmt: skip
    tensors = quantize(student, features)
    assert np.abs(tensors.hidden_weight).max() <= 64
    sums = np.add.reduceat(tensors.table[features.indices].astype(np.int32), features.indptr[:-1], axis=0)
    logits = reference_logits(tensors, sums, np.diff(features.indptr)) * tensors.logit_scale + tensors.logit_bias
    exact = forward(student, features)
    assert np.abs(logits - exact).max() < 0.1 * np.abs(exact).max()


@pytest.mark.parametrize(("text", "said"), [("name = 1", "task"), ("name = [", "TOML"), ("colour = 1", "colour")])
def test_recipe_errors_name_the_key(tmp_path, text, said):
    path = tmp_path / "r.toml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=said):
        read_recipe(path)
