"""Counts what is acknowledged: a running total for each of our partitions.

A total counts everything acknowledged before its ``next_offset``. It is committed as the metadata of the offset, so
that the partition's next owner continues counting from exactly there; so nothing is lost while it cannot be published.
It is also published to the usage topic (:mod:`farthing.serving.reporter`), at most once a second for each partition. A
total that is published twice, or by an owner that has lost the partition, changes nothing.

The metadata of a commit has room for 4,096 characters (``offset.metadata.max.bytes``). A few of them say which log the
offset belongs to (:mod:`farthing.kafka.incarnation`). The total takes a few hundred, and the rest is filled with packed
tenants: between ninety, if they are named by UUIDs, and two hundred. The usage record names the same ones, so that a
change of owner changes no figure; all others together are OTHER.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import structlog

from farthing.blocks import Int64s
from farthing.kafka import MARK_BYTES, Incarnation, Partition, is_only_a_mark
from farthing.meter.count import N_COUNTS, counts_of, totals_of
from farthing.meter.records import TenantCount, UsageRecord
from farthing.meter.tenants import TenantNames, TenantTotals, pack, unpack, with_other
from farthing.meter.untrusted import Refused, damaged, name, read_object, whole
from farthing.meter.usage import METADATA_LIMIT_BYTES, UsageTotals

log = structlog.get_logger()

PUBLISH_EVERY_S: Final = 1.0
TOTAL_LIMIT_BYTES: Final = METADATA_LIMIT_BYTES - MARK_BYTES
"""Room for a total in a commit's metadata, beside what says which log the offset belongs to."""

SAY_AGAIN_S: Final = 10.0
_MOST: Final = 2**62
"""A total that is taken over has counts up to this, so that what is added fits into 64 bits."""


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
    lost: int = 0  # see UsageRecord
    topic_id: str = ""
    published_offset: int = -1
    published_s: float = -PUBLISH_EVERY_S
    carried: _Carried | None = None  # the last one made, valid for its next_offset
    fitting: int = 1 << 30  # how many tenants are likely to fit into the metadata


class Accounting:
    """The totals of our partitions."""

    def __init__(
        self,
        scored: Mapping[str, Scored],
        *,
        most_tenants: int,
        on_refused: Callable[[str], None] = lambda _reason: None,
    ) -> None:
        """Begin without partitions.

        ``scored`` says what scores each source topic; ``most_tenants`` are counted separately in each partition;
        ``on_refused`` is called with the reason when a partition's committed metadata cannot be read.
        """
        self._scored = scored
        self._most_tenants = most_tenants
        self._on_refused = on_refused
        self._limit = TOTAL_LIMIT_BYTES
        self._said_s = -math.inf
        self._counts: dict[Partition, _Count] = {}
        self._ended: list[UsageRecord] = []  # last totals of earlier incarnations, not yet published
        self._topic_id: Callable[[Partition], str] = lambda _: ""

    def name_logs(self, topic_id: Callable[[Partition], str]) -> None:
        """Take the function that gives a partition's topic id, empty if that is not known."""
        self._topic_id = topic_id

    def assign(self, partition: Partition, offset: int, metadata: str) -> None:
        """Take over a partition, and continue from the total that was committed with its offset, if there is one.

        A partition that is already ours and begins anew, because its log ends before our position, gets a new count.
        """
        last = self._counts.get(partition)
        if last is not None and last.next_offset == offset:
            return  # it was ours already
        count = _Count(offset, offset, np.zeros(N_COUNTS, np.int64), TenantTotals(), published_offset=offset)
        if last is not None:
            if last.published_offset != last.next_offset:
                self._ended.append(self._record(partition, last))
            count.incarnation = last.incarnation + (offset < last.next_offset)
        elif metadata:
            known = Incarnation.read(metadata)
            count.incarnation = 0 if known is None else known.number
            if not is_only_a_mark(metadata):
                count = self._taken_over(partition, offset, metadata) or count
        self._counts[partition] = count

    def _taken_over(self, partition: Partition, offset: int, metadata: str) -> _Count | None:
        """Return the count that another owner committed; None if it is not ours to continue: a new count begins."""
        topic, number = partition
        try:
            carried = _Carried.read(metadata, offset)
        except Refused as error:
            self._on_refused(error.reason)
            now = time.monotonic()
            if now - self._said_s >= SAY_AGAIN_S:
                self._said_s = now
                log.warning(
                    "usage_total_unknown", topic=topic, partition=number, offset=offset, error=str(error),
                    note=f"scoring goes on, and a new count begins; said once in {SAY_AGAIN_S:.0f} s",
                )  # fmt: skip
            return None
        tenants, totals = TenantTotals(carried.tenants), counts_of(carried.totals)
        count = _Count(carried.base_offset, offset, totals, tenants, carried.incarnation, carried.lost)
        if carried.model == self._scored[topic].model:
            return count
        # Another model's count has ended here. Whoever kept it may not have been able to publish all of it.
        scored = Scored(carried.model, carried.task or self._scored[topic].task)
        self._ended.append(self._record(partition, count, scored))
        return None

    def move(self, partition: Partition, offset: int, log: int, lost: int) -> None:
        """Begin another count at ``offset``, in the log with this number; ``lost`` events before it were not scored."""
        last = self._counts.get(partition)
        if last is None:
            return
        if last.published_offset != last.next_offset:
            self._ended.append(self._record(partition, last))
        self._counts[partition] = _Count(
            offset, offset, np.zeros(N_COUNTS, np.int64), TenantTotals(), log, lost=lost,
            published_offset=-1 if lost else offset,
        )  # fmt: skip

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
        count.topic_id = count.topic_id or self._topic_id(partition)

    def metadata(self, partitions: Iterable[Partition], *, refused: bool = False) -> dict[Partition, str]:
        """Return the commit metadata of those partitions whose total fits into it.

        ``refused`` says that the broker found the last one too long: its ``offset.metadata.max.bytes`` is lower than
        Kafka's default. From then on it is half as long, with fewer tenants, or in the end none.
        """
        if refused:
            self._limit //= 2
            log.warning(
                "commit_metadata_too_long", limit_bytes=self._limit,
                note="raise offset.metadata.max.bytes to 4096 on the brokers: usage is counted anew at each start",
            )  # fmt: skip
            for known in self._counts.values():
                known.carried = None
        texts = {}
        for partition in partitions:
            count = self._counts.get(partition)
            if count is not None:
                text = self._carry(self._scored[partition[0]], count).text
                if len(text) <= self._limit:
                    texts[partition] = text
        return texts

    def _carry(self, scored: Scored, count: _Count) -> _Carried:
        if count.carried is None or count.carried.next_offset != count.next_offset:
            largest = count.tenants.largest(min(self._most_tenants, count.fitting))
            carried = count.carried = _Carried.make(scored, count, largest, self._limit)
            # Usually one packing is enough: with as many as fitted last time, or a few more.
            count.fitting = max(len(carried.tenants) + (len(carried.tenants) == len(largest)) * 8, 8)
        return count.carried

    def partitions(self) -> list[Partition]:
        """List the partitions that are ours."""
        return list(self._counts)

    def publish_all_again(self) -> None:
        """Publish the total of every partition again, because the topic may be another one by the same name."""
        for count in self._counts.values():
            if count.next_offset > count.base_offset or count.lost:
                count.published_offset = -1

    def due(self, partitions: Iterable[Partition], *, everything: bool = False) -> list[UsageRecord]:
        """Return the records of these partitions that are to be published now.

        Partitions that were published within the last second are left out, unless ``everything`` is set.
        """
        now = time.monotonic()
        records = list(self._ended)
        for partition in partitions:
            count = self._counts.get(partition)
            if count is None or count.published_offset == count.next_offset:
                continue
            if everything or not 0 <= now - count.published_s < PUBLISH_EVERY_S:
                records.append(self._record(partition, count))
        return records

    def _record(self, partition: Partition, count: _Count, scored: Scored | None = None) -> UsageRecord:
        topic, number = partition
        scored = self._scored[topic] if scored is None else scored
        carried = self._carry(scored, count)
        totals = carried.totals
        named = carried.tenants  # empty if no event names a tenant: then there is no OTHER either
        tenants = with_other(named, TenantCount(totals.scored, totals.dead, totals.prompt_bytes)) if named else {}
        return UsageRecord(
            topic, number, scored.model, scored.task, count.base_offset, count.next_offset,
            max(time.time_ns() // 1_000_000, 0), totals, tenants, count.incarnation, count.lost, count.topic_id,
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
    task: str  # empty if it was committed by a version that did not say it
    base_offset: int
    incarnation: int
    totals: UsageTotals
    tenants: Mapping[str, TenantCount]  # without OTHER, which is the rest of the totals
    next_offset: int = -1
    text: str = ""
    lost: int = 0

    @classmethod
    def make(cls, scored: Scored, count: _Count, tenants: Mapping[str, TenantCount], limit: int) -> _Carried:
        """Write a count in ``limit`` bytes, with as many of its tenants as there is room for, the largest first."""
        totals = totals_of(count.counts)
        names = {
            "model": scored.model, "task": scored.task, "base_offset": count.base_offset, "log": count.incarnation,
        } | ({"lost": count.lost} if count.lost else {})  # fmt: skip
        text = f'{json.dumps(names, separators=(",", ":"))[:-1]},"totals":{totals.encode()}'
        packed, kept = pack(tenants, limit - len(text) - len(',"tenants":""}'))
        text += f',"tenants":"{packed}"}}' if packed else "}"
        return cls(
            scored.model, scored.task, count.base_offset, count.incarnation, totals, kept, count.next_offset, text,
            count.lost,
        )  # fmt: skip

    @classmethod
    def read(cls, text: str, offset: int) -> _Carried:
        """Read what :meth:`make` wrote, committed with ``offset``.

        Raises
        ------
        Refused
            It is something else, or no count that can have been committed there: another program may have done that.
        """
        body = read_object(text, "usage total", most=METADATA_LIMIT_BYTES)
        try:
            totals, tenants = UsageTotals.of(body["totals"]), unpack(body.get("tenants", ""))
            of_all = TenantCount(totals.scored, totals.dead, totals.prompt_bytes)
            if max(*of_all, totals.rows, totals.payload_bytes) > _MOST:
                raise Refused("damaged", f"counts of more than {_MOST}")
            of_tenants = [sum(count[at] for count in tenants.values()) for at in range(len(of_all))]
            if any(part > total for part, total in zip(of_tenants, of_all, strict=True)):
                raise Refused("damaged", "its tenants have more than all together")
            return cls(
                name(body["model"]), name(body.get("task", "")), whole(body["base_offset"], offset),
                whole(body["log"], 2**31 - 1), totals, tenants, lost=whole(body.get("lost", 0)),
            )  # fmt: skip
        except (KeyError, TypeError, AttributeError, ValueError, RecursionError) as error:
            raise damaged("usage total", error) from error


def carries_a_total(metadata: str, offset: int) -> bool:
    """Whether the metadata committed with ``offset`` holds a total from which counting can go on."""
    try:
        _Carried.read(metadata, offset)
    except Refused:
        return False
    return True
