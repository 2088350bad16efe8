"""Supervises ``serve --workers N``: N worker processes in one consumer group behind one set of probes.

Workers are separate processes (``farthing serve --worker-index i``), so that each has its own GIL, event loop and
membership. One that dies is started again, after a growing pause; one that cannot start at all ends the service with
its exit code. Each writes its probe address to a file in a private folder for the supervisor, and drains when the
supervisor is gone. Only the supervisor gets signals, and passes them on: if Ctrl-C in a terminal reached the workers
directly, it would reach them twice.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import aiohttp
import structlog
from prometheus_client.core import Metric
from prometheus_client.exposition import generate_latest
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector, CollectorRegistry

from farthing.config import Settings
from farthing.errors import INTERNAL_EXIT_CODE
from farthing.process.access import bearer
from farthing.process.exits import EXIT_TIMEOUT_S
from farthing.process.guard import ChangingSecret
from farthing.process.probes import listen

log = structlog.get_logger()

PROBE_TIMEOUT_S = 2.0
KILL_AFTER_S = EXIT_TIMEOUT_S + 0.5  # by then a worker should have ended by itself
FIRST_PAUSE_S = 0.5
LONGEST_PAUSE_S = 30.0
LOOK_EVERY_S = 0.5
CANNOT_START = frozenset([2, 3, 4, INTERNAL_EXIT_CODE])  # exit codes that another start would end with as well


class OwnMetric(NamedTuple):
    """A metric of the supervisor itself, besides those of its workers."""

    name: str
    type: str
    labels: tuple[str, ...]
    help: str


RESTARTS = OwnMetric(
    "farthing_worker_restarts_total", "counter", ("worker",), "Times a worker process was started again."
)
ANSWERING = OwnMetric("farthing_workers", "gauge", (), "Worker processes that answer.")
OWN_METRICS = (RESTARTS, ANSWERING)


class _Child:
    """One worker process, and how it has fared."""

    def __init__(self, index: int, folder: Path) -> None:
        self.index = index
        self.address_file = folder / f"worker-{index}.json"
        self.process: asyncio.subprocess.Process | None = None
        self.restarts = 0
        self.was_ready = False

    @property
    def url(self) -> str | None:
        try:
            address = json.loads(self.address_file.read_text())
        except (OSError, ValueError):
            return None
        return f"http://{address['host']}:{address['port']}"


class _Merged(Collector):
    """The metrics of all workers, each sample with the label ``worker``."""

    def __init__(self, texts: Sequence[tuple[int, str]]) -> None:
        self._texts = texts

    def collect(self) -> list[Metric]:
        families: dict[str, Metric] = {}
        for index, text in self._texts:
            for family in text_string_to_metric_families(text):
                merged = families.setdefault(family.name, Metric(family.name, family.documentation, family.type))
                for s in family.samples:
                    merged.add_sample(s.name, {**s.labels, "worker": str(index)}, s.value)
        return list(families.values())


def merge_metrics(texts: Sequence[tuple[int, str]]) -> bytes:
    """Join the Prometheus texts of several workers into one, distinguished by the label ``worker``."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Merged(texts))
    return generate_latest(registry)


class Supervisor:
    """Starts, watches, restarts and stops the workers."""

    def __init__(self, settings: Settings, arguments: Sequence[str]) -> None:
        """``arguments`` are the command's own, from ``serve`` on, to be repeated for each worker."""
        self._settings = settings
        self._arguments = list(arguments)
        self._stopping = asyncio.Event()
        self._children: list[_Child] = []
        self._exit_code = 0
        self._token: ChangingSecret | None = None  # the workers take the one that is in the file now

    async def run(self) -> int:
        """Run until a signal or a failed start; returns the exit code."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            with suppress(NotImplementedError):  # Windows: Ctrl-C raises KeyboardInterrupt instead
                loop.add_signal_handler(number, self._on_signal)
        with tempfile.TemporaryDirectory(prefix="farthing-") as name:
            self._children = [_Child(i, Path(name)) for i in range(self._settings.worker.workers)]
            http = self._settings.http
            if http.token_file is not None:
                self._token = ChangingSecret(http.token_file, "http.token_file")
            timeout = aiohttp.ClientTimeout(total=PROBE_TIMEOUT_S)
            async with aiohttp.ClientSession(timeout=timeout) as session:
                self._session = session
                what = f"the supervisor of {len(self._children)} workers"
                endpoint = await listen(
                    http.host, http.port, ready=self._ready, metrics=self._metrics, what=what, access=http.access
                )
                url = f"{http.access.scheme}://{endpoint.host}:{endpoint.port}"
                log.info("supervisor_listening", url=url, workers=len(self._children))
                watchers = [asyncio.create_task(self._watch(child)) for child in self._children]
                try:
                    await self._stopping.wait()
                finally:
                    await self._stop(watchers)
                    await endpoint.close()
        return self._exit_code

    def _on_signal(self) -> None:
        if self._stopping.is_set():  # a second signal: workers end at once
            self._terminate()
        self._stopping.set()

    def _terminate(self) -> None:
        for child in self._children:
            if child.process is not None and child.process.returncode is None:
                with suppress(ProcessLookupError):
                    child.process.terminate()

    async def _watch(self, child: _Child) -> None:
        pause = FIRST_PAUSE_S
        while not self._stopping.is_set():
            child.was_ready = False
            try:
                child.address_file.unlink(missing_ok=True)
                child.process = await asyncio.create_subprocess_exec(
                    sys.executable, "-m", "farthing", *self._arguments,
                    "--worker-index", str(child.index), "--address-file", str(child.address_file),
                    start_new_session=True,
                )  # fmt: skip
            except OSError as error:  # no memory, or no more processes, at this moment
                log.error("worker_not_started", worker=child.index, error=str(error), again_in_s=pause)
                await self._pause(pause)
                pause = min(pause * 2, LONGEST_PAUSE_S)
                continue
            log.info("worker_started", worker=child.index, pid=child.process.pid)
            began = time.monotonic()
            looking = asyncio.create_task(self._look(child))
            code = await child.process.wait()
            looking.cancel()
            if self._stopping.is_set():
                return
            lived = time.monotonic() - began
            if not child.was_ready and child.restarts == 0 and code in CANNOT_START:
                log.error("worker_cannot_start", worker=child.index, exit_code=code)
                self._exit_code = code
                self._stopping.set()
                return
            child.restarts += 1
            pause = FIRST_PAUSE_S if lived > LONGEST_PAUSE_S else min(pause * 2, LONGEST_PAUSE_S)
            log.warning("worker_died", worker=child.index, exit_code=code, lived_s=round(lived, 1), restart_in_s=pause)
            await self._pause(pause)

    async def _pause(self, pause_s: float) -> None:
        """Wait, or until it stops."""
        with suppress(TimeoutError):
            await asyncio.wait_for(self._stopping.wait(), pause_s)

    async def _look(self, child: _Child) -> None:
        """Note when a worker becomes ready, even if nobody asks: from then on its death is a crash."""
        while not child.was_ready:
            await asyncio.sleep(LOOK_EVERY_S)
            status, _ = await self._get(child, "/ready")
            child.was_ready = status == 200
        log.info("worker_ready", worker=child.index)

    async def _stop(self, watchers: Sequence[asyncio.Task[None]]) -> None:
        self._terminate()
        _, late = await asyncio.wait(watchers, timeout=KILL_AFTER_S) if watchers else (set(), set())
        for child in self._children:
            if child.process is not None and child.process.returncode is None:
                log.warning("worker_killed", worker=child.index, after_s=KILL_AFTER_S)
                with suppress(ProcessLookupError):
                    child.process.kill()
        if late:
            await asyncio.wait(late, timeout=5.0)

    async def _get(self, child: _Child, path: str) -> tuple[int, str]:
        url = child.url
        if url is None:
            return 503, "starting"
        try:
            headers = {} if self._token is None else bearer(self._token.now())
            async with self._session.get(url + path, headers=headers) as response:
                return response.status, await response.text()
        except (aiohttp.ClientError, TimeoutError) as error:
            return 503, f"does not answer its probe ({type(error).__name__})"

    async def _ready(self) -> tuple[bool, str]:
        responses = await asyncio.gather(*(self._get(child, "/ready") for child in self._children))
        lines = [
            f"worker {child.index}: {text.strip()}" for child, (_, text) in zip(self._children, responses, strict=True)
        ]
        return all(status == 200 for status, _ in responses), "\n".join(lines)

    async def _metrics(self) -> bytes:
        responses = await asyncio.gather(*(self._get(child, "/metrics") for child in self._children))
        texts = [(c.index, text) for c, (status, text) in zip(self._children, responses, strict=True) if status == 200]
        values: dict[str, list[tuple[str, int]]] = {
            RESTARTS.name: [(f'{{worker="{c.index}"}}', c.restarts) for c in self._children],
            ANSWERING.name: [("", len(texts))],
        }
        own = []
        for metric in OWN_METRICS:
            own += [f"# HELP {metric.name} {metric.help}", f"# TYPE {metric.name} {metric.type}"]
            own += [f"{metric.name}{labels} {value}" for labels, value in values[metric.name]]
        own.append("")
        return merge_metrics(texts) + "\n".join(own).encode()


def write_address(path: Path, host: str, port: int) -> None:
    """Tell the supervisor where this worker's probes are (atomically: it may be reading)."""
    temporary = path.with_suffix(".tmp")
    temporary.write_text(json.dumps({"host": host, "port": port, "pid": os.getpid()}))
    temporary.replace(path)
