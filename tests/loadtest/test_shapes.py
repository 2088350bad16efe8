"""Users by time for each shape."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from loadtest.shapes import SHAPES, users_at


def course(shape, run_s=100.0, peak=20, step_s=1.0):
    return [users_at(shape, k * step_s, run_s, peak) for k in range(int(run_s / step_s))]


@given(st.sampled_from(sorted(SHAPES)), st.floats(0, 0.999_999), st.floats(1, 1e5), st.integers(1, 500))
def test_there_is_always_somebody_never_more_than_the_peak_and_it_ends(shape, at, run_s, peak):
    assert 1 <= users_at(shape, at * run_s, run_s, peak) <= peak
    assert users_at(shape, run_s, run_s, peak) is None


@pytest.mark.parametrize("shape", SHAPES)
def test_every_shape_comes_to_its_peak(shape):
    assert max(course(shape)) == 20


def test_constant():
    assert set(course("constant")) == {20}


def test_steps_are_equal_and_go_up():
    found = course("step")
    assert [found.count(users) for users in (4, 8, 12, 16, 20)] == [20] * 5 and found == sorted(found)


def test_a_spike_is_a_fifth_of_the_run_and_four_times_what_is_around_it():
    found = course("spike")
    assert found[:40] == found[60:] == [5] * 40 and found[40:60] == [20] * 20


def test_a_day_goes_from_night_to_noon_to_night():
    found = course("diurnal")
    assert found[0] == 4 and found[50] == 20 and found[99] == 4
    assert found[:51] == sorted(found[:51]) and found[50:] == sorted(found[50:], reverse=True)


def test_a_soak_ramps_for_five_minutes_at_most_and_stays():
    day_s = 86_400.0
    assert users_at("soak", 150, day_s, 20) == 10
    assert {users_at("soak", t, day_s, 20) for t in range(300, 86_400, 600)} == {20}
    assert users_at("soak", 2, 100.0, 20) < 20 == users_at("soak", 5, 100.0, 20)
