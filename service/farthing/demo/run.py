"""The demo's run: start the broker, the worker and the ledger, send, read back, show, and leave nothing behind."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import tempfile
import time
import uuid
from collections import deque
from collections.abc import AsyncIterator, Callable, Coroutine
from pathlib import Path
from typing import Any, Final

from rich.console import Console
from rich.live import Live

from farthing.demo.events import FileEvents, MadeUpComments
from farthing.demo.fields import field_map, manifest_of, text_path
from farthing.demo.generator import PARTITIONS, Generator
from farthing.demo.options import DemoOptions
from farthing.demo.savings import find_savings
from farthing.demo.serving import Bookkeeping, DemoTopics, Deployment, Serving
from farthing.demo.tally import Flagged, Tally
from farthing.demo.terminal import without_echo
from farthing.demo.view import Glance, draw, outcome
from farthing.demo.warm_up import load_kernels, load_parser
from farthing.errors import BrokerError, ConfigError, StartError
from farthing.kafka import BatchProducer, KafkaSettings, RecordConsumer, create_topics, delete_topics
from farthing.kafka.settings import read_servers
from farthing.ledger.platform import WHY_NOT, has_faust
from farthing.local.broker import BOOTSTRAP_VARIABLE, ExternalBroker, Tansu, external_broker
from farthing.local.process import free_port
from farthing.process import logs
from farthing.process.first_start import starting
from farthing.process.output import write_json

# Tansu lets a new group's first member wait for others for half of the session's timeout; Apache Kafka refuses less
# than 6 s (group.min.session.timeout.ms).
TANSU_SESSION_TIMEOUT_MS: Final = 4_000
SESSION_TIMEOUT_MS: Final = 10_000
HEARTBEAT_INTERVAL_MS: Final = 1_000
FETCH_MAX_WAIT_MS: Final = 20
ENDED_EARLY: Final = "the demo ended before its ledger was ready; run it for longer (--seconds)"
REDRAW_S: Final = 0.5
RATE_OVER_S: Final = 4.0


async def run_demo(options: DemoOptions) -> int:
    """Run the demo; exit code 1 when an event was lost.

    Raises
    ------
    ConfigError
        An option makes no sense, or the file of events cannot be read.
    StartError
        The broker or the worker did not start.
    """
    if options.rate < 0 or (options.seconds is not None and options.seconds <= 0):
        raise ConfigError("--rate must be 0 (as fast as possible) or more, and --seconds more than 0")
    fields = field_map(options)
    logs.configure(level=logs.ERROR)
    console = Console(stderr=True)
    events = MadeUpComments() if options.events is None else FileEvents(options.events)
    stop = asyncio.Event()
    with contextlib.ExitStack() as stack:
        for number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(number, stop.set)
        theirs = external_broker()
        console.print(
            "starting a broker ..." if theirs is None else f"using {theirs.bootstrap_servers} ...", style="dim"
        )
        broker: ExternalBroker | Tansu = stack.enter_context(theirs or Tansu())
        console.print(f"broker: {broker.bootstrap_servers}", style="dim", highlight=False)
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="farthing-demo-")))
        demo = _Demo(options, fields, events, broker, folder, console)
        await demo.run(stop)
    result = demo.result()
    console.print(outcome(result, demo.flagged), highlight=False, markup=False)
    if options.as_json:
        write_json(result)
    return 1 if result["lost"] else 0


class _Demo:
    def __init__(
        self,
        options: DemoOptions,
        fields: dict[str, str],
        events: MadeUpComments | FileEvents,
        broker: ExternalBroker | Tansu,
        folder: Path,
        console: Console,
    ) -> None:
        name = uuid.uuid4().hex[:8]
        self._options = options
        self._events = events
        self._broker = broker
        self._console = console
        self._names = DemoTopics(name)
        self._topics = self._names.route
        self._deployment = Deployment(folder, worker_port=free_port(), ledger_port=free_port())
        workers = KafkaSettings(
            bootstrap_servers=read_servers(broker.bootstrap_servers, BOOTSTRAP_VARIABLE),
            group_id=f"demo.{name}.workers",
            heartbeat_interval_ms=HEARTBEAT_INTERVAL_MS,
            session_timeout_ms=TANSU_SESSION_TIMEOUT_MS if isinstance(broker, Tansu) else SESSION_TIMEOUT_MS,
        )  # fmt: skip
        tenant = "user" if options.events is None else None  # made-up comments have one
        self._deployment.write_settings(options.task, workers, self._names, tenant, fields)
        view = {"group_id": f"demo.{name}.view", "fetch_max_wait_ms": FETCH_MAX_WAIT_MS}
        self._settings = workers.model_copy(update=view)
        self._worker = Serving(self._deployment)
        self._ledger = Bookkeeping(self._deployment) if has_faust() else None
        manifest = manifest_of(options.task)
        self._tally = Tally(self._topics.sink, str(manifest["labels"][0]), text_path(manifest, fields))
        self._producer = BatchProducer(self._settings)
        self._consumer = RecordConsumer(
            self._settings, [self._topics.sink, self._topics.dead_letters],
            on_revoked=_nothing, on_position=lambda *_: None,
        )  # fmt: skip
        self._generator = Generator(
            self._topics.source, events, self._tally, self._producer, rate=options.rate,
            round_bytes=options.round_bytes,
            empty_topics=self._empty_topics if isinstance(broker, Tansu) else None,
        )  # fmt: skip
        self._began = self._first = self._last = 0.0
        self._cpu_before: tuple[float, float] | None = None  # seconds and events at the first score
        self._cpu_after: tuple[float, float] | None = None
        self._savings: dict[str, Any] | None = None
        self._savings_note: str | None = "the demo ended before its savings were known"

    async def run(self, stop: asyncio.Event) -> None:
        """Start everything, send and read until ``stop``, the time is up or the file ends, and end everything."""
        async with self._own_topics(), self._processes(), self._connected():
            self._console.print("starting a worker ...", style="dim")
            with starting(self._console, "starting the worker", kernels=False) as say:  # the worker compiles most
                if not await _unless(stop, self._start(say)):
                    return
            self._began = time.monotonic()
            sending = asyncio.create_task(self._generator.run(stop, self._options.seconds))
            others = [asyncio.create_task(work) for work in (self._read(), self._show(), self._watch())]
            bookkeeping = asyncio.create_task(self._keep_books())
            try:
                await asyncio.wait({sending, *others}, return_when=asyncio.FIRST_COMPLETED)
                for task in others:
                    if task.done():
                        task.result()  # these end only by an error
                await sending
                self._cpu_after = await self._worker.cpu_seconds_and_events()
                self._savings, self._savings_note = await find_savings(
                    self._settings, self._names, self._deployment.config, self._ledger, self._tally.answered
                )
            finally:
                await _cancelled(sending, bookkeeping, *others)

    @contextlib.asynccontextmanager
    async def _own_topics(self) -> AsyncIterator[None]:
        await self._create_topics()
        try:
            yield
        finally:
            if isinstance(self._broker, ExternalBroker):
                await delete_topics(self._settings, [*self._topic_names(), *self._names.books])

    @contextlib.asynccontextmanager
    async def _processes(self) -> AsyncIterator[None]:
        """Start the worker; end it and the ledger, which :meth:`_keep_books` starts, at the same time."""
        self._worker.start()
        try:
            yield
        finally:
            await asyncio.gather(*(child.stop() for child in (self._worker, self._ledger) if child is not None))

    @contextlib.asynccontextmanager
    async def _connected(self) -> AsyncIterator[None]:
        try:
            yield
        finally:
            await self._consumer.close(5)
            await self._producer.close(2)

    async def _keep_books(self) -> None:
        """Start the ledger once the worker is ready, so that the first scores do not wait for it; print its address."""
        if self._ledger is None:
            self._console.print(f"no page: {WHY_NOT}", style="yellow", highlight=False)
            return
        self._ledger.start()
        try:
            await self._ledger.ready()
        except asyncio.CancelledError:
            self._console.print(f"no page: {ENDED_EARLY}", style="yellow", highlight=False)
            raise
        except StartError as error:
            self._console.print(f"no page: {error}", style="yellow", highlight=False, markup=False)
        else:
            self._console.print(f"what it costs and saves: {self._ledger.url}", highlight=False)

    async def _start(self, say: Callable[[str], None]) -> None:
        """Wait for the worker; meanwhile connect, and load the demo's own kernels."""
        starts = (
            self._worker.ready(lambda reason: say(reason.removeprefix("starting: "))),
            self._producer.start(),
            self._consumer.start(),
            asyncio.to_thread(load_kernels),
        )
        tasks = [asyncio.create_task(start) for start in starts]
        try:
            await asyncio.gather(*tasks)
        finally:
            await _cancelled(*tasks)
        await asyncio.to_thread(load_parser)

    def _topic_names(self) -> list[str]:
        return [self._topics.source, self._topics.sink, self._topics.dead_letters]

    async def _create_topics(self) -> None:
        await create_topics(self._settings, [self._topics], partitions=PARTITIONS, replication_factor=1)

    async def _empty_topics(self) -> None:
        """Free the broker's memory; everything has been read. Offsets begin at 0 again."""
        await delete_topics(self._settings, self._topic_names())
        await self._create_topics()
        for partition in self._consumer.assignment:
            self._consumer.seek(partition, 0)

    @property
    def flagged(self) -> tuple[Flagged, ...]:
        """The last flagged events."""
        return self._tally.totals.flagged

    def result(self) -> dict[str, Any]:
        """Give what ``--json`` prints."""
        totals = self._tally.totals
        seconds = self._last - self._first - self._generator.paused_s
        before, after = self._cpu_before, self._cpu_after
        events = 0.0 if before is None or after is None else after[1] - before[1]
        return {
            "events_produced": self._generator.produced,
            "events_scored": totals.scored,
            "dead": totals.dead,
            "lost": self._generator.produced - totals.answered,
            "duplicated": totals.duplicated,
            "events_per_second": round(totals.scored / seconds) if seconds > 0 else 0,
            "latency_ms": {"p50": totals.p50_ms, "p99": totals.p99_ms},
            "cpu_ns_per_event": round((after[0] - before[0]) / events * 1e9) if before and after and events else 0,
            "broker": self._broker.name,
            "rounds": self._generator.rounds,
            "savings": self._savings,
            "savings_note": self._savings_note,
        }

    async def _read(self) -> None:
        while True:
            try:
                fetched = await self._consumer.fetch()
            except BrokerError as error:  # a busy machine may answer late; events wait where they are
                if not error.retriable:
                    raise
                await asyncio.sleep(REDRAW_S)
                continue
            now_ms = time.time_ns() // 1_000_000
            for part in fetched.partitions:
                await asyncio.to_thread(self._tally.read, part, now_ms)
            if fetched.partitions:
                self._last = time.monotonic()
                if not self._first:
                    self._first = self._last
                    self._cpu_before = await self._worker.cpu_seconds_and_events()

    async def _watch(self) -> None:
        """Raise StartError when the worker or the broker has died."""
        while True:
            await asyncio.sleep(REDRAW_S)
            if isinstance(self._broker, Tansu):
                self._broker.check()
            self._worker.check()

    async def _show(self) -> None:
        past = deque([(time.monotonic(), 0)], maxlen=round(RATE_OVER_S / REDRAW_S))
        with without_echo(), Live(console=self._console, auto_refresh=False, transient=True) as live:
            while True:
                await asyncio.sleep(REDRAW_S)
                if self._console.is_terminal:
                    before, scored = past[0]
                    past.append((time.monotonic(), self._tally.totals.scored))
                    rate = (past[-1][1] - scored) / (past[-1][0] - before)
                    live.update(draw(self._glance(rate), self._tally), refresh=True)

    def _glance(self, rate: float) -> Glance:
        broker = getattr(self._broker, "process", None)
        children = (self._worker, self._ledger, broker)
        pids = [os.getpid(), *(child.pid for child in children if child is not None)]
        return Glance(
            source=self._events.name, broker=self._broker.name, model=self._options.task, state=self._generator.state,
            seconds=time.monotonic() - self._began, produced=self._generator.produced, events_per_second=rate,
            memory_bytes=sum(_resident_bytes(pid) for pid in pids if pid is not None),
        )  # fmt: skip


async def _nothing(_: object) -> None:
    return None


async def _unless(stop: asyncio.Event, work: Coroutine[Any, Any, None]) -> bool:
    """Wait for ``work``; False when ``stop`` came first and it was cancelled."""
    task, stopped = asyncio.create_task(work), asyncio.create_task(stop.wait())
    try:
        await asyncio.wait({task, stopped}, return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            task.result()
            return True
        return False
    finally:
        await _cancelled(task, stopped)


async def _cancelled(*tasks: asyncio.Task[Any]) -> None:
    """End tasks. What they raise is passed over: the first error is on its way already."""
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def _resident_bytes(pid: int) -> int:
    """Give the resident memory of a process; 0 where there is no /proc."""
    try:
        return int(Path(f"/proc/{pid}/statm").read_text(encoding="utf-8").split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, IndexError):
        return 0
