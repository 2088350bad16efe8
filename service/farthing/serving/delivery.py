"""Writes answers to their topics, and counts what is acknowledged."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from farthing.blocks import FetchedPartition, OutputBatch
from farthing.errors import DecodeError
from farthing.kafka import (
    BatchProducer,
    HeldError,
    OffsetTracker,
    Partition,
    ShorterLetters,
    SinkLimits,
    Ticket,
    letter_of_batch,
)
from farthing.serving.failpoints import failpoint
from farthing.serving.metrics import Metrics
from farthing.serving.progress import Progress
from farthing.serving.refused import Refusals, of_source
from farthing.serving.reporting import Reports
from farthing.serving.route import Answer, Route


@dataclass(frozen=True, slots=True)
class Delivery:
    """Delivers one answer after the other; errors name partitions of the source."""

    producer: BatchProducer
    limits: SinkLimits
    offsets: OffsetTracker
    reports: Reports
    metrics: Metrics
    progress: Progress
    call: Callable[..., Awaitable[Any]]  # runs a function on the scoring thread
    on_written: Callable[[Partition], None]
    refusing: set[Partition] = field(default_factory=set)  # of output topics: held when they were last written to

    async def answer(
        self, route: Route, parts: Mapping[Partition, FetchedPartition], answer: Answer, tickets: Sequence[Ticket]
    ) -> None:
        """Produce an answer to ``parts``, and acknowledge its tickets.

        Raises
        ------
        HeldError
            Some partitions' output is refused, whatever it is; all others are acknowledged.
        BrokerError
            Nothing is acknowledged, though it may be written.
        """
        began = time.perf_counter()
        refusals = Refusals(route, parts, self.limits, self.call)
        held: dict[Partition, str] = {}
        for batches in self._in_turn(answer.batches):
            wanted = [batch for batch in batches if (route.topics.source, batch.partition) not in held]
            if batches and not wanted:
                continue
            held |= of_source(route.topics.source, await self._send(wanted, refusals))
        failpoint("after_produce")
        for part, (ticket, segment, usage) in enumerate(zip(tickets, answer.segments, answer.usage, strict=True)):
            if ticket.partition not in held and self.offsets.ack(ticket):
                tenants = None if answer.tenants is None else (answer.tenants.names, answer.tenants.of_part(part))
                self.reports.add(ticket.partition, segment.next_offset, usage, tenants)
                for change in refusals.changes(ticket.partition):
                    self.reports.add(ticket.partition, segment.next_offset, *change)
                self.on_written(ticket.partition)
        answer = refusals.counted(answer, held)
        answer.stats.stage_seconds["produce"] = time.perf_counter() - began
        if len(held) < len(tickets):
            self.progress.made()
        self.metrics.record(answer.stats)
        self.metrics.latency.add(answer.stats.route, answer.timestamps_ms, time.time_ns() // 1_000_000, answer.status)
        if held:
            raise HeldError(held)

    def _in_turn(self, batches: Sequence[OutputBatch]) -> list[Sequence[OutputBatch]]:
        """Divide batches into those to send now, and those to send if the partitions that refused before take theirs.

        A partition's scores and letters are acknowledged together. As long as one topic refuses its part, the other
        would get its own again at each try. (In a transaction what was written is aborted, and nobody reads it.)
        """
        waiting = {number for topic, number in self.refusing & {(batch.topic, batch.partition) for batch in batches}}
        if not waiting or self.producer.is_transactional:
            return [batches]
        first: list[OutputBatch] = []
        after: list[OutputBatch] = []
        for batch in batches:
            is_first = batch.partition not in waiting or (batch.topic, batch.partition) in self.refusing
            (first if is_first else after).append(batch)
        return [first, after] if after else [first]

    async def _send(self, batches: Sequence[OutputBatch], refusals: Refusals) -> Mapping[Partition, str]:
        """Send batches; returns why partitions of output topics are held."""
        reasons: Mapping[Partition, str] = {}
        try:
            await self.producer.send(batches, refusals)
        except HeldError as error:
            reasons = error.reasons
        self.refusing.difference_update((batch.topic, batch.partition) for batch in batches)
        self.refusing.update(reasons)
        return reasons

    async def without_place(self, route: Route, partitions: Sequence[Partition]) -> dict[Partition, str]:
        """Return the source's partitions that the sink or the dead-letter topic lacks, and what to do about it."""
        lacking: dict[Partition, str] = {}
        for topic in (route.topics.sink, route.topics.dead_letters):
            needed = max((number + 1 for _, number in partitions), default=0)
            count = await self.producer.partition_count(topic, needed=needed)
            if count is None or count >= needed:
                continue
            for source, number in partitions:
                if number >= count:
                    reason = f"{topic} has {count} partitions, its source {source} has more; add partitions to it"
                    lacking.setdefault((source, number), reason)
        return lacking

    async def letter(self, route: Route, part: FetchedPartition, fault: DecodeError, ticket: Ticket) -> None:
        """Produce the dead letter of a batch that cannot be read, and acknowledge its ticket. Raises like answer()."""
        topic = route.topics.dead_letters
        make = partial(letter_of_batch, part, fault, topic=topic, model=route.stages.model_id)
        try:
            await self.producer.send([make(limits=self.limits.of(topic))], ShorterLetters(make, self.limits))
        except HeldError as error:
            raise HeldError(of_source(route.topics.source, error.reasons)) from error
        if self.offsets.ack(ticket):
            assert fault.next_offset is not None
            self.reports.add(ticket.partition, fault.next_offset)
