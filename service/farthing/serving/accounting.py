"""Reports to the ledger: publishes a running total for each partition, and a heartbeat once a second.

A total counts everything acknowledged before its ``next_offset``. It is committed as the metadata of the offset, so
that the partition's next owner continues counting from exactly there. It is also published to the usage topic, at most
once a second for each partition, and acknowledged there before the offset is committed. So the ledger is at most a
second behind what is committed, and a total that is published twice, or by an owner that has lost the partition,
changes nothing.

The metadata of a commit has room for 4,096 characters (``offset.metadata.max.bytes``). The total takes a few hundred,
and the rest is filled with packed tenants: between ninety, if they are named by UUIDs, and two hundred. The usage
record names the same ones, so that a change of owner changes no figure; all others together are OTHER.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
import structlog

from farthing.blocks import Bytes, Int64s, OutputBatch
from farthing.errors import BrokerError
from farthing.kafka import BatchProducer, KafkaSettings, Partition
from farthing.meter.count import N_COUNTS, counts_of, totals_of
from farthing.meter.records import Heartbeat, TenantCount, UsageRecord
from farthing.meter.tenants import TenantNames, TenantTotals, pack, unpack, with_other
from farthing.meter.usage import METADATA_LIMIT_BYTES, UsageTotals
from farthing.wire import encode_records

log = structlog.get_logger()

PUBLISH_EVERY_S: Final = 1.0


@dataclass(frozen=True, slots=True)
class Scored:
    """Which model and task a source topic is scored with."""

    model: str
    task: str


@dataclass(slots=True)
class _Count:
    base_offset: int
    next_offset: int
    counts: Int64s  # (N_COUNTS,)
    tenants: TenantTotals
    incarnation: int = 0  # see UsageRecord
    published_offset: int = -1
    published_s: float = -PUBLISH_EVERY_S
    carried: _Carried | None = None  # the last one made, valid for its next_offset
    fitting: int = 1 << 30  # how many tenants are likely to fit into the metadata


class Accounting:
    """The totals of our partitions."""

    def __init__(self, scored: Mapping[str, Scored], *, most_tenants: int) -> None:
        """``scored`` says what scores each source topic; ``most_tenants`` are counted separately in each partition."""
        self._scored = scored
        self._most_tenants = most_tenants
        self._counts: dict[Partition, _Count] = {}
        self._ended: list[UsageRecord] = []  # last totals of earlier incarnations, not yet published

    def assign(self, partition: Partition, offset: int, metadata: str) -> None:
        """Take over a partition, and continue from the total that was committed with its offset, if there is one.

        A partition that is already ours and begins anew, because its log ends before our position, gets a new count.
        """
        last = self._counts.get(partition)
        if last is not None and last.next_offset == offset:
            return  # it was ours already
        count = _Count(offset, offset, np.zeros(N_COUNTS, np.int64), TenantTotals(), published_offset=offset)
        carried = _Carried.read(metadata)
        if last is not None:
            if last.published_offset != last.next_offset:
                self._ended.append(self._record(partition, last))
            count.incarnation = last.incarnation + (offset < last.next_offset)
        elif carried is not None and carried.model == self._scored[partition[0]].model:
            tenants = TenantTotals(carried.tenants)
            count = _Count(carried.base_offset, offset, counts_of(carried.totals), tenants, carried.incarnation)
        elif metadata and carried is None:
            topic, number = partition
            log.warning("usage_total_unknown", topic=topic, partition=number, offset=offset, note="a new count begins")
        self._counts[partition] = count

    def revoke(self, partitions: Iterable[Partition]) -> None:
        """Give up partitions."""
        for partition in partitions:
            self._counts.pop(partition, None)

    def add(
        self,
        partition: Partition,
        next_offset: int,
        counts: Int64s | None = None,
        tenants: tuple[TenantNames, Int64s] | None = None,
    ) -> None:
        """Add what was acknowledged up to ``next_offset``.

        ``counts`` is a row of :func:`farthing.meter.count.count_usage`, ``tenants`` the partition's rows of
        :func:`farthing.meter.tenants.count_tenants` if tenants are counted.
        """
        count = self._counts.get(partition)
        if count is None:
            return  # no longer ours: the next owner counts it
        if counts is not None:
            count.counts += counts
        if tenants is not None:
            count.tenants.add(*tenants)
        count.next_offset = next_offset

    def metadata(self, partitions: Iterable[Partition]) -> dict[Partition, str]:
        """Return the commit metadata of those partitions whose total fits into it."""
        texts = {}
        for partition in partitions:
            count = self._counts.get(partition)
            if count is not None:
                text = self._carry(partition, count).text
                if len(text) <= METADATA_LIMIT_BYTES:
                    texts[partition] = text
        return texts

    def _carry(self, partition: Partition, count: _Count) -> _Carried:
        if count.carried is None or count.carried.next_offset != count.next_offset:
            model = self._scored[partition[0]].model
            largest = count.tenants.largest(min(self._most_tenants, count.fitting))
            carried = count.carried = _Carried.make(model, count, largest)
            # Usually one packing is enough: with as many as fitted last time, or a few more.
            count.fitting = max(len(carried.tenants) + (len(carried.tenants) == len(largest)) * 8, 8)
        return count.carried

    def due(self, partitions: Iterable[Partition], *, everything: bool = False) -> list[UsageRecord]:
        """Return the records that must be published before these partitions' offsets are committed.

        Partitions that were published within the last second are left out, unless ``everything`` is set.
        """
        now = time.monotonic()
        records = list(self._ended)
        for partition in partitions:
            count = self._counts.get(partition)
            if count is None or count.published_offset == count.next_offset:
                continue
            if everything or now - count.published_s >= PUBLISH_EVERY_S:
                records.append(self._record(partition, count))
        return records

    def _record(self, partition: Partition, count: _Count) -> UsageRecord:
        topic, number = partition
        scored, carried = self._scored[topic], self._carry(partition, count)
        totals = carried.totals
        named = carried.tenants  # empty if no event names a tenant: then there is no OTHER either
        tenants = with_other(named, TenantCount(totals.scored, totals.dead, totals.prompt_bytes)) if named else {}
        return UsageRecord(
            topic, number, scored.model, scored.task, count.base_offset, count.next_offset,
            time.time_ns() // 1_000_000, totals, tenants, count.incarnation,
        )  # fmt: skip

    def published(self, records: Sequence[UsageRecord]) -> None:
        """Note that records are acknowledged."""
        now = time.monotonic()
        acknowledged = {id(record) for record in records}
        self._ended = [record for record in self._ended if id(record) not in acknowledged]
        for record in records:
            count = self._counts.get((record.topic, record.partition))
            same_count = (record.base_offset, record.incarnation)
            if count is not None and (count.base_offset, count.incarnation) == same_count:
                count.published_offset, count.published_s = record.next_offset, now


@dataclass(frozen=True, slots=True)
class _Carried:
    """What is committed with an offset, as one JSON object."""

    model: str
    base_offset: int
    incarnation: int
    totals: UsageTotals
    tenants: Mapping[str, TenantCount]  # without OTHER, which is the rest of the totals
    next_offset: int = -1
    text: str = ""

    @classmethod
    def make(cls, model: str, count: _Count, tenants: Mapping[str, TenantCount]) -> _Carried:
        """Write a count with as many of its tenants as there is room for, the largest first."""
        totals = totals_of(count.counts)
        names = {"model": model, "base_offset": count.base_offset, "log": count.incarnation}
        text = f'{json.dumps(names, separators=(",", ":"))[:-1]},"totals":{totals.encode()}'
        packed, kept = pack(tenants, METADATA_LIMIT_BYTES - len(text) - len(',"tenants":""}'))
        text += f',"tenants":"{packed}"}}' if packed else "}"
        return cls(model, count.base_offset, count.incarnation, totals, kept, count.next_offset, text)

    @classmethod
    def read(cls, text: str) -> _Carried | None:
        """Read what :meth:`make` wrote; None if it is something else: another program may have committed here."""
        try:
            body = json.loads(text)
            base_offset, incarnation = body["base_offset"], body["log"]
            if type(base_offset) is not int or type(incarnation) is not int or base_offset < 0 or incarnation < 0:
                return None
            totals = UsageTotals.decode(json.dumps(body["totals"]))
            return cls(str(body["model"]), base_offset, incarnation, totals, unpack(body.get("tenants", "")))
        except (ValueError, KeyError, TypeError):
            return None


class Reporter:
    """Publishes usage and heartbeats, with its own producer: the pipeline's sends one block at a time.

    It is the pipeline's :class:`farthing.serving.reporting.Reports`; calls about partitions and blocks go straight to
    the accounting.
    """

    def __init__(
        self,
        kafka: KafkaSettings,
        accounting: Accounting,
        heartbeat: Callable[[], Heartbeat],
        *,
        usage_topic: str,
        heartbeat_topic: str,
        stopping: Callable[[], bool],
    ) -> None:
        """Make a reporter. A last heartbeat says that the worker stops only if ``stopping()`` is true at the end."""
        self._accounting = accounting
        self.assign, self.add = accounting.assign, accounting.add
        self.metadata, self.revoke = accounting.metadata, accounting.revoke
        self._heartbeat = heartbeat
        self._stopping = stopping
        self._usage_topic = usage_topic
        self._heartbeat_topic = heartbeat_topic
        self._producer = BatchProducer(kafka)
        self._sending = asyncio.Lock()
        self._beating: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Connect, and start sending heartbeats. Raises BrokerError."""
        await self._producer.start()
        self._beating = asyncio.create_task(self._beat())

    async def publish(self, partitions: Iterable[Partition], *, everything: bool = False) -> None:
        """Publish the totals that are due before these partitions' offsets are committed. Raises BrokerError."""
        records = self._accounting.due(partitions, everything=everything)
        if records:
            await self._send(self._usage_topic, records)
            self._accounting.published(records)

    async def close(self, timeout_s: float) -> None:
        """Send a last heartbeat if the worker was asked to stop, and disconnect; all within ``timeout_s``."""
        deadline = time.monotonic() + timeout_s
        if self._beating is not None:
            self._beating.cancel()
            await asyncio.wait({self._beating}, timeout=timeout_s / 4)
            if self._stopping():  # a worker that failed goes silent, so that the ledger reports it as missing
                await self._say_stopped(timeout_s / 2)
        await self._producer.close(max(deadline - time.monotonic(), 0))

    async def _say_stopped(self, timeout_s: float) -> None:
        beat = self._heartbeat()
        # Later than one of the same millisecond: of two with the same time the ledger keeps the first.
        last = replace(beat, state="stopped", at_ms=beat.at_ms + 1)
        try:
            await asyncio.wait_for(self._send(self._heartbeat_topic, [last]), timeout_s)
        except (BrokerError, TimeoutError) as error:
            reason = str(error) or f"no broker acknowledged it within {timeout_s:.1f} s"
            log.warning("heartbeat_not_sent", error=reason, note="the ledger will miss this worker for an hour")

    async def _beat(self) -> None:
        while True:
            try:
                await self._send(self._heartbeat_topic, [self._heartbeat()])
            except BrokerError as error:  # the pipeline fails at the same broker, and /ready says so
                log.warning("heartbeat_not_sent", error=str(error))
            await asyncio.sleep(PUBLISH_EVERY_S)

    async def _send(self, topic: str, records: Sequence[UsageRecord | Heartbeat]) -> None:
        async with self._sending:
            await self._producer.send([batch_of(topic, records)])


def carries_a_total(metadata: str) -> bool:
    """Whether the metadata of a commit holds a total from which counting can go on."""
    return _Carried.read(metadata) is not None


def batch_of(topic: str, records: Sequence[UsageRecord | Heartbeat]) -> OutputBatch:
    """Encode records as one batch for the only partition of their topic."""
    keys, values = ([record.key for record in records], [record.encode() for record in records])
    now_ms = np.full(len(records), time.time_ns() // 1_000_000)
    return encode_records(topic, 0, *_column(values), now_ms, keys=_column(keys))


def _column(values: Sequence[bytes]) -> tuple[Bytes, Int64s]:
    return np.frombuffer(bytearray(b"".join(values)), np.uint8), np.cumsum([0, *map(len, values)], dtype=np.int64)
