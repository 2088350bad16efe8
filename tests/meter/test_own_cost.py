"""Own cost: whole cores, idle too; the parts add up; people and training count whatever comes in."""

from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from farthing.meter.money import SCENARIOS, Interval
from farthing.meter.own_cost import CAPACITY_REPORT, MEASURED_CORES, MEASURED_EVENTS_PER_S
from tests.meter.plans import plan

volumes = st.integers(1, 10**12)
full = plan(
    events_per_s_per_core=Interval.of(1, 3, 10),
    broker_cores_per_worker_core=Fraction(1, 2),
    ledger_cores=1,
    min_worker_cores=2,
    stored_bytes_per_event=Interval.of(100, 200, 300),
    storage_usd_per_gb_month=Decimal("0.1"),
    network_bytes_per_event=Interval.of(0, 500, 900),
    network_usd_per_gb=Decimal("0.02"),
    people_usd_per_month=Decimal(1_000),
    one_off_usd=Interval.of(10, 20, 50),
    accuracy_gap=Fraction(1, 100),
    error_usd=Decimal("0.0001"),
)


def test_whole_cores_are_bought_idle_or_not():
    one = plan()
    assert one.events_per_worker_core("mid") == 8_640
    assert [one.worker_cores(n, "mid") for n in (1, 8_640, 8_641, 17_280, 17_281)] == [1, 1, 2, 2, 3]
    assert one.day(1) == one.day(8_640) == Interval.of(24)
    assert one.day(8_641) == Interval.of(48)
    shared = plan(broker_cores_per_worker_core=Fraction(1, 2), ledger_cores=1, min_worker_cores=2)
    assert shared.cores(1, "mid") == 2 + 1 + 1
    assert shared.cores(3 * 8_640, "mid") == 3 + 2 + 1


def test_low_dollars_go_with_high_capacity():
    assert full.worker_cores(10**6, "low") < full.worker_cores(10**6, "mid") < full.worker_cores(10**6, "high")


@given(volumes)
def test_the_parts_add_up_to_the_day(n):
    day, lines = full.day(n), full.lines(n)
    for scenario in SCENARIOS:
        assert sum(line.at(scenario) for line in lines.values()) == day.at(scenario)


@given(volumes, volumes)
def test_more_events_never_cost_less(a, b):
    few, many = sorted((a, b))
    for scenario in SCENARIOS:
        assert full.day_usd(few, scenario) <= full.day_usd(many, scenario)


def test_each_part_by_hand():
    one = plan(
        stored_bytes_per_event=Interval.of(1_000),
        storage_usd_per_gb_month=Decimal("0.1"),
        retention_days=Fraction(365, 12),  # a month
        network_bytes_per_event=Interval.of(500),
        network_usd_per_gb=Decimal("0.02"),
        people_usd_per_month=Decimal(365),
        one_off_usd=Interval.of(200),
        accuracy_gap=Fraction(1, 100),
        error_usd=Decimal("0.5"),
    )
    lines = one.lines(10**6)
    assert lines["storage"].mid == Fraction(1, 10)  # a GB a day, kept a month: one GB-month
    assert lines["network"].mid == Fraction(1, 100)
    assert lines["people"].mid == 12
    assert lines["training, labels, setting up"].mid == 2
    assert lines["errors the API would not make"].mid == 5_000


@pytest.mark.parametrize("bad", [{"utilization": Fraction(0)}, {"utilization": Fraction(2)}, {"horizon_days": 0}])
def test_impossible_plans_are_refused(bad):
    with pytest.raises(ValueError):
        plan(**bad)


def test_the_capacity_is_that_of_the_named_report():
    from pathlib import Path

    report = Path(__file__).parents[2] / CAPACITY_REPORT
    if not report.parent.is_dir():
        pytest.skip("the reports are not here: this is not a checkout")
    text = report.read_text()
    assert f"{MEASURED_EVENTS_PER_S:,}" in text
    assert f"{MEASURED_CORES} cores" in text
