"""The cells of the fault matrix: a fault, a delivery mode, a number of workers, and a seed that makes the rest."""

import asyncio
import contextlib
import json
import random
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from aiokafka.errors import KafkaError

from tests.serving.running import SESSION_TIMEOUT_MS, Service, scorer

from .control_group import MemoryGroup
from .faults import FAULTS
from .inside import environment
from .oracle import judge
from .producing import Load
from .reading import read_history

PARTITIONS = 6
APPEND_TIME = {"message.timestamp.type": "LogAppendTime"}  # so that answers and commits have one clock
COMMIT_INTERVAL_MS = 200
DONE_WITHIN_S = 180
CONTAINER_MIB = 1536  # deploy/kubernetes/base/worker.yaml
MODES = ("at-least-once", "exactly-once")
KAFKA = {
    "session_timeout_ms": SESSION_TIMEOUT_MS, "heartbeat_interval_ms": 500, "delivery_timeout_ms": 10_000,
    "request_timeout_ms": 5_000, "fetch_max_bytes": 1 << 16, "max_partition_fetch_bytes": 1 << 16,
}  # fmt: skip


@dataclass(frozen=True)
class Cell:
    """One cell. Its seed makes the events, the moments of the faults and who is hit."""

    fault: str
    mode: str
    workers: int
    ids: int
    seed: int

    @property
    def name(self):
        return f"{self.fault}-{self.mode}-{self.workers}-{self.ids}-{self.seed}"


@dataclass
class Result:
    """What became of a cell."""

    cell: Cell
    events: int = 0
    repeats: int = 0
    incarnations: int = 0
    recovered_s: float = 0.0
    """The longest time from the end of a fault to the next answer."""
    seconds: float = 0.0
    wrong: dict | None = None

    def line(self):
        return json.dumps({**asdict(self.cell), **{k: v for k, v in asdict(self).items() if k != "cell"}})


class Trial:
    """A cell under way: a service, a load and a broker, and the means to hurt them."""

    def __init__(self, cell, broker, proxy, folder):
        self.cell, self.broker, self.proxy = cell, broker, proxy
        self.random = random.Random(cell.seed)
        self.fault = FAULTS[cell.fault]
        through = proxy if self.fault.proxied else broker
        self.kafka = KAFKA | self.fault.kafka | {"delivery": cell.mode.replace("-", "_")}
        self.service = Service(
            through, folder, partitions=PARTITIONS, workers=cell.workers, kafka=self.kafka,
            worker={"commit_interval_ms": COMMIT_INTERVAL_MS, "on_corrupt_batch": "skip"},
            extra=f'[meter]\nusage_topic = "usage.{cell.seed}.{time.time_ns()}"\nheartbeat_topic = "beats.{cell.seed}"\n',
        )  # fmt: skip
        self.load = Load(
            broker.bootstrap_servers, self.service.source, seed=cell.seed, count=cell.ids,
            rate=max(cell.ids / 20, 500), partitions=PARTITIONS, bad=0.01 if cell.fault == "poison 1 %" else 0.001,
            aborting=cell.fault == "transactions aborted",
        )  # fmt: skip
        self.recovered_s = 0.0
        self.folder = folder
        self.source = None  # what it held, where it can no longer be read
        self.options = {}
        if self.fault.inside is not None:
            self.options["env"] = environment(folder, self.fault.inside)
        self.group = MemoryGroup(cell.workers * CONTAINER_MIB << 20) if self.fault.limited else None
        if self.group is not None:
            self.options["preexec_fn"] = self.group.enter

    @property
    def usage_topic(self):
        return self.service.config.read_text().split('usage_topic = "')[1].split('"')[0]

    async def moment(self, most=1.0):
        """Wait for a moment that the seed chooses."""
        await asyncio.sleep(self.random.random() * most)

    async def answers(self):
        """Count what is in the sink; a broker that has just started may not say so yet."""
        deadline = time.monotonic() + DONE_WITHIN_S
        while True:
            try:
                async with asyncio.timeout(20):
                    return sum((await self.service.ends(self.service.sink)).values())
            except (KafkaError, TimeoutError):
                if time.monotonic() > deadline:
                    raise
                await asyncio.sleep(0.5)

    async def moves_on(self):
        """Wait until more is answered, and note how long that took."""
        began, before = time.monotonic(), await self.answers()
        while await self.answers() == before and self.load.sent < self.cell.ids:
            assert time.monotonic() - began < DONE_WITHIN_S, f"nothing more is answered; {self.service.said()}"
            await asyncio.sleep(0.2)
        self.recovered_s = max(self.recovered_s, time.monotonic() - began)

    def a_worker(self):
        """Choose the process id of a worker that runs: one that was killed may not have been started again yet."""
        pids = [pid for _, pid in sorted(self.service.worker_pids().items()) if Path(f"/proc/{pid}").exists()]
        return self.random.choice(pids) if self.cell.workers > 1 and pids else self.service.process.pid

    async def backlog(self):
        """Have something under way, so that a fault does not hit an idle worker."""
        self.load.burst(self.cell.ids // 10)
        await self.moment(0.6)

    async def up_again(self):
        """Start the service again if it has ended; a supervisor does so by itself."""
        if self.service.process is not None and self.service.process.poll() is not None:
            self.service.process = None
        if self.service.process is None:
            self.service.start(**self.options)

    async def run(self):
        began = time.monotonic()
        service = self.service
        await service.create_topics(replication=self.broker.replication, answers=APPEND_TIME)
        service.start(**self.options)
        await service.ready()
        self.load.start()
        await self.fault.inflict(self)
        await asyncio.to_thread(self.load.join)
        await service.all_committed(DONE_WITHIN_S)
        assert service.stop() == 0, service.said()
        assert self.group is None or self.group.kills() == 0, "killed for want of memory"
        # Readers come by the straight way: what is judged is not to be delayed.
        service.servers = self.broker.bootstrap_servers
        await service.all_ended()
        history = await read_history(
            service, scorer(), self.load.acknowledged, usage_topic=self.usage_topic, source=self.source
        )
        verdict = judge(history)
        wrong = verdict.wrong(exactly_once=self.cell.mode == "exactly-once")
        return Result(
            self.cell, len(history.due), verdict.counts["duplicated"], verdict.incarnations,
            round(self.recovered_s, 1), round(time.monotonic() - began, 1), wrong,
        )  # fmt: skip


async def run_cell(cell, broker, proxy, folder):
    """Run one cell to its end, whatever happens; leaves nothing running."""
    trial = Trial(cell, broker, proxy, folder)
    try:
        return await trial.run()
    except (AssertionError, KafkaError, OSError, TimeoutError) as error:
        return Result(cell, wrong={"did not end": [f"{type(error).__name__}: {error}"[-1500:]]})
    finally:
        for member in trial.service.family:
            member.end()
        if trial.group is not None:
            trial.group.close()


@contextlib.asynccontextmanager
async def proxy_of(broker):
    """The broker's proxy, which delays nothing yet; None if it has none."""
    if not hasattr(broker, "proxy"):
        yield None
        return
    async with broker.proxy() as proxy:
        yield proxy
