"""A process that scores hostile fetches as the pipeline does, without a broker, and says how much memory it took.

    python -m tests.serving.hungry BUNDLE FOLDER SCENARIO...

A scenario is NAME:PARTITIONS: each partition's log repeats the record batch in FOLDER/NAME. Prints one JSON object:
bytes at rest, at most, and the blocks and seconds of each scenario.
"""

import json
import struct
import sys
import time
from pathlib import Path

from farthing.blocks import FetchedPartition
from farthing.kafka import KafkaSettings
from farthing.model.scorer import Scorer
from farthing.process.memory import keep_freed_memory
from farthing.serving.backlog import Backlog
from farthing.serving.route import Route, RouteTopics
from farthing.wire import layout, next_fetch_offset

MOST_BLOCKS = 8
SETTINGS = KafkaSettings()


def status(name):
    """A line of /proc/self/status, in bytes."""
    lines = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return int(lines[name].split()[0]) << 10


class Broker:
    """Logs that never end; answers a fetch as Kafka does: one frame, whole batches, one at least."""

    def __init__(self, batch, partitions):
        self.batch = batch
        self.step = struct.unpack_from(">i", batch, layout.LAST_OFFSET_DELTA)[0] + 1
        self.positions = dict.fromkeys(range(partitions), 0)

    def fetch(self, left_out):
        pieces, sizes = [], {}
        size = len(self.batch)
        for number, position in self.positions.items():
            room = min(SETTINGS.max_partition_fetch_bytes, SETTINGS.fetch_max_bytes - sum(sizes.values()))
            times = max(room // size, 0 if sizes else 1)
            if ("e", number) in left_out or not times:
                continue
            base = position // self.step * self.step
            pieces += [struct.pack(">q", base + k * self.step) + self.batch[8:] for k in range(times)]
            sizes[number] = times * size
        frame = memoryview(bytearray().join(pieces))
        parts, at = [], 0
        for number, length in sizes.items():
            data = frame[at : at + length]
            parts.append(FetchedPartition("e", number, self.positions[number], 1 << 60, data))
            self.positions[number] = next_fetch_offset(data, self.positions[number])
            at += length
        return parts


def attack(route, batch, partitions):
    """Score as the pipeline does: a block scored, the one before acknowledged, a fetch coming."""
    broker, backlog, begun = Broker(batch, partitions), Backlog(SETTINGS.fetch_max_bytes), {}
    coming, before, began, longest = broker.fetch(()), None, time.monotonic(), 0.0
    for _ in range(MOST_BLOCKS):
        if backlog.has_room():
            backlog.add(coming)
            coming = broker.fetch(backlog.left_out())
        taken = []
        for unread in backlog.next_of("e"):
            number = unread.partition[1]
            if unread.next_offset == begun.get(number, 0):
                taken.append(unread)
            else:
                backlog.drop([unread.partition])
                broker.positions[number] = begun.get(number, 0)
        block_began = time.monotonic()
        answer = route.answer(taken)
        longest = max(longest, time.monotonic() - block_began)
        for segment in answer.segments:
            begun[segment.partition] = segment.next_offset if segment.fault is None else segment.fault.next_offset
        for partition in backlog.settle(taken):
            broker.positions[partition[1]] = begun.get(partition[1], 0)
        before, answer = answer, before  # the older one is acknowledged
    return {"seconds": round(time.monotonic() - began, 1), "longest": round(longest, 2), "events": sum(begun.values())}


def main(bundle, folder, *scenarios):
    """Run the scenarios one after another in this process."""
    keep_freed_memory()
    route = Route(RouteTopics("e", "s", "d"), Scorer.load(bundle).stages)
    route.warm()
    batches = {name: (Path(folder) / name).read_bytes() for name in {one.split(":")[0] for one in scenarios}}
    found = {"at_rest": status("VmRSS"), "scenarios": {}}
    Path("/proc/self/clear_refs").write_text("5")  # the highest so far, compiling included, is not what is asked
    for scenario in scenarios:
        name, partitions = scenario.split(":")
        found["scenarios"][scenario] = attack(route, batches[name], int(partitions))
        found["scenarios"][scenario]["peak"] = status("VmHWM")
    print(json.dumps({**found, "at_most": status("VmHWM")}))


if __name__ == "__main__":
    main(*sys.argv[1:])
