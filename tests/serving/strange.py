"""Strange events for the tests that send them: records of any key, headers and timestamp, and topics that differ."""

import time

import numpy as np
from aiokafka.admin import NewTopic
from aiokafka.record.default_records import DefaultRecordBatchBuilder

from farthing.blocks import OutputBatch
from farthing.kafka import BatchProducer, KafkaSettings

from .running import event

TOLERANT = {"max.message.bytes": "8000000", "message.timestamp.after.max.ms": str(2**63 - 1)}
"""Settings of a source that takes more than its sinks do."""


async def make_topics(service, *, source=None, sink=None, dead=None):
    """Create the service's topics, each with settings of its own."""
    configs = {service.source: TOLERANT | (source or {}), service.sink: sink or {}, service.dead: dead or {}}
    async with service.admin() as admin:
        await admin.create_topics([NewTopic(t, service.partitions, 1, topic_configs=c) for t, c in configs.items()])


def records_batch(topic, partition, records, codec=0):
    """Lay (value, key, headers, timestamp) out as one batch; a timestamp of None is now."""
    builder = DefaultRecordBatchBuilder(2, codec, False, -1, -1, -1, 1 << 30)
    now = time.time_ns() // 1_000_000
    for k, (value, key, headers, stamp) in enumerate(records):
        builder.append(k, now if stamp is None else stamp, key, value, headers)
    return OutputBatch(topic, partition, np.frombuffer(bytearray(builder.build()), np.uint8), len(records), now)


async def send_records(service, records, *, partition=0, batch_records=100):
    """Produce records to one partition, a few in each batch and long ones alone."""
    producer = BatchProducer(KafkaSettings(bootstrap_servers=(service.servers,)))
    await producer.start()
    batches, waiting, size = [], [], 0
    for record in records:
        bytes_ = len(record[0] or b"") + len(record[1] or b"") + sum(len(n) + len(v or b"") + 10 for n, v in record[2])
        if waiting and (size + bytes_ > 500_000 or len(waiting) == batch_records):
            batches.append(records_batch(service.source, partition, waiting))
            waiting, size = [], 0
        waiting.append(record)
        size += bytes_
    batches.append(records_batch(service.source, partition, waiting))
    await producer.send(batches)
    await producer.close(5)


def plain(number, text="a nice day", key=b"k", headers=(), stamp=None):
    """A good event."""
    return event(number, text), key, list(headers), stamp


def ours(record):
    """Our headers of a dead letter."""
    prefix = "farthing.error."
    return {name.removeprefix(prefix): value for name, value in record.headers if name.startswith(prefix)}
