"""Intended times stand from the start, whatever happens between them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from loadtest.pacing import Pacer, phase_s


@given(st.floats(0, 1e6), st.floats(0.001, 10), st.lists(st.floats(0, 30), max_size=50))
def test_the_schedule_does_not_move_however_late_batches_are(began_s, interval_s, delays_s):
    pacer, now_s = Pacer(began_s, interval_s), began_s
    for number, delay_s in enumerate(delays_s):
        now_s += pacer.wait_s(now_s)
        assert pacer.take() == began_s + number * interval_s <= now_s + 1e-6
        now_s += delay_s


def test_a_late_batch_is_sent_at_once_and_an_early_one_waits():
    pacer = Pacer(100.0, 0.5)
    assert pacer.take() == 100.0
    assert pacer.wait_s(100.1) == pytest.approx(0.4)
    assert pacer.wait_s(107.3) == 0
    assert [pacer.take() for _ in range(3)] == [100.5, 101.0, 101.5]  # made up for, none left out


@pytest.mark.parametrize("users", [2, 5, 20])
def test_users_that_start_together_are_spread_over_the_interval(users):
    phases = sorted(phase_s(number, 2.0) for number in range(users))
    assert phases[0] == 0 and phases[-1] < 2.0
    gaps = [b - a for a, b in zip(phases, [*phases[1:], 2.0], strict=True)]
    assert min(gaps) > 0.3 * 2.0 / users and max(gaps) < 2.7 * 2.0 / users
