"""Ten minutes of almost nothing: the worker stays a member of its group and answers each event at once.

A client that fetches raw never polls, and a client that is not polled leaves its group after five minutes by default:
every shorter test passes. ``pytest --campaign tests/campaigns/test_trickle.py``
"""

import asyncio
import json
import time

import numpy as np
import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient

from farthing.kafka import BatchProducer, KafkaSettings
from farthing.wire import encode_records
from tests.serving.running import Service, event

pytestmark = [pytest.mark.kafka, pytest.mark.campaign]

MINUTES = 10
PAUSE_S = 3.0
ANSWERED_WITHIN_S = 5.0


async def members_of(service):
    admin = AIOKafkaAdminClient(bootstrap_servers=service.servers)
    await admin.start()
    try:
        (description,) = await admin.describe_consumer_groups([f"g-{service.name}"])
        ((_, _, state, _, _, members, *_),) = description.groups
        return state, [member[0] for member in members]
    finally:
        await admin.close()


async def test_ten_minutes_at_a_trickle(apache_kafka, tmp_path):
    service = Service(apache_kafka, tmp_path, partitions=2)
    await service.create_topics()
    service.start()
    producer = BatchProducer(KafkaSettings(bootstrap_servers=(service.servers,)))
    reader = AIOKafkaConsumer(bootstrap_servers=service.servers, auto_offset_reset="earliest")
    waits = []
    try:
        await service.ready()
        before = await members_of(service)
        await producer.start()
        await reader.start()
        reader.assign([TopicPartition(service.sink, p) for p in range(service.partitions)])
        began = time.monotonic()
        number = 0
        while time.monotonic() - began < MINUTES * 60:
            value = event(number, f"comment {number}")
            sent = time.monotonic()
            now = np.array([time.time_ns() // 1_000_000])
            batch = encode_records(
                service.source, number % 2, np.frombuffer(value, np.uint8), np.array([0, len(value)]), now
            )
            await producer.send([batch])
            record = await asyncio.wait_for(reader.getone(), ANSWERED_WITHIN_S)
            assert json.loads(record.value)["id"] == number
            waits.append(time.monotonic() - sent)
            number += 1
            await asyncio.sleep(PAUSE_S)
        assert await members_of(service) == before  # the same member: it never left and came back
        assert before[0] == "Stable"
        assert service.get("/ready")[0] == 200
    finally:
        await reader.stop()
        await producer.close(5)
        code = service.stop()
    assert code == 0
    waits.sort()
    print(f"{len(waits)} events in {MINUTES} min; answered in {waits[len(waits) // 2] * 1e3:.0f} ms (median), "
          f"{waits[-1] * 1e3:.0f} ms (worst)")  # fmt: skip
