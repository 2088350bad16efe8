"""A ledger under test: its topics, its settings, its process, and what it says."""

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
import uuid
from pathlib import Path

from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from farthing.local.process import free_port
from tests import forked


class RunningLedger:
    """One ledger process on a broker, with topics and changelogs of its own."""

    def __init__(self, broker, folder, extra=""):
        self.name = uuid.uuid4().hex[:8]
        self.servers = broker.bootstrap_servers
        self.usage, self.heartbeats = f"usage.{self.name}", f"heartbeats.{self.name}"
        self.port = free_port()
        self.config = folder / f"{self.name}.toml"
        self.config.write_text(
            f'[kafka]\nbootstrap_servers = ["{self.servers}"]\n'
            # After a hard kill the group waits for the dead member: no longer than the broker allows.
            f"session_timeout_ms = 6000\nheartbeat_interval_ms = 1000\n"
            f'[[route]]\nbundle = "moderation"\nsource = "e"\nsink = "s"\ndead_letters = "d"\n'
            f'[meter]\nusage_topic = "{self.usage}"\nheartbeat_topic = "{self.heartbeats}"\n'
            f'[ledger]\nport = {self.port}\napp_id = "ledger-{self.name}"\ndata_dir = "{folder / self.name}"\n{extra}'
        )
        self.log = folder / f"{self.name}.log"
        self.process = None

    async def create_topics(self):
        admin = AIOKafkaAdminClient(bootstrap_servers=self.servers)
        await admin.start()
        compact = {"cleanup.policy": "compact"}
        await admin.create_topics([NewTopic(t, 1, 1, topic_configs=compact) for t in (self.usage, self.heartbeats)])
        await admin.close()

    def start(self, *command):
        config = str(self.config)
        with self.log.open("ab") as log:
            if not command:
                self.process = forked.start("ledger", "-c", config, stdout=log, stderr=log, FARTHING_CONFIG=config)
                return
            environment = {**os.environ, "FARTHING_CONFIG": config}
            self.process = subprocess.Popen([sys.executable, *command], stdout=log, stderr=log, env=environment)

    def get(self, path):
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=20) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()
        except OSError as error:
            return 0, str(error)

    async def wait_for(self, condition, timeout_s, every_s=0.1):
        deadline = time.monotonic() + timeout_s
        while not condition():
            assert self.process.poll() is None, self.tail()
            assert time.monotonic() < deadline, f"not within {timeout_s} s; {self.tail()}"
            await asyncio.sleep(every_s)

    def tail(self):
        return self.log.read_text()[-3000:]

    async def ready(self, timeout_s=60):
        await self.wait_for(lambda: self.get("/ready")[0] == 200, timeout_s)

    async def send(self, topic, records):
        """Produce (key, value) pairs as they stand, in order."""
        producer = AIOKafkaProducer(bootstrap_servers=self.servers, linger_ms=5)
        await producer.start()
        try:
            sent = [await producer.send(topic, key=key, value=value, partition=0) for key, value in records]
            await producer.flush()
            for one in sent:
                await one
        finally:
            await producer.stop()

    async def post(self, records):
        await self.send(self.usage, [(record.key, record.encode()) for record in records])

    async def beat(self, beats):
        await self.send(self.heartbeats, [(beat.key, beat.encode()) for beat in beats])

    def books(self):
        """Every count: (topic, partition, model, base offset) -> (next offset, scored, dead, prompt bytes)."""
        status, text = self.get("/api/accounts")
        if status != 200:
            return None
        return {
            (a["topic"], a["partition"], a["model"], a["base_offset"]): (
                a["next_offset"], a["scored"], a["dead"], a["prompt_bytes"],
            )
            for a in json.loads(text)
        }  # fmt: skip

    def metric(self, name):
        for line in self.get("/metrics")[1].splitlines():
            if line.startswith(f"{name} "):
                return float(line.split()[1])
        return None

    def cpu_s(self):
        """CPU seconds that the process has used, user and system (Linux)."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def kill(self):
        self.process.kill()
        self.process.wait(60)
        self.process = None

    def stop(self, timeout_s=30):
        """End the process with SIGTERM; gives its exit code and the seconds that it took."""
        process, self.process = self.process, None
        if process is None:
            return None
        began = time.monotonic()
        with contextlib.suppress(ProcessLookupError):
            process.send_signal(signal.SIGTERM)
        try:
            return process.wait(timeout_s), time.monotonic() - began
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(60)
            raise

    def listens_on(self):
        """TCP addresses that the process listens on (Linux): (address, port)."""
        pid = self.process.pid
        inodes = set()
        for entry in Path(f"/proc/{pid}/fd").iterdir():
            with contextlib.suppress(OSError):
                target = os.readlink(entry)
                if target.startswith("socket:["):
                    inodes.add(target[8:-1])
        found = set()
        for table in ("tcp", "tcp6"):
            for line in Path(f"/proc/{pid}/net/{table}").read_text().splitlines()[1:]:
                parts = line.split()
                if parts[3] == "0A" and parts[9] in inodes:
                    address, port = parts[1].split(":")
                    found.add((address, int(port, 16)))
        return found
