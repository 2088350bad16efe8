"""Break-even against brute force; payback against a day by day sum; verdicts between the thresholds."""

from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from farthing.meter.breakeven import (
    Payback,
    Point,
    Threshold,
    after_years,
    curve,
    error_usd_allowed,
    payback,
    threshold,
    verdict,
)
from farthing.meter.money import Interval
from farthing.meter.sensitivity import cases
from tests.meter.plans import plan


def test_the_plain_case():
    """24 dollars a day against a cent an event: 2,401 events, and no further core is needed until 8,640."""
    assert threshold(plan(), Interval.of("0.01")) == Threshold(2_401, 2_401, 2_401)


def test_a_later_step_may_turn_it_round():
    """A core more at 8,641 events costs 24 dollars more: there the API, at 0.004, wins once again."""
    own = plan()
    at = threshold(own, Interval.of("0.004")).mid
    assert own.day_usd(6_001, "mid") < Fraction(4, 1000) * 6_001
    assert own.day_usd(8_641, "mid") > Fraction(4, 1000) * 8_641
    assert at > 8_641
    assert all(own.day_usd(n, "mid") < Fraction(4, 1000) * n for n in range(at, 200_000, 7))


plans = st.builds(
    lambda core, busy, least, broker, ledger, people, once, network: plan(
        core_hour_usd=Decimal(core) / 100,
        utilization=Fraction(busy, 10_000),
        min_worker_cores=least,
        broker_cores_per_worker_core=Fraction(broker, 4),
        ledger_cores=ledger,
        people_usd_per_month=Decimal(people) / 10,
        one_off_usd=Interval.of(once),
        network_bytes_per_event=Interval.of(network * 10**6),
        network_usd_per_gb=Decimal("0.01"),
    ),
    st.integers(0, 300), st.integers(1, 30), st.integers(1, 3), st.integers(0, 6), st.integers(0, 2),
    st.integers(0, 3_000), st.integers(0, 500), st.integers(0, 20),
)  # fmt: skip


@settings(max_examples=25)
@given(plans, st.fractions(min_value=Fraction(1, 2000), max_value=2, max_denominator=4000))
def test_the_threshold_is_the_last_change_of_sides(own, api):
    most, step = 3_000, 260  # a core scores at most 260 events a day here
    wins = [own.day_usd(n, "mid") < api * n for n in range(1, most + 1)]
    found = threshold(own, Interval.of(api)).mid
    last_loss = max((n for n, win in enumerate(wins, start=1) if not win), default=0)
    if found is not None and found <= most - step:
        assert found == last_loss + 1
    elif found is not None:
        assert last_loss >= most - 2 * step
    else:
        assert not all(wins[-step:])


def test_never_is_none():
    # A core scores 8,640 events for 24 dollars: an API at a tenth of a cent an event is never dearer.
    assert threshold(plan(), Interval.of("0.001")) == Threshold(None, None, None)
    mixed = threshold(plan(), Interval.of("0.001", "0.005", "0.02"))
    assert mixed.high is None
    assert mixed.low < mixed.mid


@given(
    plans,
    st.lists(st.fractions(min_value=Fraction(1, 500), max_value=1, max_denominator=900), min_size=3, max_size=3).map(
        sorted
    ),
)
def test_thresholds_are_in_order_and_fall_with_the_price(own, three):
    at = threshold(own, Interval(*three))
    known = [value for value in (at.low, at.mid, at.high) if value is not None]
    assert known == sorted(known)
    dearer = threshold(own, Interval(*(2 * price for price in three)))
    if at.mid is not None:
        assert dearer.mid <= at.mid


def test_a_free_endpoint_lifts_the_threshold():
    free = Interval.of(1_000, 5_000, 9_000)
    assert threshold(plan(), Interval.of("0.01"), free) == Threshold(2_401, 5_001, 9_001)
    assert Threshold(None, 3, 4).raised_to(free) == Threshold(None, 5_001, 9_001)
    assert Threshold(1, 2, 3).raised_to(None) == Threshold(1, 2, 3)


@pytest.mark.parametrize(
    ("at", "says"),
    [
        (Threshold(10, 20, 30), {9: "api", 10: "undecided", 29: "undecided", 30: "tuned"}),
        (Threshold(None, None, None), {1: "api", 10**15: "api"}),
        (Threshold(10, None, None), {9: "api", 10**15: "undecided"}),
    ],
)
def test_the_verdict_is_open_between_the_thresholds(at, says):
    assert {n: verdict(n, at) for n in says} == says


def test_the_curve_shows_what_the_free_endpoint_takes():
    points = curve(plan(), Interval.of("0.01"), [100, 10_000], Interval.of(50, 500, 5_000))
    assert points[0] == Point(100, Interval.of(24), Interval.of(0))
    assert points[1] == Point(10_000, Interval.of(48), Interval.of(100))


def test_payback_in_days():
    own = plan(one_off_usd=Interval.of(100, 200, 400), horizon_days=100)
    (point,) = curve(own, Interval.of("0.01"), [8_640])  # 86.4 against 24 a day: 62.4 a day
    assert payback(own, point, Decimal(0)) == Payback(2, 4, 7)
    (small,) = curve(own, Interval.of("0.01"), [2_400])  # 24 against 24
    assert payback(own, small, Decimal(0)) == Payback(None, None, None)
    assert payback(plan(), point, Decimal("0.9")) == Payback(0, 0, 0)


@given(st.integers(1, 20_000), st.integers(1, 99), st.integers(25, 200))
def test_payback_under_falling_prices_is_the_day_by_day_sum(once, fall_percent, api_a_day):
    own = plan(one_off_usd=Interval.of(once), horizon_days=100)
    point = Point(100, own.day(100), Interval.of(api_a_day))
    found = payback(own, point, Decimal(fall_percent) / 100).mid
    daily = (1 - fall_percent / 100) ** (1 / 365)
    earned, day = 0.0, 0
    while day < 3_650 and earned < once * (1 - 1e-9):
        gain = api_a_day * daily**day - 24
        if gain <= 0:
            break
        earned, day = earned + gain, day + 1
    expected = day if earned >= once * (1 - 1e-9) else None
    assert found == expected or abs((found or 10**9) - (expected or 10**9)) <= 1
    still = payback(own, point, Decimal(0)).mid
    assert found is None or still <= found


def test_prices_fall_by_the_year():
    assert after_years(Interval.of(100, 200, 300), 2, Decimal("0.4")) == Interval.of(36, 72, 108)


def test_how_dear_an_error_may_be():
    point = Point(1_000, Interval.of(10), Interval.of(20, 30, 50))
    assert error_usd_allowed(point, Fraction(1, 100)) == Interval.of(1, 2, 4)
    with_errors = plan(
        accuracy_gap=Fraction(1, 100),
        error_usd=Decimal(2),
        people_usd_per_month=Decimal(0),
        core_hour_usd=Decimal(0),
        one_off_usd=Interval.of(1_000),
    )
    assert with_errors.day_usd(1_000, "mid") == 30  # what is allowed is exactly what makes both equal
    assert error_usd_allowed(Point(1_000, Interval.of(30), Interval.of(20)), Fraction(1, 100)) is None


def test_sensitivity_changes_one_thing_at_a_time():
    own = plan(one_off_usd=Interval.of(1_000), people_usd_per_month=Decimal(365))
    at = {case.what: case for case in cases(own, Interval.of(400), Interval.of("0.01"), None, 10_000, Decimal("0.5"))}
    base = threshold(own, Interval.of("0.01")).mid
    assert at["no labelling cost"].threshold.mid < base < at["labelling at 10 times the cost"].threshold.mid
    assert at["people's time not counted"].threshold.mid < base
    assert at["API 50% cheaper a year, in 1 year"].threshold.mid > base
    assert at["API 50% cheaper a year, in 3 years"].threshold.mid is None
    assert at["API 50% cheaper a year, in 3 years"].verdict == "api"
    assert "cores 10% busy" not in at  # that is the case itself
    assert at["cores 60% busy"].threshold.mid <= base
    floor = Interval.of(10**9)
    lifted = cases(own, Interval.of(400), Interval.of("0.01"), floor, 10_000, Decimal(0))
    assert all(case.threshold.mid in (None, 10**9 + 1) for case in lifted)
    assert not any(case.what.startswith("API") for case in lifted)
