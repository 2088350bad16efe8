"""The demo's worker: ``farthing serve`` in a process of its own, as it would run anywhere."""

from __future__ import annotations

import asyncio
import re
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

from farthing.errors import StartError
from farthing.kafka import KafkaSettings, RouteTopicNames

START_TIMEOUT_S: Final = 120.0
STOP_TIMEOUT_S: Final = 26.0  # the worker itself ends within 25
LOOK_TIMEOUT_S: Final = 5.0


class Serving:
    """A worker on one route. Its settings are in a file in ``folder``, its log beside it."""

    def __init__(self, task: str, settings: KafkaSettings, topics: RouteTopicNames, folder: Path, port: int) -> None:
        self._url = f"http://127.0.0.1:{port}"
        self._log = folder / "worker.log"
        self._config = folder / "farthing.toml"
        self._config.write_text(
            f'[kafka]\nbootstrap_servers = ["{settings.bootstrap_servers[0]}"]\ngroup_id = "{settings.group_id}"\n'
            f"session_timeout_ms = {settings.session_timeout_ms}\n"
            f"heartbeat_interval_ms = {settings.heartbeat_interval_ms}\n"
            f'[[route]]\nbundle = "{task}"\nsource = "{topics.source}"\nsink = "{topics.sink}"\n'
            f'dead_letters = "{topics.dead_letters}"\n[http]\nport = {port}\n',
            encoding="utf-8",
        )
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int | None:
        """The process, while there is one."""
        return None if self._process is None else self._process.pid

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Start the process; end it in order afterwards."""
        with self._log.open("wb") as out:
            # A session of its own: Ctrl-C reaches the demo alone, which then ends the worker in order.
            self._process = subprocess.Popen(  # noqa: ASYNC220 - it returns at once
                [sys.executable, "-m", "farthing", "serve", "-c", str(self._config)],
                stdin=subprocess.DEVNULL, stdout=out, stderr=out, start_new_session=True,
            )  # fmt: skip
        try:
            yield
        finally:
            process, self._process = self._process, None
            process.send_signal(signal.SIGTERM)
            try:
                await asyncio.to_thread(process.wait, STOP_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait(5)

    async def ready(self) -> None:
        """Wait until the worker has its partitions.

        Raises
        ------
        StartError
            It ended, or was not ready in time; the end of its log is in the message.
        """
        deadline = time.monotonic() + START_TIMEOUT_S
        while not await asyncio.to_thread(self._is_ready):
            if time.monotonic() > deadline:
                raise StartError(f"the worker was not ready within {START_TIMEOUT_S:.0f} s:\n{self._said()}")
            self.check()
            await asyncio.sleep(0.1)

    def check(self) -> None:
        """Raise StartError if the process has ended."""
        if self._process is not None and self._process.poll() is not None:
            raise StartError(f"the worker ended with exit code {self._process.returncode}:\n{self._said()}")

    def _said(self) -> str:
        return "\n".join(self._log.read_text(errors="replace").splitlines()[-15:])

    def _is_ready(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self._url}/ready", timeout=LOOK_TIMEOUT_S) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False

    async def cpu_seconds_and_events(self) -> tuple[float, float] | None:
        """Give the CPU time that the worker has used and the events that it has done; None when it does not answer."""
        try:
            text = await asyncio.to_thread(self._metrics)
        except OSError:
            return None
        cpu = sum(float(value) for value in re.findall(r"^farthing_cpu_seconds_total(?:\{.*\})? (\S+)", text, re.M))
        events = sum(float(value) for value in re.findall(r"^farthing_events_total\{.*\} (\S+)", text, re.M))
        return cpu, events

    def _metrics(self) -> str:
        with urllib.request.urlopen(f"{self._url}/metrics", timeout=LOOK_TIMEOUT_S) as answer:
            return str(answer.read().decode())
