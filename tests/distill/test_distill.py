"""Quantization, cuts, perturbed texts, calibration, mixing and metrics; none of it needs PyTorch."""

from types import SimpleNamespace

import numpy as np
import pytest
from sklearn.metrics import f1_score

from farthing.distill.measure import auc, best_macro_f1, macro_f1, measure
from farthing.distill.quantize import quantize
from farthing.distill.student import Student
from farthing.distill.texts.augment import perturb
from farthing.distill.texts.build import _gate
from farthing.distill.texts.collisions import count_collisions
from farthing.distill.texts.committee import mix, platt, subset
from farthing.distill.texts.cuts import best_cut, choose_cuts
from farthing.distill.texts.judge import System, rounding_loss
from farthing.distill.texts.recipe import Augment, Cuts, GivenTeacher, Recipe, read_recipe
from farthing.distill.texts.sweep import combinations
from farthing.errors import BundleError, ConfigError
from farthing.features import FeatureSpec, TextFeature, featurize_texts
from farthing.scoring.graph import reference_logits
from tests.distill.texts.cases import RECIPE, make_rows


@pytest.fixture
def recipe(tmp_path) -> Recipe:
    path = tmp_path / "r.toml"
    path.write_text(RECIPE)
    return read_recipe(path)[0]


def test_metrics_on_cases_worked_by_hand():
    y = np.array([0, 0, 1, 1], np.float32)
    assert auc(y, np.array([0.1, 0.4, 0.35, 0.8], np.float32)) == 0.75
    assert auc(y, np.full(4, 0.5, np.float32)) == 0.5
    assert macro_f1(y, np.array([0, 1, 1, 1], np.float32), 0.5) == pytest.approx((0.8 + 2 / 3) / 2)
    found = measure(y, np.array([0.1, 0.4, 0.35, 0.8], np.float32), 0.5)
    assert found["auc"]["low"] <= found["auc"]["value"] == 0.75 <= found["auc"]["high"]
    assert found["ap"]["value"] == pytest.approx(0.8333, abs=1e-4)
    assert measure(y, y, 0.5)["ece"]["value"] == 0


@pytest.mark.parametrize("seed", range(20))
def test_the_calibration_error_lies_in_its_interval(seed):
    """Scores are calibrated, so that percentiles of resamples often lie above the error."""
    rng = np.random.default_rng(seed)
    scores = rng.random(200).astype(np.float32)
    found = measure((rng.random(200) < scores).astype(np.float32), scores, 0.5, seed=seed, resamples=100)["ece"]
    assert 0 <= found["low"] <= found["value"] <= found["high"] <= 1
    assert found["low"] < found["high"]


def test_the_best_macro_f1_is_that_of_some_cut():
    rng = np.random.default_rng(0)
    y = (rng.random(200) < 0.3).astype(np.float32)
    s = np.round(y + rng.normal(0, 1, 200), 1).astype(np.float32)
    assert best_macro_f1(y, s) == pytest.approx(max(macro_f1(y, s, cut) for cut in np.unique(s)))


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
    exact = student.forward(features)
    assert np.abs(logits - exact).max() < 0.1 * np.abs(exact).max()


@pytest.fixture
def scored():
    rng = np.random.default_rng(1)
    s = rng.random(4000).astype(np.float32)
    return (rng.random(4000) < s).astype(np.float32), s  # calibrated: precision above a cut c is (1 + c) / 2


def test_cuts_reach_their_goals(scored):
    y, s = scored
    cuts = choose_cuts(Cuts(block_precision=0.9), "a", y, s)
    assert cuts["review"] == best_cut(y, s) == pytest.approx(0.5, abs=0.06)
    assert cuts["block"] == pytest.approx(0.8, abs=0.06)
    assert y[s >= cuts["block"]].mean() >= 0.9
    cuts = choose_cuts(Cuts(review="precision", review_goal=0.8, block_precision=0.95), "a", y, s)
    assert cuts["review"] == pytest.approx(0.6, abs=0.06)
    cuts = choose_cuts(Cuts(review="recall", review_goal=0.9), "a", y, s)
    assert (s[y == 1] >= cuts["review"]).mean() >= 0.9
    assert (s[y == 1] >= cuts["review"] + 0.01).mean() < 0.9


def test_cuts_out_of_reach_are_none_and_silent_heads_have_none(scored):
    y, s = scored
    assert choose_cuts(Cuts(block_precision=1.0), "a", 1 - y, s)["block"] is None
    assert choose_cuts(Cuts(deciding=("b",)), "a", y, s) == {"review": None, "block": None}


def test_platt_finds_scale_and_shift():
    rng = np.random.default_rng(2)
    z = rng.normal(0, 2, 20_000)
    y = rng.random(20_000) < 1 / (1 + np.exp(-(0.5 * z - 1)))
    scale, shift = platt(z, y)
    assert scale == pytest.approx(0.5, abs=0.03)
    assert shift == pytest.approx(-1, abs=0.05)
    assert np.isfinite(platt(np.array([-1.0, 1.0]), np.array([False, True]))).all()  # separable


def test_the_mix_weights_those_who_answered(recipe):
    two = recipe.model_copy(
        update={"teacher": (GivenTeacher(kind="given", name="a", weight=3), GivenTeacher(kind="given", name="b"))}
    )
    nan = np.nan
    answers = {
        "a": {"train": np.array([[1.0], [nan], [nan]], np.float32)},
        "b": {"train": np.array([[-1.0], [2.0], [nan]], np.float32)},
    }
    found = mix(two, answers, "train")
    assert found[:2].tolist() == [[0.5], [2.0]]
    assert np.isnan(found[2, 0])


def test_perturbed_texts_are_made_of_the_words_and_the_same_at_every_run():
    texts = [row["text"] for row in make_rows(60)]
    settings = Augment(copies=3, drop_words=0.2, swap_words=0.1, join=0.5)
    copies = perturb(texts, settings, seed=1)
    assert copies == perturb(texts, settings, seed=1) != perturb(texts, settings, seed=2)
    assert 170 <= len(copies) <= 180
    words = {word for text in texts for word in text.split()}
    assert all(set(copy.split()) <= words for copy in copies)
    assert sum(copy in texts for copy in copies) < 20
    assert perturb(texts, Augment(copies=1, drop_words=0, swap_words=0, join=0), seed=1) == texts
    assert perturb(["", "a"], settings, seed=1)  # empty texts do no harm


def test_subset_is_of_rows_with_gold_and_within_its_limits():
    source = np.repeat([0, 1], 50)
    gold = np.full((100, 2), np.nan, np.float32)
    gold[::2, 0] = 1
    rows = subset(["a", "b"], source, gold, {"b": 7})
    assert (rows[:25] == np.arange(0, 50, 2)).all()
    assert len(rows) == 32 and (rows[25:] >= 50).all() and (rows % 2 == 0).all()
    assert (np.diff(rows) > 0).all()


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


@pytest.mark.parametrize(
    ("points", "low", "refused"),
    [(-20.0, -30.0, False), (0.0, -0.1, False), (0.19, 0.1, False), (0.21, 0.1, True), (20.0, 10.0, True),
     (0.4, 0.0, False), (0.4, -0.2, False)],
)  # fmt: skip
def test_the_gate_refuses_a_sure_loss_of_more_than_a_fifth_of_a_point(recipe, points, low, refused):
    metric = {"rude": {"macro_f1": {"value": 0.7, "low": 0.6, "high": 0.8}}}
    evaluation = {name: metric for name in ("dev", "dev_fp32", "test", "fp32")}
    evaluation["int8_loss"] = {"rude": {"points": points, "low": low, "high": points + 1, "rows": 900}}
    said = []
    if refused:
        with pytest.raises(BundleError, match=r"rude: int8 loses .* at most 0\.2 are allowed"):
            _gate(recipe, evaluation, said.append)
    else:
        _gate(recipe, evaluation, said.append)
    assert len(said) == 1


def test_what_rounding_loses_is_taken_over_dev_and_test_together():
    """Two rows of dev go wrong and one of test comes right: one of twelve, and rows without a label have no say."""
    labels = {"dev": np.array([1, 1, 1, 0, 0, 0], np.float32), "test": np.array([1, 1, 1, 0, 0, 0], np.float32)}
    known = np.array([True] * 6 + [False])
    exact = {s: np.array([[0.9, 0.9, 0.9, 0.1, 0.1, 0.1, 0.9]], np.float32).T for s in labels}
    rounded = {s: v.copy() for s, v in exact.items()}
    rounded["dev"][:2] = 0.1
    exact["test"][5] = 0.9
    prepared = SimpleNamespace(recipe=SimpleNamespace(heads=("rude",)), truths=lambda split: [(known, labels[split])])
    found = rounding_loss(prepared, System(rounded, (0.5,)), System(exact, (0.5,)))
    y = np.concatenate([labels["dev"], labels["test"]])
    before, after = y.copy(), y.copy()
    before[11], after[:2] = 1, 0
    expected = 100 * (f1_score(y, before, average="macro") - f1_score(y, after, average="macro"))
    assert found["rude"]["points"] == pytest.approx(expected, abs=1e-3) and found["rude"]["rows"] == 12
    assert found["rude"]["low"] < expected < found["rude"]["high"]  # three rows of twelve may be chance


def test_one_row_on_the_other_side_of_the_cut_is_no_sure_loss():
    labels = np.tile(np.array([1, 0], np.float32), 150)
    exact = labels[:, np.newaxis].copy()
    prepared = SimpleNamespace(recipe=SimpleNamespace(heads=("rude",)), truths=lambda _: [(labels >= 0, labels)])

    def lost(n):
        rounded = exact.copy()
        rounded[: 2 * n : 2] = 0
        systems = [System({"dev": scores, "test": scores}, (0.5,)) for scores in (rounded, exact)]
        return rounding_loss(prepared, *systems)["rude"]

    assert lost(1)["points"] > 0.2 and lost(1)["low"] == 0
    assert lost(9)["low"] > 0
