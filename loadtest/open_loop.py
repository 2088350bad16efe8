"""The generator of the latency test, a process of its own: an open loop in which every event has its intended time.

``python -m loadtest.open_loop`` reads one line of JSON (:class:`Plan`), prepares all requests and prints ``{"ready":
true}``. At the next line it begins to warm up, first with requests of one event as fast as they are answered (a broker
that has just started compiles its code by the number of calls), then at the rate. Here alone it waits for answers, so
that no queue is left of the time in which the broker was slow.

Then it prints ``{"begin_ns": ...}``, when measuring begins (by ``time.monotonic_ns``, which all processes share),
sends, and prints what it did. Nothing is encoded meanwhile, and nothing waits for an answer: a request goes out at its
time whatever the broker or the service does, or late, and then counts as late.

**Intended times** lie on a grid: what is due in the same tick is sent together. The events of a window are spread over
it independently of each other, as those of many users are (a Poisson process, given its number of events), so that
neither the worker nor the readers can fall into step with them. Events are keyed by user, a few of whom write most, and
a key has its partition. All of a partition's go over one connection, which keeps them in order: the n-th has offset n,
and that is how its score is recognized later.
"""

from __future__ import annotations

import gc
import json
import sys
import time
import zlib
from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final

import numpy as np
from loadtest.blocking import Address, BlockingConnection, frame_of
from loadtest.cpu import going_first
from loadtest.events import EventPool, made_up
from loadtest.histogram import counts_of

from farthing.blocks import Bytes
from farthing.errors import FarthingError
from farthing.kafka.protocol import PRODUCE
from farthing.wire import encode_records
from farthing.wire.write import seal

POOL: Final = 20_000  # different events, sent over and over
IDLE_WARM_UP_RATE: Final = 1_000
ACKS_ALL: Final = -1
ACK_TIMEOUT_MS: Final = 30_000
IN_FLIGHT: Final = 5  # requests without an answer while warming up, as producers have at most
AHEAD_NS: Final = 300_000_000  # from saying when measuring begins to the first event


@dataclass(frozen=True, slots=True)
class Plan:
    """What is sent: ``rate`` events a second to a topic, first to warm up and then to measure."""

    topic: str
    task: str
    rate: int  # 0: nothing is sent while measuring
    warm_up_s: float
    seconds: float
    partitions: int
    leaders: Mapping[int, Address]
    tick_ms: int
    heat_requests: int
    seed: int = 42

    @property
    def tick_ns(self) -> int:
        """Nanoseconds of a tick."""
        return self.tick_ms * 1_000_000

    @property
    def first_tick(self) -> int:
        """The tick at which measuring begins."""
        return round(self.warm_up_s * 1000 / self.tick_ms)

    @property
    def ticks(self) -> int:
        """Ticks in all."""
        return self.first_tick + round(self.seconds * 1000 / self.tick_ms)

    @property
    def warm_up_events(self) -> int:
        """Events that are sent at the rate before measuring begins; a worker is idle only after it has worked."""
        return round((self.rate or IDLE_WARM_UP_RATE) * self.warm_up_s)

    @property
    def measured_events(self) -> int:
        """Events whose latency is measured."""
        return round(self.rate * self.seconds)

    @property
    def events(self) -> int:
        """Events in all."""
        return self.heat_requests + self.warm_up_events + self.measured_events


def due_ticks(plan: Plan):
    """Give the tick at which each event is due, int64 (n,), ascending: the last ``measured_events`` are measured.

    Those of the first requests have negative ticks: they are sent as soon as they can be.
    """
    rng = np.random.default_rng(plan.seed)
    before = plan.first_tick if plan.rate else plan.first_tick // 2  # then the last ones are scored and committed
    warm_up = rng.integers(0, max(before, 1), plan.warm_up_events)
    measured = rng.integers(plan.first_tick, plan.ticks, plan.measured_events)
    return np.concatenate([np.arange(-plan.heat_requests, 0), np.sort(warm_up), np.sort(measured)])


def pool_of(plan: Plan) -> EventPool:
    """Make the events that are sent: the same in every process."""
    n = min(max(plan.events, 1), POOL)
    return made_up(plan.task, n, batch_events=n, seed=plan.seed)


def partitions_of(plan: Plan, pool: EventPool):
    """Give the partition of each event that is sent, int64 (n,): that of its key."""
    keys = [key or b"" for batch in pool.batches for _, key in batch.messages]
    numbers = np.array([zlib.crc32(key) % plan.partitions for key in keys], np.int64)
    return numbers[np.arange(plan.events) % len(numbers)]


@dataclass(frozen=True, slots=True)
class Request:
    """One Produce request, ready to be sent but for the time that its events bear."""

    tick: int
    leader: Address
    frame: bytearray
    batches: tuple[tuple[Bytes, int], ...]  # places in the frame, with the number of records in each
    partitions: tuple[int, ...]  # one for each batch

    @property
    def events(self) -> int:
        """Events in it."""
        return sum(count for _, count in self.batches)


def requests_of(plan: Plan) -> list[Request]:
    """Prepare all requests, in the order in which they are sent."""
    pool = pool_of(plan)
    messages = [message for batch in pool.batches for message in batch.messages]
    ticks, partitions = due_ticks(plan), partitions_of(plan, pool)
    order = np.lexsort((partitions, ticks))
    changes = np.flatnonzero(np.diff(ticks[order] * plan.partitions + partitions[order])) + 1
    requests: list[Request] = []
    waiting: dict[Address, dict[int, Bytes]] = {}
    counts: dict[int, int] = {}
    tick = 0

    def finish() -> None:
        for leader, batches in waiting.items():
            requests.append(_request(plan.topic, tick, len(requests), leader, batches, counts))
        waiting.clear()

    for group in np.split(order, changes) if len(order) else ():
        first = int(group[0])
        if ticks[first] != tick:
            finish()  # at the first one nothing waits
            tick = int(ticks[first])
        partition = int(partitions[first])
        counts[partition] = len(group)
        chosen = [messages[event % len(messages)] for event in group.tolist()]
        waiting.setdefault(plan.leaders[partition], {})[partition] = _batch(plan.topic, partition, chosen)
    finish()
    return requests


def _batch(topic: str, partition: int, messages: list[Any]) -> Bytes:
    (values, value_ends), (keys, key_ends) = (
        (np.frombuffer(bytearray(b"".join(parts)), np.uint8), np.cumsum([0, *map(len, parts)]))
        for parts in ([value or b"" for value, _ in messages], [key or b"" for _, key in messages])
    )
    times = np.zeros(len(messages), np.int64)
    return encode_records(topic, partition, values, value_ends, times, keys=(keys, key_ends)).data


def _request(
    topic: str, tick: int, number: int, leader: Address, batches: Mapping[int, Bytes], counts: Mapping[int, int]
) -> Request:
    rows = [{"index": partition, "records": batch.data} for partition, batch in batches.items()]
    body = {
        "transactional_id": None, "acks": ACKS_ALL, "timeout_ms": ACK_TIMEOUT_MS,
        "topic_data": [{"name": topic, "partition_data": rows}],
    }  # fmt: skip
    frame = frame_of(PRODUCE, body, number)
    whole = np.frombuffer(frame, np.uint8)
    # In this version a partition's number and the length of its batch come before it, and nothing comes after.
    at = len(frame) - sum(8 + len(batch) for batch in batches.values())
    views = []
    for partition, batch in batches.items():
        views.append((whole[at + 8 : at + 8 + len(batch)], counts[partition]))
        at += 8 + len(batch)
    return Request(tick, leader, frame, tuple(views), tuple(batches))


class Sender:
    """Sends requests in order, and reads their answers when there is time."""

    def __init__(self, plan: Plan) -> None:
        """Connect. Raises BrokerError."""
        self._plan = plan
        self._connections = {leader: BlockingConnection(leader) for leader in set(plan.leaders.values())}
        self._unanswered: deque[Request] = deque()
        self._ends: dict[int, int] = {}  # offset after the last event that was appended, by partition
        self._wall_ms = (time.time_ns() - time.monotonic_ns()) / 1e6
        self.wrong: str | None = None  # the first answer that is not as it should be

    def send(self, request: Request, due_ns: int) -> int:
        """Send at a time; gives when it was handed over. Both are of ``time.monotonic_ns``. Raises BrokerError."""
        at_ms = round(self._wall_ms + due_ns / 1e6)
        for batch, count in request.batches:
            seal(batch, 0, count, at_ms, at_ms)
        left_ns = due_ns - time.monotonic_ns()
        if left_ns > 0:
            time.sleep(left_ns / 1e9)
        connection = self._connections[request.leader]
        connection.send(request.frame)
        sent_ns = time.monotonic_ns()
        self._unanswered.append(request)
        connection.take_early()
        return sent_ns

    def settle(self, most: int) -> None:
        """Wait until at most so many requests have no answer. Raises BrokerError."""
        while len(self._unanswered) > most:
            request = self._unanswered.popleft()
            answer = self._connections[request.leader].response(PRODUCE)
            counts = dict(zip(request.partitions, (count for _, count in request.batches), strict=True))
            for row in (row for topic in answer["responses"] for row in topic["partition_responses"]):
                partition, end = row["index"], self._ends.get(row["index"], 0)
                if row["error_code"]:
                    self.wrong = self.wrong or (
                        f"the broker refused events for partition {partition} with Kafka's error {row['error_code']}"
                    )
                elif row["base_offset"] != end:
                    self.wrong = self.wrong or (
                        f"partition {partition} appended at offset {row['base_offset']} where {end} was next: who else "
                        "writes there?"
                    )
                self._ends[partition] = end + counts[partition]

    def close(self) -> None:
        """Close all connections."""
        for connection in self._connections.values():
            connection.close()


def send_all(requests: list[Request], plan: Plan) -> Iterator[dict[str, Any]]:
    """Warm up, send each request at its time; gives when measuring begins, and what was done.

    Raises
    ------
    BrokerError
        The broker cannot be reached, or does not answer in time.
    """
    sender = Sender(plan)
    hot, first = (sum(request.tick < tick for request in requests) for tick in (0, plan.first_tick))
    for request in requests[:hot]:
        sender.settle(IN_FLIGHT)
        sender.send(request, time.monotonic_ns())
    began_ns = time.monotonic_ns()
    for request in requests[hot:first]:
        sender.settle(IN_FLIGHT)
        sender.send(request, began_ns + request.tick * plan.tick_ns)
    sender.settle(0)
    left_ns = began_ns + plan.first_tick * plan.tick_ns - time.monotonic_ns()
    begin_ns = time.monotonic_ns() + max(left_ns, AHEAD_NS)
    yield {"begin_ns": begin_ns}
    measured = requests[first:]
    due_ns = [begin_ns + (request.tick - plan.first_tick) * plan.tick_ns for request in measured]
    cpu_s = time.process_time()
    sent_ns = [sender.send(request, due) for request, due in zip(measured, due_ns, strict=True)]
    cpu_s = time.process_time() - cpu_s
    sender.settle(0)
    sender.close()
    late_ns = np.array(sent_ns, np.int64) - np.array(due_ns, np.int64)
    late_us = np.repeat(late_ns, [request.events for request in measured]) // 1000
    yield {
        "sent": sum(request.events for request in requests), "late_us": list(counts_of(late_us).items()),
        "cpu_s": cpu_s, "sending_s": (sent_ns[-1] - begin_ns) / 1e9 if sent_ns else 0.0, "wrong": sender.wrong,
    }  # fmt: skip


def plan_line(plan: Plan) -> str:
    """Give a plan as the line that this process reads."""
    return json.dumps(asdict(plan) | {"leaders": list(plan.leaders.items())}) + "\n"


def main() -> int:
    """Read the plan, prepare, wait, send; errors are one line on standard error."""
    given = json.loads(sys.stdin.readline())
    leaders = {partition: (host, port) for partition, (host, port) in given.pop("leaders")}
    plan = Plan(**given, leaders=leaders)
    try:
        requests = requests_of(plan)
        for batch, count in requests[0].batches if requests else ():
            seal(batch, 0, count, 0, 0)  # loaded, or compiled, before it matters
        gc.collect()
        gc.freeze()
        gc.disable()
        print(json.dumps({"ready": True}), flush=True)
        if sys.stdin.readline():
            with going_first():
                for said in send_all(requests, plan):
                    print(json.dumps(said), flush=True)
    except FarthingError as error:
        sys.stderr.write(f"the generator: {error}\n")
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
