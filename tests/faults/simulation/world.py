"""A broker in memory: a source, what was written to the sinks, one consumer group, and a hand that breaks things.

It checks every commit when it is accepted: everything before the offset must have its answer in the log by then, the
offset must not go back, and the count that travels with it must be that of the events before it.
"""

import asyncio
import bisect
import contextlib
from dataclasses import dataclass, field

from tests.faults.oracle import Answer, Due

SOURCE, SINK, DEAD = "events", "scores", "dead"
SESSION_S = 6.0
REBALANCE_S = 22.0  # more than REVOKE_TIMEOUT_S of the loop


class Violation(AssertionError):
    """Something that must never be."""


@dataclass
class Log:
    """One partition of the source: whole batches, each (base offset, offsets of its events, offset after it)."""

    batches: list = field(default_factory=list)
    events: list = field(default_factory=list)  # offsets, ascending
    end: int = 0

    def append(self, random, count):
        """Append a batch; what a compaction or a control batch leaves out makes a gap."""
        base, offsets, at = self.end, [], self.end
        for _ in range(count):
            at += random.random() < 0.05
            offsets.append(at)
            at += 1
        at += random.random() < 0.1
        self.batches.append((base, offsets, at))
        self.events += offsets
        self.end = at

    def read(self, position, most):
        """Return batches from the one that holds ``position`` on: (offsets from there on, offset after them)."""
        first = bisect.bisect_right(self.batches, position, key=lambda batch: batch[2])
        chosen = self.batches[first : first + most]
        offsets = [offset for _, those, _ in chosen for offset in those if offset >= position]
        return offsets, chosen[-1][2] if chosen else position


class World:
    """The broker's side of everything. ``random`` decides all that is left to chance."""

    def __init__(self, random, partitions):
        self.random = random
        self.logs = {number: Log() for number in range(partitions)}
        self.committed = {}  # partition -> (offset, metadata)
        self.answered = {number: set() for number in self.logs}
        self.written = {SINK: {}, DEAD: {}}  # topic -> partition -> [Answer]
        self.due = {}
        self.trace = []
        self.violations = []  # whoever asks for them, because a loop that is being killed loses what it raises
        self.group = Group(self)
        self.trouble = 0.0  # the chance that a request fails
        self.frozen_until = 0.0
        self.checks_generations = True
        self._producer_ids = 0

    @property
    def now(self):
        return asyncio.get_running_loop().time()

    def note(self, *what):
        """Add to the record of what happened, which a replay must repeat to the letter."""
        self.trace.append((round(self.now, 6), *what))

    def append(self, number, count):
        """Let a producer append a batch to the source."""
        log = self.logs[number]
        before = len(log.events)
        log.append(self.random, count)
        for offset in log.events[before:]:
            self.due[number, offset] = Due(None, b"%d:%d" % (number, offset), is_dead(offset))

    async def latency(self, most=0.05):
        """Take the time of a request; a frozen broker takes until it thaws, and then answers in any order."""
        await asyncio.sleep(self.random.random() * most)
        while self.frozen_until > self.now:  # noqa: ASYNC110 - it may be frozen again meanwhile
            await asyncio.sleep(self.frozen_until - self.now + self.random.random() * most)

    def new_producer_id(self):
        self._producer_ids += 1
        return self._producer_ids

    def write(self, topic, number, offsets, producer):
        """Append a batch of answers."""
        rows = self.written[topic].setdefault(number, [])
        base = len(rows)
        rows += [Answer((number, offset), None, b"%d:%d" % (number, offset), producer, base) for offset in offsets]
        self.answered[number].update(offsets)
        self.note("written", topic, number, offsets[0] if offsets else None, len(offsets), producer)

    def commit(self, number, offset, metadata):
        """Accept a commit."""
        before, _ = self.committed.get(number, (0, ""))
        events = self.logs[number].events
        owed = events[: bisect.bisect_left(events, offset)]
        open_ = [place for place in owed if place not in self.answered[number]]
        self.note("committed", number, offset, metadata)
        wrong = (
            (open_, f"[{number}] {offset} was committed, and {open_[:3]} have no answer"),
            (offset < before, f"[{number}]: the committed offset went back from {before} to {offset}"),
            (offset > self.logs[number].end, f"[{number}] {offset} was committed beyond the log's end"),
            (metadata != str(len(owed)), f"[{number}] {offset}: {len(owed)} events, and the books say {metadata}"),
        )
        self.violations += [Violation(sentence) for is_wrong, sentence in wrong if is_wrong]
        self.committed[number] = offset, metadata

    def history(self, topic):
        return [answer for number in sorted(self.logs) for answer in self.written[topic].get(number, ())]


class Group:
    """One consumer group with eager rebalances: everyone gives up everything, then everyone gets a share."""

    def __init__(self, world):
        self._world = world
        self.generation = 0
        self.members = {}  # name -> consumer
        self.rebalancing = False
        self._again = asyncio.Event()

    async def keep(self):
        """Rebalance whenever the members change."""
        while True:
            await self._again.wait()
            self._again.clear()
            await self._rebalance()

    async def _rebalance(self):
        self.rebalancing = True
        await asyncio.sleep(0.01)
        waiting = [asyncio.ensure_future(member.give_up()) for _, member in sorted(self.members.items())]
        if waiting:
            await asyncio.wait(waiting, timeout=REBALANCE_S)
        for task in waiting:
            task.cancel()
        self.generation += 1
        self.rebalancing = False
        there = [member for _, member in sorted(self.members.items())]
        numbers = sorted(self._world.logs)
        self._world.note("generation", self.generation, [member.name for member in there])
        for k, member in enumerate(there):
            member.take(self.generation, numbers[k :: len(there)])

    def join(self, member):
        self.members[member.name] = member
        self._again.set()

    def leave(self, member):
        if self.members.get(member.name) is member:
            del self.members[member.name]
            self._again.set()

    def accepts(self, member, generation):
        if not self._world.checks_generations:
            return True
        return self.members.get(member.name) is member and generation == self.generation


def is_dead(offset):
    """Every tenth event or so gets a dead letter."""
    return offset % 11 == 7


@contextlib.contextmanager
def replaced(module, **names):
    """Put other things in a module's place for names."""
    kept = {name: getattr(module, name) for name in names}
    for name, value in names.items():
        setattr(module, name, value)
    try:
        yield
    finally:
        for name, value in kept.items():
            setattr(module, name, value)
