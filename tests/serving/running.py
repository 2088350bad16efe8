"""A service under test: its topics, its settings, its process, what it wrote, and whether that is all it owed."""

import asyncio
import contextlib
import functools
import json
import os
import re
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
import uuid

import numpy as np
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewPartitions, NewTopic

from farthing import Scorer
from farthing.kafka import BatchProducer, KafkaSettings
from farthing.local.comments import comment_events
from farthing.local.process import free_port
from farthing.wire import encode_records
from tests import forked

SESSION_TIMEOUT_MS = 6_000  # the least that a broker allows by default


class Service:
    """One farthing service on a broker, with topics of its own. ``kafka``, ``worker`` and ``route`` add settings."""

    def __init__(
        self, broker, folder, *, partitions=4, workers=1, extra="", bundle="moderation", kafka=None, worker=None,
        route=None,
    ):  # fmt: skip
        self.name = uuid.uuid4().hex[:8]
        self.servers = broker.bootstrap_servers
        self.source, self.sink, self.dead = (f"{kind}.{self.name}" for kind in ("events", "scores", "dead"))
        self.group = f"g-{self.name}"
        self.partitions = partitions
        self.folder = folder
        self.extra = extra
        self.bundle = bundle
        self.family = [self]
        self._configure(workers, kafka, worker, route)

    def _configure(self, workers, kafka, worker, route):
        self.port = free_port()
        tag = f"{self.name}-{self.port}"
        self.config, self.log = self.folder / f"{tag}.toml", self.folder / f"{tag}.log"
        self.config.write_text(
            f'[kafka]\nbootstrap_servers = ["{self.servers}"]\ngroup_id = "{self.group}"\n{_lines(kafka)}'
            f'[[route]]\nbundle = "{self.bundle}"\nsource = "{self.source}"\nsink = "{self.sink}"\n'
            f'dead_letters = "{self.dead}"\n{route if isinstance(route, str) else _lines(route)}'
            f"[worker]\nworkers = {workers}\n{_lines({'commit_interval_ms': 200, **(worker or {})})}"
            f"[http]\nport = {self.port}\n{self.extra}"
        )
        self.process = None

    def twin(self, *, workers=1, kafka=None, worker=None, route=None):
        """Another service on the same topics, in the same group."""
        other = object.__new__(Service)
        other.__dict__.update(self.__dict__)
        other._configure(workers, kafka, worker, route)
        self.family.append(other)
        return other

    # --- topics

    async def create_topics(self, *, sink_partitions=None, replication=1, answers=None, **configs):
        """Create source, sink and dead letters; ``answers`` are settings of the last two alone."""
        widths = {
            self.source: self.partitions,
            self.sink: sink_partitions or self.partitions,
            self.dead: self.partitions,
        }
        async with self.admin() as admin:
            await admin.create_topics(
                [
                    NewTopic(t, n, replication, topic_configs=configs | ((answers or {}) if t != self.source else {}))
                    for t, n in widths.items()
                ]
            )

    async def widen(self, topic, partitions):
        async with self.admin() as admin:
            await admin.create_partitions({topic: NewPartitions(total_count=partitions)})

    @contextlib.asynccontextmanager
    async def admin(self):
        admin = AIOKafkaAdminClient(bootstrap_servers=self.servers)
        await admin.start()
        try:
            yield admin
        finally:
            await admin.close()

    async def committed(self):
        """Committed offsets of the source, by partition."""
        async with self.admin() as admin:
            found = await admin.list_consumer_group_offsets(self.group)
        return {tp.partition: meta.offset for tp, meta in found.items() if tp.topic == self.source}

    async def ends(self, topic, isolation_level="read_committed"):
        """The offset after the last record that may be read, by partition."""
        async with _consumer(self.servers, isolation_level=isolation_level) as consumer:
            found = await consumer.end_offsets([TopicPartition(topic, p) for p in range(self.partitions)])
        return {tp.partition: offset for tp, offset in found.items()}

    async def all_ended(self, timeout_s=60):
        """Wait until no transaction is open in what was written: one that a dead worker left goes on for some seconds."""
        deadline = time.monotonic() + timeout_s
        for topic in (self.sink, self.dead):
            while await self.ends(topic) != await self.ends(topic, "read_uncommitted"):
                assert time.monotonic() < deadline, f"a transaction is still open in {topic}"
                await asyncio.sleep(0.5)

    async def all_committed(self, timeout_s=60):
        """Wait until everything in the source is committed."""
        ends = {p: offset for p, offset in (await self.ends(self.source)).items() if offset}
        deadline = time.monotonic() + timeout_s
        # Where a partition begins is committed too, be it empty.
        while (found := {p: offset for p, offset in (await self.committed()).items() if offset}) != ends:
            assert time.monotonic() < deadline, f"committed {found}, the source ends at {ends}; {self.said()}"
            await asyncio.sleep(0.2)

    # --- the process

    def start(self, *command, **options):
        """Start ``farthing serve``, or Python with another command line."""
        with self.log.open("ab") as log:
            if not command and not options:
                self.process = forked.start("serve", "-c", str(self.config), stdout=log, stderr=log)
                return
            self.process = subprocess.Popen(
                [sys.executable, *(command or ("-m", "farthing", "serve", "-c", str(self.config)))],
                stdout=log, stderr=log, stdin=subprocess.DEVNULL, **options,
            )  # fmt: skip

    def said(self):
        return self.log.read_text()[-3000:] if self.log.exists() else "(no log)"

    def events(self, name):
        """What was logged under this name."""
        whole, _, _ = self.log.read_text().rpartition("\n")  # what follows is still being written
        lines = [json.loads(line) for line in whole.splitlines() if line.startswith("{")]
        return [line for line in lines if line.get("event") == name]

    def worker_pids(self):
        """The process id of each supervised worker, as last started."""
        return {line["worker"]: line["pid"] for line in self.events("worker_started")}

    def get(self, path):
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=20) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read().decode()
        except OSError as error:
            return 0, str(error)

    def metric(self, name, **labels):
        """The sum of a metric's samples with these labels; None while it has none."""
        found = []
        for given, value in re.findall(rf"^{name}(?:\{{(.*)\}})? (\S+)$", self.get("/metrics")[1], re.M):
            there = dict(re.findall(r'(\w+)="([^"]*)"', given))
            if labels.items() <= there.items():
                found.append(float(value))
        return sum(found) if found else None

    async def ready(self, timeout_s=120):
        def is_ready():
            assert self.process.poll() is None, self.said()
            return self.get("/ready")[0] == 200

        await eventually(is_ready, timeout_s, self.said)

    async def stalled(self, timeout_s=120):
        """Wait until /ready says that the worker, or one of them, cannot get on; gives what it says."""
        said = ""

        def is_stalled():
            nonlocal said
            status, said = self.get("/ready")
            return status == 503 and "stalled: " in said

        await eventually(is_stalled, timeout_s, self.said)
        return said

    async def waiting(self, timeout_s=60):
        """Wait for the process to end by itself; gives its exit code."""
        await eventually(lambda: self.process.poll() is not None, timeout_s, self.said)
        process, self.process = self.process, None
        return process.returncode

    def stop(self, timeout_s=30):
        process, self.process = self.process, None
        if process is None:
            return None
        with contextlib.suppress(ProcessLookupError):
            process.send_signal(signal.SIGTERM)
        try:
            return process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(60)
            raise

    def end(self):
        """Leave nothing running, whatever state it is in."""
        process, self.process = self.process, None
        if process is None:
            return
        process.kill()
        process.wait(60)
        for pid in self.worker_pids().values():
            if _is_ours(pid):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)

    # --- events

    async def send(self, events, *, batch_records=500, partition=None, age_ms=0):
        """Produce values in order, batch by batch round the partitions; gives (partition, value) in order sent."""
        producer = BatchProducer(KafkaSettings(bootstrap_servers=(self.servers,)))
        await producer.start()
        sent = []
        for at in range(0, len(events), batch_records):
            chunk = events[at : at + batch_records]
            number = (at // batch_records) % self.partitions if partition is None else partition
            data = np.frombuffer(b"".join(chunk), np.uint8)
            now = np.full(len(chunk), time.time_ns() // 1_000_000 - age_ms)
            await producer.send([encode_records(self.source, number, data, np.cumsum([0, *map(len, chunk)]), now)])
            sent += [(number, value) for value in chunk]
        await producer.close(5)
        return sent

    @contextlib.asynccontextmanager
    async def load(self, *, batch_records=40, pause_s=0.02):
        """Keep producing made-up comments in the background; gives a counter of the batches sent."""
        events = comment_events(4_000, seed=11)
        sent = [0]
        stop = asyncio.Event()

        async def produce():
            producer = BatchProducer(KafkaSettings(bootstrap_servers=(self.servers,)))
            await producer.start()
            while not stop.is_set():
                at = sent[0] * batch_records % len(events)
                chunk = events[at : at + batch_records]
                data = np.frombuffer(b"".join(chunk), np.uint8)
                now = np.full(len(chunk), time.time_ns() // 1_000_000)
                indptr = np.cumsum([0, *map(len, chunk)])
                await producer.send([encode_records(self.source, sent[0] % self.partitions, data, indptr, now)])
                sent[0] += 1
                await asyncio.sleep(pause_s)
            await producer.close(5)

        task = asyncio.create_task(produce())
        try:
            yield sent
        finally:
            stop.set()
            await task

    async def read(self, topic, expected, timeout_s=60):
        """Read a topic from its beginning until there are ``expected`` records (and a moment more, to see extras)."""
        found = []
        deadline = time.monotonic() + timeout_s
        async with _consumer(self.servers, [TopicPartition(topic, p) for p in range(self.partitions)]) as consumer:
            while time.monotonic() < deadline:
                got = await consumer.getmany(timeout_ms=300, max_records=50_000)
                found += [record for records in got.values() for record in records]
                if not got and len(found) >= expected and await _at_the_end(consumer):
                    break
        return found

    async def check_delivery(self, timeout_s=60):
        """Wait until every event of the source is answered, then audit the sink against the source.

        Nothing lost, nothing foreign, every score (repeats too) bit-equal to that of the scorer in process, and the
        first appearances in order. Gives (events, repeats).
        """
        count = sum((await self.ends(self.source)).values())
        source = await self.read(self.source, count)
        assert len(source) == count
        expected = {}
        for partition in range(self.partitions):
            records = [record for record in source if record.partition == partition]
            values = _score(tuple(record.value for record in records))
            expected |= {(partition, r.offset): v for r, v in zip(records, values, strict=True)}
        owed = set(expected)
        deadline = time.monotonic() + timeout_s
        found = []
        async with _consumer(self.servers, [TopicPartition(self.sink, p) for p in range(self.partitions)]) as consumer:
            while True:
                got = await consumer.getmany(timeout_ms=300, max_records=50_000)
                new = [record for records in got.values() for record in records]
                found += new
                owed -= {(record.partition, offset_of(record)) for record in new}
                if not owed and not new and await _at_the_end(consumer):
                    break
                assert time.monotonic() < deadline, (
                    f"{len(owed)} of {count} events have no score, as {sorted(owed)[:5]}; {self.said()}"
                )
        appeared = dict.fromkeys(range(self.partitions), -1)
        for record in found:
            place = record.partition, offset_of(record)
            assert place in expected, f"foreign: {place}"
            assert record.value == expected[place], f"another score for {place}"
            if place[1] > appeared[record.partition]:
                assert place[1] == appeared[record.partition] + 1, f"{place} came after {appeared[record.partition]}"
                appeared[record.partition] = place[1]
        return count, len(found) - count


def _lines(settings):
    return "".join(f"{name} = {json.dumps(value)}\n" for name, value in (settings or {}).items())


@contextlib.asynccontextmanager
async def _consumer(servers, partitions=(), isolation_level="read_committed"):
    consumer = AIOKafkaConsumer(
        bootstrap_servers=servers, auto_offset_reset="earliest", isolation_level=isolation_level
    )
    await consumer.start()
    try:
        if partitions:
            consumer.assign(list(partitions))
        yield consumer
    finally:
        await consumer.stop()


async def _at_the_end(consumer):
    """Whether everything that may be read now has been: a poll without records may be a broker that is slow."""
    ends = await consumer.end_offsets(consumer.assignment())
    return all([await consumer.position(partition) >= end for partition, end in ends.items()])


def _is_ours(pid):
    """Whether the process is still a farthing worker: its number may be another's by now."""
    asked = subprocess.run(["ps", "-o", "args=", "-p", str(pid)], capture_output=True, text=True, check=False)
    return "farthing serve" in asked.stdout


@functools.cache
def scorer():
    return Scorer.load("moderation")


def _score(values):
    scored = scorer().score_events(list(values))
    assert len(scored.values) == len(values)
    return scored.values


def offset_of(record):
    return int(dict(record.headers)["farthing.offset"])


async def eventually(condition, timeout_s, tell=lambda: ""):
    deadline = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {timeout_s} s; {tell()}")
        await asyncio.sleep(0.1)


def event(number, text):
    return json.dumps({"id": number, "text": text}).encode()
