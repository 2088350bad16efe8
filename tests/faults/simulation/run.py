"""One run of the simulation: the real loop, several times over, under a schedule that a seed makes.

``python -m tests.faults.simulation.run SEED`` replays one and prints what happened.
"""

import asyncio
import random
import sys
from functools import partial

import structlog

from farthing.kafka import KafkaSettings
from farthing.process.probes import Health
from farthing.serving import pipeline as pipeline_module
from farthing.serving import progress as progress_module
from farthing.serving.pipeline import Pipeline
from tests.faults.oracle import History, judge

from .clients import Consumer, Machine, Producer, Reports, Route, Scoring, expire
from .clock import VirtualLoop, virtual_time
from .nothing import Limits, Nothing, Watch
from .world import DEAD, SINK, Violation, World, replaced

PARTITIONS = 3
FAULTS_S = 7.0
HEALS_WITHIN_S = 120.0
SETTINGS = KafkaSettings(bootstrap_servers=("simulated:1",))


class Process:
    """One worker process: it can be killed, stopped for a while, told to drain, and started again."""

    def __init__(self, world, name):
        self.machine = Machine(world, name)
        self._expiring = set()
        with replaced(
            pipeline_module, RecordConsumer=partial(Consumer, self.machine),
            BatchProducer=partial(Producer, self.machine), ScoringThread=partial(Scoring, self.machine),
            SinkLimits=Limits,
        ), replaced(progress_module, BrokerWatch=Watch):  # fmt: skip
            self.pipeline = Pipeline(
                [Route(world.random)], SETTINGS, Nothing(), Health(), commit_interval_s=0.3, stall_timeout_s=60.0,
                on_corrupt_batch="halt", linger_s=world.random.choice((0.0, 0.002)), reports=Reports(self.machine),
            )  # fmt: skip
        self.stop = asyncio.Event()
        self.task = asyncio.create_task(self.pipeline.run(self.stop, drain_timeout_s=10.0))

    def _expires(self):
        task = asyncio.create_task(expire(self.machine, self.pipeline._consumer))
        self._expiring.add(task)

    async def kill(self):
        self.machine.dead = True
        self._expires()
        self.task.cancel()
        await self._ended()

    def suspend(self, seconds):
        self.machine.stopped_until = self.machine.world.now + seconds
        self._expires()

    async def drain(self):
        self.stop.set()
        await self._ended()
        self.task.result()

    async def _ended(self):
        await asyncio.wait({self.task})
        ours = (self.pipeline, self.pipeline._delivery, self.pipeline._commits)
        left = [task for task in asyncio.all_tasks() if any(_owner(task) is one for one in ours)]
        self.machine.world.violations += [Violation(f"{task.get_coro().__qualname__} goes on") for task in left]


def _owner(task):
    """The object whose method a task runs, while it does."""
    frame = task.get_coro().cr_frame
    return None if frame is None else frame.f_locals.get("self")


class Run:
    """A schedule from a seed, and its end. ``trace`` has everything that happened, in order."""

    def __init__(self, seed):
        self.random = random.Random(seed)
        self.trace = []

    def run(self):
        """Carry it out. Raises Violation."""
        loop = VirtualLoop()
        asyncio.set_event_loop(loop)
        try:
            with virtual_time(loop), replaced(progress_module, LOOK_EVERY_S=2.0):  # it only costs time here
                loop.run_until_complete(self._main())
        finally:
            asyncio.set_event_loop(None)
            loop.close()
        return self

    async def _main(self):
        self.world = World(self.random, PARTITIONS)
        self.trace = self.world.trace
        self.prepare()
        keeping = asyncio.create_task(self.world.group.keep())
        self._made = 0
        self.processes = [self._start() for _ in range(self.random.choice((1, 1, 2, 3)))]
        producing = asyncio.create_task(self._produce())
        try:
            while self.world.now < FAULTS_S:
                await asyncio.sleep(self.random.random())
                self._look()
                await self._break_something()
            self.world.trouble = 0.0
            self.processes += [self._start()] if not self.processes else []
            producing.cancel()
            await self._heal()
            self._judge()
        finally:
            tasks = asyncio.all_tasks() - {asyncio.current_task()}
            for task in sorted(tasks, key=hash):
                task.cancel()
            await asyncio.gather(keeping, *tasks, return_exceptions=True)

    def prepare(self):
        """Change the world, in a test of this test."""

    def _start(self):
        self._made += 1
        self.world.note("start", self._made)
        return Process(self.world, f"w{self._made:03}")

    async def _produce(self):
        while True:
            self.world.append(self.random.randrange(PARTITIONS), self.random.randint(1, 40))
            await asyncio.sleep(self.random.random() * 0.3)

    async def _break_something(self):
        random, world = self.random, self.world
        chosen = random.choice(self.processes) if self.processes else None
        what = random.choice(("kill", "suspend", "drain", "join", "trouble", "freeze", "calm", "calm"))
        world.note(what, chosen.machine.name if chosen else None)
        if what == "kill" and chosen:
            self.processes.remove(chosen)
            await chosen.kill()
        elif what == "suspend" and chosen:
            chosen.suspend(random.choice((0.5, 3.0, 8.0)))
        elif what == "drain" and chosen:
            self.processes.remove(chosen)
            await chosen.drain()
        elif what == "join" and len(self.processes) < 4:
            self.processes.append(self._start())
        elif what == "trouble":
            world.trouble = random.choice((0.05, 0.2, 0.5))
        elif what == "freeze":
            world.frozen_until = world.now + random.choice((0.5, 4.0))
        else:
            world.trouble = 0.0

    def _look(self):
        """Let an error of a loop be ours: none of what is broken here may end one."""
        if self.world.violations:
            raise self.world.violations[0]
        for process in self.processes:
            if process.task.done():
                process.task.result()
                raise Violation(f"{process.machine.name} has ended")

    async def _heal(self):
        deadline = self.world.now + HEALS_WITHIN_S
        while any(self.world.committed.get(number, (0,))[0] != log.end for number, log in self.world.logs.items()):
            if self.world.now > deadline:
                ends = {number: log.end for number, log in self.world.logs.items()}
                raise Violation(f"not done {HEALS_WITHIN_S} s after the last fault: {self.world.committed} of {ends}")
            await asyncio.sleep(0.5)
            self._look()

    def _judge(self):
        self._look()
        world = self.world
        self.verdict = judge(History(world.due, world.history(SINK), world.history(DEAD)))
        if self.verdict.wrong():
            raise Violation(str(self.verdict.wrong()))


if __name__ == "__main__":
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))  # it has the time of the real clock
    run = Run(int(sys.argv[1]))
    try:
        run.run()
    finally:
        for line in run.trace:
            print(*line)
    print(f"{len(run.world.due)} events, {dict(run.verdict.counts)}")
