"""Locust's side of the reader: starts it, asks it to begin, and keeps what it reports, with a time limit for each."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import gevent
from gevent.event import Event
from loadtest.histogram import added

from farthing.errors import StartError
from farthing.process.first_start import Patience, cpu_ticks

START_TIMEOUT_S: Final = 120.0  # without progress: a first start compiles kernels, for longer on a busy machine
BEGIN_TIMEOUT_S: Final = 60.0
STOP_TIMEOUT_S: Final = 10.0
RECENT_S: Final = 10.0


class Scores:
    """The reader as a child process. ``on_answers`` gets what is new: source, kind of answer, ms -> events, bytes.

    Locust has made ``subprocess`` and pipes cooperative: reading lets other greenlets run.
    """

    def __init__(self, settings_file: Path, sources: Sequence[str], on_answers: Callable[..., None]) -> None:
        self._on_answers = on_answers
        self._ready, self._begun = Event(), Event()
        self.routes: Mapping[str, Mapping[str, Any]] = {}
        self._counts: Counter[int] = Counter()
        self._recent: deque[tuple[float, Mapping[int, int]]] = deque()
        self._bytes: dict[tuple[str, str], int] = {}
        command = [sys.executable, "-m", "loadtest.reader", str(settings_file.resolve()), *sources]
        self._process = subprocess.Popen(
            command, cwd=Path(__file__).parents[1], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self._reading = gevent.spawn(self._read)

    def wait_until_ready(self) -> None:
        """Wait for it to have joined. Raises StartError; what is wrong is on standard error."""
        self._wait(self._ready, START_TIMEOUT_S, "did not come up")

    def begin(self) -> None:
        """Count from now on. Raises StartError."""
        self.routes = {}
        self._counts.clear()
        self._recent.clear()
        self._bytes.clear()
        self._begun.clear()
        try:
            self._process.stdin.write("begin\n")
            self._process.stdin.flush()
        except OSError as error:
            raise StartError(f"the reader of the scores has ended ({error})") from error
        self._wait(self._begun, BEGIN_TIMEOUT_S, "could not learn where the source topics end")

    def _wait(self, event: Event, timeout_s: float, what: str) -> None:
        patience = Patience(timeout_s)
        while not event.wait(0.2):
            if not self.alive:
                raise StartError(f"the reader of the scores {what}: it exited with {self._process.poll()}")
            if patience.ends(cpu_ticks(self._process.pid) if event is self._ready else None):
                raise StartError(f"the reader of the scores {what} {patience}")

    @property
    def alive(self) -> bool:
        """Whether it still reads."""
        return self._process.poll() is None

    def _read(self) -> None:
        for text in self._process.stdout:
            line = json.loads(text)
            if line.get("ready"):
                self._ready.set()
            elif "begun" in line:
                self._begun.set()
            elif self._begun.is_set():
                self._take(line["routes"])

    def _take(self, routes: Mapping[str, Mapping[str, Any]]) -> None:
        now_s = time.monotonic()
        self.routes = routes
        for source, results in routes.items():
            for kind, pairs in results["latency_ms"].items():
                counts = dict(map(tuple, pairs))
                if not counts:
                    continue
                before = self._bytes.get((source, kind), 0)
                self._bytes[source, kind] = results["bytes"][kind]
                self._counts.update(counts)
                self._recent.append((now_s, counts))
                self._on_answers(source, kind, counts, results["bytes"][kind] - before)
        while self._recent and self._recent[0][0] < now_s - RECENT_S:
            self._recent.popleft()

    @property
    def answered(self) -> int:
        """Events with a score or a dead letter, each counted once."""
        return sum(results["scored"] + results["dead"] - results["repeated"] for results in self.routes.values())

    @property
    def latency_ms(self) -> Mapping[int, int]:
        """Answers of the run by milliseconds since their intended send time."""
        return self._counts

    @property
    def recent_ms(self) -> Mapping[int, int]:
        """The same, of the last seconds."""
        return added(*(counts for _, counts in self._recent))

    def close(self) -> None:
        """End it."""
        if self._process.stdin is not None and not self._process.stdin.closed:
            self._process.stdin.close()
        try:
            self._process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait(STOP_TIMEOUT_S)
        self._reading.kill()
