"""Books made up for tests: two routes' workers, some tenants, counts that grow with the clock."""

import datetime
import time
from decimal import Decimal

from farthing.ledger.history import History
from farthing.ledger.ledger import Ledger
from farthing.ledger.statement import PriceBook
from farthing.meter.facts import load_facts
from farthing.meter.prices import PriceList
from farthing.meter.prompts import load_prompts
from farthing.meter.records import Heartbeat, TenantCount, UsageRecord
from farthing.meter.settings import MeterSettings
from farthing.meter.usage import SizeCount, UsageTotals, size_class

MINUTE = 60_000
HOUR = 3_600_000
NOW = 1_795_516_220_000  # 2026-11-24 10:30:20 UTC
EDGES = tuple(2**k for k in range(17))
DAY = datetime.date(2026, 11, 24)


def now_ms():
    return time.time_ns() // 1_000_000


def totals(scored, *, dead=0, size=100):
    calls = {size_class(size): SizeCount(scored, scored * size)} if scored else {}
    return UsageTotals(scored, dead, scored, (scored + dead) * (size + 50), calls)


def mixed(scored):
    """Totals of events of four sizes."""
    sizes = {40: 3, 90: 4, 150: 2, 400: 1}
    counts = {s: scored * w // 10 for s, w in sizes.items()}
    calls = {size_class(s): SizeCount(n, n * s) for s, n in counts.items() if n}
    scored = sum(counts.values())
    return UsageTotals(scored, scored // 900, scored, scored * 170, calls)


def record(
    scored,
    at_ms=NOW,
    *,
    partition=0,
    topic="events.m",
    model="moderation@1a2b3c4d",
    base=0,
    used=None,
    tenants=None,
    task="moderation",
):
    used = totals(scored) if used is None else used
    next_offset = base + used.scored + used.dead
    return UsageRecord(topic, partition, model, task, base, next_offset, at_ms, used, tenants or {})


def beat(worker="node-a/0", started_ms=NOW - HOUR, at_ms=NOW, **more):
    values = {"state": "running", "cores": 1, "cpu_ns": (at_ms - started_ms) * 420_000} | more
    return Heartbeat(worker, started_ms, at_ms, **values)


def book(meter=None, **more):
    return PriceBook(
        meter if meter is not None else MeterSettings(**more), PriceList(DAY, None), load_facts(None), load_prompts()
    )


class MadeUp:
    """Books of a deployment that has run at one rate since ``hours`` ago, as of any moment since."""

    def __init__(self, rate, *, hours=3.0, until_ms=None, tenant=None):
        self.rate, self.tenant = rate, tenant or "globex"
        self.ledger, self.history = Ledger(), History()
        end = now_ms() if until_ms is None else until_ms
        self.start = end - int(hours * HOUR)
        for minute in range(self.start // MINUTE + 1, end // MINUTE + 1):
            self.run_to(minute * MINUTE - 1)  # workers tell once a second: nothing waits for the next window
            self.run_to(minute * MINUTE)
            self.history.note(self.ledger, minute * MINUTE)
        for ms in (end - 2_000, end - 1_000, end):
            self.run_to(ms)
            self.ledger.note_moment(ms)

    def run_to(self, ms):
        n = max(0, ms - self.start) * self.rate // 1000
        for partition in range(4):
            count = n // 4
            tenants = {
                "acme": TenantCount(count // 2, 3, count // 2 * 90),
                self.tenant: TenantCount(count // 4, 0, count // 4 * 80),
                "": TenantCount(count // 4, 1, count // 4 * 70),
            }
            self.ledger.post(
                record(0, ms, partition=partition, topic="events.moderation", used=mixed(count), tenants=tenants)
            )
        ages = [0] * 18
        ages[4], ages[5], ages[6], ages[8] = n * 30 // 100, n * 50 // 100, n * 19 // 100, n // 200
        for worker in range(2):
            self.ledger.beat(
                beat(
                    f"node-a/{worker}",
                    self.start,
                    ms,
                    lag={"events.moderation": 1_200 + worker},
                    latency_edges_ms=EDGES,
                    latency={"events.moderation": tuple(ages)},
                )
            )

    def books(self):
        return self.ledger, self.history


def close_to(value, other):
    return abs(Decimal(value) - Decimal(other)) <= Decimal("1e-9")
