"""A service under test: its topics, its settings, its process, and what it wrote."""

import asyncio
import contextlib
import json
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
import uuid

import numpy as np
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from farthing.broker import free_port
from farthing.kafka import BatchProducer, KafkaSettings
from farthing.wire import encode_records


class Service:
    """One farthing service on a broker, with topics of its own."""

    def __init__(self, broker, folder, *, partitions=4, workers=1, extra="", bundle="moderation"):
        self.name = uuid.uuid4().hex[:8]
        self.servers = broker.bootstrap_servers
        self.source, self.sink, self.dead = (f"{kind}.{self.name}" for kind in ("events", "scores", "dead"))
        self.partitions = partitions
        self.port = free_port()
        self.config = folder / f"{self.name}.toml"
        self.config.write_text(
            f'[kafka]\nbootstrap_servers = ["{self.servers}"]\ngroup_id = "g-{self.name}"\n'
            f'[[route]]\nbundle = "{bundle}"\nsource = "{self.source}"\nsink = "{self.sink}"\n'
            f'dead_letters = "{self.dead}"\n[worker]\nworkers = {workers}\ncommit_interval_ms = 200\n'
            f"[http]\nport = {self.port}\n{extra}"
        )
        self.log = folder / f"{self.name}.log"
        self.process = None

    async def create_topics(self, **configs):
        admin = AIOKafkaAdminClient(bootstrap_servers=self.servers)
        await admin.start()
        topics = [NewTopic(t, self.partitions, 1, topic_configs=configs) for t in (self.source, self.sink, self.dead)]
        await admin.create_topics(topics)
        await admin.close()

    def start(self):
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "farthing", "serve", "-c", str(self.config)], stdout=log, stderr=log
            )

    def get(self, path):
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=5) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()
        except OSError as error:
            return 0, str(error)

    async def ready(self, timeout_s=90):
        await eventually(lambda: self.get("/ready")[0] == 200, timeout_s, lambda: self.log.read_text()[-3000:])

    async def send(self, events, *, batch_records=500, partition=None):
        """Produce values in order, batch by batch round the partitions; gives (partition, value) in order sent."""
        producer = BatchProducer(KafkaSettings(bootstrap_servers=(self.servers,)))
        await producer.start()
        sent = []
        for at in range(0, len(events), batch_records):
            chunk = events[at : at + batch_records]
            number = (at // batch_records) % self.partitions if partition is None else partition
            data = np.frombuffer(b"".join(chunk), np.uint8)
            now = np.full(len(chunk), time.time_ns() // 1_000_000)
            await producer.send([encode_records(self.source, number, data, np.cumsum([0, *map(len, chunk)]), now)])
            sent += [(number, value) for value in chunk]
        await producer.close(5)
        return sent

    async def read(self, topic, expected, timeout_s=60):
        """Read a topic from its beginning until there are ``expected`` records (and a moment more, to see extras)."""
        consumer = AIOKafkaConsumer(bootstrap_servers=self.servers, auto_offset_reset="earliest")
        await consumer.start()
        parts = [TopicPartition(topic, p) for p in range(self.partitions)]
        consumer.assign(parts)
        found = []
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            got = await consumer.getmany(timeout_ms=500, max_records=50_000)
            found += [record for records in got.values() for record in records]
            if not got and len(found) >= expected:
                break
        await consumer.stop()
        return found

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
            process.wait(10)
            raise


async def eventually(condition, timeout_s, tell=lambda: ""):
    deadline = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {timeout_s} s; {tell()}")
        await asyncio.sleep(0.2)


def event(number, text):
    return json.dumps({"id": number, "text": text}).encode()
