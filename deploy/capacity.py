"""From events a second to partitions, workers, cores, disks and dollars: ``python deploy/capacity.py 1_000_000``.

Plain arithmetic on stated figures. Each is an option; service/OPERATIONS.md ("Capacity") says where its default comes
from. It prices machines, disks and traffic between zones. ``farthing breakeven`` covers people and training, and
compares with an API.
"""

from __future__ import annotations

import argparse
import json
import math
import signal
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from fractions import Fraction

HOURS_A_MONTH = 730
SECONDS_AN_HOUR = 3_600
LEDGER_PARTITIONS = 1_000  # input partitions that one ledger can follow at a record a second


@dataclass(frozen=True)
class Demand:
    """What comes in, and the figures that the plan is computed from."""

    events_per_s: int  # the mean
    peak_to_mean: float = 3.0
    worker_events_per_s: int = 300_000  # of one worker on two cores, fully loaded
    planned_share: Fraction = Fraction(2, 3)  # of that, at the peak
    worker_cores: int = 2
    broker_cores_per_worker_core: float = 0.5
    event_bytes: int = 155  # with the record's own bytes
    score_bytes: int = 200
    compressed_share: float = 0.5  # bytes on disk and wire over bytes of records
    partition_bytes_per_s: int = 10_000_000
    replicas: int = 3
    retention_hours: float = 24.0
    zones: int = 3
    core_hour_usd: float = 0.05
    storage_usd_per_gb_month: float = 0.10
    network_usd_per_gb: float = 0.02


@dataclass(frozen=True)
class Plan:
    """What is needed. Dollars are for a month of 730 hours, with cores for the peak reserved all the time."""

    peak_events_per_s: int
    workers: int
    partitions: int
    worker_cores: int
    broker_cores: int
    ledger_cores: int
    peak_in_mb_per_s: int
    stored_gb: int
    cores_usd: int
    storage_usd: int
    network_usd: int
    usd_per_million_events: float


def plan(demand: Demand) -> Plan:
    """Compute a plan: at least two workers, so that one may fail, and at least two partitions for each worker."""
    d = demand
    peak = math.ceil(d.events_per_s * Fraction(str(d.peak_to_mean)))
    workers = max(2, math.ceil(peak / (d.worker_events_per_s * d.planned_share)))
    for_bytes = math.ceil(peak * d.event_bytes * d.compressed_share / d.partition_bytes_per_s)
    partitions = workers * max(2, math.ceil(for_bytes / workers))
    worker_cores = workers * d.worker_cores
    broker_cores = max(d.replicas, math.ceil(worker_cores * d.broker_cores_per_worker_core))
    ledger_cores = math.ceil(partitions / LEDGER_PARTITIONS)
    stored_per_s = d.events_per_s * (d.event_bytes + d.score_bytes) * d.compressed_share
    stored_gb = stored_per_s * d.replicas * d.retention_hours * SECONDS_AN_HOUR / 1e9
    # Each byte is produced to a leader and fetched from it. The leader is in the same zone one time in `zones`. Each
    # byte is also copied to the other replicas, which are in zones of their own if there are enough.
    away = (d.zones - 1) / d.zones
    crossings = 2 * away + min(d.replicas, d.zones) - 1
    cores_usd = (worker_cores + broker_cores + ledger_cores) * d.core_hour_usd * HOURS_A_MONTH
    storage_usd = stored_gb * d.storage_usd_per_gb_month
    network_usd = stored_per_s * crossings * SECONDS_AN_HOUR * HOURS_A_MONTH / 1e9 * d.network_usd_per_gb
    month = d.events_per_s * SECONDS_AN_HOUR * HOURS_A_MONTH
    return Plan(
        peak_events_per_s=peak,
        workers=workers,
        partitions=partitions,
        worker_cores=worker_cores,
        broker_cores=broker_cores,
        ledger_cores=ledger_cores,
        peak_in_mb_per_s=round(peak * d.event_bytes * d.compressed_share / 1e6),
        stored_gb=round(stored_gb),
        cores_usd=round(cores_usd),
        storage_usd=round(storage_usd),
        network_usd=round(network_usd),
        usd_per_million_events=round((cores_usd + storage_usd + network_usd) / month * 1e6, 6),
    )


def main(arguments: Sequence[str]) -> int:
    """Print a plan, one figure a line, or as one JSON object with ``--json``."""
    parser = argparse.ArgumentParser(prog="capacity.py", description=__doc__.split("\n\n")[0])
    parser.add_argument("events_per_s", type=int, help="mean events a second")
    for name, default in asdict(Demand(1)).items():
        if name != "events_per_s":
            kind = type(default)
            parser.add_argument(f"--{name.replace('_', '-')}", type=kind, default=default, help=f"[{default}]")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    given = vars(parser.parse_args(arguments))
    as_json = given.pop("json")
    if (
        given["events_per_s"] < 1
        or given["zones"] < 1
        or given["peak_to_mean"] < 1
        or not 0 < given["planned_share"] <= 1
    ):
        parser.error("events, zones and peak-to-mean must be at least 1, planned-share above 0 and at most 1")
    made = asdict(plan(Demand(**given)))
    if as_json:
        sys.stdout.write(json.dumps(made) + "\n")
    else:
        for name, value in made.items():
            sys.stdout.write(f"{name.replace('_', ' '):<24}{value:>16,}\n")
    return 0


if __name__ == "__main__":
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # `... | head`: end as other commands do, without a traceback
    sys.exit(main(sys.argv[1:]))
