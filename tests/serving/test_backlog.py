"""Partitions take turns, nothing is lost or repeated, and what waits is bounded, however well batches are compressed."""

import random

import pytest

from farthing.blocks import FetchedPartition
from farthing.limits import MAX_STREAMS
from farthing.serving.backlog import Backlog
from farthing.wire import Arena, Limits, codec, decode, layout, next_fetch_offset
from tests.wire.test_decode import CODECS
from tests.wire.test_pieces import batch, batch_of, pack, record

FETCH_BYTES = 200_000
LIMITS = Limits(100_000, 200_000)


class World:
    """Logs, and a loop as the pipeline's: fetches what is not left out, makes a block, and notes what was in it."""

    def __init__(self, logs):
        self.logs = dict(enumerate(logs))
        self.backlog = Backlog(FETCH_BYTES)
        self.positions = dict.fromkeys(self.logs, 0)
        self.begun = dict.fromkeys(self.logs, 0)
        self.offsets = {number: [] for number in self.logs}
        self.arena = Arena()
        self.blocks = 0
        self.most_held = self.most_open = self.fetched = 0
        self.finished_at = {}

    def fetch(self):
        parts = []
        left_out = self.backlog.left_out()
        numbers = sorted(
            self.logs, key=lambda number: (number - self.blocks) % len(self.logs)
        )  # in turn, as brokers do
        for number in numbers:
            log, position = self.logs[number], self.positions[number]
            if ("t", number) in left_out or sum(len(part.data) for part in parts) >= FETCH_BYTES:
                continue
            data, size = b"", 0
            for _, raw, following in log:
                if following > position:
                    if data and size + len(raw) > FETCH_BYTES // 4:
                        break
                    data += raw
                    size += len(raw)
            if data:
                parts.append(FetchedPartition("t", number, position, 1 << 40, memoryview(bytearray(data))))
                self.positions[number] = next_fetch_offset(data, position)
        self.fetched += sum(len(part.data) for part in parts)
        return parts

    def step(self):
        backlog = self.backlog
        if backlog.has_room():
            backlog.add(self.fetch())
        taken = []
        for unread in backlog.next_of("t"):
            if unread.next_offset == self.begun[unread.partition[1]]:
                taken.append(unread)
            else:
                self.go_back(unread.partition)
        block = decode(taken, self.arena, LIMITS)
        self.blocks += 1
        for segment in block.segments:
            assert segment.fault is None
            assert segment.first_offset == self.begun[segment.partition]
            self.begun[segment.partition] = segment.next_offset
            self.offsets[segment.partition] += block.offsets[segment.start : segment.stop].tolist()
            if segment.next_offset == self.logs[segment.partition][-1][2]:
                self.finished_at[segment.partition] = self.blocks
        for partition in backlog.settle(taken):
            self.go_back(partition)
        waiting = [unread for queue in backlog._queues.values() for unread in queue]
        self.most_open = max(self.most_open, sum(unread.is_kept_open for unread in waiting))
        self.most_held = max(self.most_held, sum(unread.held_bytes for unread in waiting))

    def go_back(self, partition):
        self.backlog.drop([partition])
        self.positions[partition[1]] = self.begun[partition[1]]

    def run(self, most_blocks):
        while any(self.begun[number] < log[-1][2] for number, log in self.logs.items()):
            self.step()
            assert self.blocks < most_blocks, self.begun
        for number, log in self.logs.items():
            assert self.offsets[number] == list(range(log[-1][2]))


def log_of(*batches):
    found, offset = [], 0
    for values, number in batches:
        raw = batch(offset, values, number)
        found.append((offset, raw, offset + len(values)))
        offset += len(values)
    return found


def small(number=0, batches=3):
    return log_of(*[([b"event %d" % k for k in range(20)], number)] * batches)


def large(number, times=40):
    """A batch of 4 MB unpacked, which is forty blocks."""
    return log_of(([b"x" * 1000] * (100 * times), number))


@pytest.mark.parametrize("number", CODECS[1:])
def test_a_batch_of_many_blocks_does_not_make_others_wait(number):
    world = World([large(number), small(), small(number), *[small(batches=40)] * 3])
    world.run(100)
    assert max(world.finished_at[k] for k in range(1, 6)) <= 10 < 15 < world.finished_at[0]


def test_partitions_take_turns():
    """Forty partitions, each with ten blocks to give: none is far ahead of another."""
    world = World([log_of(*[([b"e" * 900] * 20, 0)] * 50) for _ in range(40)])
    for _ in range(120):
        world.step()
    progress = sorted(world.begun.values())
    assert progress[-1] <= 3 * progress[0] > 0
    assert world.most_held <= 3 * FETCH_BYTES
    world.run(1000)


def test_few_decompressors_are_kept_and_the_other_partitions_come_later():
    world = World([large(1 + k % 4, times=10) for k in range(3 * MAX_STREAMS)] + [small()])
    world.run(2000)
    assert world.most_open == MAX_STREAMS
    assert world.finished_at[3 * MAX_STREAMS] <= 10 < world.blocks
    assert world.fetched < 4 * sum(len(raw) for log in world.logs.values() for _, raw, _ in log)  # not again and again


def test_a_block_does_not_try_one_large_batch_after_another(monkeypatch):
    """Each try unpacks as much as a block may have; a thousand of them would hold the worker up for seconds."""
    tries = []
    unpack = codec.decompress_into
    monkeypatch.setattr(codec, "decompress_into", lambda *given: tries.append(1) or unpack(*given))
    world = World([large(4, times=2)] * 60)
    most = 0
    while any(world.begun[number] < log[-1][2] for number, log in world.logs.items()):
        tries.clear()
        world.step()
        most = max(most, len(tries))
    assert most <= 2 * MAX_STREAMS + 1


def test_what_waits_is_bounded_when_every_fetch_unpacks_to_many_blocks():
    rng = random.Random(3)
    values = [bytes([rng.randrange(97, 123)]) * 400 + b"%d" % k for k in range(400)]
    world = World([log_of(*[(values, 4)] * 25) for _ in range(5)])
    world.run(2000)
    assert world.most_held <= 2 * FETCH_BYTES + MAX_STREAMS * FETCH_BYTES


@pytest.mark.parametrize("seed", range(20))
def test_any_mixture_is_delivered_once_and_in_order(seed):
    rng = random.Random(seed)
    logs = []
    for _ in range(rng.randrange(1, 9)):
        sizes = [(rng.choice([1, 3, 200, 3000]), rng.choice([0, 10, 500, 9000]), rng.choice(CODECS)) for _ in range(9)]
        logs.append(log_of(*[([b"v" * min(size, 300_000 // n)] * n, number) for n, size, number in sizes]))
    world = World(logs)
    for _ in range(rng.randrange(30)):
        world.step()
    if rng.random() < 0.5:  # the broker failed: back to what was acknowledged
        world.backlog.clear()
        world.positions = dict(world.begun)
    world.run(5000)


def test_a_batch_that_says_fewer_records_than_it_has_is_stopped_at_once():
    """It would unpack to 2 GiB of good records."""
    body = record(0, b"x" * 60)
    packed = pack(4, body * 200_000)
    raw = batch_of(0, 5, 4, packed, 4)
    arena = Arena()
    backlog = Backlog(FETCH_BYTES)
    backlog.add([FetchedPartition("t", 0, 0, 1 << 40, raw)])
    (unread,) = backlog.next_of("t")
    (segment,) = decode([unread], arena, LIMITS).segments
    assert segment.fault is not None
    assert segment.next_offset == segment.fault.first_offset <= 4
    assert len(arena.buffer) < 2 << 20
    assert layout.HEADER_BYTES < len(raw) < 100_000
