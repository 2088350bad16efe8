"""Whether a worker can run for ever: scores at half of its peak rate for minutes, and watches what should not grow.

``python loadtest/soak.py --minutes 20`` starts Apache Kafka (or uses FARTHING_KAFKA_BOOTSTRAP), lets a worker drain a
backlog to find its peak, then sends at ``--share`` of that. Every few seconds it reads the worker's resident memory,
file descriptors and threads from /proc, its asyncio tasks, and the p99 of event latency since the last look. It fails
if memory grows by 1 MiB a minute or more after the warm-up, if anything else grows, or if an event is not answered.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import re
import signal
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
import uuid
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from loadtest.throughput import counters, fill, machine, write_settings

from farthing.commands.flags import argument, within
from farthing.kafka import BatchProducer, KafkaSettings, RouteTopicNames, create_topics
from farthing.local.broker import ApacheKafka, external_broker
from farthing.local.comments import comment_events
from farthing.local.process import free_port
from farthing.wire import encode_records

POOL = 20_000
TICK_S = 0.1
LIMIT_S = 600
WARM_UP_SHARE = 0.2
MOST_MIB_A_MINUTE = 1.0
MORE_DESCRIPTORS, MORE_THREADS, MORE_TASKS = 4, 2, 4  # than in the warm-up: sockets come and go
SLOWER, SLACK_MS = 2.0, 100.0  # p99 in the last third against the first: so many times, and so much more
# Old segments go at once: half of the peak for twenty minutes is more than most disks hold.
BROKER = {
    "log.retention.bytes": str(256 << 20), "log.segment.bytes": str(32 << 20), "log.segment.delete.delay.ms": "1000",
    "log.retention.check.interval.ms": "5000",
}  # fmt: skip
# The worker, with a task of ours that writes how many tasks there are.
COUNTING = """
import asyncio, sys
from farthing.serving.worker import Worker
run, file = Worker.run, sys.argv.pop()
async def count():
    while True:
        with open(file, "w") as out:
            out.write(str(len(asyncio.all_tasks()) - 1))
        await asyncio.sleep(1)
async def counted(self):
    counting = asyncio.get_running_loop().create_task(count())
    try:
        return await run(self)
    finally:
        counting.cancel()
Worker.run = counted
from farthing.__main__ import main
main(sys.argv[1:])
"""


@dataclass(frozen=True)
class Look:
    """What was seen at one moment; seconds since the load began."""

    at_s: float
    rss_mib: float
    descriptors: int
    threads: int
    tasks: int
    p99_ms: float  # of the events answered since the last look
    lag: float


def slope_a_minute(looks):
    """MiB a minute that resident memory grew by: a line of least squares through all looks."""
    if len(looks) < 3:
        return 0.0
    return float(np.polyfit([look.at_s / 60 for look in looks], [look.rss_mib for look in looks], 1)[0])


def verdict(looks, sent, answered):
    """Say what is wrong; nothing is good."""
    first = int(len(looks) * WARM_UP_SHARE)
    warm, after = looks[:first], looks[first:]
    if len(warm) < 2 or len(after) < 3:
        return ["too short: there are too few looks"]
    wrong = []
    slope = slope_a_minute(after)
    if slope >= MOST_MIB_A_MINUTE:
        wrong.append(f"memory grows by {slope:.2f} MiB a minute")
    for name, more in (("descriptors", MORE_DESCRIPTORS), ("threads", MORE_THREADS), ("tasks", MORE_TASKS)):
        before = max(getattr(look, name) for look in warm)
        now = statistics.median(getattr(look, name) for look in after[-max(3, len(after) // 4) :])
        if now > before + more:
            wrong.append(f"{name}: at most {before} in the warm-up, {now:g} at the end")
    third = max(1, len(after) // 3)
    early, late = (statistics.median(look.p99_ms for look in part) for part in (after[:third], after[-third:]))
    if late > SLOWER * early + SLACK_MS:
        wrong.append(f"p99 rose from {early:.0f} to {late:.0f} ms")
    if answered < sent:
        wrong.append(f"{sent - answered:,} of {sent:,} events have no answer")
    return wrong


def percentile_ms(buckets, share):
    """The upper edge (ms) of the bucket that holds this share of the events; 0 without events."""
    total = buckets.get(float("inf"), 0)
    if not total:
        return 0.0
    return 1e3 * min(edge for edge, count in buckets.items() if count >= share * total)


def scrape(port):
    """Read (latency buckets, lag) from the worker; None while it does not answer."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
            text = answer.read().decode()
    except OSError:
        return None
    found = re.findall(r'^farthing_event_latency_seconds_bucket\{.*le="([^"]+)".*\} (\S+)', text, re.M)
    lags = [float(v) for v in re.findall(r"^farthing_lag_events\{.*\} (\S+)", text, re.M)]
    return {float(edge): float(count) for edge, count in found}, sum(lags)


def look_at(pid, port, tasks_file, began, before):
    """Take a look; returns it and the buckets, for the next one's difference."""
    status = Path(f"/proc/{pid}/status").read_text()
    rss, threads = (int(re.search(rf"^{name}:\s+(\d+)", status, re.M)[1]) for name in ("VmRSS", "Threads"))
    buckets, lag = scrape(port) or (before, float("nan"))
    new = {edge: count - before.get(edge, 0) for edge, count in buckets.items()}
    return Look(
        round(time.monotonic() - began, 1), rss / 1024, len(list(Path(f"/proc/{pid}/fd").iterdir())), threads,
        int(tasks_file.read_text() or 0), percentile_ms(new, 0.99), lag,
    ), buckets  # fmt: skip


class Sender:
    """Sends made-up comments at a rate, with the time that they are sent."""

    def __init__(self, servers, topic, partitions):
        pool = comment_events(POOL)
        self._data = np.frombuffer(b"".join(pool), np.uint8)
        self._indptr = np.cumsum([0, *map(len, pool)])
        self._producer = BatchProducer(KafkaSettings(bootstrap_servers=servers))
        self._topic, self._partitions = topic, partitions
        self.sent = 0

    async def run(self, rate, seconds):
        """Send for so long; falls behind rather than sending bursts of more than two ticks."""
        await self._producer.start()
        began = time.monotonic()
        while (passed := time.monotonic() - began) < seconds:
            due = min(int(rate * passed) - self.sent, int(2 * rate * TICK_S))
            if due > 0:
                await self._producer.send(self._batches(due))
                self.sent += due
            await asyncio.sleep(TICK_S)
        await self._producer.close(30)

    def _batches(self, n):
        each = min(-(-n // self._partitions), POOL)
        now = time.time_ns() // 1_000_000
        for partition in range(self._partitions):
            count = min(each, n - partition * each)
            if count > 0:
                part = self._indptr[: count + 1]
                yield encode_records(self._topic, partition, self._data[: part[-1]], part, np.full(count, now))


def write_worker_settings(config, servers, names, port):
    """Write a settings file like that of the throughput runs, with nothing set that they compare."""
    write_settings(config, servers, names, port, argparse.Namespace(bundle="moderation"), (None, None))


def start(config, tasks_file, log):
    """Start a worker that counts its tasks."""
    command = [sys.executable, "-c", COUNTING, "serve", "-c", str(config), str(tasks_file)]
    return subprocess.Popen(command, stdout=log, stderr=log, stdin=subprocess.DEVNULL)


async def until(condition, what):
    """Wait until a condition holds; exits after a while."""
    deadline = time.monotonic() + LIMIT_S
    while not condition():
        if time.monotonic() > deadline:
            raise SystemExit(f"soak: gave up waiting for {what}")
        await asyncio.sleep(0.2)


def answered(port):
    """Count the events that were scored (made-up comments have no bad ones)."""
    counted = counters(port)
    return 0 if counted is None else int(counted[0])


async def peak_rate(worker, port, backlog):
    """Events a second at which the worker drains a backlog."""
    await until(lambda: answered(port) > 0 or worker.poll() is not None, "the first score")
    began, first = time.monotonic(), answered(port)
    await until(lambda: answered(port) >= backlog or worker.poll() is not None, "the backlog")
    return (backlog - first) / max(time.monotonic() - began, 0.2)


async def load(worker, port, sender, rate, options, tasks_file):
    """Send, and look meanwhile."""
    looks = []
    sending = asyncio.create_task(sender.run(rate, options.minutes * 60))
    began, buckets = time.monotonic(), (scrape(port) or ({}, 0))[0]
    while not sending.done() and worker.poll() is None:
        await asyncio.sleep(options.look_s)
        look, buckets = look_at(worker.pid, port, tasks_file, began, buckets)
        looks.append(look)
    await sending
    return looks


async def soak(servers, options, folder):
    """Find the peak, load, look; returns the report."""
    name = uuid.uuid4().hex[:8]
    names = RouteTopicNames(f"events.{name}", f"scores.{name}", f"dead.{name}")
    settings = KafkaSettings(bootstrap_servers=servers)
    await create_topics(settings, [names], partitions=options.partitions, replication_factor=1)
    await fill(servers, names.source, options.backlog, options.partitions, 1_000)
    config, port, tasks_file = folder / f"{name}.toml", free_port(), folder / "tasks"
    tasks_file.write_text("0")
    write_worker_settings(config, servers, names, port)
    sender = Sender(servers, names.source, options.partitions)
    with (folder / "log").open("w+b") as log:
        worker = start(config, tasks_file, log)
        try:
            peak = await peak_rate(worker, port, options.backlog)
            looks = await load(worker, port, sender, options.rate or options.share * peak, options, tasks_file)
            total = options.backlog + sender.sent
            await until(lambda: answered(port) >= total or worker.poll() is not None, "the last answers")
            found = answered(port)
        finally:
            if worker.poll() is not None:
                log.seek(0)
                print(f"the worker ended:\n{log.read().decode()[-2000:]}", file=sys.stderr)
            worker.send_signal(signal.SIGTERM)
            worker.wait(60)
    after = looks[int(len(looks) * WARM_UP_SHARE) :]
    return {
        "minutes": options.minutes,
        "peak_events_per_second": round(peak),
        "events_per_second": round(sender.sent / (options.minutes * 60)),
        "sent": total,
        "answered": found,
        "rss_mib_a_minute": round(slope_a_minute(after), 3),
        "rss_mib": [round(look.rss_mib, 1) for look in (looks[0], after[0], looks[-1])],
        "p99_ms": round(statistics.median(look.p99_ms for look in after), 1),
        "wrong": verdict(looks, total, found),
        "looks": [asdict(look) for look in looks],
        **machine(),
    }


def main():
    """Read the arguments, soak, print; exit 1 when something grows."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=argument(float, within(0.5)), default=20.0)
    parser.add_argument("--share", type=argument(float, within(0, 1, above=True)), default=0.5, help="of the peak rate")
    parser.add_argument("--rate", type=argument(float, within(1)), help="events a second, in place of a share")
    parser.add_argument("--backlog", type=argument(int, within(1_000)), default=2_000_000, help="to find the peak with")
    parser.add_argument("--partitions", type=argument(int, within(1)), default=4)
    parser.add_argument("--look-s", type=argument(float, within(0.5)), default=5.0, help="seconds between two looks")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name, external_broker() or ApacheKafka(properties=BROKER) as broker:
        report = asyncio.run(soak(broker.bootstrap_servers, options, Path(name)))
    for key, value in report.items():
        if key != "looks":
            print(f"{key}: {value}", file=sys.stderr)
    if options.json:
        print(json.dumps(report))
    sys.exit(1 if report["wrong"] else 0)


if __name__ == "__main__":
    main()
