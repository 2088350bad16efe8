"""The verdict of a soak, case by case."""

import dataclasses

import pytest
from loadtest.soak import Look, percentile_ms, slope_a_minute, verdict


def looks(n=100, **grows):
    """A look every 12 s; what grows does so by this much a look, after the warm-up too."""
    base = {"rss_mib": 300.0, "descriptors": 30, "threads": 12, "tasks": 20, "p99_ms": 80.0}
    return [Look(at_s=12.0 * k, lag=0.0, **{name: value + grows.get(name, 0) * k for name, value in base.items()}) for k in range(n)]  # fmt: skip


def test_a_worker_that_stays_as_it_is():
    assert verdict(looks(), 1_000, 1_000) == []
    assert verdict(looks(rss_mib=0.19), 1_000, 1_000) == []  # 0.95 MiB a minute


@pytest.mark.parametrize(
    ("grows", "said"),
    [
        ({"rss_mib": 0.21}, "memory grows by 1.05 MiB a minute"),
        ({"descriptors": 1}, "descriptors: at most 49 in the warm-up"),
        ({"threads": 1}, "threads: "),
        ({"tasks": 1}, "tasks: "),
        ({"p99_ms": 10}, "p99 rose from "),
    ],
)
def test_what_grows(grows, said):
    (wrong,) = verdict(looks(**grows), 10, 10)
    assert said in wrong


def test_what_grows_only_in_the_warm_up():
    warm = [dataclasses.replace(look, rss_mib=100.0 + 10 * k) for k, look in enumerate(looks(20))]
    assert verdict([*warm, *(dataclasses.replace(look, at_s=look.at_s + 240) for look in looks(80))], 1, 1) == []


def test_events_without_an_answer_and_too_few_looks():
    assert verdict(looks(), 1_000, 999) == ["1 of 1,000 events have no answer"]
    assert verdict(looks(4), 1, 1) == ["too short: there are too few looks"]


def test_slopes_and_percentiles():
    assert slope_a_minute(looks(rss_mib=1)) == pytest.approx(5.0)
    assert percentile_ms({0.1: 98, 0.25: 99, 1.0: 100, float("inf"): 100}, 0.99) == 250
    assert percentile_ms({}, 0.99) == 0
