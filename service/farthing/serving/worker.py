"""Runs one worker process: load, listen, join, run, drain, stop.

After a signal the worker has ``worker.drain_timeout_ms`` (at most 24 s) to finish and commit what is in flight, and to
leave the group; after 24 s a timer ends the process, whatever hangs. A second signal ends it at once. Nothing is lost
either way: the next owner scores again what was not committed. A worker whose supervisor is gone drains as after a
signal, because nobody would restart it and nobody could stop it.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import signal
import socket
import time
import uuid
from collections.abc import Callable, Coroutine, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import structlog
from prometheus_client.exposition import generate_latest

from farthing import config
from farthing.config import Settings
from farthing.errors import INTERNAL_EXIT_CODE, ConfigError, FarthingError
from farthing.kafka import Lag, PacingReader, ensure_compacted
from farthing.kernels.jit import watch_compilation
from farthing.meter.latencies import OCTAVE_EDGES_MS, by_edge, by_octave
from farthing.meter.records import Heartbeat
from farthing.model.scorer import Scorer
from farthing.payload import naming
from farthing.process.access import Access
from farthing.process.exits import EXIT_TIMEOUT_S, FORCED_EXIT_CODE, exit_after, exit_now
from farthing.process.first_start import COMPILING, compiling
from farthing.process.http import Endpoint
from farthing.process.memory import keep_freed_memory, settle_collector
from farthing.process.probes import Health, listen
from farthing.scoring.signature import TrustedKeys
from farthing.serving import failpoints, topics
from farthing.serving.accounting import Accounting, Scored
from farthing.serving.metrics import Metrics
from farthing.serving.pipeline import Pipeline
from farthing.serving.rejoining import keep_running
from farthing.serving.reporter import Reporter
from farthing.serving.reporting import NoReports, Reports
from farthing.serving.route import Route, RouteTopics
from farthing.serving.supervisor import write_address
from farthing.tasks.bidding import Bidding

T = TypeVar("T")
log = structlog.get_logger()

FAILED_EXIT_TIMEOUT_S = 3.0  # after an error has been reported: a thread that hangs must not keep the process alive
PARENT_LOOK_S = 1.0
BUNDLE_FIRST_S = 2.0  # that a broker's fault waits for a bundle's


class Worker:
    """One member of the consumer group. ``index`` and ``address_file`` are given by a supervisor."""

    def __init__(self, settings: Settings, *, index: int | None = None, address_file: Path | None = None) -> None:
        self._settings = settings
        self._index = index
        self._address_file = address_file
        self._health = Health()
        self._signals = 0
        self._stop = asyncio.Event()
        self._metrics: Metrics | None = None
        self._reporter: Reporter | None = None
        self._lag: Callable[[], dict[str, Lag | None]] = dict

    async def run(self) -> int:
        """Serve until a signal; returns the exit code.

        Raises
        ------
        FarthingError
            The start failed, or the pipeline met an error that a retry will not fix.
        """
        failpoints.arm(os.environ)
        self._install_signals()
        keep_freed_memory()
        endpoint = await self._listen()
        parent = asyncio.create_task(self._watch_parent()) if self._address_file is not None else None
        try:
            loaded = await self._unless_stopped(self._load_and_look())
            if loaded is None:
                return 0
            routes, self._metrics = loaded
            if not self._stop.is_set():
                await self._serve(routes)
        except Exception as error:
            self._health.set("failed", str(error))
            code = error.exit_code if isinstance(error, FarthingError) else INTERNAL_EXIT_CODE
            exit_after(FAILED_EXIT_TIMEOUT_S, code, str(error) or type(error).__name__)
            raise
        finally:
            if parent is not None:
                parent.cancel()
            await endpoint.close()
        return 0

    async def _load_and_look(self) -> tuple[list[Route], Metrics]:
        """Load the bundles and look at the broker meanwhile: a first start compiles for a minute."""
        loading = asyncio.ensure_future(asyncio.to_thread(self._load, asyncio.get_running_loop()))
        looking = asyncio.ensure_future(topics.require(self._settings))
        try:
            await asyncio.wait({loading, looking}, return_when=asyncio.FIRST_EXCEPTION)
            # If both fail, it is the bundle that is named, as long as that shows in time.
            await asyncio.wait({loading}, timeout=BUNDLE_FIRST_S)
            if not loading.done():
                await looking
            loaded = await loading
            if not self._stop.is_set():
                self._health.set("joining", "joining the consumer group")
            await looking
            return loaded
        finally:
            loading.cancel()
            looking.cancel()
            await asyncio.gather(loading, looking, return_exceptions=True)

    async def _serve(self, routes: Sequence[Route]) -> None:
        settings = self._settings
        assert self._metrics is not None
        readers = await self._unless_stopped(self._follow_pacing(routes, self._metrics))
        if readers is None:
            return
        make = partial(self._make_pipeline, routes, self._metrics, self._transactional_id())
        settle_collector()
        drain_timeout_s = settings.worker.drain_timeout_ms / 1000
        try:
            await keep_running(make, self._stop, self._health, drain_timeout_s=drain_timeout_s)
        finally:
            for reader in readers:
                await reader.close(1.0)

    def _make_pipeline(self, routes: Sequence[Route], metrics: Metrics, transactional_id: str | None) -> Pipeline:
        worker = self._settings.worker
        pipeline = Pipeline(
            routes, self._settings.kafka.for_worker(self._index), metrics, self._health,
            commit_interval_s=worker.commit_interval_ms / 1000, stall_timeout_s=worker.stall_timeout_ms / 1000,
            on_corrupt_batch=worker.on_corrupt_batch, linger_s=worker.linger_ms / 1000,
            reports=self._make_reports(routes, metrics), transactional_id=transactional_id,
        )  # fmt: skip
        self._lag = pipeline.lag
        return pipeline

    def _make_reports(self, routes: Sequence[Route], metrics: Metrics) -> Reports:
        """Make the publisher of usage and heartbeats."""
        meter, kafka = self._settings.meter, self._settings.kafka.for_worker(self._index)
        if not meter.enabled:
            return NoReports()
        make_topics = partial(ensure_compacted, kafka, replication_factor=self._settings.ledger.replication_factor)
        # Several services may run on a host: the configured port distinguishes them and survives a restart.
        name = f"{socket.gethostname()}:{self._settings.http.port}/{self._index or 0}"
        # From here on by a clock that nobody puts forward or back: cores are paid for by the time in between.
        started_ms, started_s = max(time.time_ns() // 1_000_000, 0), time.monotonic()
        edges = tuple(OCTAVE_EDGES_MS.tolist())

        def heartbeat() -> Heartbeat:
            samples = {route.stages.model_id: route.sample.as_ints() for route in routes}
            lags = {route: lag for route, lag in self._lag().items() if lag is not None}
            unreadable = {route: lag.unreadable for route, lag in lags.items() if lag.unreadable}
            ages = metrics.latency.counts()
            octaves = {route: by_octave(counts) for route, counts in ages.items()}  # for older ledgers
            fine = {route: by_edge(counts) for route, counts in ages.items()}
            at_ms = started_ms + int(1_000 * (time.monotonic() - started_s))
            return Heartbeat(
                name, started_ms, at_ms, self._health.state, self._settings.worker.cores,
                time.process_time_ns(), {route: lag.events for route, lag in lags.items()}, edges, octaves, samples,
                fine, unreadable,
            )  # fmt: skip

        scored = {route.topics.source: Scored(route.stages.model_id, route.stages.task) for route in routes}
        accounting = Accounting(
            scored, most_tenants=meter.tenants, on_refused=lambda reason: metrics.refused_metadata.labels(reason).inc()
        )
        self._reporter = Reporter(
            kafka, accounting, heartbeat,
            usage_topic=meter.usage_topic, heartbeat_topic=meter.heartbeat_topic, stopping=self._stop.is_set,
            make_topics=make_topics, metrics=metrics,
        )  # fmt: skip
        return self._reporter

    async def _follow_pacing(self, routes: Sequence[Route], metrics: Metrics) -> list[PacingReader]:
        """Read the pacing topics of the routes that have one, and follow them."""
        readers: list[PacingReader] = []
        try:
            for route, section in zip(routes, self._settings.route, strict=True):
                if section.pacing is None:
                    continue
                assert isinstance(route.stages.settled, Bidding)  # others have no pacing, as loading checks
                campaign = route.stages.settled.campaign.name
                gauge = metrics.pacing.labels(section.source)

                def count(update: str, source: str = section.source) -> None:
                    metrics.pacing_updates.labels(source, update).inc()

                reader = PacingReader(self._settings.kafka, section.pacing, [campaign], on_update=count)
                route.pacing = partial(reader.table.multiplier, campaign)
                gauge.set_function(route.pacing)
                await reader.start()
                readers.append(reader)
                log.info("pacing", topic=section.pacing, campaign=campaign, multiplier=route.pacing())
        except BaseException:
            for reader in readers:
                await reader.close(1.0)
            raise
        return readers

    def _load(self, loop: asyncio.AbstractEventLoop) -> tuple[list[Route], Metrics]:
        """Load the bundles and make every kernel ready; the first start on a machine compiles them.

        It runs on a thread of its own, which goes on even if the worker is stopped meanwhile. So it returns its result
        only when it is done, and leaves reporting progress to the event loop.
        """
        numbers = itertools.count(1)

        def say(reason: str) -> None:
            with suppress(RuntimeError):  # the loop is closed: nobody needs the progress any more
                loop.call_soon_threadsafe(self._say_starting, reason)

        with watch_compilation(lambda _: say(compiling(next(numbers)))):
            routes = [self._load_route(route, say) for route in self._settings.route]
            return routes, Metrics({route.topics.source: route.stages.model_id for route in routes})

    def _load_route(self, route: config.RouteSettings, say: Callable[[str], None]) -> Route:
        began = time.monotonic()
        say(f"loading {route.bundle}")
        log.info("loading", bundle=route.bundle)
        with naming("model.trusted_keys:"):
            TrustedKeys.read(self._settings.model.trusted_keys)
        with naming(f"route {route.source}: fields:"):
            stages = Scorer.load(
                route.bundle, max_event_bytes=route.max_event_bytes, threads=self._settings.worker.threads,
                fields=route.fields, trusted_keys=self._settings.model.trusted_keys,
            ).stages  # fmt: skip
        if stages.task != "bidding" and (route.pacing is not None or route.campaign is not None):
            raise ConfigError(
                f"route {route.source}: pacing and campaign are for bidding, but the task of {route.bundle} is "
                f"{stages.task}; remove them"
            )
        if route.campaign is not None:
            stages = stages.with_settings(route.campaign.model_dump(exclude_none=True, by_alias=True))
        topics = RouteTopics(route.source, route.sink, route.dead_letters, self._settings.kafka.compression)
        try:
            ready = Route(
                topics,
                stages,
                tenant=route.tenant,
                max_header_bytes=route.max_header_bytes,
                max_block_bytes=self._settings.worker.max_block_bytes,
            )
        except ConfigError as error:
            raise ConfigError(f"route {route.source}: tenant = {route.tenant!r}: {error}") from error
        ready.warm()
        mapped = {"fields": route.fields} if route.fields else {}
        log.info("loaded", model=stages.model_id, seconds=round(time.monotonic() - began, 1), **mapped)
        return ready

    def _transactional_id(self) -> str | None:
        """Name our transactions, if delivery is exactly once: the same again after a restart, where that is known.

        Then the broker aborts at once what a worker that died left open; otherwise after its transaction timeout.
        """
        kafka = self._settings.kafka.for_worker(self._index)
        if kafka.delivery != "exactly_once":
            return None
        folder = None if self._address_file is None else f"{self._address_file.parent.name}-{self._index}"
        return f"{kafka.group_id}.{kafka.group_instance_id or folder or uuid.uuid4().hex}"

    def _say_starting(self, reason: str) -> None:
        """Report how far the start is, unless it has ended meanwhile: draining and failing take precedence."""
        if self._health.state != "starting":
            return
        if COMPILING in reason and COMPILING not in self._health.reason:
            log.info("compiling", note=COMPILING)
        self._health.set("starting", reason)

    async def _listen(self) -> Endpoint:
        http = self._settings.http
        supervised = self._address_file is not None
        endpoint = await listen(
            "127.0.0.1" if supervised else http.host,
            0 if supervised else http.port,
            ready=self._ready,
            metrics=self._export,
            what="a worker" if self._index is None else f"worker {self._index}, under a supervisor",
            access=Access(http.token_file) if supervised else http.access,
        )
        if self._address_file is not None:
            write_address(self._address_file, endpoint.host, endpoint.port)
        scheme = "http" if supervised else http.access.scheme
        log.info("listening", url=f"{scheme}://{endpoint.host}:{endpoint.port}", paths=["/live", "/ready", "/metrics"])
        return endpoint

    async def _ready(self) -> tuple[bool, str]:
        state, reason = self._health.now
        trouble = None if self._reporter is None else self._reporter.trouble
        return self._health.ready, f"{state}: {reason}" + (f" ({trouble})" if trouble is not None else "")

    async def _export(self) -> bytes:
        if self._metrics is None:
            return b""
        self._metrics.state.state(self._health.state)
        return generate_latest(self._metrics.registry)

    def _install_signals(self) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            with suppress(NotImplementedError):  # Windows: Ctrl-C raises KeyboardInterrupt instead
                loop.add_signal_handler(number, self._on_signal, signal.Signals(number).name)

    def _on_signal(self, name: str) -> None:
        self._signals += 1
        if self._signals > 1:
            log.warning("stopping_at_once", signal=name)
            exit_now()
        self._drain(f"{name} received")

    def _drain(self, reason: str) -> None:
        log.info("draining", reason=reason, at_most_s=EXIT_TIMEOUT_S)
        self._health.set("draining", reason)
        exit_after(
            EXIT_TIMEOUT_S, FORCED_EXIT_CODE, "the drain did not end in time; what was not committed is scored again"
        )
        self._stop.set()

    async def _watch_parent(self) -> None:
        """Drain when the supervisor has died, which shows in our having another parent process."""
        supervisor = os.getppid()
        while os.getppid() == supervisor:  # noqa: ASYNC110 - there is no event to wait for
            await asyncio.sleep(PARENT_LOOK_S)
        self._drain("the supervisor is gone")

    async def _unless_stopped(self, work: Coroutine[Any, Any, T]) -> T | None:
        """Await ``work``; returns None if a signal comes first."""
        task = asyncio.ensure_future(work)
        stop = asyncio.ensure_future(self._stop.wait())
        await asyncio.wait({task, stop}, return_when=asyncio.FIRST_COMPLETED)
        stop.cancel()
        if task.done():
            return task.result()
        task.cancel()
        return None
