"""What a commit interval costs: one transaction of the worker (KIP-447), or one for each source partition.

``python loadtest/transactions.py --partitions 32`` starts Apache Kafka (or uses FARTHING_KAFKA_BOOTSTRAP), writes one
small batch to each partition and ends the interval with the offsets of all, in both ways in turn; it prints the medians
of wall time, own CPU and the broker's CPU (where the broker is ours).
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import statistics
import time
import uuid

import numpy as np

from farthing.commands.flags import argument, within
from farthing.kafka import KafkaSettings
from farthing.kafka.client import connect, disconnect, leader_of, make_client, refresh_metadata
from farthing.kafka.frames import Frames
from farthing.kafka.membership import Member
from farthing.kafka.topics import RouteTopicNames, create_topics
from farthing.kafka.transactions import Transactions
from farthing.local.broker import ApacheKafka, external_broker
from farthing.wire import encode_records, stamp_producer

TIMEOUT_S = 30
NO_GENERATION = -1  # of a group that nobody is a member of: its offsets may be committed by anyone


class Writer:
    """What a transactional producer does, in small: one batch at a time, with its sequence."""

    def __init__(self, client, transactional_id, timeout_ms=60_000):
        self.id = transactional_id
        self.client = client
        self.frames = Frames(client, group=uuid.uuid4().hex)
        self.transactions = Transactions(
            client, transactional_id, transaction_timeout_ms=timeout_ms, timeout_s=TIMEOUT_S
        )
        self.identity = None
        self.sequences = {}

    async def begin(self):
        """Take the id, whoever had it."""
        self.identity = await self.transactions.begin()
        self.sequences = {}

    async def write(self, topic, partition, *values):
        """Write one batch in the transaction; gives the broker's error code."""
        await self.transactions.add([(topic, partition)])
        data, indptr = np.frombuffer(b"".join(values), np.uint8), np.cumsum([0, *map(len, values)], dtype=np.int64)
        batch = encode_records(topic, partition, data, indptr, np.full(len(values), 1_700_000_000_000, np.int64))
        sequence = self.sequences.get((topic, partition), 0)
        stamp_producer(batch.data, self.identity.producer_id, self.identity.epoch, sequence, transactional=True)
        self.sequences[topic, partition] = sequence + len(values)
        node = leader_of(self.client, (topic, partition))
        response = await self.frames.produce(node, [batch], 10_000, self.id)
        return response.topics[0][1][0].error_code


def cpu_s(pid):
    """CPU seconds of another process; 0 where nobody says."""
    try:
        with open(f"/proc/{pid}/stat") as file:
            found = file.read().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(found[11]) + int(found[12])) / os.sysconf("SC_CLK_TCK")


async def measure(servers, broker_pid, partitions, turns):
    """Run both ways in turn; gives the medians of each, in milliseconds."""
    unique = uuid.uuid4().hex[:6]
    source, sink, dead = (f"{unique}.{kind}" for kind in ("events", "scores", "dead"))
    settings = KafkaSettings(bootstrap_servers=servers)
    await create_topics(settings, [RouteTopicNames(source, sink, dead)], partitions=partitions, replication_factor=1)
    client = make_client(settings)
    await connect(client, [source, sink, dead])
    async with asyncio.timeout(TIMEOUT_S):
        while any(leader_of(client, (sink, number)) is None for number in range(partitions)):
            await refresh_metadata(client)
            await asyncio.sleep(0.1)
    member = Member(f"g-{unique}", NO_GENERATION, "", None)
    worker = Writer(client, f"{unique}.worker")
    each = [Writer(client, f"{unique}.{number}") for number in range(partitions)]
    for writer in (worker, *each):
        # All ask on the same connections, as they would in one worker.
        writer.frames, writer.transactions._frames = worker.frames, worker.transactions._frames
        await writer.begin()
    value = b"x" * 100

    async def one():
        await worker.transactions.add([(sink, number) for number in range(partitions)])
        for number in range(partitions):
            assert await worker.write(sink, number, value) == 0
        assert await worker.transactions.commit({(source, number): 1 for number in range(partitions)}, {}, member)

    async def many():
        async def end(number):
            assert await each[number].write(sink, number, value) == 0
            assert await each[number].transactions.commit({(source, number): 1}, {}, member)

        await asyncio.gather(*map(end, range(partitions)))

    taken = {"one a worker": [], "one a partition": []}
    for turn in range(turns + 3):
        for name, interval in (("one a worker", one), ("one a partition", many)):
            began = time.perf_counter(), time.process_time(), cpu_s(broker_pid)
            await interval()
            ended = time.perf_counter(), time.process_time(), cpu_s(broker_pid)
            if turn >= 3:  # the first are slower
                taken[name].append([1e3 * (b - a) for a, b in zip(began, ended, strict=True)])
    await disconnect(client, 5)
    return {
        name: {
            "wall_ms": round(statistics.median(wall), 1), "own_cpu_ms": round(statistics.median(own), 1),
            "broker_cpu_ms": round(statistics.mean(broker), 1),
        }
        for name, (wall, own, broker) in ((name, list(zip(*rows, strict=True))) for name, rows in taken.items())
    }  # fmt: skip


def main():
    """Read the arguments, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    count = argument(int, within(1))
    parser.add_argument("--partitions", type=count, default=32)
    parser.add_argument("--turns", type=count, default=30)
    options = parser.parse_args()
    with external_broker() or ApacheKafka() as broker:
        pid = broker.process.pid if isinstance(broker, ApacheKafka) else 0
        work = measure((broker.bootstrap_servers,), pid, options.partitions, options.turns)
        print(json.dumps({"partitions": options.partitions, **asyncio.run(work)}))


if __name__ == "__main__":
    main()
