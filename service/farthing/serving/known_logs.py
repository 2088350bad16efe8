"""Looks up which logs the books have counts of, for partitions without a committed offset.

A broker deletes a group's offsets together with their topic. If the topic is then created again while no worker runs,
nothing in the group says that the new log is another one, but the usage topic does: its records have the topic's id.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping

import structlog

from farthing.blocks import RecordBlock
from farthing.errors import BrokerError, ConfigError, DecodeError
from farthing.kafka import (
    MOST_LOGS,
    Incarnation,
    KafkaSettings,
    Partition,
    TopicReader,
    partition_counts,
    topic_id_of,
)
from farthing.meter.records import UsageRecord
from farthing.wire import Arena, decode_whole

log = structlog.get_logger()


async def known_logs(
    kafka: KafkaSettings, usage_topic: str, partitions: Iterable[Partition]
) -> Mapping[Partition, Incarnation]:
    """Return the latest log of each partition that the usage topic has a count of.

    The books never stop scoring: if the topic cannot be read, that is logged and the answer is empty.
    """
    wanted, found = set(partitions), dict[Partition, Incarnation]()
    reader = TopicReader(kafka, [usage_topic], named_in="meter.usage_topic")
    try:
        async with asyncio.timeout(kafka.request_timeout_ms / 1000):
            if not await partition_counts(kafka, [usage_topic]):
                return found  # there are no books yet
            await reader.start()
            arena = Arena()
            async for part in reader.read():
                for records in decode_whole(part, arena):
                    _note(records, wanted, found)
                    for segment in records.segments:
                        if segment.fault is not None:
                            raise segment.fault
    except (
        BrokerError,
        ConfigError,
        DecodeError,
        TimeoutError,
    ) as error:  # perhaps a certificate is just being renewed
        log.warning(
            "books_not_read", topic=usage_topic, error=str(error) or "no answer in time",
            note="a source topic that was created again would be counted as the one before",
        )  # fmt: skip
    finally:
        await reader.close()
    return found


def _note(records: RecordBlock, wanted: set[Partition], found: dict[Partition, Incarnation]) -> None:
    for start, stop in zip(records.value_start.tolist(), records.value_stop.tolist(), strict=True):
        if start < 0:
            continue
        try:
            record = UsageRecord.decode(records.buffer[start:stop].tobytes())
            known = Incarnation(record.incarnation, topic_id_of(record.topic_id))
        except (ValueError, RecursionError):
            continue  # damaged, or of a worker that did not know the id
        partition = (record.topic, record.partition)
        latest = found.get(partition, Incarnation()).number
        if partition in wanted and latest <= known.number <= MOST_LOGS:
            found[partition] = known
