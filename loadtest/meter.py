"""What metering costs the hot path: a route's blocks with the meter on and off in turn, and each part by itself.

    python -m loadtest.meter [--pairs 200] [--json]

On and off are the same route on the same block, one after the other, in one process, each first in every other pair.
Off means that usage, tenants and the sample of texts are not counted; on is what a worker does. The cost is the median
of the pairs' differences, as a share of the median with the meter off. Below it are the parts, timed alone: a finer
measure, because scoring a block varies by more than the meter takes. Time is the thread's CPU time. Last comes the cost
to the event loop: totals into metadata and records, once a second for each partition.
"""

import argparse
import json
import platform
import statistics
import sys
import time

import numpy as np

import farthing.serving.route as route_module
from farthing.blocks import FetchedPartition
from farthing.commands.flags import argument, within
from farthing.local.comments import comment_events
from farthing.meter.count import N_COUNTS, count_usage
from farthing.model.scorer import Scorer
from farthing.serving.accounting import Accounting, Scored
from farthing.serving.publishing import batch_of
from farthing.serving.route import Route, RouteTopics
from farthing.wire import encode_records, stamp_producer

EVENTS, PARTITIONS, BATCH = 20_000, 4, 1_000


def fetched(tenants):
    """A block of made-up comments, as one fetch of four partitions brings it, each with one of so many accounts."""
    rng = np.random.default_rng(2)
    accounts = (tenants * rng.random(EVENTS) ** 3).astype(int)  # a few have most
    values = [
        value[:-1] + b',"account":"acme-%d"}' % account
        for value, account in zip(comment_events(EVENTS), accounts.tolist(), strict=True)
    ]
    parts = []
    for partition in range(PARTITIONS):
        share = values[partition::PARTITIONS]
        data = bytearray()
        for at in range(0, len(share), BATCH):
            chunk = share[at : at + BATCH]
            indptr = np.cumsum([0, *map(len, chunk)], dtype=np.int64)
            batch = encode_records(
                "e", partition, np.frombuffer(b"".join(chunk), np.uint8), indptr, np.zeros(len(chunk), np.int64)
            )
            stamp_producer(batch.data, 0, 0, 0)
            batch.data[:8] = np.frombuffer(at.to_bytes(8, "big"), np.uint8)
            data += batch.data.tobytes()
        parts.append(FetchedPartition("e", partition, 0, len(share), bytes(data)))
    return parts


class Off:
    """Takes the meter out of a route for a while."""

    def __init__(self, route):
        self._route = route
        self._saved = route_module.count_usage, route.stages, route._tenant_field, route._take_sample
        self._nothing = np.zeros((PARTITIONS, N_COUNTS), np.int64)
        self._stages = _without_prompt_bytes(route.stages)

    def __enter__(self):
        route_module.count_usage = lambda *_: self._nothing
        self._route.stages = self._stages
        self._route._tenant_field = None
        self._route._take_sample = lambda *_: None

    def __exit__(self, *_):
        route_module.count_usage, self._route.stages, self._route._tenant_field, self._route._take_sample = self._saved


def _without_prompt_bytes(stages):
    class Bare:
        def __getattr__(self, name):
            return getattr(stages, name)

        def prompt_bytes(self, _):
            return None

    return Bare()


def timed(call):
    """Nanoseconds of the thread's CPU."""
    began = time.thread_time_ns()
    call()
    return time.thread_time_ns() - began


def in_turns(route, block, pairs):
    """Give (ns an event with the meter off, with it on), pair by pair."""
    times = []
    for pair in range(pairs):
        both = {}
        for on in (pair % 2 == 0, pair % 2 == 1):
            if on:
                both[True] = timed(lambda: route.answer(block))
            else:
                with Off(route):
                    both[False] = timed(lambda: route.answer(block))
        times.append((both[False] / EVENTS, both[True] / EVENTS))
    return np.array(times)


def parts_of(route, block, rounds=200):
    """Nanoseconds an event of each part of the meter, alone: the median of many calls on a block as it is scored."""
    from farthing.wire import Arena, decode

    stages, records = route.stages, decode(block, Arena())
    columns = stages.parse(records)
    bounds = np.array([*(segment.start for segment in records.segments), len(records)], np.int64)
    value_bytes, prompt = records.value_stop - records.value_start, stages.prompt_bytes(columns)
    calls = {
        "prompt_bytes": lambda: stages.prompt_bytes(columns),
        "count_usage": lambda: count_usage(bounds, columns.status, columns.row_indptr, value_bytes, prompt),
    }
    if route._tenant_field is not None:
        named = columns.columns[route._tenant_field.name]
        calls["count_tenants"] = lambda: route._tenant_names.count(
            bounds, columns.status, prompt, named, records.buffer
        )
    medians = {name: statistics.median(timed(call) for _ in range(rounds)) / EVENTS for name, call in calls.items()}
    middle = len(records) // 2
    once = statistics.median(
        timed(lambda: route_module.TextSample.of(stages.prompt_text(columns, records, middle))) for _ in range(rounds)
    )
    return medians, once


def loop_share(partitions, tenants, rounds=30):
    """Part of a core that totals take on the event loop when every partition moves on every second."""
    accounting = Accounting({"e": Scored("moderation@12345678", "moderation")}, most_tenants=max(tenants, 1))
    rng = np.random.default_rng(1)
    names = route_module.TenantNames(tokens=False)
    row = np.zeros(N_COUNTS, np.int64)
    row[0], row[4 + 12 : 4 + 28] = 1_600, 100
    if tenants:
        tenant_names = [f"tenant-{k:05d}".encode() for k in range(tenants)]
        indptr = np.cumsum([0, *map(len, tenant_names)], dtype=np.int64)
        column = _texts(tenant_names, indptr)
        n = len(tenant_names)
        rows = names.count(
            np.array([0, n]), np.zeros(n, np.uint8), rng.integers(50, 250, n), column, np.zeros(0, np.uint8)
        ).of_part(0)
    owned = [("e", k) for k in range(partitions)]
    for partition in owned:
        accounting.assign(partition, 0, "")
    took = []
    for second in range(1, rounds + 1):
        for partition in owned:
            accounting.add(partition, second * 1_600, row, (names, rows) if tenants else None)

        def a_second():
            accounting.metadata(owned)
            records = accounting.due(owned, everything=True)
            batch_of("usage", records)
            accounting.published(records)

        took.append(timed(a_second))
    return statistics.median(took) / 1e9


def _texts(texts, indptr):
    from farthing.blocks import TextColumn

    return TextColumn(np.full(len(texts), 2, np.uint8), np.frombuffer(b"".join(texts), np.uint8), indptr)


def main():
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pairs", type=argument(int, within(1)), default=200)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    report = {}
    for title, tenant, tenants in (("no tenants", None, 1), ("50 tenants", "account", 50), ("3,000", "account", 3_000)):
        block = fetched(tenants)
        route = Route(RouteTopics("e", "s", "d"), Scorer.load("moderation", verify=False).stages, tenant=tenant)
        in_turns(route, block, 10)
        pairs = in_turns(route, block, options.pairs)
        off, on = np.median(pairs, axis=0)
        low, middle, high = np.percentile(pairs[:, 1] - pairs[:, 0], (25, 50, 75))
        parts, sample_ns = parts_of(route, block)
        report[title] = {
            "off_ns": round(off, 1), "on_ns": round(on, 1),
            "difference_ns": {"quartile_1": round(low, 1), "median": round(middle, 1), "quartile_3": round(high, 1)},
            "difference_percent": round(middle / off * 100, 2),
            "parts_ns": {name: round(ns, 2) for name, ns in parts.items()},
            "parts_percent": round(sum(parts.values()) / off * 100, 2),
            "sample_us_once_a_second": round(sample_ns / 1e3, 1),
        }  # fmt: skip
    report["loop_percent_of_a_core"] = {
        f"{partitions} partitions, {tenants} tenants": round(loop_share(partitions, tenants) * 100, 2)
        for partitions in (4, 16, 64)
        for tenants in (0, 20, 50, 200)
    }
    report |= {"events": EVENTS, "pairs": options.pairs, "python": platform.python_version()}
    print(json.dumps(report, indent=None if options.json else 2))
    return 0


if __name__ == "__main__":
    sys.exit(main())
