"""Reads a cell's topics for the oracle, with aiokafka's own decoder of record batches."""

import asyncio
import struct
from collections import defaultdict

from aiokafka.record.memory_records import MemoryRecords

from farthing.kafka import KafkaSettings, TopicReader
from farthing.meter.records import UsageRecord

from .events import checks
from .oracle import Answer, Commit, Due, History


async def batches(servers, topic):
    """Every data batch of a topic that a reader of committed events sees, in log order: (partition, batch)."""
    reader = TopicReader(KafkaSettings(bootstrap_servers=(servers,)), [topic])
    await reader.start()
    seen = defaultdict(int)
    try:
        async for part in reader.read():
            aborted = sorted(part.aborted, key=lambda row: row[1])
            records = MemoryRecords(bytes(part.data))
            open_ = set()
            while (batch := records.next_batch()) is not None:
                while aborted and aborted[0][1] <= batch.base_offset:
                    open_.add(aborted.pop(0)[0])
                if batch.is_control_batch:
                    open_.discard(batch.producer_id)
                    continue
                assert batch.validate_crc()
                if batch.producer_id in open_ and batch.is_transactional:
                    continue
                if batch.next_offset > seen[part.partition]:
                    seen[part.partition] = batch.next_offset
                    yield part.partition, batch
    finally:
        await reader.close()


async def read_source(servers, topic):
    """Every readable event: {(partition, offset): (name, key, value)}."""
    found = {}
    async for number, batch in batches(servers, topic):
        for record in batch:
            found[number, record.offset] = dict(record.headers)["name"].decode(), record.key, record.value
    return found


async def read_answers(servers, topic, header):
    """Every answer in a sink or dead-letter topic, with the batch and producer that it came in."""
    found = []
    async for number, batch in batches(servers, topic):
        producer = batch.producer_id, 0
        for record in batch:
            headers = {name: value for name, value in record.headers if name.startswith("farthing.")}
            said, whole = headers.get(header), headers.get("farthing.error.next_offset")
            found.append(Answer(
                None if said is None else (number, int(said)), record.key, record.value, producer, batch.base_offset,
                None if whole is None else int(whole), record.timestamp,
            ))  # fmt: skip
    return sorted(found, key=lambda answer: -1 if answer.place is None else answer.place[0])


async def read_commits(servers, group, topic):
    """Every position that a group committed in a topic, in the order of each partition."""
    found = []
    async for _, batch in batches(servers, "__consumer_offsets"):
        for record in batch:
            whose, where, partition = _key_of_commit(record.key)
            if (whose, where) == (group, topic) and record.value is not None:
                found.append(Commit(partition, struct.unpack_from(">q", record.value, 2)[0], record.timestamp))
    assert found, f"{group} has committed nothing"
    return found


def _key_of_commit(key):
    """Group, topic and partition of a record of ``__consumer_offsets`` (Kafka's OffsetCommitKey), if it is a commit."""
    if struct.unpack_from(">h", key)[0] > 1:
        return None, None, None  # a group's members
    at, names = 2, []
    for _ in range(2):
        (length,) = struct.unpack_from(">h", key, at)
        names.append(key[at + 2 : at + 2 + length].decode())
        at += 2 + length
    return *names, struct.unpack_from(">i", key, at)[0]


async def read_usage(servers, topic, source):
    """What the furthest usage records count, by partition: (scored, dead)."""
    furthest = {}
    async for _, batch in batches(servers, topic):
        for record in batch:
            if record.value is None:
                continue
            count = UsageRecord.decode(record.value)
            known = furthest.get(count.key)
            if count.topic == source and (known is None or count.next_offset > known.next_offset):
                furthest[count.key] = count
    found = defaultdict(lambda: (0, 0))
    for count in furthest.values():
        scored, dead = found[count.partition]
        found[count.partition] = scored + count.totals.scored, dead + count.totals.dead
    return dict(found)


async def read_history(service, scorer, acknowledged, *, usage_topic="farthing.usage", source=None):
    """Read everything that the oracle judges. ``source`` is given where the topic can no longer be read."""
    source = await read_source(service.servers, service.source) if source is None else source
    places, values = list(source), [value for _, _, value in source.values()]
    scored = await asyncio.to_thread(scorer.score_events, values)
    answers = iter(scored.values)
    due = {}
    for place, status, (_, key, value) in zip(places, scored.status.tolist(), source.values(), strict=True):
        assert checks(value) is not False, f"{place}: the source itself is damaged"
        due[place] = Due(key, value if status else next(answers), bool(status))
    return History(
        due,
        await read_answers(service.servers, service.sink, "farthing.offset"),
        await read_answers(service.servers, service.dead, "farthing.error.offset"),
        unwritten=sorted(acknowledged - {name for name, _, _ in source.values()}),
        usage=await read_usage(service.servers, usage_topic, service.source),
        commits=await read_commits(service.servers, service.group, service.source),
    )
