"""A ``farthing`` command as a process of its own, as it would run anywhere: started, watched, ended in order."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from farthing.errors import StartError
from farthing.process.exits import EXIT_TIMEOUT_S

START_TIMEOUT_S: Final = 120.0
STOP_TIMEOUT_S: Final = EXIT_TIMEOUT_S + 2  # by then a worker has ended itself, and a ledger before
LOOK_TIMEOUT_S: Final = 5.0


class Child:
    """One process. ``what`` is what messages call it; ``url`` is where it answers ``/ready``."""

    def __init__(self, what: str, arguments: Sequence[str], log: Path, url: str) -> None:
        self.url = url
        self._what = what
        self._arguments = list(arguments)
        self._log = log
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int | None:
        """The process, while there is one."""
        return None if self._process is None else self._process.pid

    def start(self) -> None:
        """Start the process."""
        with self._log.open("wb") as out:
            # A session of its own: Ctrl-C reaches the demo alone, which then ends the others in order.
            self._process = subprocess.Popen(
                [sys.executable, "-m", "farthing", *self._arguments],
                stdin=subprocess.DEVNULL, stdout=out, stderr=out, start_new_session=True,
            )  # fmt: skip

    async def stop(self) -> None:
        """End the process in order, if there is one."""
        process, self._process = self._process, None
        if process is None:
            return
        process.send_signal(signal.SIGTERM)
        try:
            await asyncio.to_thread(process.wait, STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(5)

    async def ready(self) -> None:
        """Wait until the process says that it is ready.

        Raises
        ------
        StartError
            It ended, or was not ready in time; the end of its log is in the message.
        """
        deadline = time.monotonic() + START_TIMEOUT_S
        while not await asyncio.to_thread(self.is_ready):
            if time.monotonic() > deadline:
                raise StartError(f"the {self._what} was not ready within {START_TIMEOUT_S:.0f} s:\n{self._said()}")
            self.check()
            await asyncio.sleep(0.1)

    def check(self) -> None:
        """Raise StartError if the process has ended."""
        if self._process is not None and self._process.poll() is not None:
            raise StartError(f"the {self._what} ended with exit code {self._process.returncode}:\n{self._said()}")

    def is_ready(self) -> bool:
        """Tell whether it is ready now."""
        try:
            with urllib.request.urlopen(f"{self.url}/ready", timeout=LOOK_TIMEOUT_S) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False

    def _said(self) -> str:
        return "\n".join(self._log.read_text(errors="replace").splitlines()[-15:])
