"""The books of an audit without a ledger: the workers' own totals, read from the usage topic."""

from __future__ import annotations

from dataclasses import dataclass

from farthing.audit.compare import BOOKS, LedgerCount
from farthing.blocks import FetchedPartition
from farthing.errors import BrokerError
from farthing.kafka import TopicReader
from farthing.meter.records import UsageRecord
from farthing.sections import Settings
from farthing.wire import Arena, decode_whole


@dataclass(frozen=True, slots=True)
class Books:
    """What the topics are compared with; ``counts`` is None where there is nothing to compare with."""

    counts: list[LedgerCount] | None
    source: str
    """In words: where the counts are from, or why there are none."""
    refused: int = 0
    name: str = BOOKS


async def books_of_topic(settings: Settings, why: str) -> Books:
    """Read the furthest total of each count from the usage topic; ``why`` there is no ledger is part of the words."""
    topic = settings.meter.usage_topic
    furthest: dict[bytes, UsageRecord] = {}
    refused = 0
    reader = TopicReader(settings.kafka, [topic], named_in="meter.usage_topic")
    try:
        await reader.start()
        arena = Arena()
        async for part in reader.read():
            for value in _values(part, arena):
                try:
                    record = UsageRecord.decode(value)
                except (ValueError, RecursionError):
                    refused += 1
                    continue
                known = furthest.get(record.key)
                if known is None or record.next_offset > known.next_offset:
                    furthest[record.key] = record
    except BrokerError as error:
        if error.retriable:
            raise
        return Books(None, f"{why}, and {topic} cannot be read ({error})")
    finally:
        await reader.close()
    if not furthest:
        return Books(None, f"{why}, and {topic} holds no totals", refused)
    return Books(
        [_count(r) for r in furthest.values()], f"{why}; compared with the workers' totals in {topic}", refused
    )


def _count(r: UsageRecord) -> LedgerCount:
    return LedgerCount(
        r.topic, r.partition, r.model, r.base_offset, r.next_offset, r.totals.scored, r.totals.dead, r.incarnation,
        r.lost,
    )  # fmt: skip


def _values(part: FetchedPartition, arena: Arena) -> list[bytes]:
    """Return the values of a fetch's records. Raises DecodeError."""
    values = []
    for records in decode_whole(part, arena):
        for segment in records.segments:
            if segment.fault is not None:
                raise segment.fault
        bounds = zip(records.value_start.tolist(), records.value_stop.tolist(), strict=True)
        values += [records.buffer[start:stop].tobytes() for start, stop in bounds if stop > start]
    return values
