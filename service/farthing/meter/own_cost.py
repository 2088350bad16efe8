"""Estimates what it costs to score events yourself: reserved cores (idle or not), storage, network, people, one-offs.

This prices a plan from stated numbers: it buys whole cores for some volume, with headroom. The ledger prices what a
deployment really used, from clocks (:mod:`farthing.ledger.statement`).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from typing import Final

from farthing.meter.money import SCENARIOS, Interval, Scenario

SECONDS_A_DAY: Final = 86_400
DAYS_A_MONTH: Final = Fraction(365, 12)
GB: Final = 10**9

# The source of the default capacity: draining a backlog with the broker on the same two cores.
CAPACITY_REPORT: Final = "loadtest/reports/2026-11-24-throughput.md"
MEASURED_EVENTS_PER_S: Final = 830_702
MEASURED_CORES: Final = 2
MEASURED_EVENT_BYTES: Final = 138


@dataclass(frozen=True, slots=True)
class OwnPlan:
    """A deployment that is paid for by the month, whatever the traffic.

    ``events_per_s_per_core`` is what a worker's core can score when it is busy (its *low* makes the dollars high).
    ``utilization`` is the share of it that mean traffic takes, so 0.3 leaves room for peaks of three times the mean.
    """

    core_hour_usd: Decimal
    events_per_s_per_core: Interval
    utilization: Fraction
    min_worker_cores: int
    broker_cores_per_worker_core: Fraction
    ledger_cores: int
    stored_bytes_per_event: Interval  # on all replicas together, for as long as it is kept
    storage_usd_per_gb_month: Decimal
    retention_days: Fraction
    network_bytes_per_event: Interval
    network_usd_per_gb: Decimal
    people_usd_per_month: Decimal
    one_off_usd: Interval  # training run, labelling, setting up
    horizon_days: int
    accuracy_gap: Fraction = Fraction(0)  # share of events that the tuned model gets wrong and the API would not
    error_usd: Decimal = Decimal(0)  # what one such error costs

    def __post_init__(self) -> None:
        if not 0 < self.utilization <= 1:
            raise ValueError(f"utilization is a share of capacity above 0 and at most 1, not {self.utilization}")
        if self.events_per_s_per_core.low <= 0 or self.horizon_days < 1 or self.min_worker_cores < 1:
            raise ValueError(f"capacity, horizon and least cores must be positive: {self}")

    def events_per_worker_core(self, scenario: Scenario) -> Fraction:
        """Events a day for which one worker core is bought. Low dollars go with high capacity."""
        turned: dict[Scenario, Scenario] = {"low": "high", "mid": "mid", "high": "low"}
        return self.events_per_s_per_core.at(turned[scenario]) * self.utilization * SECONDS_A_DAY

    def worker_cores(self, events_per_day: int, scenario: Scenario) -> int:
        """Return the number of whole cores for workers."""
        return max(self.min_worker_cores, math.ceil(events_per_day / self.events_per_worker_core(scenario)))

    def cores(self, events_per_day: int, scenario: Scenario) -> int:
        """Return the number of whole cores in all: workers, their share of the broker, the ledger."""
        return self.cores_with(self.worker_cores(events_per_day, scenario))

    def cores_with(self, worker_cores: int) -> int:
        """Return the number of whole cores in all for a number of worker cores."""
        return worker_cores + math.ceil(worker_cores * self.broker_cores_per_worker_core) + self.ledger_cores

    @property
    def core_day_usd(self) -> Fraction:
        """Dollars for one core for one day."""
        return 24 * Fraction(self.core_hour_usd)

    def per_event_usd(self, scenario: Scenario) -> Fraction:
        """Return the dollars that each event adds: storage, network, and errors that the API would not make."""
        stored = self.stored_bytes_per_event.at(scenario) * self.retention_days / DAYS_A_MONTH
        return (
            stored / GB * Fraction(self.storage_usd_per_gb_month)
            + self.network_bytes_per_event.at(scenario) / GB * Fraction(self.network_usd_per_gb)
            + self.accuracy_gap * Fraction(self.error_usd)
        )

    def fixed_usd(self, scenario: Scenario) -> Fraction:
        """Return a day's dollars that do not depend on volume: people, and one-off costs spread over the horizon."""
        return Fraction(self.people_usd_per_month) / DAYS_A_MONTH + self.one_off_usd.at(scenario) / self.horizon_days

    def day_usd(self, events_per_day: int, scenario: Scenario) -> Fraction:
        """Return the dollars of a day at a volume."""
        return (
            self.core_day_usd * self.cores(events_per_day, scenario)
            + self.fixed_usd(scenario)
            + self.per_event_usd(scenario) * events_per_day
        )

    def day(self, events_per_day: int) -> Interval:
        """Return the dollars of a day at a volume, as an interval."""
        return Interval(*(self.day_usd(events_per_day, scenario) for scenario in SCENARIOS))

    def lines(self, events_per_day: int) -> dict[str, Interval]:
        """Return the dollars of a day by what they pay for; they add up to :meth:`day`."""
        n = events_per_day

        def each(of: dict[Scenario, Fraction]) -> Interval:
            return Interval(of["low"], of["mid"], of["high"])

        stored = self.stored_bytes_per_event.times(self.retention_days / DAYS_A_MONTH / GB * n)
        return {
            "worker cores": each({s: self.core_day_usd * self.worker_cores(n, s) for s in SCENARIOS}),
            "broker and ledger cores": each(
                {s: self.core_day_usd * (self.cores(n, s) - self.worker_cores(n, s)) for s in SCENARIOS}
            ),
            "storage": stored.times(self.storage_usd_per_gb_month),
            "network": self.network_bytes_per_event.times(Fraction(n, GB)).times(self.network_usd_per_gb),
            "people": Interval.of(Fraction(self.people_usd_per_month) / DAYS_A_MONTH),
            "training, labels, setting up": self.one_off_usd.times(Fraction(1, self.horizon_days)),
            "errors the API would not make": Interval.of(self.accuracy_gap * Fraction(self.error_usd) * n),
        }
