"""Runs the pure stages of one route: fetched bytes in, ready-made batches out.

::

    decode -> parse -> featurize -> score -> decide -> render -> encode

The loop around them, with the broker at either end, is :mod:`farthing.serving.pipeline`.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, TypeVar

import numpy as np

from farthing.blocks import (
    N_STATUSES,
    BidBlock,
    Bytes,
    DecisionBlock,
    DecisionInputs,
    FetchedPartition,
    FieldColumns,
    Int64s,
    Outcome,
    OutputBatch,
    RecordBlock,
    Segment,
    Status,
)
from farthing.errors import BlockHeldError
from farthing.limits import MAX_BLOCK_BYTES, block_bytes
from farthing.meter.count import count_usage
from farthing.meter.tenants import TenantNames, TenantRows
from farthing.meter.tokens import TextSample
from farthing.model.stages import Stages
from farthing.payload import Field
from farthing.serving.breaker import NOT_ITS_OWN, Breaker, describe_refusals
from farthing.serving.failing import Worked, work_around
from farthing.serving.late import LateLetter, difference, record_at
from farthing.serving.metrics import BlockStats
from farthing.wire import (
    DEFAULT_LIMITS,
    Arena,
    Dropped,
    Limits,
    TopicLimits,
    Unread,
    decode,
    encode_dead,
    encode_records,
    encode_scores,
    header_bytes,
    stamp_producer,
    warm_pieces,
)

T = TypeVar("T")

SAMPLE_EVERY_S = 1.0
"""Time between two texts that are sampled for the estimate of tokens."""


@dataclass(frozen=True, slots=True)
class RouteTopics:
    """Where a route reads and writes. Its name in metrics and logs is its source topic."""

    source: str
    sink: str
    dead_letters: str
    compression: str = "none"


@dataclass(frozen=True, slots=True)
class Answer:
    """The result of one block: batches to produce, and what may be committed once they are acknowledged."""

    batches: tuple[OutputBatch, ...] = field(repr=False)
    segments: tuple[Segment, ...]
    timestamps_ms: Int64s  # (n,) of the events; our own copy
    status: Bytes  # (n,) Status
    stats: BlockStats
    usage: Int64s  # (n_segments, N_COUNTS) what the meter counts, see farthing.meter.count
    tenants: TenantRows | None = None  # the same by tenant; None if tenants are not counted


class Route:
    """The pure stages of one route: fetched bytes in, ready-made batches out. One call at a time."""

    def __init__(
        self,
        topics: RouteTopics,
        stages: Stages,
        pacing: Callable[[], float] = lambda: 1.0,
        *,
        tenant: str | None = None,
        max_header_bytes: int = 0,
        max_block_bytes: int = MAX_BLOCK_BYTES,
    ) -> None:
        """Make a route.

        Parameters
        ----------
        topics, stages:
            Where it reads and writes, and the model's stages.
        pacing:
            Returns the campaign's current multiplier, from any thread (bidding).
        tenant:
            Path of the field that names an event's tenant; None if tenants are not counted.
        max_header_bytes:
            Most bytes of an event's own headers that are carried on to its score.
        max_block_bytes:
            What the events of one block may be charged (:mod:`farthing.limits`).

        Raises
        ------
        ConfigError
            The tenant's field cannot be read besides the model's.
        """
        self.topics = topics
        self.stages = stages
        self._max_header_bytes = max_header_bytes
        self._tenant_field: Field | None = None
        if tenant is not None:
            self.stages, self._tenant_field = stages.reading_also(tenant)
        self._tenant_names = TenantNames(tokens=self._tenant_field is None or self._tenant_field.kind == "raw")
        self.pacing = pacing
        self.sample = TextSample()  # of live texts, for the ledger's estimate of tokens
        self._next_sample = 0.0
        self._arena = Arena()
        self._breaker = Breaker()
        self.limits_of: Callable[[str], TopicLimits] = lambda topic: DEFAULT_LIMITS
        self._limits = Limits(
            *block_bytes(max_block_bytes, stages.max_event_bytes, has_rows=stages.field_plan.has_array)
        )

    def warm(self) -> None:
        """Score a made-up block, so that every kernel is compiled before the first event."""
        event: dict[str, Any] = {}
        for planned in self.stages.field_plan.fields:
            if planned == self._tenant_field:
                continue  # the event has no tenant
            planned.parsed.put(event, 1 if planned.kind == "number" else "up")
        values = [json.dumps(event).encode(), b"{"]
        data, indptr = np.frombuffer(b"".join(values), np.uint8), np.cumsum([0, *map(len, values)], dtype=np.int64)
        batch = encode_records(
            self.topics.source, 0, data, indptr, np.zeros(len(values), np.int64),
            headers=header_bytes("warm", "up"), header_count=1,
        )  # fmt: skip
        stamp_producer(batch.data, 0, 0, 0)
        self.answer([FetchedPartition(self.topics.source, 0, 0, len(values), batch.data.data)])
        warm_pieces()

    def answer(self, fetched: Sequence[FetchedPartition | Unread]) -> Answer:
        """Decode, parse, featurize, score, decide, render and encode one block: as much of ``fetched`` as it may have.

        An unreadable batch is a fault of its segment, an unreadable event a dead letter, and so is one on which the
        model fails or whose score the sink does not take.

        Raises
        ------
        BlockHeldError
            The model fails on nearly all events, or on the block and not on its parts, or the sink takes nearly none of
            the scores.
        """
        clock = _StageClock()
        unread = [part if isinstance(part, Unread) else Unread(part) for part in fetched]
        new = [part for part in unread if not part.begun]
        sizes = [len(part.part.data) for part in new]
        records = clock("decode", decode(unread, self._arena, self._limits))
        worked, failing = work_around(records, partial(self._work, clock=clock))
        fetched_bytes = sum(size for part, size in zip(new, sizes, strict=True) if part.begun)
        return self._encode(fetched_bytes, records, worked, failing, clock)

    def _work(self, records: RecordBlock, clock: _StageClock) -> Worked:
        """Run the stages between decoding and encoding."""
        stages = self.stages
        columns = clock("parse", stages.parse(records))
        features = clock("featurize", stages.prepare(columns, records))
        scores = clock("score", stages.score(features))
        inputs = DecisionInputs(records.buffer, records.timestamps_ms, time.time_ns() // 1_000_000, self.pacing())
        decisions = clock("decide", stages.decide(columns, scores, inputs))
        values = clock("render", stages.render(records, columns, decisions))
        return Worked(columns, decisions, values, len(scores))

    def _encode(
        self,
        fetched_bytes: int,
        records: RecordBlock,
        worked: Worked,
        failing: Sequence[int],
        clock: _StageClock,
    ) -> Answer:
        topics, stages, columns = self.topics, self.stages, worked.columns
        dropped = np.zeros(len(Dropped), np.int64)
        status = worked.decisions.status.copy()
        status[list(failing)] = Status.MODEL_FAILED
        now_ms = time.time_ns() // 1_000_000
        limits, dead_limits = self.limits_of(topics.sink), self.limits_of(topics.dead_letters)
        batches = encode_scores(
            records,
            worked.values,
            topic=topics.sink,
            compression=topics.compression,
            limits=limits,
            times=limits.times(now_ms),
            max_header_bytes=self._max_header_bytes,
            dropped=dropped,
            status=status,
        )
        status_counts = np.bincount(status, minlength=N_STATUSES)
        if self._breaker.trips(int(status_counts[Status.OK]), int(status_counts[list(NOT_ITS_OWN)].sum())):
            raise BlockHeldError(describe_refusals(status_counts, topics.sink))
        if status_counts[Status.OK] < len(records):
            batches += encode_dead(
                records,
                status,
                topic=topics.dead_letters,
                model=stages.model_id,
                now_ms=now_ms,
                compression=topics.compression,
                limits=dead_limits,
                times=dead_limits.times(now_ms),
                dropped=dropped,
            )
        clock("encode", batches)
        self._take_sample(columns, records, status)
        value_bytes = records.value_stop - records.value_start
        bounds = np.array([*(segment.start for segment in records.segments), len(records)], np.int64)
        prompt_bytes = stages.prompt_bytes(columns)
        usage = count_usage(bounds, status, columns.row_indptr, value_bytes, prompt_bytes)
        stats = BlockStats(
            route=topics.source,
            status_counts=status_counts,
            rows=worked.rows,
            fetched_bytes=fetched_bytes,
            value_bytes=int(value_bytes.sum()),
            produced_bytes=sum(len(batch.data) for batch in batches),
            stage_seconds=clock.seconds,
            bid_counts=_count_bids(worked.decisions, status),
            dropped_headers=dropped,
        )
        tenants = self._count_tenants(bounds, status, prompt_bytes, columns, records)
        return Answer(batches, records.segments, records.timestamps_ms.copy(), status, stats, usage, tenants)

    def _count_tenants(
        self, bounds: Int64s, status: Bytes, prompt_bytes: Int64s, columns: FieldColumns, records: RecordBlock
    ) -> TenantRows | None:
        if self._tenant_field is None:
            return None
        column: Any = columns.columns[self._tenant_field.name]
        return self._tenant_names.count(bounds, status, prompt_bytes, column, records.buffer)

    def letter(
        self, part: FetchedPartition, offset: int, status: Status, *, smallest: bool = False, keyed: bool = False
    ) -> LateLetter:
        """Make the dead letter of an event whose score, or first letter, the broker has refused.

        ``part`` is what was fetched with the event; ``smallest`` leaves only our own headers in the letter, and
        ``keyed`` gives it a key as in a compacted topic.
        """
        topics, now_ms = self.topics, time.time_ns() // 1_000_000
        record = record_at(part, offset)
        limits = self.limits_of(topics.dead_letters)
        limits = replace(limits, compacted=limits.compacted or keyed)
        batches = encode_dead(
            record,
            np.array([status], np.uint8),
            topic=topics.dead_letters,
            model=self.stages.model_id,
            now_ms=now_ms,
            compression=topics.compression,
            limits=limits,
            times=limits.times(now_ms),
            smallest=smallest,
        )
        columns = self.stages.parse(record)
        bounds, prompt_bytes = np.array([0, 1], np.int64), self.stages.prompt_bytes(columns)
        value_bytes = record.value_stop - record.value_start
        before, after = np.array([Status.OK], np.uint8), np.array([status], np.uint8)
        usage = [count_usage(bounds, s, columns.row_indptr, value_bytes, prompt_bytes)[0] for s in (before, after)]
        tenants = [self._count_tenants(bounds, s, prompt_bytes, columns, record) for s in (before, after)]
        return LateLetter(batches, usage[1] - usage[0], difference(*tenants))

    def _take_sample(self, columns: FieldColumns, records: RecordBlock, status: Bytes) -> None:
        """Sample the text of one event now and then."""
        now = time.monotonic()
        if now < self._next_sample or not len(status) or status[len(status) // 2]:
            return
        self._next_sample = now + SAMPLE_EVERY_S
        self.sample += TextSample.of(self.stages.prompt_text(columns, records, len(status) // 2))


def _count_bids(decisions: DecisionBlock | BidBlock, status: Bytes) -> Int64s | None:
    """Count a block's bid requests by Outcome, test requests separately: (2, len(Outcome)); None for other tasks."""
    if not isinstance(decisions, BidBlock):
        return None
    answered = status == Status.OK
    kinds = decisions.test[answered].astype(np.int64) * len(Outcome) + decisions.outcomes[answered]
    return np.bincount(kinds, minlength=2 * len(Outcome)).reshape(2, len(Outcome))


class _StageClock:
    """Measures how many seconds each stage took, from the end of the stage before."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._last = time.perf_counter()

    def __call__(self, stage: str, result: T) -> T:
        now = time.perf_counter()
        self.seconds[stage] = self.seconds.get(stage, 0.0) + now - self._last
        self._last = now
        return result
