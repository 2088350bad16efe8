"""What comes out, as another client reads it: every codec, with the event's key and timestamp and its offset."""

import struct
import time

import pytest
from aiokafka import AIOKafkaProducer

from farthing.kafka.protocol import FETCH

from .looping import looping, make_route
from .running import event, offset_of

pytestmark = pytest.mark.kafka

HOUR_AGO_MS = time.time_ns() // 1_000_000 - 3_600_000  # an old one would be deleted by the log's retention
CODECS = ("none", "gzip", "snappy", "lz4", "zstd")
NO_TEXT = b'{"id":1}'  # a dead letter


async def codecs_of(service, topic, raw):
    """The codecs of the topic's batches, as the broker keeps them; ``raw`` fetches a partition's bytes."""
    found = set()
    for partition in range(service.partitions):
        data = await raw(topic, partition)
        at = 0
        while at + 61 <= len(data):
            (length,) = struct.unpack_from(">i", data, at + 8)
            found.add(CODECS[struct.unpack_from(">h", data, at + 21)[0] & 7])
            at += 12 + length
    return found


async def test_every_codec_is_readable_and_carries_key_timestamp_and_offset(apache_kafka, make_service):
    services = {codec: make_service(apache_kafka, partitions=2) for codec in CODECS}
    group = services["none"].group
    for service in services.values():
        service.group = group
        await service.create_topics()
    producer = AIOKafkaProducer(bootstrap_servers=apache_kafka.bootstrap_servers)
    await producer.start()
    sent = {}
    for codec, service in services.items():
        for n in range(60):
            key = None if n % 3 == 0 else b"" if n % 3 == 1 else f"key {n} \xff".encode("latin-1")
            headers = [("trace", b"abc"), ("empty", b""), ("null", None)] if n % 2 else []
            value = NO_TEXT if n % 10 == 9 else event(f"{codec} {n}", f"comment {n} " * (n % 7))
            meta = await producer.send(
                service.source, value, key=key, headers=headers, partition=n % 2, timestamp_ms=HOUR_AGO_MS + 7 * n
            )
            sent[codec, n] = (meta, key, headers, value)
    await producer.flush()
    places = {}
    for (codec, n), (meta, key, headers, value) in sent.items():
        done = await meta
        places[codec, done.partition, done.offset] = (key, headers, value, HOUR_AGO_MS + 7 * n)
    await producer.stop()

    routes = [make_route(service, compression=codec) for codec, service in services.items()]
    async with looping(services["none"], *routes) as loop:
        await loop.commits_all(*services.values())

        async def raw(topic, partition):
            rows = [{"partition": partition, "fetch_offset": 0, "partition_max_bytes": 1 << 22}]
            body = {"max_wait_ms": 500, "min_bytes": 1, "topics": [{"topic": topic, "partitions": rows}]}
            node = loop.consumer._membership.client.get_random_node()
            answer = await loop.consumer._frames.request(node, FETCH, body, 10, at_most=12)
            return bytes(answer["responses"][0]["partitions"][0]["records"])

        for codec, service in services.items():
            assert await codecs_of(service, service.sink, raw) == {codec}
            assert await codecs_of(service, service.dead, raw) == {codec}
    loop.task.result()

    for codec, service in services.items():
        scores = await service.read(service.sink, 54)
        dead = await service.read(service.dead, 6)
        assert (len(scores), len(dead)) == (54, 6)
        seen = set()
        for record in scores:
            key, _, value, timestamp = places[codec, record.partition, offset_of(record)]
            assert (record.key, record.timestamp) == (key, timestamp)
            assert record.timestamp_type == 0  # CreateTime
            assert [name for name, _ in record.headers] == ["farthing.offset"]
            assert value != NO_TEXT
            seen.add((record.partition, offset_of(record)))
        for record in dead:
            added = {name: value.decode() for name, value in record.headers if name.startswith("farthing.error.")}
            offset = int(added["farthing.error.offset"])
            key, headers, value, timestamp = places[codec, record.partition, offset]
            assert (record.key, record.value, record.timestamp) == (key, value, timestamp)
            assert list(record.headers)[: len(headers)] == headers  # as they came, before ours
            assert added["farthing.error.reason"] == "missing_field"
            seen.add((record.partition, offset))
        assert len(seen) == 60
