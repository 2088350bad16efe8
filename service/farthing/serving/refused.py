"""Decides what is written in place of a score or a dead letter that the broker refuses."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np
import structlog

from farthing.blocks import FetchedPartition, Int64s, OutputBatch, Status
from farthing.errors import DecodeError
from farthing.kafka import Partition, Refused, SinkLimits
from farthing.kafka.verdicts import INVALID_RECORD, TOO_LARGE
from farthing.meter.tenants import TenantNames
from farthing.serving.late import LateLetter
from farthing.serving.route import Answer, Route
from farthing.wire import DEAD_OFFSET_HEADER, OFFSET_HEADER
from farthing.wire.split import records_of

log = structlog.get_logger()

_REASON_HEADER = b"farthing.error.reason"


@dataclass(slots=True)
class Refusals:
    """What the broker refuses of one answer: a score becomes a dead letter, and a letter becomes a shorter one."""

    route: Route
    parts: Mapping[Partition, FetchedPartition]  # what was fetched for the answer
    limits: SinkLimits
    call: Callable[..., Awaitable[Any]]  # runs a function on the scoring thread
    late: dict[Partition, list[tuple[Status, LateLetter]]] = field(default_factory=lambda: defaultdict(list))
    _tried: dict[tuple[Partition, int], bool] = field(default_factory=dict)  # letter -> whether the smallest was tried
    _keyed: set[tuple[Partition, int]] = field(default_factory=set)  # letters with keys, whatever the limits say

    async def __call__(self, refused: Refused) -> Sequence[OutputBatch] | None:
        """Return the letter to write instead; None if even the smallest is refused."""
        (record,) = records_of(refused.batch)
        topics = self.route.topics
        is_letter = refused.batch.topic == topics.dead_letters
        source, keyless = (topics.source, refused.batch.partition), record.has_null_key
        offset = int(record.header(DEAD_OFFSET_HEADER if is_letter else OFFSET_HEADER) or -1)
        event = source, offset
        await self.limits.read_after_refusal()  # they have changed, or the broker said something else
        if is_letter:
            if keyless and refused.code == INVALID_RECORD and event not in self._keyed:
                self._keyed.add(event)
                smallest = self._tried.setdefault(event, False)
            elif self._tried.get(event):
                return None
            else:
                self._tried[event] = smallest = event in self._tried
            status = Status[(record.header(_REASON_HEADER) or b"").decode().upper()]
        else:
            smallest, status = False, _status_of(refused, keyless=keyless)
            if source not in self.late:  # one line for a block
                log.warning("score_refused", topic=source[0], partition=source[1], offset=offset,
                            error=refused.verdict.name, note="it and any after it are dead letters")  # fmt: skip
        part = self.parts[source]
        try:
            keyed = event in self._keyed
            make = partial(self.route.letter, part, offset, status, smallest=smallest, keyed=keyed)
            letter: LateLetter = await self.call(make)
        except DecodeError as error:
            log.error("letter_not_made", error=str(error), note="the partition is held")
            return None
        if not is_letter:
            self.late[source].append((status, letter))
        return letter.batches

    def changes(self, partition: Partition) -> list[tuple[Int64s, tuple[TenantNames, Int64s] | None]]:
        """Return how a partition's counts of usage and of tenants change by the refusals."""
        return [
            (letter.usage, None if letter.tenants is None else (letter.tenants.names, letter.tenants.rows))
            for _, letter in self.late.get(partition, ())
        ]

    def counted(self, answer: Answer, held: Collection[Partition]) -> Answer:
        """Return the answer with the counts that it has after the refusals, without those of held partitions."""
        if not held and not self.late:
            return answer
        kept = np.ones(len(answer.status), np.bool_)
        for segment in answer.segments:
            if (segment.topic, segment.partition) in held:
                kept[segment.start : segment.stop] = False
        counts = np.bincount(answer.status[kept], minlength=len(answer.stats.status_counts))
        for partition, letters in self.late.items():
            for status, _ in letters if partition not in held else ():
                counts[Status.OK] -= 1
                counts[status] += 1
        stats = replace(answer.stats, status_counts=counts)
        return replace(answer, stats=stats, status=answer.status[kept], timestamps_ms=answer.timestamps_ms[kept])


def of_source(source: str, reasons: Mapping[Partition, str]) -> dict[Partition, str]:
    """Return reasons to hold partitions of output topics as those for a source's, which have the same numbers."""
    return {(source, number): reason for (_, number), reason in reasons.items()}


def _status_of(refused: Refused, *, keyless: bool) -> Status:
    if refused.code in TOO_LARGE:
        return Status.SCORE_TOO_LARGE
    return Status.NULL_KEY if keyless and refused.code == INVALID_RECORD else Status.SINK_REFUSED
