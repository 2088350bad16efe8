"""Binary metrics against scikit-learn and cases worked by hand; intervals against resampling one by one."""

from functools import partial

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from sklearn import metrics as sk

from farthing.evaluate.measures import binary
from farthing.evaluate.measures.bootstrap import draws

METRICS = {
    "macro_f1": partial(binary.macro_f1, cut=0.5),
    "auc": binary.auc,
    "ap": binary.average_precision,
    "ece": binary.expected_calibration_error,
    "log_loss": binary.log_loss,
}


def values(labels, scores):
    counts = binary.count(np.asarray(labels, np.int8), np.asarray(scores))
    return {name: metric(counts)[0] for name, metric in METRICS.items()}


def slow_ece(labels, scores):
    error = 0.0
    for k in range(10):
        inside = [i for i, s in enumerate(scores) if min(int(float(s) * 10), 9) == k]
        error += abs(sum(float(scores[i]) - int(labels[i]) for i in inside))
    return error / len(labels)


def oracle(labels, scores):
    return {
        "macro_f1": sk.f1_score(labels, scores >= np.float32(0.5), average="macro", zero_division=0),
        "auc": sk.roc_auc_score(labels, scores),
        "ap": sk.average_precision_score(labels, scores),
        "ece": slow_ece(labels, scores),
        "log_loss": sk.log_loss(labels, scores),
    }


def test_cases_worked_by_hand():
    found = values([0, 0, 1, 1], np.array([0.1, 0.4, 0.35, 0.8], np.float32))
    assert found["auc"] == 0.75
    assert found["ap"] == pytest.approx(0.5 * 1 + 0.5 * 2 / 3)
    assert found["macro_f1"] == pytest.approx((2 / 3 + 4 / 5) / 2)
    assert found["ece"] == pytest.approx((0.1 + 0.4 + 0.65 + 0.2) / 4)
    assert values([0, 1, 0, 1], np.full(4, 0.5, np.float32))["auc"] == 0.5
    assert values([0, 1], np.array([0.0, 1.0]))["ece"] == 0


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 12)), min_size=2, max_size=80))
def test_scikit_learn_agrees_with_and_without_ties(rows):
    labels = np.array([label for label, _ in rows], np.int8)
    assume(0 < labels.sum() < len(labels))
    scores = (np.array([score for _, score in rows]) / 12).astype(np.float32)
    assert values(labels, scores) == pytest.approx(oracle(labels, scores), rel=1e-6, abs=1e-9)


@pytest.mark.parametrize("label", [0, 1])
def test_one_class_alone_is_undefined_where_a_metric_needs_two(label):
    found = values([label] * 3, np.array([0.2, 0.6, 0.9], np.float32))
    assert {name for name, value in found.items() if np.isnan(value)} == {"macro_f1", "auc", "ap"}


def test_the_cut_belongs_to_the_positives_and_is_compared_in_float32():
    scores = np.array([0.49, 0.3], np.float32)  # float32(0.49) lies under the double 0.49
    counts = binary.count(np.array([1, 0], np.int8), scores)
    assert binary.macro_f1(counts, 0.49)[0] == 1


def test_log_loss_of_certain_scores_stays_finite():
    assert values([0, 1], np.array([1.0, 0.0], np.float32))["log_loss"] == pytest.approx(-np.log(2.0**-23), rel=1e-6)


def test_intervals_are_those_of_resampling_one_by_one():
    rng = np.random.default_rng(3)
    labels = (rng.random(70) < 0.3).astype(np.int8)
    scores = np.round(rng.random(70), 1).astype(np.float32)
    found = binary.estimate(labels, scores, METRICS, seed=5, resamples=60)
    spread = [oracle(labels[rows], scores[rows]) for block in draws(70, seed=5, resamples=60) for rows in block]
    assert len(spread) == 60
    for name, estimate in found.items():
        resampled = [one[name] for one in spread]
        low, high = np.percentile(resampled, [2.5, 97.5])
        if name == "ece":
            bias = np.median(resampled) - oracle(labels, scores)[name]
            low, high = max(low - bias, 0), high - bias
        assert (estimate.low, estimate.high) == pytest.approx((low, high), rel=1e-6), name
        assert estimate.value == pytest.approx(oracle(labels, scores)[name], rel=1e-6), name


@pytest.mark.parametrize("seed", range(25))
def test_the_calibration_error_of_calibrated_scores_lies_in_its_interval(seed):
    """Percentiles miss it for 5 of these seeds: few rows a bin, so nearly all resamples lie above."""
    rng = np.random.default_rng(seed)
    scores = rng.random(200)
    labels = (rng.random(200) < scores).astype(np.int8)
    found = binary.estimate(labels, scores, METRICS, seed=seed, resamples=200)["ece"]
    assert 0 <= found.low <= found.value <= found.high <= 1
    assert found.low < found.high


def test_resamples_without_a_class_have_no_say():
    labels, scores = np.array([1, 0, 0, 0], np.int8), np.array([0.9, 0.1, 0.2, 0.3], np.float32)
    found = binary.estimate(labels, scores, METRICS, resamples=200)
    assert (found["auc"].low, found["auc"].high) == (1, 1)
    alone = binary.estimate(labels[1:], scores[1:], METRICS, resamples=10)
    assert not alone["auc"].defined
    assert alone["ece"].defined


def test_progress_counts_every_resample():
    done = []
    labels, scores = np.tile([0, 1], 5_000).astype(np.int8), np.linspace(0, 1, 10_000)
    binary.estimate(labels, scores, {"auc": binary.auc}, resamples=250, advance=done.append)
    assert sum(done) == 250
    assert len(done) > 1


@pytest.mark.parametrize(
    ("labels", "scores", "said"),
    [
        ([], [], "one at least"),
        ([0, 1], [0.5], "as many"),
        ([0, 2], [0.5, 0.6], "neither 0 nor 1"),
        ([0, 1], [0.5, np.nan], "NaN"),
        ([0, 1], [0.5, np.inf], "infinite"),
    ],
)
def test_wrong_arrays_are_refused(labels, scores, said):
    with pytest.raises(ValueError, match=said):
        binary.count(np.array(labels, np.int8), np.array(scores))


def test_calibration_needs_probabilities():
    counts = binary.count(np.array([0, 1], np.int8), np.array([0.5, 1.5]))
    with pytest.raises(ValueError, match="expected 0 to 1"):
        binary.expected_calibration_error(counts)
    assert binary.auc(counts)[0] == 1


@given(st.lists(st.tuples(st.booleans(), st.floats(0, 1, width=32)), min_size=1, max_size=60))
def test_calibration_bins_hold_every_row_once(rows):
    labels = np.array([label for label, _ in rows], np.int8)
    scores = np.array([score for _, score in rows], np.float32)
    bins = binary.calibration_bins(binary.count(labels, scores))
    assert bins.rows.sum() == len(rows)
    assert bins.positives.sum() == labels.sum()
    which = np.minimum((scores.astype(np.float64) * 10).astype(int), 9)
    assert bins.rows[0].tolist() == np.bincount(which, minlength=10).tolist()
    assert bins.score_sums[0] == pytest.approx(np.bincount(which, scores, minlength=10))
