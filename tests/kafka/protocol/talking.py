"""A broker asked in every version of every API that both it and the tables know, over a plain socket."""

import asyncio
import contextlib
import struct
import time
import uuid

import numpy as np

from farthing.kafka.protocol import (
    ADD_OFFSETS_TO_TXN,
    ADD_PARTITIONS_TO_TXN,
    API_VERSIONS,
    DELETE_RECORDS,
    DESCRIBE_CONFIGS,
    DESCRIBE_GROUPS,
    END_TXN,
    FETCH,
    FIND_COORDINATOR,
    INIT_PRODUCER_ID,
    LEAVE_GROUP,
    LIST_OFFSETS,
    METADATA,
    OFFSET_COMMIT,
    OFFSET_FETCH,
    OFFSET_FOR_LEADER_EPOCH,
    PRODUCE,
    TXN_OFFSET_COMMIT,
    decode,
    encode,
)
from farthing.wire import encode_records

TOPIC_RESOURCE, GROUP, TRANSACTION = 2, 0, 1
UNKNOWN_MEMBER_ID = 25
RETRIED = {3, 5, 14, 15, 16, 51, 105}  # a topic or a coordinator that is not there yet, a transaction that ends


def one_batch(count=3):
    values = [b"%d" % k for k in range(count)]
    now = np.full(count, time.time_ns() // 1_000_000)
    batch = encode_records("t", 0, np.frombuffer(b"".join(values), np.uint8), np.arange(count + 1), now)
    return batch.data.tobytes()


class Talk:
    """One connection. ``frames`` keeps (api, version, request, response) of all that was said, as bytes."""

    def __init__(self, reader, writer):
        self._reader, self._writer = reader, writer
        self._id = 0
        self.spoken = {}
        self.frames = []

    async def ask(self, api, version, **body):
        """Ask once; the response."""
        self._id += 1
        request = b"".join(map(bytes, encode(api, version, body, correlation_id=self._id, client_id="talk")))
        self._writer.write(struct.pack(">i", len(request)) + request)
        (size,) = struct.unpack(">i", await self._reader.readexactly(4))
        response = await self._reader.readexactly(size)
        self.frames.append((api, version, request, response))
        return decode(api, version, memoryview(response))

    async def settled(self, api, version, **body):
        """Ask until no code in the response is one that passes; then there must be none."""
        deadline = time.monotonic() + 60
        while (codes := set(codes_in(found := await self.ask(api, version, **body)))) & RETRIED:
            self.frames.pop()
            assert time.monotonic() < deadline, (api, version, found)
            await asyncio.sleep(0.1)
        assert codes <= {0}, (api, version, found)
        return found

    def versions(self, api):
        first, last = self.spoken.get(api.key, (1, 0))
        return range(max(first, api.versions.first), min(last, api.versions.last) + 1)


def codes_in(message):
    """Every error code, wherever it is."""
    for name, value in message.items():
        if name.endswith("error_code"):
            yield value
        for one in value if isinstance(value, list) else [value]:
            if isinstance(one, dict):
                yield from codes_in(one)


@contextlib.asynccontextmanager
async def talking(servers):
    host, _, port = servers.partition(":")
    reader, writer = await asyncio.open_connection(host, int(port), limit=1 << 22)
    talk = Talk(reader, writer)
    found = await talk.ask(API_VERSIONS, 0)
    talk.spoken = {row["api_key"]: (row["min_version"], row["max_version"]) for row in found["api_keys"]}
    try:
        yield talk
    finally:
        writer.close()
        await writer.wait_closed()


async def say_everything(talk, topic):
    """Go through every version of every API. ``topic`` exists, with one partition and nothing in it."""
    for version in talk.versions(API_VERSIONS):
        await talk.settled(API_VERSIONS, version, client_software_name="talk", client_software_version="1")
    for version in talk.versions(METADATA):
        found = await talk.settled(METADATA, version, topics=[{"name": topic}], allow_auto_topic_creation=version < 4)
        (row,) = found["topics"]
        assert (row["name"], len(row["partitions"])) == (topic, 1)
    topic_id, epoch = row["topic_id"], row["partitions"][0]["leader_epoch"]
    end = await _records(talk, topic, topic_id)
    await _logs(talk, topic, epoch, end)
    group = f"g-{uuid.uuid4().hex[:8]}"
    await _groups(talk, topic, group)
    await _transactions(talk, topic, f"{group}-txn")
    for version in talk.versions(DELETE_RECORDS):
        partitions = [{"partition_index": 0, "offset": version + 1}]
        await talk.settled(DELETE_RECORDS, version, topics=[{"name": topic, "partitions": partitions}], timeout_ms=9000)


async def _records(talk, topic, topic_id):
    end = 0
    for version in talk.versions(PRODUCE):
        if version < 3:
            continue
        data = [{"name": topic, "topic_id": topic_id, "partition_data": [{"index": 0, "records": one_batch()}]}]
        found = await talk.settled(PRODUCE, version, acks=-1, timeout_ms=9000, topic_data=data)
        assert found["responses"][0]["partition_responses"][0]["base_offset"] == end
        end += 3
    for version in talk.versions(FETCH):
        partitions = [{"partition": 0, "fetch_offset": 1, "partition_max_bytes": 100}]
        asked = [{"topic": topic, "topic_id": topic_id, "partitions": partitions}]
        found = await talk.settled(FETCH, version, max_wait_ms=0, min_bytes=0, isolation_level=1, topics=asked)
        (row,) = found["responses"][0]["partitions"]
        assert (row["high_watermark"], row["last_stable_offset"], len(row["records"]) > 60) == (end, end, True)
    return end


async def _logs(talk, topic, epoch, end):
    for version in talk.versions(LIST_OFFSETS):
        for timestamp, expected in ((-2, 0), (-1, end)):
            partitions = [{"partition_index": 0, "timestamp": timestamp}]
            asked = [{"name": topic, "partitions": partitions}]
            found = await talk.settled(LIST_OFFSETS, version, replica_id=-1, topics=asked)
            assert found["topics"][0]["partitions"][0]["offset"] == expected
    for version in talk.versions(OFFSET_FOR_LEADER_EPOCH):
        asked = [{"topic": topic, "partitions": [{"partition": 0, "leader_epoch": epoch}]}]
        found = await talk.settled(OFFSET_FOR_LEADER_EPOCH, version, topics=asked)
        assert found["topics"][0]["partitions"][0]["end_offset"] == end
    for version in talk.versions(DESCRIBE_CONFIGS):
        asked = [{"resource_type": TOPIC_RESOURCE, "resource_name": topic, "configuration_keys": ["max.message.bytes"]}]
        found = await talk.settled(DESCRIBE_CONFIGS, version, resources=asked, include_synonyms=True)
        (row,) = found["results"][0]["configs"]
        assert (row["name"], int(row["value"]) > 0) == ("max.message.bytes", True)


async def _groups(talk, topic, group):
    for version in talk.versions(FIND_COORDINATOR):
        one = {"key": group} if version < 4 else {"coordinator_keys": [group]}
        found = await talk.settled(FIND_COORDINATOR, version, **one, **({"key_type": GROUP} if version else {}))
        assert (found if version < 4 else found["coordinators"][0])["port"] > 0
    for version in talk.versions(OFFSET_COMMIT):
        partitions = [{"partition_index": 0, "committed_offset": version, "committed_metadata": f"v{version}"}]
        asked = [{"name": topic, "partitions": partitions}]
        await talk.settled(OFFSET_COMMIT, version, group_id=group, topics=asked)
    for version in talk.versions(OFFSET_FETCH):
        asked = {"group_id": group, "topics": [{"name": topic, "partition_indexes": [0]}]}
        body = asked if version < 8 else {"groups": [asked]}
        found = await talk.settled(OFFSET_FETCH, version, **body, **({"require_stable": True} if version >= 7 else {}))
        (row,) = (found if version < 8 else found["groups"][0])["topics"][0]["partitions"]
        assert row["metadata"] == f"v{row['committed_offset']}"
    for version in talk.versions(DESCRIBE_GROUPS):
        wanted = {"include_authorized_operations": True} if version >= 3 else {}
        found = await talk.settled(DESCRIBE_GROUPS, version, groups=[group], **wanted)
        assert (found["groups"][0]["group_id"], found["groups"][0]["members"]) == (group, [])
    for version in talk.versions(LEAVE_GROUP):
        nobody = {"member_id": "nobody"}
        found = await talk.ask(
            LEAVE_GROUP, version, group_id=group, **(nobody if version < 3 else {"members": [nobody]})
        )
        assert set(codes_in(found)) - {0} == {UNKNOWN_MEMBER_ID}


async def _transactions(talk, topic, name):
    for version in talk.versions(INIT_PRODUCER_ID):
        await talk.settled(INIT_PRODUCER_ID, version, transactional_id=None, transaction_timeout_ms=9000)
    await talk.settled(FIND_COORDINATOR, 4, coordinator_keys=[name], key_type=TRANSACTION)  # makes its topic
    init = talk.versions(INIT_PRODUCER_ID)[-1]
    group = f"{name}-group"
    for version in range(6):
        by = await talk.settled(INIT_PRODUCER_ID, init, transactional_id=name, transaction_timeout_ms=9000)
        who = {"transactional_id": name, "producer_id": by["producer_id"], "producer_epoch": by["producer_epoch"]}
        if version in talk.versions(ADD_PARTITIONS_TO_TXN):
            topics = [{"name": topic, "partitions": [0]}]
            below = {f"v3_and_below_{k}": v for k, v in (who | {"topics": topics}).items()}
            body = below if version < 4 else {"transactions": [who | {"topics": topics}]}
            await talk.settled(ADD_PARTITIONS_TO_TXN, version, **body)
        if version in talk.versions(ADD_OFFSETS_TO_TXN):
            await talk.settled(ADD_OFFSETS_TO_TXN, version, **who, group_id=group)
        if version in talk.versions(TXN_OFFSET_COMMIT):
            partitions = [{"partition_index": 0, "committed_offset": version, "committed_metadata": None}]
            asked = [{"name": topic, "partitions": partitions}]
            await talk.settled(TXN_OFFSET_COMMIT, version, **who, group_id=group, topics=asked)
        if version in talk.versions(END_TXN):
            await talk.settled(END_TXN, version, **who, committed=True)
