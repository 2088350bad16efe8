"""Batches that unpack to more than a block may have are scored in pieces; a record that is too long is a dead letter."""

import hashlib
import json
import time

import numpy as np
import pytest

from farthing.kafka import BatchProducer, KafkaSettings
from farthing.wire import encode_records

from .running import offset_of, scorer

pytestmark = pytest.mark.kafka

SIZES = {"gzip": 5_000, "snappy": 5_000, "lz4": 5_000, "zstd": 12_000}  # events of 4,000 bytes: 20 and 48 MB
LONG_BYTES = 40_000_000


def long_text(n, size):
    return json.dumps({"text": (f"number {n} " * (size // 8))[:size]}).encode()


async def send_batch(producer, topic, partition, values, codec):
    data, now = np.frombuffer(b"".join(values), np.uint8), np.full(len(values), time.time_ns() // 1_000_000)
    indptr = np.cumsum([0, *map(len, values)])
    batch = encode_records(topic, partition, data, indptr, now, compression=codec)
    await producer.send([batch])
    return len(batch.data)


async def test_a_batch_of_48_mb_is_scored_and_only_a_record_can_be_too_large(apache_kafka, make_service):
    service = make_service(apache_kafka, partitions=4)
    await service.create_topics(**{"max.message.bytes": 8_000_000})
    producer = BatchProducer(KafkaSettings(bootstrap_servers=(service.servers,)))
    await producer.start()
    values = [[long_text(k, 3_980) for k in range(n)] for n in SIZES.values()]
    for partition, codec in enumerate(SIZES):
        sent = await send_batch(producer, service.source, partition, values[partition], codec)
        assert sent < 4_000_000
    long = json.dumps({"text": "x" * LONG_BYTES}).encode()
    last = [long_text(1, 50), long, long_text(2, 50)]
    await send_batch(producer, service.source, 3, last, "zstd")
    await producer.close(5)

    service.start()
    await service.ready()
    await service.all_committed()
    assert (await service.committed()) == {0: 5_000, 1: 5_000, 2: 5_000, 3: 12_003}
    scores = await service.read(service.sink, sum(SIZES.values()) + 2)
    (letter,) = await service.read(service.dead, 1)
    service.stop()

    values[3] += last
    for partition in range(4):
        offsets = [offset_of(record) for record in scores if record.partition == partition]
        assert offsets == [k for k in range(len(values[partition])) if (partition, k) != (3, 12_001)]
    some = [record for record in scores if offset_of(record) % 1_000 in (0, 2)]
    again = scorer().score_events([values[record.partition][offset_of(record)] for record in some])
    assert [record.value for record in some] == list(again.values)

    headers = {name: value.decode() for name, value in letter.headers}
    assert headers["farthing.error.reason"] == "record_too_large"
    assert headers["farthing.error.offset"] == "12001"
    assert headers["farthing.error.value_bytes"] == str(len(long))
    assert headers["farthing.error.value_sha256"] == hashlib.sha256(long).hexdigest()
    assert letter.value == long[: len(letter.value)]
    assert len(letter.value) > 500_000
