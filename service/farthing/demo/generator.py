"""Sends events by the clock, and keeps the broker's memory bounded.

The demo's own broker keeps all records in memory. So after ``round_bytes`` of events the generator waits until all are
answered, has the topics deleted and created again, which frees the memory, and goes on. A broker of the user's own is
left alone.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Final

import numpy as np

from farthing.blocks import OutputBatch
from farthing.demo.events import CHUNK_EVENTS, FileEvents, MadeUpComments
from farthing.demo.tally import Tally
from farthing.errors import StartError
from farthing.kafka import BatchProducer
from farthing.wire import encode_records

PARTITIONS: Final = 4
MOST_WAITING: Final = 100_000
"""Events sent and not answered, at which the generator waits."""

TICK_S: Final = 0.02
DRAIN_TIMEOUT_S: Final = 60.0


class Generator:
    """Sends to the partitions in turn.

    Parameters
    ----------
    rate:
        Events per second; 0 is as fast as answers come.
    empty_topics:
        Deletes and creates the topics; None when the broker can hold everything.
    """

    def __init__(
        self,
        topic: str,
        events: MadeUpComments | FileEvents,
        tally: Tally,
        producer: BatchProducer,
        *,
        rate: float,
        empty_topics: Callable[[], Awaitable[None]] | None,
        round_bytes: int,
    ) -> None:
        self._topic = topic
        self._events = events
        self._tally = tally
        self._producer = producer
        self._rate = rate
        self._empty_topics = empty_topics
        self._most_bytes = round_bytes
        self._next_offset = [0] * PARTITIONS
        self._turn = 0
        self._round_bytes = 0
        self._due = 0.0  # events that should have been sent by now
        self._clock = 0.0  # when the count of due events was last brought up to date
        self.produced = 0
        self.rounds = 1
        self.paused_s = 0.0  # between rounds
        self.state = "starting"

    async def run(self, stop: asyncio.Event, seconds: float | None) -> None:
        """Send until ``stop``, until ``seconds`` of sending are over or the file ends; then wait for the answers."""
        self._clock = time.monotonic()
        spent = 0.0
        while not stop.is_set() and not self._events.done and (seconds is None or spent < seconds):
            if self.produced - self._tally.answered > MOST_WAITING:
                self.state = "generator waiting"
                await asyncio.sleep(TICK_S)
                spent += self._pass()
                self._due = 0.0  # what could not be sent is not made up for
                continue
            self.state = "running"
            elapsed = self._pass()
            spent += elapsed
            self._due += elapsed * self._rate
            if self._rate and self._due < 1:
                await asyncio.sleep(TICK_S)
                continue
            batches = self._make()
            if batches:
                await self._producer.send(batches)
            if self._empty_topics is not None and self._round_bytes > self._most_bytes:
                await self._begin_round(self._empty_topics)
        self.state = "finishing"
        await self._answered()

    def _pass(self) -> float:
        """Give the seconds since the last call."""
        before, self._clock = self._clock, time.monotonic()
        return self._clock - before

    def _make(self) -> list[OutputBatch]:
        """Make one batch for each partition with what is due; its events bear the time at which they were due."""
        batches = []
        share = CHUNK_EVENTS if not self._rate else min(max(int(self._due) // PARTITIONS, 1), CHUNK_EVENTS)
        for _ in range(PARTITIONS):
            chunk = self._events.take(share)
            if chunk is None:
                break
            late_s = self._due / self._rate if self._rate else 0.0
            stamps = np.full(len(chunk), int((time.time() - late_s) * 1000), np.int64)
            partition = self._turn
            self._turn = (self._turn + 1) % PARTITIONS
            batches.append(encode_records(self._topic, partition, chunk.data, chunk.indptr, stamps))
            self._tally.sent(partition, self._next_offset[partition], chunk)
            self._next_offset[partition] += len(chunk)
            self.produced += len(chunk)
            self._round_bytes += len(chunk.data)
            self._due -= len(chunk)
        return batches

    async def _begin_round(self, empty_topics: Callable[[], Awaitable[None]]) -> None:
        self.state = "emptying topics"
        self._pass()
        await self._answered()
        if self._tally.answered < self.produced:
            raise StartError(
                f"{self.produced - self._tally.answered:,} events were not answered within {DRAIN_TIMEOUT_S:.0f} s"
            )
        self._tally.start_again()
        await empty_topics()
        self._next_offset = [0] * PARTITIONS
        self._round_bytes = 0
        self.rounds += 1
        self._due = PARTITIONS
        await self._producer.send(self._make())  # one each; what is answered shows that the worker begins at 0 again
        await self._answered()
        self.paused_s += self._pass()  # nothing is due from it
        self._due = 0.0

    async def _answered(self) -> None:
        """Wait until everything sent is scored or dead; after a while without progress what is missing is lost."""
        since, answered = time.monotonic(), self._tally.answered
        while self._tally.answered < self.produced and time.monotonic() - since < DRAIN_TIMEOUT_S:
            if self._tally.answered != answered:
                since, answered = time.monotonic(), self._tally.answered
            await asyncio.sleep(TICK_S)
