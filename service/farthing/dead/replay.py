"""``farthing dead replay``: sends the events of letters on their way again, each once, however often it is run.

Back to the source, with key, value, headers and timestamp as they were; or, scored here by a mended bundle or map,
straight to the sink. What is written carries the event's first offset in ``farthing.replay``, and in ``farthing.log``
which log of the source that is of, if the topic was created again. Before anything is
written the target is read for those headers: an event that is there already (:mod:`farthing.dead.done`) is left alone,
so a replay that was interrupted can be run again. Letters of one partition are replayed in their order.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Final

from farthing.blocks import OutputBatch, Status
from farthing.config import RouteSettings
from farthing.dead.batches import REPLAY_HEADER, Again, lay_out
from farthing.dead.done import Done
from farthing.dead.letters import Header, Letter
from farthing.dead.originals import Gone, Originals
from farthing.dead.reading import letters_of, parts_of, with_headers
from farthing.dead.selection import Selection
from farthing.kafka import BatchProducer, KafkaSettings, Refused
from farthing.model.scorer import Scorer
from farthing.process.output import safe
from farthing.wire import LOG_HEADER, OFFSET_HEADER, Arena, Limits, decode_whole
from farthing.wire.split import records_of

BATCH_BYTES: Final = 500_000
BATCH_RECORDS: Final = 500
MOST_REFUSALS: Final = 20

Tell = Callable[[str], None]


@dataclass(slots=True)
class Summary:
    """What became of the letters."""

    letters: int = 0  # that were selected
    replayed: int = 0
    already: int = 0  # replayed by an earlier run
    repeats: int = 0  # further letters of an event that has one already
    still_dead: Counter[str] = field(default_factory=Counter)  # scored here and refused again, by reason
    refused: Counter[str] = field(default_factory=Counter)  # cannot be replayed, by kind


class Replay:
    """Replays the letters of one route."""

    def __init__(
        self, kafka: KafkaSettings, route: RouteSettings, selection: Selection, *, scorer: Scorer | None,
        dry_run: bool, per_second: float | None, tell: Tell, shared: bool = False,
        limits: Limits | None = None,
    ) -> None:  # fmt: skip
        """``scorer`` scores the events here, and the sink is the target; None: the target is the source.

        ``shared``: other routes have the same dead-letter topic. ``limits``: of what the route's workers read.
        """
        self._kafka, self._route, self._selection, self._scorer = kafka, route, selection, scorer
        self._dry_run, self._per_second, self._tell, self._shared = dry_run, per_second, tell, shared
        self._limits = limits or Limits()
        self.target = route.source if scorer is None else route.sink
        self.summary = Summary()
        self._done = Done(scored=scorer is not None)
        self._waiting: dict[int, list[tuple[Letter, Again]]] = {}
        self._most = BATCH_RECORDS if per_second is None else min(max(int(per_second), 1), BATCH_RECORDS)
        self._began, self._written = 0.0, 0
        self._said = 0

    async def run(self) -> Summary:
        """Carry it out.

        Raises
        ------
        BrokerError, DecodeError
            A topic cannot be read or written. What was written is noted there: run it again to go on.
        """
        await self._read_target()
        producer = None if self._dry_run else BatchProducer(self._kafka)
        originals = Originals(self._kafka, self._route.source, self._limits)
        try:
            if producer is not None:
                await producer.start()
            self._began = time.monotonic()
            async with aclosing(letters_of(self._kafka, self._route, self._limits)) as letters:
                async for letter in letters:
                    if self._selection.takes(letter):
                        await self._take(letter, originals, producer)
            for partition in list(self._waiting):
                await self._write(partition, producer)
        finally:
            await originals.close()
            if producer is not None:
                await producer.close(2.0)
        return self.summary

    async def _read_target(self) -> None:
        """Note which of the letters' events earlier runs have written."""
        partitions = set()  # where there is no letter the target need not be read
        async with aclosing(letters_of(self._kafka, self._route, self._limits)) as letters:
            async for letter in letters:
                if self._selection.takes(letter):
                    partitions.add(letter.partition)
                    self._done.want(letter)
        arena = Arena()
        # Uncommitted too: what an earlier run wrote may lie behind somebody's open transaction.
        kafka = self._kafka.model_copy(update={"isolation_level": "read_uncommitted"})
        async for part in parts_of(kafka, self.target):
            if part.partition not in partitions:
                continue
            for records in decode_whole(part, arena, with_headers(self._limits)):
                for segment in records.segments:
                    if segment.fault is not None:
                        raise segment.fault
                self._done.read(part.partition, records)

    async def _take(self, letter: Letter, originals: Originals, producer: BatchProducer | None) -> None:
        """Put one letter's event into its partition's next batch, unless it is there already or cannot be."""
        self.summary.letters += 1
        offset = letter.offset
        if offset is None:
            return self._refuse("foreign", f"{letter.topic}[{letter.partition}] {letter.position}: not a dead letter")
        if letter.batch_stop is not None:
            return self._refuse(
                "whole batch",
                f"{letter.place}: holds a whole record batch that cannot be read ({letter.reason}), with events up to "
                f"offset {letter.batch_stop - 1}; have its producer send them again",
            )
        if self._done.has(letter):
            waiting = any(
                (one.log, one.offset) == (letter.log, offset) for one, _ in self._waiting.get(letter.partition, ())
            )
            self.summary.repeats += waiting
            self.summary.already += not waiting
            return None
        if self._shared and letter.source is None and letter.digest("value") is None:
            return self._refuse(
                "cut",
                f"{letter.place}: the letter had no room for its event's topic, and other routes send their dead "
                f"letters to {letter.topic} too; have its producer send the event again, and give each route a "
                "dead-letter topic of its own",
            )
        event = Again(letter.event_timestamp_ms, letter.key, letter.value, letter.headers)
        if letter.cut:
            try:
                event = await originals.fetch(letter)
            except Gone as gone:
                return self._refuse("cut", f"{letter.place}: {gone}")
        self._done.add(letter)
        batch = self._waiting.setdefault(letter.partition, [])
        batch.append((letter, event))
        if len(batch) >= self._most or sum(one.size for _, one in batch) >= BATCH_BYTES:
            await self._write(letter.partition, producer)
        return None

    async def _write(self, partition: int, producer: BatchProducer | None) -> None:
        """Score what waits for a partition if it is scored here, and write it."""
        waiting = self._waiting.pop(partition, [])
        records = self._again(waiting) if self._scorer is None else await self._score(waiting)
        if not records:
            return
        if producer is None:
            self.summary.replayed += len(records)
        else:
            await self._pace(len(records))
            await self._send(partition, records, producer)

    async def _send(self, partition: int, records: list[Again], producer: BatchProducer) -> None:
        """Write records; those that the broker refuses are left out and said, and keep no others."""

        async def leave_out(refused: Refused) -> Sequence[OutputBatch]:
            (record,) = records_of(refused.batch)
            offset = (record.header(REPLAY_HEADER) or b"").decode()
            self._refuse("broker", f"{partition}:{offset}: {self.target} does not take it: {refused.verdict}")
            return ()

        before = self.summary.refused["broker"]
        await producer.send([lay_out(self.target, partition, records)], leave_out)
        self.summary.replayed += len(records) - (self.summary.refused["broker"] - before)

    def _again(self, waiting: list[tuple[Letter, Again]]) -> list[Again]:
        return [event._replace(headers=(*event.headers, *_replayed(letter))) for letter, event in waiting]

    async def _score(self, waiting: list[tuple[Letter, Again]]) -> list[Again]:
        """Return the score records of the events that can be scored now."""
        assert self._scorer is not None
        scored = await asyncio.to_thread(self._scorer.score_events, [event.value or b"" for _, event in waiting])
        values, records = iter(scored.values), []
        for (letter, event), status in zip(waiting, scored.status.tolist(), strict=True):
            if status:
                self.summary.still_dead[Status(status).name.lower()] += 1
                continue
            headers = (*self._carried(event.headers), *_replayed(letter), (OFFSET_HEADER, f"{letter.offset}".encode()))
            records.append(event._replace(value=next(values), headers=headers))
        return records

    def _carried(self, headers: tuple[Header, ...]) -> list[Header]:
        """Keep the event's headers that a score carries: as many bytes as the route allows."""
        room, kept = self._route.max_header_bytes, []
        for name, value in headers:
            size = len(name) + len(value or b"") + 4
            if size <= room and not name.startswith(b"farthing."):
                kept.append((name, value))
                room -= size
        return kept

    async def _pace(self, count: int) -> None:
        """Wait until so many more may be written."""
        self._written += count
        if self._per_second is not None:
            due = self._began + self._written / self._per_second
            await asyncio.sleep(max(due - time.monotonic(), 0.0))

    def _refuse(self, kind: str, sentence: str) -> None:
        self.summary.refused[kind] += 1
        self._said += 1
        if self._said <= MOST_REFUSALS:
            self._tell(safe(sentence))
        elif self._said == MOST_REFUSALS + 1:
            self._tell("more letters cannot be replayed; the summary counts them")


def _replayed(letter: Letter) -> list[Header]:
    """Return the headers by which an event is known to have been replayed."""
    of_log: list[Header] = [(LOG_HEADER, f"{letter.log}".encode())] if letter.log else []
    return [(REPLAY_HEADER, f"{letter.offset}".encode()), *of_log]
