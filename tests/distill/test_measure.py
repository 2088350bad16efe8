"""Metrics of binary scores in the shapes that training has."""

import numpy as np
import pytest

from farthing.distill.measure import auc, best_macro_f1, macro_f1, measure


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
