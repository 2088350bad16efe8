"""How fast a backlog drains: fills a topic, lets ``farthing serve`` score it, and compares with a bare relay.

``python loadtest/throughput.py --events 3000000`` starts Apache Kafka (or uses FARTHING_KAFKA_BOOTSTRAP) and prints
what it measured, with ``--json`` as one object on the last line. The rate is measured from the first to the last event
scored, by the worker's own counters. CPU is the worker process's own user and system time over the same period.

Relay and service read the same settings file. ``--fetch-mib 8/4 --fetch-mib 4/1`` compares fetch sizes (from one
broker, from one partition) in turn, ``--runs`` times each; which comes first changes from one run to the next. So does
``--delivery at_least_once --delivery exactly_once``.
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

from farthing.commands.flags import argument, within
from farthing.kafka import BatchProducer, KafkaSettings, RouteTopicNames, create_topics, delete_topics
from farthing.local.broker import ApacheKafka, Tansu, external_broker
from farthing.local.comments import comment_events
from farthing.local.process import free_port
from farthing.wire import encode_records

POOL = 20_000
LOOK_EVERY_S = 0.2  # a look at /metrics costs the worker milliseconds: 50 a second were 10 % of the result
LIMIT_S = 600


async def fill(servers, topic, events, partitions, batch_records):
    """Produce made-up comments round the partitions."""
    pool = comment_events(POOL)
    data = np.frombuffer(b"".join(pool), np.uint8)
    indptr = np.cumsum([0, *map(len, pool)])
    producer = BatchProducer(KafkaSettings(bootstrap_servers=servers))
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
                counted = counters(port)
                now = time.perf_counter()
                if counted is not None and counted[0] > 0:
                    if first is None:
                        first = (now, *counted)
                    last = (now, *counted)
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


def write_settings(file, servers, names, port, options, case):
    """Write the one settings file of relay and service, for a case of ``cases_of``."""
    fetch_mib, delivery = case
    fetch = "" if delivery is None else f'delivery = "{delivery}"\n'
    if fetch_mib is not None:
        fetch += f"fetch_max_bytes = {fetch_mib[0] << 20}\nmax_partition_fetch_bytes = {fetch_mib[1] << 20}\n"
    file.write_text(
        f'[kafka]\nbootstrap_servers = "{servers}"\ngroup_id = "g-{file.stem}"\n{fetch}[[route]]\n'
        f'bundle = "{options.bundle}"\nsource = "{names.source}"\nsink = "{names.sink}"\n'
        f'dead_letters = "{names.dead_letters}"\n[http]\nport = {port}\n'
    )


async def copy(config, servers, source, sink, events):
    """Run the relay as a process; gives its rate and CPU."""
    program = str(Path(__file__).with_name("relay.py"))
    relay = [sys.executable, program, servers, source, sink, str(events), "-c", str(config)]
    printed = await asyncio.to_thread(subprocess.check_output, relay, text=True, timeout=LIMIT_S)
    copied = json.loads(printed.splitlines()[-1])  # logs come before
    return {
        "relay_events_per_second": round(events / copied["seconds"]),
        "relay_cpu_ns_per_event": round(copied["cpu_seconds"] / events * 1e9),
    }


async def measure(servers, options, folder, case, relay_first):
    """One whole measurement on a broker: fill, relay and drain, or drain and relay; its topics are deleted."""
    name = uuid.uuid4().hex[:8]
    names = RouteTopicNames(f"events.{name}", f"scores.{name}", f"dead.{name}")
    settings = KafkaSettings(bootstrap_servers=servers)
    relayed = RouteTopicNames(names.source, f"relayed.{name}", f"unused.{name}")
    await create_topics(settings, [names, relayed], partitions=options.partitions, replication_factor=1)
    await fill(servers, names.source, options.events, options.partitions, options.batch_records)
    config, port = folder / f"{name}.toml", free_port()
    write_settings(config, servers, names, port, options, case)
    load = round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None
    figures = {}
    for step in ("relay", "service") if relay_first else ("service", "relay"):
        if step == "relay":
            figures |= await copy(config, servers, names.source, relayed.sink, options.events)
        else:
            figures |= await asyncio.to_thread(drain, config, port, options.events)
    await delete_topics(settings, sorted({*names.all, *relayed.all}))
    ratio = figures["events_per_second"] / figures["relay_events_per_second"]
    return {**figures, "ratio_to_relay": round(ratio, 3), "load_before": load}


def sizes(text):
    """Read ``8/4``: MiB asked of one broker, and of one partition, in one fetch."""
    broker, slash, partition = text.partition("/")
    if not (slash and broker.isdecimal() and partition.isdecimal() and int(broker) and int(partition)):
        raise argparse.ArgumentTypeError(f"{text!r} is not BROKER/PARTITION in MiB, such as 8/4")
    return int(broker), int(partition)


SHOWN = (
    "events_per_second", "cpu_ns_per_event", "relay_events_per_second", "relay_cpu_ns_per_event", "ratio_to_relay",
    "load_before",
)  # fmt: skip


def summary(runs):
    """Give the run of the median rate, and the figures of all."""
    median = sorted(runs, key=lambda run: run["events_per_second"])[len(runs) // 2]
    return {**median, "runs": [{key: run[key] for key in SHOWN} for run in runs]}


def cases_of(options):
    """List what is compared: (fetch sizes or None, delivery or None), each once."""
    return list(dict.fromkeys((f, d) for f in options.fetch_mib or [None] for d in options.delivery or [None]))


def words_of(case):
    """Name a case: ``8/4``, ``exactly_once``, both, or ``default``."""
    fetch_mib, delivery = case
    words = [] if fetch_mib is None else [f"{fetch_mib[0]}/{fetch_mib[1]}"]
    return " ".join([*words, *([delivery] if delivery else [])]) or "default"


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
    count = argument(int, within(1))
    parser.add_argument("--events", type=count, default=1_000_000)
    parser.add_argument("--partitions", type=count, default=4)
    parser.add_argument("--batch-records", type=count, default=1_000, help="events in each record batch produced")
    parser.add_argument("--bundle", default="moderation")
    parser.add_argument("--runs", type=count, default=1)
    parser.add_argument(
        "--fetch-mib", type=sizes, action="append", metavar="BROKER/PARTITION",
        help="kafka.fetch_max_bytes and max_partition_fetch_bytes in MiB; repeat it to compare; default: the settings'",
    )  # fmt: skip
    parser.add_argument(
        "--delivery", choices=("at_least_once", "exactly_once"), action="append",
        help="kafka.delivery; repeat it to compare; default: the settings'",
    )  # fmt: skip
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    cases = cases_of(options)
    runs = {case: [] for case in cases}
    with (
        tempfile.TemporaryDirectory() as name,
        external_broker() or (ApacheKafka() if options.broker == "kafka" else Tansu()) as broker,
    ):
        for number in range(options.runs):
            for case in cases if number % 2 == 0 else cases[::-1]:
                work = measure(broker.bootstrap_servers, options, Path(name), case, relay_first=number % 2 == 0)
                runs[case].append(asyncio.run(work))
                print(f"{words_of(case)}: {runs[case][-1]}", file=sys.stderr, flush=True)
    report = {
        **summary(runs[cases[0]]),
        **({} if len(cases) == 1 else {"cases": {words_of(case): summary(runs[case]) for case in cases}}),
        "events": options.events, "partitions": options.partitions, "batch_records": options.batch_records,
        "broker": broker.name, **machine(),
    }  # fmt: skip
    for key, value in report.items():
        print(f"{key}: {value}", file=sys.stderr)
    if options.json:
        print(json.dumps(report))


if __name__ == "__main__":
    main()
