"""The cells of the fault matrix: a fault, a delivery mode, a number of workers, and a seed that makes the rest."""

import asyncio
import contextlib
import json
import os
import random
import signal
import time
from dataclasses import asdict, dataclass

from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import KafkaError

from tests.serving.running import SESSION_TIMEOUT_MS, Service, scorer
from tests.serving.test_corrupt_batches import Segment

from .inside import CLOCK, LATE_SEQUENCES, environment, set_clock
from .oracle import judge
from .producing import Load
from .reading import read_history, read_source

PARTITIONS = 6
KILLS = 3
SESSION_S = SESSION_TIMEOUT_MS / 1000
STOPPED_S = SESSION_S + 3
COMMIT_INTERVAL_MS = 200
DONE_WITHIN_S = 180
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
        through = proxy if cell.fault in ("connections cut", "delay 500 ms") else broker
        self.service = Service(
            through, folder, partitions=PARTITIONS, workers=cell.workers, kafka=KAFKA,
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
        inside = INSIDE.get(cell.fault)
        self.environment = None if inside is None else environment(folder, inside)

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
        """Choose a worker's process id."""
        pids = sorted(self.service.worker_pids().items()) if self.cell.workers > 1 else []
        return self.random.choice(pids)[1] if pids else self.service.process.pid

    async def backlog(self):
        """Have something under way, so that a fault does not hit an idle worker."""
        self.load.burst(self.cell.ids // 10)
        await self.moment(0.6)

    async def up_again(self):
        """Start the service again if it has ended; a supervisor does so by itself."""
        if self.service.process is not None and self.service.process.poll() is not None:
            self.service.process = None
        if self.service.process is None:
            self.service.start(env=self.environment)

    async def run(self):
        began = time.monotonic()
        service = self.service
        await service.create_topics()
        service.start(env=self.environment)
        await service.ready()
        self.load.start()
        await FAULTS[self.cell.fault](self)
        await asyncio.to_thread(self.load.join)
        await service.all_committed(DONE_WITHIN_S)
        assert service.stop() == 0, service.said()
        # Readers come by the straight way: what is judged is not to be delayed.
        service.servers = self.broker.bootstrap_servers
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


# --- faults


async def kill_worker(trial):
    for _ in range(KILLS):
        await trial.backlog()
        os.kill(trial.a_worker(), signal.SIGKILL)
        if trial.cell.workers == 1:
            await asyncio.to_thread(trial.service.process.wait, 10)
        await trial.up_again()
        await trial.moves_on()


async def stop_past_session(trial):
    await trial.backlog()
    pid = trial.a_worker()
    os.kill(pid, signal.SIGSTOP)
    heir = trial.service.twin(kafka=KAFKA) if trial.cell.workers == 1 else None
    try:
        if heir:
            heir.start()
            await heir.ready()
        await asyncio.sleep(STOPPED_S)
    finally:
        os.kill(pid, signal.SIGCONT)
    await trial.moves_on()
    if heir:
        assert heir.stop() == 0, heir.said()


async def sigterm(trial):
    for _ in range(KILLS):
        await trial.backlog()
        assert await asyncio.to_thread(trial.service.stop) == 0, trial.service.said()
        await trial.up_again()
        await trial.service.ready()
        await trial.moves_on()


async def broker_killed(trial):
    for _ in range(KILLS):
        await trial.backlog()
        trial.broker.kill()
        await trial.moment(3.0)
        await asyncio.to_thread(trial.broker.start)
        await trial.moves_on()


async def broker_frozen(trial):
    await trial.backlog()
    trial.broker.process.send_signal(signal.SIGSTOP)
    try:
        await asyncio.sleep(STOPPED_S)
    finally:
        trial.broker.process.send_signal(signal.SIGCONT)
    await trial.moves_on()


async def connections_cut(trial):
    for _ in range(12):
        trial.load.burst(trial.cell.ids // 30)
        await trial.moment(2.0)
        trial.proxy.cut()
    await trial.moves_on()


async def delay_500_ms(trial):
    trial.proxy.delay_s = 0.25
    await trial.backlog()
    await asyncio.sleep(8.0)
    await trial.moves_on()


async def members_come_and_go(trial):
    for _ in range(KILLS):
        twin = trial.service.twin(kafka=KAFKA)
        twin.start()
        await twin.ready()
        await trial.backlog()
        await asyncio.sleep(3.0)
        assert await asyncio.to_thread(twin.stop) == 0, twin.said()
        await trial.moves_on()


async def sink_refuses(trial):
    """The sink wants two replicas in sync and has one: the broker refuses every write until that is mended."""
    for wanted in ("2", "1") * KILLS:
        async with trial.service.admin() as admin:
            change = ConfigResource(ConfigResourceType.TOPIC, trial.service.sink, {"min.insync.replicas": wanted})
            await admin.alter_configs([change])
        await trial.backlog()
        await asyncio.sleep(2.0)
    await trial.moves_on()


async def usage_topic_deleted(trial):
    await trial.backlog()
    async with trial.service.admin() as admin:
        await admin.delete_topics([trial.usage_topic])
    await trial.moves_on()


async def clock_steps(trial):
    for days in (30, -30, 0):
        set_clock(trial.folder, days * 86_400)
        await trial.backlog()
        await asyncio.sleep(3.0)
        await trial.moves_on()


async def corrupt_batches(trial):
    """Damage batches of three partitions on the broker's disk, before they are read."""
    assert await asyncio.to_thread(trial.service.stop) == 0, trial.service.said()
    trial.load.burst(trial.cell.ids)
    await asyncio.to_thread(trial.load.join)
    trial.source = await read_source(trial.service.servers, trial.service.source)
    committed = await trial.service.committed()
    await asyncio.to_thread(trial.broker.stop)  # in good order: otherwise it would look through its logs and cut them
    for partition in range(KILLS):
        segment = Segment(trial.broker, trial.service.source, partition)
        later = [k for k, (_, base, _) in enumerate(segment.batches) if base >= committed.get(partition, 0)]
        segment.flip(trial.random.choice(later), -5)
    await asyncio.to_thread(trial.broker.start)
    await trial.up_again()
    await trial.service.ready()


async def nothing(trial):
    await trial.backlog()


FAULTS = {
    "worker killed": kill_worker,
    "stopped past its session": stop_past_session,
    "sigterm": sigterm,
    "broker killed": broker_killed,
    "broker frozen": broker_frozen,
    "connections cut": connections_cut,
    "delay 500 ms": delay_500_ms,
    "members come and go": members_come_and_go,
    "transactions aborted": nothing,
    "poison 1 %": kill_worker,
    "sink refuses": sink_refuses,
    "usage topic deleted": usage_topic_deleted,
    "clock steps": clock_steps,
    "sequences wrap": nothing,
    "corrupt batches": corrupt_batches,
}
INSIDE = {"clock steps": CLOCK, "sequences wrap": LATE_SEQUENCES}
MODES = ("at-least-once", "exactly-once")


@contextlib.asynccontextmanager
async def proxy_of(broker):
    """The broker's proxy, which delays nothing yet."""
    async with broker.proxy() as proxy:
        yield proxy
