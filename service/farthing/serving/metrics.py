"""All Prometheus metrics that a worker exports, each defined once; updated once per block and never per event.

Names, units and labels follow Prometheus practice: base units, ``_total`` on counters, closed label sets (stages,
reasons and routes come from code and configuration, never from events).
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from operator import attrgetter

import numpy as np
from prometheus_client import CollectorRegistry, Counter, Enum, Gauge, Info
from prometheus_client.metrics_core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from farthing.blocks import Bytes, Int64s, Outcome, Status
from farthing.kafka import Lag, Moved, Partition
from farthing.kernels.jit import kernel
from farthing.meter.latencies import (
    EDGES_MS,
    EXACT_TO_MS,
    OCTAVE_EDGES_MS,
    PER_OCTAVE,
    by_edge,
    by_octave,
    percentile_ms,
)
from farthing.meter.untrusted import REASONS
from farthing.wire import Dropped

STAGES = ("fetch", "decode", "parse", "featurize", "score", "decide", "render", "encode", "produce", "commit")
"""The ten stages in order; functions, the label ``stage``, errors and dashboards use these verbs."""

STATES = ("starting", "joining", "running", "draining", "stalled", "failed", "stopped")

REPORTS = ("usage", "heartbeat")
"""What a worker publishes for the ledger."""

WINDOW_S = 60
_SLOT_S = 5
_N_SLOTS = WINDOW_S // _SLOT_S


def count_latencies_reference(timestamps_ms: Int64s, now_ms: int, status: Bytes, counts: Int64s) -> int:
    """Plain form of :func:`count_latencies`."""
    total = 0
    for timestamp, state in zip(timestamps_ms.tolist(), status, strict=True):
        if state == 0 and timestamp >= 0:
            latency = max(int(now_ms) - timestamp, 0)
            counts[min(int(np.searchsorted(EDGES_MS, latency, side="left")), len(counts) - 1)] += 1
            total += latency
    return total


@kernel(reference=count_latencies_reference)
def count_latencies(timestamps_ms: Int64s, now_ms: int, status: Bytes, counts: Int64s) -> int:
    """Add the ages of the scored events to a histogram; returns the sum of the ages in milliseconds.

    Each age adds one to ``counts``, int64 (len(EDGES_MS),), in the first bucket whose edge is not below it, or in the
    last. A negative age (a clock ahead of ours) counts as zero; an event with a negative timestamp (none) has no age.
    """
    total = 0
    for i in range(len(timestamps_ms)):
        if status[i] != 0 or timestamps_ms[i] < 0:
            continue
        latency = now_ms - timestamps_ms[i]
        if latency < 0:
            latency = 0
        bucket = 0
        if latency > 0:
            below, shift = latency - 1, 0  # an edge belongs to the bucket below it
            while below >> shift >= EXACT_TO_MS:
                shift += 1
            bucket = min(1 + shift * PER_OCTAVE + (below >> shift), len(counts) - 1)
        counts[bucket] += 1
        total += latency
    return total


@dataclass(slots=True)
class BlockStats:
    """Counts of one block: gathered on its way through the stages, recorded once."""

    route: str
    status_counts: Int64s  # (N_STATUSES,) events by final status
    rows: int = 0
    fetched_bytes: int = 0
    value_bytes: int = 0
    produced_bytes: int = 0
    stage_seconds: dict[str, float] = field(default_factory=dict)
    bid_counts: Int64s | None = None  # (2, len(Outcome)) answered bid requests: real ones, and those with test = 1
    dropped_headers: Int64s | None = None  # (len(Dropped),) headers of events that were not carried on


class LatencyHistogram(Collector):
    """End-to-end latency of scored events: from the event's timestamp to the acknowledgement of its score.

    For heartbeats it has counts since the start in buckets of 1/16; for Prometheus the same by octave, and percentiles
    of the last minute.
    """

    def __init__(self, routes: Iterable[str], clock: Callable[[], float] = time.monotonic) -> None:
        """``clock`` returns seconds."""
        self._clock = clock
        self._before = {route: np.zeros(len(EDGES_MS), np.int64) for route in routes}  # older than the window
        # Slots of 5 s, the open one included: together 55 to 60 s.
        self._slots = {route: np.zeros((_N_SLOTS, len(EDGES_MS)), np.int64) for route in self._before}
        self._slot = int(clock() // _SLOT_S)
        self._sum_ms = dict.fromkeys(self._before, 0)
        nothing = np.zeros(0, np.int64)  # to compile the kernel now, and not while the first scores wait
        count_latencies(nothing, 0, np.zeros(0, np.uint8), np.zeros(len(EDGES_MS), np.int64))

    def add(self, route: str, timestamps_ms: Int64s, now_ms: int, status: Bytes) -> None:
        """Count the events of one block whose scores were just acknowledged."""
        self._turn()
        counts = self._slots[route][self._slot % (_N_SLOTS)]
        self._sum_ms[route] += count_latencies(timestamps_ms, now_ms, status, counts)

    def counts(self) -> dict[str, Int64s]:
        """Return the events counted since the start, by route: (len(EDGES_MS),) int64."""
        return {route: before + self._slots[route].sum(axis=0) for route, before in self._before.items()}

    def _turn(self) -> None:
        """Open the current slot; counts that have left the window are added to those before it."""
        now = int(self._clock() // _SLOT_S)
        for slot in range(max(self._slot + 1, now - _N_SLOTS + 1), now + 1):
            for route, slots in self._slots.items():
                self._before[route] += slots[slot % (_N_SLOTS)]
                slots[slot % (_N_SLOTS)] = 0
        self._slot = max(self._slot, now)

    def collect(self) -> Iterator[Metric]:
        """Yield the histogram and the percentiles for Prometheus."""
        self._turn()
        family = HistogramMetricFamily(
            "farthing_event_latency_seconds",
            "Age of an event (its Kafka timestamp) when its score was acknowledged, in seconds.",
            labels=["route"],
        )
        names = [*(str(edge / 1000) for edge in OCTAVE_EDGES_MS), "+Inf"]
        for route, counts in self.counts().items():
            running = np.cumsum(by_octave(counts)).tolist()
            family.add_metric([route], list(zip(names, running, strict=True)), self._sum_ms[route] / 1000)
        yield family
        for name, share in (("p50", 0.5), ("p99", 0.99)):
            gauge = GaugeMetricFamily(
                f"farthing_event_latency_{name}_seconds",
                f"Age that {share:.0%} of the events scored in the last {WINDOW_S} s did not exceed, in seconds, at "
                "most 1/16 too high; NaN when none was scored.",
                labels=["route"],
            )
            for route, slots in self._slots.items():
                age_ms = percentile_ms(by_edge(slots.sum(axis=0)), share)
                gauge.add_metric([route], math.nan if age_ms is None else age_ms / 1000)
            yield gauge


class CpuSeconds(Collector):
    """CPU time of this process, on every platform (prometheus_client's own process collector needs Linux)."""

    def collect(self) -> Iterator[Metric]:
        """Yield the CPU time for Prometheus."""
        yield CounterMetricFamily("farthing_cpu_seconds", "User and system CPU seconds.", value=time.process_time())


class Metrics:
    """The worker's metrics, in a registry of their own (injected in tests)."""

    def __init__(self, routes: Mapping[str, str], registry: CollectorRegistry | None = None) -> None:
        """``routes`` maps each route's name to its model id."""
        self.registry = registry if registry is not None else CollectorRegistry()
        r = self.registry
        self.events = Counter("farthing_events", "Events answered, by outcome.", ["route", "outcome"], registry=r)
        self.dead = Counter("farthing_dead_events", "Events sent to dead letters.", ["route", "reason"], registry=r)
        self.bid_requests = Counter(
            "farthing_bid_requests", "Bid requests answered, by outcome: bid, or the reason for none; test = 1 apart.",
            ["route", "outcome", "test"], registry=r,
        )  # fmt: skip
        self.pacing = Gauge("farthing_pacing_multiplier", "Pacing multiplier in force.", ["route"], registry=r)
        self.pacing_updates = Counter(
            "farthing_pacing_updates", "Records of the pacing topic, by what became of them.",
            ["route", "outcome"], registry=r,
        )  # fmt: skip
        self.rows = Counter("farthing_rows", "Rows scored by the model.", ["route"], registry=r)
        self.blocks = Counter("farthing_blocks", "Blocks worked on.", ["route"], registry=r)
        self.fetched_bytes = Counter("farthing_fetched_bytes", "Record batch bytes fetched.", ["route"], registry=r)
        self.value_bytes = Counter(
            "farthing_value_bytes", "Bytes of event values, uncompressed.", ["route"], registry=r
        )
        self.produced_bytes = Counter("farthing_produced_bytes", "Record batch bytes produced.", ["route"], registry=r)
        self.dropped_headers = Counter(
            "farthing_dropped_headers",
            "Headers of events that did not travel on: names that are ours, or over max_header_bytes.",
            ["route", "reason"], registry=r,
        )  # fmt: skip
        self.stage_seconds = Counter("farthing_stage_seconds", "Seconds spent in each stage.", ["stage"], registry=r)
        self.corrupt = Counter(
            "farthing_corrupt_batches", "Record batches that could not be read.", ["route"], registry=r
        )
        self.events_lost = Counter(
            "farthing_events_lost", "Events that were deleted before they were scored.",
            ["route", "partition", "reason"], registry=r,
        )  # fmt: skip
        self.new_logs = Counter(
            "farthing_new_logs", "Logs found in the place of another.", ["route", "partition"], registry=r
        )
        self.commits = Counter("farthing_commits", "Offset commits.", ["outcome"], registry=r)
        self.rebalances = Counter("farthing_rebalances", "Rebalances of the consumer group seen.", registry=r)
        self.rebalance_seconds = Counter("farthing_rebalance_seconds", "Seconds without an assignment.", registry=r)
        self.broker_errors = Counter("farthing_broker_errors", "Errors of the broker.", ["stage"], registry=r)
        self.report_errors = Counter(
            "farthing_report_errors",
            "Failed attempts to publish usage totals or a heartbeat; scoring goes on.", ["report"], registry=r,
        )  # fmt: skip
        self.usage_unpublished = Gauge(
            "farthing_usage_unpublished_seconds", "Seconds since usage totals cannot be published; 0 if they can.",
            registry=r,
        )  # fmt: skip
        self.refused_metadata = Counter(
            "farthing_refused_metadata",
            "Partitions taken over whose committed metadata is no usage total: a new count began.",
            ["reason"], registry=r,
        )  # fmt: skip
        self.lag = Gauge(
            "farthing_lag_events",
            "High watermark minus next unacknowledged offset, of this worker's partitions; NaN while not known.",
            ["route"], registry=r,
        )  # fmt: skip
        self.unreadable = Gauge(
            "farthing_lag_unreadable_events",
            "The part of the lag that cannot be read yet: a producer's transaction is open; NaN while not known.",
            ["route"], registry=r,
        )  # fmt: skip
        self.partitions = Gauge("farthing_assigned_partitions", "Partitions assigned to this worker.", registry=r)
        self.halted = Gauge("farthing_halted_partitions", "Partitions on hold; /ready says which, and why.", registry=r)
        self.state = Enum("farthing_worker_state", "State of this worker.", states=STATES, registry=r)
        self.model = Info("farthing_model", "Model that a route scores with.", ["route"], registry=r)
        self._rebalances, self._rebalance_seconds = 0, 0.0
        self.latency = LatencyHistogram(routes)
        r.register(self.latency)
        r.register(CpuSeconds())
        self._show_zeros(routes)

    def _show_zeros(self, routes: Mapping[str, str]) -> None:
        """Create every label set that is known beforehand: a counter that first appears at 1 hides that increase."""
        # A label set is looked up once: to find it for each block took longer than to count.
        self._of_stage = {stage: self.stage_seconds.labels(stage) for stage in STAGES}
        self._of_route = {route: self._counters_of(route) for route in routes}
        for route, model in routes.items():
            self.model.labels(route).info({"model": model})
            self.lag.labels(route).set(math.nan)
            self.unreadable.labels(route).set(math.nan)
            self.corrupt.labels(route)
            for reason in Dropped:
                self.dropped_headers.labels(route, reason.name.lower())
        for report in REPORTS:
            self.report_errors.labels(report)
        for why in REASONS:
            self.refused_metadata.labels(why)

    def _counters_of(self, route: str) -> tuple[Counter, ...]:
        """Return what :meth:`record` counts of each block of a route, in its order."""
        events = (self.events.labels(route, outcome) for outcome in ("scored", "dead"))
        families = (self.rows, self.blocks, self.fetched_bytes, self.value_bytes, self.produced_bytes)
        return (*events, *(family.labels(route) for family in families))

    def show_lag(self, lag: Callable[[], Mapping[str, Lag | None]]) -> None:
        """Show what ``lag`` returns for each route at the time of a scrape, None as NaN: unknown is not 0."""

        def shown(route: str, part: Callable[[Lag], int]) -> float:
            value = lag()[route]
            return math.nan if value is None else part(value)

        for route in lag():
            self.lag.labels(route).set_function(partial(shown, route, attrgetter("events")))
            self.unreadable.labels(route).set_function(partial(shown, route, attrgetter("unreadable")))

    def set_rebalances(self, count: int, seconds: float) -> None:
        """Bring the rebalance counters up to the consumer's running totals; those of a new consumer begin anew."""
        if count < self._rebalances or seconds < self._rebalance_seconds:
            self._rebalances, self._rebalance_seconds = 0, 0.0
        self.rebalances.inc(count - self._rebalances)
        self.rebalance_seconds.inc(seconds - self._rebalance_seconds)
        self._rebalances, self._rebalance_seconds = count, seconds

    def took_over(self, partition: Partition) -> None:
        """Begin a partition's rare counters at zero: otherwise ``increase`` would miss their first step."""
        route, number = partition
        self.new_logs.labels(route, number)
        self.events_lost.labels(route, number, "retention")

    def moved(self, partition: Partition, moved: Moved) -> None:
        """Note that a partition goes on at another offset, and how many events it lost."""
        route, number = partition
        if moved.reason == "new_log":
            self.new_logs.labels(route, number).inc()
        if moved.lost:
            self.events_lost.labels(route, number, moved.reason).inc(moved.lost)

    def record(self, stats: BlockStats) -> None:
        """Add the counts of one acknowledged block."""
        route, of_route = stats.route, self._of_route[stats.route]
        scored = int(stats.status_counts[Status.OK])
        dead = int(stats.status_counts.sum()) - scored
        counts = (scored, dead, stats.rows, 1, stats.fetched_bytes, stats.value_bytes, stats.produced_bytes)
        for counter, count in zip(of_route, counts, strict=True):
            counter.inc(count)
        if dead:
            for status in Status:
                if status is not Status.OK and stats.status_counts[status]:
                    self.dead.labels(route, status.name.lower()).inc(int(stats.status_counts[status]))
        if stats.bid_counts is not None:
            for test, outcome in zip(*np.nonzero(stats.bid_counts), strict=True):
                labels = (route, Outcome(int(outcome)).name.lower(), str(bool(test)).lower())
                self.bid_requests.labels(*labels).inc(int(stats.bid_counts[test, outcome]))
        if stats.dropped_headers is not None and stats.dropped_headers.any():
            for reason in Dropped:
                self.dropped_headers.labels(route, reason.name.lower()).inc(int(stats.dropped_headers[reason]))
        for stage, seconds in stats.stage_seconds.items():
            self.took(stage, seconds)

    def took(self, stage: str, seconds: float) -> None:
        """Add the time that a stage took."""
        self._of_stage[stage].inc(seconds)
