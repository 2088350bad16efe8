"""The same fetch and produce as the service, with nothing in between: the ceiling that a scorer is compared with.

``python loadtest/relay.py SERVERS SOURCE SINK EVENTS`` copies that many events, prints one JSON line and ends.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time

import numpy as np

from farthing.blocks import OutputBatch
from farthing.kafka import BatchProducer, KafkaSettings, RecordConsumer
from farthing.memory import keep_freed_memory, settle_collector
from farthing.wire import layout


def batches_of(part, topic):
    """Cut fetched bytes into their record batches, as they are."""
    buffer, at = np.frombuffer(part.data, np.uint8), 0  # a long one is the response's own memory
    while at + layout.HEADER_BYTES <= len(part.data):
        stop = at + layout.LOG_OVERHEAD + int(layout.be32(buffer, at + layout.BATCH_LENGTH))
        if stop > len(part.data):
            return
        count = int(layout.be32(buffer, at + layout.RECORDS_COUNT))
        # A producer's base offset is 0; the broker sets its own. The CRC does not cover it.
        batch = buffer[at:stop] if buffer.flags.writeable else buffer[at:stop].copy()
        batch[:8] = 0
        yield OutputBatch(topic, part.partition, batch, count, 0)
        at = stop


async def relay(servers, source, sink, events):
    """Copy ``events`` events; gives seconds and CPU seconds from the first fetched byte on."""
    settings = KafkaSettings(bootstrap_servers=(servers,), group_id=f"relay-{source}")

    async def revoked(_):
        return None

    consumer = RecordConsumer(settings, [source], on_revoked=revoked, on_position=lambda *_: None)
    producer = BatchProducer(settings)
    await producer.start()
    await consumer.start()
    done, sending, began = 0, None, None
    while done < events:
        fetched = await consumer.fetch()
        if began is None and fetched.partitions:
            began = (time.perf_counter(), time.process_time())
        batches = [batch for part in fetched.partitions for batch in batches_of(part, sink)]
        if sending is not None:
            await sending
        sending = asyncio.create_task(producer.send(batches))
        done += sum(batch.record_count for batch in batches)
    await sending
    seconds, cpu = time.perf_counter() - began[0], time.process_time() - began[1]
    await consumer.close(5)
    await producer.close(2)
    return seconds, cpu


if __name__ == "__main__":
    import uvloop

    keep_freed_memory()
    settle_collector()
    seconds, cpu = uvloop.run(relay(*sys.argv[1:4], int(sys.argv[4])))
    print(json.dumps({"seconds": seconds, "cpu_seconds": cpu}))
