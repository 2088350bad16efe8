"""How fast a backlog drains: fills a topic, lets ``farthing serve`` score it, and compares with a bare relay.

``python loadtest/throughput.py --events 3000000`` starts Apache Kafka (or uses FARTHING_KAFKA_BOOTSTRAP), and prints
what it found; with ``--json`` as one object on the last line. The rate is taken between the first and the last event
scored, from the worker's own counters; CPU is the worker process's own, of user and system, over the same time.
"""

from __future__ import annotations

import argparse
import asyncio
import importlib.metadata
import json
import os
import platform
import re
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
import uuid
from pathlib import Path

import numpy as np

from farthing.broker import ApacheKafka, Tansu, external_broker, free_port
from farthing.comments import comment_events
from farthing.flags import argument, within
from farthing.kafka import BatchProducer, KafkaSettings, RouteTopicNames, create_topics
from farthing.wire import encode_records

POOL = 20_000
LOOK_EVERY_S = 0.2  # a look at /metrics costs the worker milliseconds: 50 a second were 10 % of the result
LIMIT_S = 600


async def fill(servers, topic, events, partitions, batch_records):
    """Produce made-up comments round the partitions."""
    pool = comment_events(POOL)
    data = np.frombuffer(b"".join(pool), np.uint8)
    indptr = np.cumsum([0, *map(len, pool)])
    producer = BatchProducer(KafkaSettings(bootstrap_servers=(servers,)))
    await producer.start()
    sent, number, waiting = 0, 0, []
    while sent < events:
        n = min(batch_records, events - sent, POOL)
        first = sent % (POOL - n + 1)
        part = indptr[first : first + n + 1]
        now = np.full(n, time.time_ns() // 1_000_000)
        waiting.append(encode_records(topic, number % partitions, data[part[0] : part[-1]], part - part[0], now))
        sent, number = sent + n, number + 1
        if len(waiting) >= 8 * partitions:
            await producer.send(waiting)
            waiting = []
    await producer.send(waiting)
    await producer.close(5)


def counters(port):
    """Read (events scored, CPU seconds) from a worker; None while it does not answer."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as answer:
            text = answer.read().decode()
    except OSError:
        return None
    scored = sum(float(v) for v in re.findall(r'^farthing_events_total\{.*outcome="scored".*\} (\S+)', text, re.M))
    cpu = sum(float(v) for v in re.findall(r"^farthing_cpu_seconds_total(?:\{.*\})? (\S+)", text, re.M))
    stages = re.findall(r'^farthing_stage_seconds_total\{stage="(\w+)".*\} (\S+)', text, re.M)
    return scored, cpu, {stage: float(seconds) for stage, seconds in stages}


def drain(config, port, events):
    """Start the service, wait until it has scored everything, stop it; gives rate, CPU and stage times."""
    with tempfile.TemporaryFile() as log:
        service = subprocess.Popen(
            [sys.executable, "-m", "farthing", "serve", "-c", str(config)], stdout=log, stderr=log
        )
        try:
            first = last = None
            deadline = time.monotonic() + LIMIT_S
            while last is None or last[1] < events:
                if time.monotonic() > deadline or service.poll() is not None:
                    log.seek(0)
                    raise SystemExit(f"the backlog did not drain:\n{log.read().decode()[-3000:]}")
                found = counters(port)
                now = time.perf_counter()
                if found is not None and found[0] > 0:
                    if first is None:
                        first = (now, *found)
                    last = (now, *found)
                time.sleep(LOOK_EVERY_S)
        finally:
            service.send_signal(signal.SIGTERM)
            service.wait(30)
    done = last[1] - first[1]
    stages = {s: round((last[3][s] - first[3][s]) / done * 1e9) for s in last[3]}
    return {
        "events_per_second": round(done / (last[0] - first[0])),
        "cpu_ns_per_event": round((last[2] - first[2]) / done * 1e9),
        "stage_ns_per_event": stages,
    }


async def measure(servers, options, folder):
    """One whole measurement on a broker: fill, relay, drain."""
    name = uuid.uuid4().hex[:8]
    names = RouteTopicNames(f"events.{name}", f"scores.{name}", f"dead.{name}")
    settings = KafkaSettings(bootstrap_servers=(servers,))
    await create_topics(settings, [names], partitions=options.partitions, replication_factor=1)
    relayed = RouteTopicNames(names.source, f"relayed.{name}", f"unused.{name}")
    await create_topics(settings, [relayed], partitions=None, replication_factor=1)
    await fill(servers, names.source, options.events, options.partitions, options.batch_records)
    relay = [
        sys.executable,
        str(Path(__file__).with_name("relay.py")),
        servers,
        names.source,
        relayed.sink,
        str(options.events),
    ]
    printed = await asyncio.to_thread(subprocess.check_output, relay, text=True, timeout=LIMIT_S)
    copied = json.loads(printed.splitlines()[-1])  # logs come before
    port = free_port()
    config = folder / f"{name}.toml"
    config.write_text(
        f'[kafka]\nbootstrap_servers = ["{servers}"]\ngroup_id = "g-{name}"\n[[route]]\nbundle = "{options.bundle}"\n'
        f'source = "{names.source}"\nsink = "{names.sink}"\ndead_letters = "{names.dead_letters}"\n'
        f"[http]\nport = {port}\n"
    )
    found = drain(config, port, options.events)
    relay_rate = options.events / copied["seconds"]
    return {
        **found,
        "relay_events_per_second": round(relay_rate),
        "relay_cpu_ns_per_event": round(copied["cpu_seconds"] / options.events * 1e9),
        "ratio_to_relay": round(found["events_per_second"] / relay_rate, 3),
    }


def machine():
    """What this ran on."""
    model = "unknown"
    if Path("/proc/cpuinfo").exists():
        model = re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text())[1]
    packages = ("aiokafka", "numba", "numpy", "onnxruntime", "uvloop")
    return {
        "machine": {"cpu": model, "cores": os.cpu_count(), "system": platform.platform()},
        "versions": {"python": platform.python_version(), **{p: importlib.metadata.version(p) for p in packages}},
    }


def main():
    """Read the arguments, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--broker", choices=("kafka", "tansu"), default="kafka")
    parser.add_argument("--events", type=argument(int, within(1)), default=1_000_000)
    parser.add_argument("--partitions", type=argument(int, within(1)), default=4)
    parser.add_argument(
        "--batch-records",
        type=argument(int, within(1)),
        default=1_000,
        help="events in one record batch of the producer",
    )
    parser.add_argument("--bundle", default="moderation")
    parser.add_argument("--runs", type=argument(int, within(1)), default=1)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    with (
        tempfile.TemporaryDirectory() as name,
        external_broker() or (ApacheKafka() if options.broker == "kafka" else Tansu()) as broker,
    ):
        runs = [asyncio.run(measure(broker.bootstrap_servers, options, Path(name))) for _ in range(options.runs)]
    median = sorted(runs, key=lambda run: run["events_per_second"])[len(runs) // 2]
    report = {
        **median,
        "runs": [{k: run[k] for k in ("events_per_second", "cpu_ns_per_event", "ratio_to_relay")} for run in runs],
        "events": options.events, "partitions": options.partitions, "batch_records": options.batch_records,
        "broker": broker.name, **machine(),
    }  # fmt: skip
    for key, value in report.items():
        print(f"{key}: {value}", file=sys.stderr)
    if options.json:
        print(json.dumps(report))


if __name__ == "__main__":
    main()
