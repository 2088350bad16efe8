"""What the loop talks to, without a network: a consumer, a producer, a scoring thread, reports; each may be dead.

A process that is killed does nothing any more, whatever its tasks still try. One that is stopped gets no answer until
it goes on, and then finds that its session is over.
"""

import asyncio
import time

import numpy as np

from farthing.blocks import FetchedPartition, OutputBatch, Segment
from farthing.errors import BrokerError
from farthing.kafka import Fetched
from farthing.kafka.lag import LogEnd, LogEnds, lag
from farthing.serving.metrics import BlockStats
from farthing.serving.route import Answer, RouteTopics

from .world import DEAD, SESSION_S, SINK, SOURCE, is_dead

HEARTBEAT_S = 1.0
LONGEST_WAIT_S = 0.5
SLOW_COMMIT_S = 0.5  # the longest time of those commits that are slow
NOTHING_ASSIGNED_S = 0.5  # the pause of a consumer that has no partition
PART_ONLY = 0.2  # how often a block has room for a part only


class Machine:
    """What may happen to one process from outside."""

    def __init__(self, world, name):
        self.world = world
        self.name = name
        self.dead = False
        self.stopped_until = 0.0
        self.producer_id = 0

    async def request(self, most=0.05):
        """Take the time of a request, as long as the process lives; for ever if it does not."""
        await self.world.latency(most)
        await self.awake()

    async def awake(self):
        while self.stopped_until > self.world.now:  # noqa: ASYNC110 - it may be stopped again meanwhile
            await asyncio.sleep(self.stopped_until - self.world.now)
        if self.dead:
            await asyncio.Event().wait()

    def fails(self, what):
        """Raise now and then, while the broker has trouble."""
        if self.world.random.random() < self.world.trouble:
            self.world.note("trouble", self.name, what)
            raise BrokerError(f"{what}: no proper answer", retriable=True)


class Consumer:
    """A :class:`farthing.kafka.RecordConsumer` of one partition leader."""

    def __init__(self, machine, _settings, _topics, *, on_revoked, on_position, on_moved, known_logs):
        self._machine, self._world = machine, machine.world
        self.name = machine.name
        self._on_revoked, self._on_position = on_revoked, on_position
        self._generation = 0
        self._positions = {}
        self._keeping = None
        self.epoch = 0
        self.rebalances, self.rebalance_seconds = 0, 0.0
        self.held, self.left_out = {}, ()
        self._gives_up = False
        self.marks_offsets = False
        self.ends = LogEnds(time.monotonic)

    async def start(self):
        await self._machine.request()
        self._world.group.join(self)
        self._keeping = asyncio.create_task(self._keep_session())

    @property
    def assignment(self):
        return list(self._positions)

    def lag(self, next_unacknowledged):
        return {p: lag(self.ends.get(p), next_unacknowledged(p)) for p in self._positions}

    def topic_id(self, _partition):
        return ""

    def refresh(self):
        pass

    def seek(self, partition, offset):
        if partition in self._positions:
            self._positions[partition] = offset

    def hold(self, partition, reason, **_until):
        raise AssertionError(f"{partition} is held: {reason}")

    def written(self, partition):
        pass

    async def fetch(self):
        epoch = self.epoch
        if self._gives_up:
            await asyncio.sleep(NOTHING_ASSIGNED_S)
            return Fetched(epoch, ())
        for partition in [p for p, position in self._positions.items() if position is None]:
            await self._machine.request()
            self._machine.fails("reading committed offsets")
            if epoch != self.epoch:
                return Fetched(epoch, ())
            offset, metadata = self._world.committed.get(partition[1], (0, ""))
            self._positions[partition] = offset
            self._on_position(partition, offset, metadata, partition[1] in self._world.committed)
        asked = {p: position for p, position in self._positions.items() if p not in self.left_out}
        if not self._positions:
            await asyncio.sleep(NOTHING_ASSIGNED_S)
            return Fetched(epoch, ())
        await self._machine.request(LONGEST_WAIT_S if self._is_idle(asked) else 0.05)
        self._machine.fails("fetch")
        parts = []
        for partition, position in asked.items():
            if self._positions.get(partition) != position or epoch != self.epoch:
                continue
            log = self._world.logs[partition[1]]
            self.ends[partition] = LogEnd(log.end, log.end)
            offsets, following = log.read(position, self._world.random.randint(1, 4))
            if following > position:
                self._positions[partition] = following
                data = np.array([following, *offsets], np.int64).tobytes()
                parts.append(FetchedPartition(SOURCE, partition[1], position, log.end, data))
        return Fetched(epoch, tuple(parts))

    def _is_idle(self, asked):
        return all(position == self._world.logs[partition[1]].end for partition, position in asked.items())

    async def commit(self, offsets, _timeout_s, metadata=None):
        """Two of them at once would be answered in any order: the client retries each by itself."""
        generation = self._generation
        await self._machine.request(SLOW_COMMIT_S if self._world.random.random() < 0.3 else 0.05)
        self._machine.fails("commit that does not arrive")
        if not self._world.group.accepts(self, generation):
            self._world.note("refused", self.name, generation)
            return False
        for (_, number), offset in offsets.items():
            self._world.commit(number, offset, metadata[SOURCE, number])
        await self._machine.awake()
        self._machine.fails("commit whose answer does not arrive")
        return True

    async def close(self, _timeout_s):
        if self._keeping is not None:
            self._keeping.cancel()
        if not self._machine.dead:
            self._world.group.leave(self)

    async def give_up(self):
        """Be asked by the group to give everything up."""
        await self._machine.awake()
        await self._revoke()

    async def _revoke(self):
        partitions = list(self._positions)
        self.epoch += 1
        self._gives_up = True
        try:
            if partitions:
                await self._on_revoked(partitions)
        finally:
            self._gives_up = False
            self._positions = {}

    def take(self, generation, numbers):
        if self._machine.dead:
            return
        self._generation = generation
        self.epoch += 1
        self.rebalances += 1
        self._positions = {(SOURCE, number): None for number in numbers}

    async def _keep_session(self):
        """Find out now and then whether we are still a member, as heartbeats do; join again if not."""
        while True:
            await asyncio.sleep(HEARTBEAT_S)
            await self._machine.request()
            if self._world.group.members.get(self.name) is not self:
                self._world.note("put out", self.name)
                await self._revoke()
                self._world.group.join(self)


class Producer:
    """A :class:`farthing.kafka.BatchProducer`."""

    is_transactional = False

    def __init__(self, machine, _settings, _transactional_id):
        self._machine, self._world = machine, machine.world
        self._id = 0

    async def start(self):
        await self._machine.request()
        self._id = self._world.new_producer_id()

    async def partition_count(self, _topic, *, needed):
        return needed

    async def send(self, batches, _on_refused=None):
        try:
            for batch in batches:
                await self._machine.request()
                self._machine.fails("produce that does not arrive")
                self._world.write(batch.topic, batch.partition, batch.data.tolist(), (self._id, 0))
                await self._machine.awake()
                self._machine.fails("produce whose answer does not arrive")
        except BaseException:
            self._id = self._world.new_producer_id()
            raise

    async def close(self, _timeout_s):
        pass


class Scoring:
    """The scoring thread: it takes time, and does its work at once at the end of it. A small call may take none."""

    def __init__(self, machine, _timeout_s):
        self._machine = machine

    async def call(self, function, *arguments, small=False):
        random = self._machine.world.random
        if not small or random.random() < 0.8:
            await asyncio.sleep(random.random() * 0.03)
            await self._machine.awake()
        return function(*arguments)

    def close(self):
        pass


class Route:
    """Answers every event: most with a score, some with a dead letter, in batches of a few.

    A block may have room for a part only of what was fetched.
    """

    class stages:
        model_id = "simulated"

    topics = RouteTopics(SOURCE, SINK, DEAD)

    def __init__(self, random):
        self._random = random

    def answer(self, parts):
        segments, batches, usage = [], [], []
        for unread in parts:
            part, first = unread.part, unread.next_offset
            offsets = self._take(unread)
            segments.append(Segment(part.topic, part.partition, 0, len(offsets), first, unread.next_offset))
            usage.append(len(offsets))
            for topic, dead in ((SINK, False), (DEAD, True)):
                chosen = [offset for offset in offsets if is_dead(offset) == dead]
                size = self._random.randint(5, 40)
                batches += [
                    OutputBatch(topic, part.partition, np.array(chosen[k : k + size]), len(chosen[k : k + size]), 0)
                    for k in range(0, len(chosen), size)
                ]
        none = np.zeros(0, np.int64)
        stats = BlockStats(SOURCE, none)
        return Answer(tuple(batches), tuple(segments), none, none, stats, np.array(usage))

    def _take(self, unread):
        """Take the next events of what was fetched, as :meth:`farthing.wire.Unread.take` does."""
        following, *offsets = np.frombuffer(unread.part.data, np.int64).tolist()
        offsets = [offset for offset in offsets if offset >= unread.next_offset]
        unread.begun = unread.had_turn = True
        if len(offsets) > 1 and self._random.random() < PART_ONLY:
            following = offsets[len(offsets) // 2]
        else:
            unread.done = True
            unread.close()
        unread.next_offset = following
        return [offset for offset in offsets if offset < following]


class Reports:
    """Books of one number for each partition: its events so far, committed with the offset."""

    def __init__(self, machine):
        self._machine = machine
        self._counts = {}

    async def start(self):
        pass

    def assign(self, partition, _offset, metadata):
        self._counts[partition] = int(metadata or 0)

    def move(self, *_):
        raise AssertionError("the simulated logs are never replaced")

    def name_logs(self, _topic_id):
        pass

    async def known_logs(self, _partitions):
        return {}

    def add(self, partition, _next_offset, counts=None, _tenants=None):
        if partition in self._counts and counts is not None:
            self._counts[partition] += int(counts)

    def metadata(self, partitions, *, refused=False):
        return {partition: str(self._counts.get(partition, 0)) for partition in partitions}

    async def publish(self, _partitions, *, everything=False):
        await self._machine.request(0.01)
        self._machine.fails("publishing usage")

    def revoke(self, partitions):
        for partition in partitions:
            self._counts.pop(partition, None)

    async def close(self, _timeout_s):
        pass


async def expire(machine, consumer):
    """Let the group put a process out once its session is over, unless it is awake again by then."""
    await asyncio.sleep(SESSION_S)
    if machine.dead or machine.stopped_until > machine.world.now:
        machine.world.group.leave(consumer)
