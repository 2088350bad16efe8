"""The same fetch and produce as the service, with nothing in between: the upper bound that a scorer is compared with.

``python loadtest/relay.py SERVERS SOURCE SINK EVENTS -c farthing.toml`` copies that many events, prints one JSON line
and exits. Its [kafka] settings are the service's, from that file, FARTHING_KAFKA__* variables and the same defaults,
except for the servers and the group.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import time
from pathlib import Path

import numpy as np

from farthing import config
from farthing.blocks import OutputBatch
from farthing.errors import FarthingError
from farthing.kafka import BatchProducer, RecordConsumer
from farthing.process.memory import keep_freed_memory, settle_collector
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


def settings_of(file, servers, source):
    """Give the service's [kafka] settings, with these servers (separated by commas) and a group of the relay's own.

    Raises
    ------
    ConfigError
        The file or a variable cannot be read.
    """
    flags = {"kafka.bootstrap_servers": servers, "kafka.group_id": f"relay-{source}"}
    return config.load(file, flags, config.Assumptions).settings.kafka


async def relay(settings, source, sink, events):
    """Copy ``events`` events; gives seconds and CPU seconds from the first fetched byte on."""

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


def main():
    """Read the arguments, copy, print."""
    import uvloop

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("servers", help="host:port of one or more brokers, separated by commas")
    parser.add_argument("source", help="topic to read, from its beginning")
    parser.add_argument("sink", help="topic to write to, with as many partitions as the source")
    parser.add_argument("events", type=int, help="how many events to copy")
    parser.add_argument(
        "-c", "--config", type=Path, help="settings file of the service (TOML), for its [kafka] section"
    )
    options = parser.parse_args()
    try:
        settings = settings_of(options.config, options.servers, options.source)
        keep_freed_memory()
        settle_collector()
        seconds, cpu = uvloop.run(relay(settings, options.source, options.sink, options.events))
    except FarthingError as error:
        sys.stderr.write(f"relay: {error}\n")
        raise SystemExit(error.exit_code) from error
    print(json.dumps({"seconds": seconds, "cpu_seconds": cpu}))


if __name__ == "__main__":
    main()
