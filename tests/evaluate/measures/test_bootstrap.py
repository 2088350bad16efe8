"""Resampling: seeded, complete, and covering what it should."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from farthing.evaluate.measures.bootstrap import centred_interval, draws, estimate_means, estimate_sums, interval, tally


def test_draws_are_seeded_complete_and_in_range():
    blocks = list(draws(5_000, seed=1, resamples=450))
    assert len(blocks) > 1
    whole = np.concatenate(blocks)
    assert whole.shape == (450, 5_000)
    assert whole.min() == 0
    assert whole.max() == 4_999
    assert np.array_equal(whole, np.concatenate(list(draws(5_000, seed=1, resamples=450))))
    assert not np.array_equal(whole[:1], next(draws(5_000, seed=2, resamples=1)))


def test_tally_counts_each_row_by_itself():
    assert tally(np.array([[0, 2, 2], [1, 1, 0]]), 4).tolist() == [[1, 0, 2, 0], [1, 2, 0, 0]]


def test_intervals_leave_undefined_resamples_out():
    assert interval(np.array([1.0, np.nan, 1.0])) == (1.0, 1.0)
    assert np.isnan(interval(np.array([np.nan]))).all()


SHARES = st.floats(0, 1)


@given(SHARES, st.lists(SHARES | st.just(float("nan")), min_size=1, max_size=50).map(np.array))
def test_a_centred_interval_holds_its_value_and_stays_between_0_and_1(value, spread):
    low, high = centred_interval(value, spread)
    if np.isnan(spread).all():
        assert np.isnan([low, high]).all()
        return
    assert 0 <= low <= value <= high <= 1
    bias = np.nanmedian(spread) - value
    expected = np.clip(np.array(interval(spread)) - bias, 0, 1)
    assert (low, high) == pytest.approx(tuple(expected), abs=1e-12)


def test_a_centred_interval_of_nothing_is_undefined():
    assert np.isnan(centred_interval(float("nan"), np.array([0.5]))).all()


def test_resamples_that_all_lie_above_are_moved_onto_the_value():
    assert centred_interval(0.25, np.array([0.5, 0.75, 1.0])) == pytest.approx((0.0125, 0.4875))


def test_means_leave_undefined_units_out():
    found = estimate_means({"a": np.array([1.0, np.nan, 3.0]), "b": np.array([np.nan] * 3)}, resamples=300)
    assert found["a"].value == 2
    assert (found["a"].low, found["a"].high) == (1, 3)
    assert not found["b"].defined


def test_sums_are_over_as_many_units():
    found = estimate_sums({"a": np.array([1.0, 2.0, 3.0]), "ones": np.ones(3)}, resamples=500)
    assert found["a"].value == 6
    assert 3 <= found["a"].low < 6 < found["a"].high <= 9
    assert (found["ones"].value, found["ones"].low, found["ones"].high) == (3, 3, 3)


def test_metrics_of_one_call_are_resampled_together():
    rng = np.random.default_rng(0)
    a = rng.random(50)
    found = estimate_means({"a": a, "twice": 2 * a}, resamples=100)
    assert found["twice"].low == pytest.approx(2 * found["a"].low)


def test_intervals_cover_the_truth_about_as_often_as_they_say():
    rng = np.random.default_rng(11)
    samples = rng.exponential(size=(300, 80))
    covered = 0
    for k, sample in enumerate(samples):
        found = estimate_means({"mean": sample}, seed=k, resamples=300)["mean"]
        covered += found.low <= 1.0 <= found.high
    assert 0.90 <= covered / 300 <= 0.98


@pytest.mark.parametrize("values", [{"a": np.ones(2), "b": np.ones(3)}, {"a": np.ones(0)}])
def test_metrics_without_common_units_are_refused(values):
    with pytest.raises(ValueError, match="same units"):
        estimate_means(values)
