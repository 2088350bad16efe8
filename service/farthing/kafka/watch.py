"""Asks the brokers that a worker depends on whether they answer, whatever its other requests are waiting for.

The leaders of our partitions say where the logs end, unless a fetch has just said so; the group's coordinator says what
is committed; and any broker, which partitions the topics have. Each is asked by itself and on a connection of the
watch's own, so that a silent broker delays no other answer, neither here nor in the client that fetches.
"""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable, Hashable, Iterable, Mapping, Sequence
from functools import partial
from itertools import chain
from types import MappingProxyType
from typing import Final

from aiokafka.errors import KafkaError

from farthing.kafka.asking import Asking
from farthing.kafka.error_codes import error_of
from farthing.kafka.fetching import READ_COMMITTED, READ_UNCOMMITTED
from farthing.kafka.lag import LogEnd, LogEnds
from farthing.kafka.offsets import Partition
from farthing.kafka.settings import KafkaSettings

ASK_EVERY_S: Final = 0.5
ASK_LESS_OFTEN_S: Final = 2.0
"""For what fetches do not depend on."""

TOPICS_EVERY_S: Final = 4.0
"""For topics, whose description is the longest answer; their leaders are learnt with it."""

LONGEST_PAUSE_S: Final = 4.0
"""After failures: another connection to a silent broker would delay those to others."""

TIMEOUT_S: Final = 5.0
CLOSE_TIMEOUT_S: Final = 1.0
NO_COORDINATOR: Final = {14, 15, 16, 30}
"""Codes of a broker that is not the coordinator, has not loaded the group yet, or refuses this client."""


class BrokerWatch:
    """Knows who leads our partitions and those that we write to, and whether they and the coordinator answer.

    ``topics`` maps each source topic to those that its partitions are written to. ``assignment`` returns our
    partitions; their ends are noted in ``ends``. ``on_change`` is called when a topic has another number of partitions
    than before.
    """

    def __init__(
        self,
        settings: KafkaSettings,
        topics: Mapping[str, Sequence[str]],
        ends: LogEnds,
        *,
        assignment: Callable[[], Iterable[Partition]],
        on_change: Callable[[], object],
    ) -> None:
        self._settings = settings
        self._topics = topics
        self._ends = ends
        self._written_ends = LogEnds(time.monotonic)
        self._assignment = assignment
        self._on_change = on_change
        self._asking: Asking
        self._leaders: dict[Partition, int] = {}  # the last one that each had
        self._addresses: dict[int, str] = {}
        self._counts: dict[str, int] | None = None
        self._tasks: dict[Hashable, asyncio.Task[None]] = {}
        self._next: dict[Hashable, float] = {}
        self._problems: dict[Hashable, str] = {}
        self._failures: dict[Hashable, int] = {}
        self._refused: dict[Partition, str] = {}
        self._coordinator: int | None = None
        self.missing: Mapping[str, str] = MappingProxyType({})
        """Topics without partitions, and what a broker says of each."""
        self.coordinator_answers = 0

    @property
    def coordinator(self) -> str:
        """The group's coordinator, in words."""
        return "the coordinator" + ("" if self._coordinator is None else f", {self._name(self._coordinator)},")

    @property
    def coordinator_problem(self) -> str:
        """What was wrong when the coordinator was last asked; empty when nothing was."""
        return self._problems.get("coordinator", "")

    @property
    def written(self) -> list[Partition]:
        """The partitions that ours are written to."""
        return [(topic, number) for source, number in self._assignment() for topic in self._topics.get(source, ())]

    def answers(self, partition: Partition) -> int:
        """Count how often the leader of one of our partitions, or of one that we write to, has said where it ends."""
        return (self._ends if partition[0] in self._topics else self._written_ends).answers(partition)

    def leader(self, partition: Partition) -> tuple[str, str]:
        """Return a partition's leader, in words, and what was wrong when it was last asked."""
        node = self._leaders.get(partition)
        if node is None:
            return "the leader", self._problems.get("topics", "")
        return f"{self._name(node)}, the leader", self._refused.get(partition) or self._problem(node)

    async def run(self) -> None:
        """Ask until cancelled. Raises ConfigError when a certificate or a secret cannot be read."""
        self._asking = Asking(self._settings, TIMEOUT_S)
        try:
            while True:
                self._begin("topics", self._ask_for_topics, TOPICS_EVERY_S)
                if self._counts is not None:
                    self._begin("coordinator", self._ask_coordinator, ASK_LESS_OFTEN_S)
                    for node, partitions in self._stale(self._ends, self._assignment(), ASK_EVERY_S).items():
                        self._begin(node, partial(self._ask_for_ends, node, partitions), ASK_EVERY_S)
                    for node, partitions in self._stale(self._written_ends, self.written, ASK_LESS_OFTEN_S).items():
                        ask = partial(self._ask_for_written_ends, node, partitions)
                        self._begin(("written", node), ask, ASK_LESS_OFTEN_S)
                await asyncio.sleep(ASK_EVERY_S / 2)
        finally:
            for task in self._tasks.values():
                task.cancel()
            await asyncio.gather(*self._tasks.values(), return_exceptions=True)
            await self._asking.close(CLOSE_TIMEOUT_S)

    def _begin(self, key: Hashable, ask: Callable[[], Awaitable[None]], every_s: float) -> None:
        """Ask, unless the last time is too recent or still without an answer."""
        running = self._tasks.get(key)
        if time.monotonic() >= self._next.get(key, 0.0) and (running is None or running.done()):
            self._next[key] = time.monotonic() + every_s
            self._tasks[key] = asyncio.create_task(self._asked(key, ask))

    async def _asked(self, key: Hashable, ask: Callable[[], Awaitable[None]]) -> None:
        try:
            await ask()
            self._problems.pop(key, None)
            self._failures.pop(key, None)
        except (KafkaError, TimeoutError, OSError, ValueError, AssertionError) as error:  # aiokafka's of bad answers
            self._problems[key] = f"{type(error).__name__} {error}".removesuffix(" ")
            failures = self._failures[key] = self._failures.get(key, 0) + 1
            self._next[key] = time.monotonic() + min(ASK_EVERY_S * 2**failures, LONGEST_PAUSE_S)

    def _stale(self, ends: LogEnds, partitions: Iterable[Partition], after_s: float) -> dict[int, list[Partition]]:
        by_node: dict[int, list[Partition]] = defaultdict(list)
        for partition in ends.older_than(after_s, partitions):
            if partition in self._leaders:
                by_node[self._leaders[partition]].append(partition)
        return by_node

    async def _ask_for_topics(self) -> None:
        if self._counts is None or "topics" in self._problems:  # the brokers that were known may be gone
            await self._asking.connect()
        response = await self._asking.topics({*self._topics, *chain.from_iterable(self._topics.values())})
        self._addresses |= {row["node_id"]: f"{row['host']}:{row['port']}" for row in response["brokers"]}
        missing, counts = {}, {}
        for topic in response["topics"]:
            name, code, partitions = topic["name"], topic["error_code"], topic["partitions"]
            counts[name] = len(partitions)
            if code or not partitions:
                missing[name] = error_of(code).__name__ if code else ""
            for row in partitions:
                if row["leader_id"] >= 0:
                    self._leaders[name, row["partition_index"]] = row["leader_id"]
        if self._counts not in (None, counts):
            self._on_change()
        self.missing, self._counts = missing, counts

    async def _ask_for_ends(self, node: int, partitions: list[Partition]) -> None:
        before = {partition: self._ends.get(partition) for partition in partitions}
        readable = high = await self._list_ends(node, partitions, READ_UNCOMMITTED)
        if self._settings.isolation_level == "read_committed":
            readable = await self._list_ends(node, partitions, READ_COMMITTED)
        # What has been forgotten meanwhile may be another assignment's, or another log.
        known = [p for p, last in before.items() if p in high and p in readable and last == self._ends.get(p)]
        self._ends.asked({p: LogEnd(high[p], min(readable[p], high[p])) for p in known})

    async def _ask_for_written_ends(self, node: int, partitions: list[Partition]) -> None:
        ends = await self._list_ends(node, partitions, READ_UNCOMMITTED)
        self._written_ends.asked({partition: LogEnd(end, end) for partition, end in ends.items()})

    async def _list_ends(self, node: int, partitions: list[Partition], isolation: int) -> dict[Partition, int]:
        ends = {}
        answers = await self._asking.offsets(node, partitions, isolation=isolation)
        for partition, (code, offset) in answers.items():
            self._refused.pop(partition, None)
            if code:
                self._refused[partition] = error_of(code).__name__
            elif offset >= 0:
                ends[partition] = offset
        return ends

    async def _ask_coordinator(self) -> None:
        group, counts = self._settings.group_id, self._counts or {}
        if self._coordinator is None or "coordinator" in self._problems:
            self._coordinator = await self._asking.coordinator(group)
        first = {topic: [0] if counts.get(topic) else [] for topic in self._topics}
        codes, _ = await self._asking.committed(self._coordinator, group, first)
        refusals = codes & NO_COORDINATOR
        if refusals:
            raise error_of(min(refusals))
        self.coordinator_answers += 1

    def _problem(self, node: int) -> str:
        return self._problems.get(node) or self._problems.get(("written", node), "")

    def _name(self, node: int) -> str:
        address = self._addresses.get(node)
        return f"broker {node}" + ("" if address is None else f" ({address})")
