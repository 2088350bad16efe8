"""What one generator process holds: pools of events, its users' connections, and the totals of what it sent."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import gevent
from loadtest.client import producer_config
from loadtest.events import Batch, EventPool, from_file, made_up
from loadtest.field_map import layout_of
from loadtest.sending import POLL_S, Connection
from loadtest.targets import Targets
from loadtest.totals import SentTotals

from farthing.errors import ConfigError


class Generator:
    """Made anew for each run. ``plans`` are (task, events in a batch, events in the pool) of the users to come."""

    def __init__(self, environment: Any, targets: Targets, plans: Iterable[tuple[str, int, int]]) -> None:
        self._environment = environment
        self._targets = targets
        self._options = environment.parsed_options
        # On a thread: Locust's heartbeats go on meanwhile, and a worker is not taken for dead.
        make = gevent.get_hub().threadpool.apply
        self._pools = {task: make(self._pool, (task, batch_events, n)) for task, batch_events, n in plans}
        self._connections: set[Connection] = set()
        self._numbers = itertools.count()
        self.totals: dict[str, SentTotals] = {route.source: SentTotals() for route in targets.routes.values()}
        self.wall_s = time.time() - time.monotonic()  # what makes the pacers' clock seconds since the epoch
        self._cpu_s = time.process_time()
        self._polling = gevent.spawn(self._poll)

    def _pool(self, task: str, batch_events: int, n: int) -> EventPool:
        options = self._options
        if not options.events:
            share, seed = options.malformed_share, options.seed
            lay_out = layout_of(self._targets.plans[task], self._targets.fields(task, options.map))
            return made_up(task, n, batch_events=batch_events, malformed_share=share, seed=seed, lay_out=lay_out)
        return from_file(
            Path(options.events), task, batch_events=batch_events, key_field=options.key_field or None,
            malformed_share=options.malformed_share, seed=options.seed,
        )  # fmt: skip

    def batches(self, task: str) -> tuple[Batch, ...]:
        """Give the batches of a task. Raises ConfigError when no route has it."""
        if task not in self._pools:
            raise ConfigError(f"no route of {self._targets.file} has a bundle for the task {task}")
        return self._pools[task].batches

    def number(self) -> int:
        """Count users: 0, 1, 2, ..."""
        return next(self._numbers)

    def connect(self, task: str) -> Connection:
        """Make a user's connection."""
        options = self._options
        config = producer_config(self._targets.kafka, compression=options.compression, linger_ms=options.linger_ms)
        topic = self._targets.routes[task].source

        def delivered(batch: Batch, ms: float, error: Exception | None) -> None:
            self._environment.events.request.fire(
                request_type="produce", name=topic, response_time=ms, response_length=batch.value_bytes,
                exception=error, context={}, response=None,
            )  # fmt: skip

        connection = Connection(config, topic, self.totals[topic], delivered)
        self._connections.add(connection)
        return connection

    def disconnect(self, connection: Connection) -> bool:
        """Wait for what is on its way, then let go of the connection; False when something stayed open."""
        done = connection.drain()
        self._connections.discard(connection)
        return done

    def _poll(self) -> None:
        while True:
            for connection in tuple(self._connections):
                connection.poll()
            gevent.sleep(POLL_S)

    def plain(self) -> dict[str, Any]:
        """Give the totals as they travel to the master."""
        cpu_s = time.process_time() - self._cpu_s
        return {"cpu_s": cpu_s, "totals": {source: one.plain() for source, one in self.totals.items()}}

    def close(self) -> None:
        """Stop polling: the next run has a generator of its own."""
        self._polling.kill()
