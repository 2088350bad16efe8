"""Reads the score and dead-letter topics in a separate process, so that it takes no CPU from the generator's core.

``python -m loadtest.reader farthing.toml SOURCE...`` takes commands on standard input: ``begin`` notes where the source
topics end and counts from there; the end of the input stops it. It prints lines of JSON: ``{"ready": true}``, then
``{"begun": {...}}`` after each ``begin``, and several times a second what has arrived
(:meth:`loadtest.results.RouteResults.taken`).
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
import uuid
from pathlib import Path
from typing import Any

import numpy as np
from confluent_kafka import Consumer, TopicPartition
from loadtest.client import client_config
from loadtest.results import RouteResults

from farthing import config
from farthing.audit.offset_set import OffsetSet
from farthing.blocks import FetchedPartition
from farthing.errors import BrokerError, FarthingError, StartError
from farthing.kafka import KafkaSettings, RecordConsumer
from farthing.process import logs
from farthing.wire import Arena, encode_records

REPORT_S = 0.2
RETRY_S = 0.5
ASK_S = 20.0
FETCH_MAX_WAIT_MS = 50


class Reader:
    """Counts the answers of some routes."""

    def __init__(self, settings: KafkaSettings, routes: tuple[config.RouteSettings, ...]) -> None:
        own = {
            "group_id": f"loadtest.{uuid.uuid4().hex[:12]}", "group_instance_id": None, "auto_offset_reset": "latest",
            "fetch_max_wait_ms": FETCH_MAX_WAIT_MS,
        }  # fmt: skip
        self._settings = settings.model_copy(update=own)
        self._routes = routes
        self._results: dict[str, RouteResults] = {}  # by the topics that are read
        self._arena = Arena()
        self._known = asyncio.Event()  # where the topics are read from
        self._consumer = RecordConsumer(
            self._settings, [topic for route in routes for topic in (route.sink, route.dead_letters)],
            on_revoked=self._revoked, on_position=lambda *_: self._known.set(),
        )  # fmt: skip

    async def _revoked(self, _: object) -> None:
        return None

    async def run(self) -> None:
        """Join, read and report until standard input ends. Raises BrokerError, StartError."""
        warm_up(self._arena)
        await self._consumer.start()
        tasks = [asyncio.create_task(work) for work in (self._read(), self._report())]
        try:
            await asyncio.wait_for(self._known.wait(), ASK_S)
            say({"ready": True})
            tasks.append(asyncio.create_task(self._obey()))
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in tasks:
                if task.done():
                    task.result()
        except TimeoutError as error:
            raise StartError(f"the score topics could not be read within {ASK_S:.0f} s; do they exist?") from error
        finally:
            for task in tasks:
                task.cancel()
            await self._consumer.close(5)

    async def _obey(self) -> None:
        while line := (await asyncio.to_thread(sys.stdin.readline)):
            if line.strip() == "begin":
                ends = await asyncio.to_thread(source_ends, self._settings, [route.source for route in self._routes])
                self._results = {}
                for route in self._routes:
                    one = RouteResults(route.sink, ends[route.source])
                    self._results |= {route.sink: one, route.dead_letters: one}
                say({"begun": ends})

    async def _read(self) -> None:
        while True:
            try:
                fetched = await self._consumer.fetch()
            except BrokerError as error:
                if not error.retriable:
                    raise
                await asyncio.sleep(RETRY_S)
                continue
            now_ms = time.time_ns() // 1_000_000
            for part in fetched.partitions:
                if part.topic in self._results:
                    self._results[part.topic].read(part, now_ms, self._arena)

    async def _report(self) -> None:
        reported: dict[str, Any] = {}
        while True:
            await asyncio.sleep(REPORT_S)
            results = {
                route.source: self._results[route.sink].taken() for route in self._routes if route.sink in self._results
            }
            if results and results != reported:
                say({"routes": results})
            reported = results


def source_ends(settings: KafkaSettings, topics: list[str]) -> dict[str, dict[int, int]]:
    """Ask for the offset after the last event of each partition of the topics.

    Raises
    ------
    StartError
        The broker does not answer in time, or there is no such topic.
    """
    consumer = Consumer({**client_config(settings), "group.id": settings.group_id})
    try:
        ends = {}
        for topic in topics:
            metadata = consumer.list_topics(topic, timeout=ASK_S).topics[topic]
            if metadata.error is not None:
                raise StartError(f"topic {topic}: {metadata.error}; `farthing topics create` makes missing ones")
            ends[topic] = {
                number: consumer.get_watermark_offsets(TopicPartition(topic, number), timeout=ASK_S, cached=False)[1]
                for number in metadata.partitions
            }
        return ends
    finally:
        consumer.close()


def warm_up(arena: Arena) -> None:
    """Run the kernels once, so that the first answers do not wait for them."""
    value = np.frombuffer(bytearray(b"{}"), np.uint8)
    batch = encode_records("warm-up", 0, value, np.array([0, 2]), np.zeros(1, np.int64))
    RouteResults("warm-up", {}).read(FetchedPartition("warm-up", 0, 0, 1, bytes(batch.data)), 0, arena)
    OffsetSet().add(np.zeros(1, np.int64))


def say(line: dict[str, Any]) -> None:
    """Print one line of JSON."""
    sys.stdout.write(json.dumps(line) + "\n")
    sys.stdout.flush()


def main() -> int:
    """Read the settings and run; errors are one line on standard error."""
    logs.configure(level=logs.ERROR)
    path, *sources = sys.argv[1:]
    try:
        settings = config.load(Path(path)).settings
        routes = tuple(route for route in settings.route if route.source in sources)
        asyncio.run(Reader(settings.kafka, routes).run())
    except FarthingError as error:
        sys.stderr.write(f"{error}\n")
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
