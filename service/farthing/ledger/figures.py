"""The ledger's Prometheus metrics: counts and dollars of all time, as in the statement.

Dollars are floats here because Prometheus has no other numbers; the exact ones are in ``/api/statement``. Labels come
from the settings and from what was scored: routes, models and pricing modes, each a short closed list.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from typing import Any, Protocol

from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from farthing.errors import ConfigError
from farthing.ledger.history import History
from farthing.ledger.ledger import Ledger
from farthing.ledger.refusals import SOURCES, Refusals
from farthing.ledger.statement import PriceBook, Statement, make_statement
from farthing.meter.money import SCENARIOS
from farthing.meter.opponents import MODES
from farthing.meter.untrusted import REASONS


class RunningLedger(Protocol):
    """The source of the metrics: the running app."""

    ready: bool

    @property
    def records(self) -> int:
        """Usage records and heartbeats read since the start."""

    @property
    def refusals(self) -> Refusals:
        """What was refused since the start."""

    @property
    def broker_silent_s(self) -> float:
        """Seconds since a broker last answered."""

    def books(self) -> tuple[Ledger, History]:
        """Return the books."""


class Figures(Collector):
    """Makes the metrics when Prometheus asks."""

    def __init__(self, source: RunningLedger, book: PriceBook) -> None:
        self._running = source
        self._book = book

    def describe(self) -> Iterator[Metric]:
        """Name the metrics without making a statement."""
        return iter(families().values())

    def collect(self) -> Iterator[Metric]:
        """Yield the current metrics."""
        books, _ = self._running.books()
        ledger = books.copied()  # scraped in a thread of its own, while the app posts
        now_ms = time.time_ns() // 1_000_000
        metrics = families()
        metrics["ready"].add_metric([], float(self._running.ready))
        metrics["records"].add_metric([], self._running.records)
        refusals = self._running.refusals
        metrics["refused"].add_metric([], refusals.records)
        for source in SOURCES:
            for reason in REASONS:
                metrics["refusals"].add_metric([source, reason], refusals.counts[source, reason])
        metrics["broker_silent"].add_metric([], self._running.broker_silent_s)
        metrics["workers"].add_metric([], len(ledger.workers(now_ms)))
        metrics["core_seconds"].add_metric([], ledger.reserved_core_ms() / 1000)
        metrics["cpu_seconds"].add_metric([], ledger.cpu_ns() / 1e9)
        for subject, total in ledger.totals(None, now_ms).items():
            for outcome, n in (("scored", total.scored), ("dead", total.dead)):
                metrics["events"].add_metric([subject.topic, subject.model, outcome], n)
        if self._running.ready and ledger.accounts:
            with contextlib.suppress(ConfigError):  # the page says why: counts are shown without dollars
                self._add_dollars(metrics, make_statement(ledger, self._book, "all", now_ms))
        return iter(metrics.values())

    def _add_dollars(self, metrics: dict[str, Any], statement: Statement) -> None:
        for scenario in SCENARIOS:
            metrics["own"].add_metric([scenario], float(statement.own.usd.at(scenario)))
        for model in self._book.meter.compare_with:
            for mode in MODES:
                avoided, saved = statement.avoided(model, mode.name), statement.saved(model, mode.name)
                if avoided is None or saved is None:
                    continue
                for scenario in SCENARIOS:
                    labels = [model, mode.name, scenario]
                    metrics["avoided"].add_metric(labels, float(avoided.at(scenario)))
                    metrics["saved"].add_metric(labels, float(saved[scenario]))


def families() -> dict[str, Any]:
    """Make all families, still empty: names, helps and labels are defined here alone."""
    gauge, counter = GaugeMetricFamily, CounterMetricFamily
    compared = ["model", "mode", "estimate"]
    return {
        "ready": gauge("farthing_ledger_ready", "1 when the books are restored from their changelogs.", labels=[]),
        "records": counter("farthing_ledger_records", "Usage records and heartbeats read since the start.", labels=[]),
        "refused": counter("farthing_ledger_refused_records", "Of them, those that could not be read.", labels=[]),
        "refusals": counter(
            "farthing_ledger_refusals",
            "Records of the two topics, and values of the three tables, that could not be read, by reason.",
            labels=["source", "reason"],
        ),
        "broker_silent": gauge(
            "farthing_ledger_broker_silent_seconds", "Seconds since a broker last answered the ledger.", labels=[]
        ),
        "workers": gauge("farthing_ledger_workers", "Workers whose last heartbeat is fresh.", labels=[]),
        "core_seconds": counter(
            "farthing_ledger_reserved_core_seconds", "Core-seconds reserved by workers, idle or not.", labels=[]
        ),
        "cpu_seconds": counter("farthing_ledger_cpu_seconds", "CPU seconds used by workers.", labels=[]),
        "events": counter(
            "farthing_ledger_events", "Events in the books, by outcome.", labels=["route", "model", "outcome"]
        ),
        "own": gauge("farthing_ledger_own_cost_usd", "What scoring has cost, in dollars.", labels=["estimate"]),
        "avoided": gauge(
            "farthing_ledger_avoided_cost_usd", "What the scored events would have cost on an API.", labels=compared
        ),
        "saved": gauge(
            "farthing_ledger_saved_usd", "Avoided less own cost; below zero when the API is cheaper.", labels=compared
        ),
    }
