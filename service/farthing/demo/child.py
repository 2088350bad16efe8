"""A ``farthing`` command as a process of its own, as it would run anywhere: started, watched, ended in order."""

from __future__ import annotations

import asyncio
import http.client
import os
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from farthing import config
from farthing.errors import StartError
from farthing.process.exits import EXIT_TIMEOUT_S
from farthing.process.first_start import Patience, cpu_ticks

QUIET_TIMEOUT_S: Final = 120.0
"""A start without a sign of progress for so long is given up. One that gets on is waited for."""

STOP_TIMEOUT_S: Final = EXIT_TIMEOUT_S + 2  # by then a worker has ended itself, and a ledger before
LOOK_TIMEOUT_S: Final = 20.0  # a busy machine may take seconds for an answer
LOOK_EVERY_S: Final = 0.1
AT_WORK: Final = "starting"  # the state in which CPU time is progress; later on, waiting takes a little too


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
        """Start the process, with the settings of its file alone: those in the user's shell are not the demo's."""
        with self._log.open("wb") as out:
            # A session of its own: Ctrl-C reaches the demo alone, which then ends the others in order.
            self._process = subprocess.Popen(
                [sys.executable, "-m", "farthing", *self._arguments], env=config.without_settings(os.environ),
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

    async def ready(self, tell: Callable[[str], None] = lambda _: None) -> None:
        """Wait until the process says that it is ready; meanwhile ``tell`` is given what it says instead.

        Raises
        ------
        StartError
            It ended, or did not get on; the end of its log is in the message.
        """
        patience = Patience(QUIET_TIMEOUT_S)
        while True:
            is_ready, reason = await asyncio.to_thread(self.look)
            if is_ready:
                return
            self.check()
            if patience.ends(self._sign(reason)):
                raise StartError(f"the {self._what} was not ready {patience}:\n{self._said()}")
            if reason:
                tell(reason)
            await asyncio.sleep(LOOK_EVERY_S)

    def check(self) -> None:
        """Raise StartError if the process has ended."""
        if self._process is not None and self._process.poll() is not None:
            raise StartError(f"the {self._what} ended with exit code {self._process.returncode}:\n{self._said()}")

    def look(self) -> tuple[bool, str]:
        """Ask whether it is ready now, and what it says; an empty text when it does not answer."""
        try:
            with urllib.request.urlopen(f"{self.url}/ready", timeout=LOOK_TIMEOUT_S) as answer:
                return answer.status == 200, ""
        except urllib.error.HTTPError as error:
            with error:
                return False, error.read(500).decode("utf-8", "replace").strip()
        except (OSError, http.client.HTTPException):
            return False, ""

    def _sign(self, reason: str) -> object:
        """Give what changes as long as the process gets on."""
        try:
            logged = self._log.stat().st_size
        except OSError:
            logged = 0
        at_work = self._process is not None and (not reason or reason.startswith(AT_WORK))
        return reason, logged, cpu_ticks(self._process.pid) if at_work and self._process is not None else None

    def _said(self) -> str:
        return "\n".join(self._log.read_text(errors="replace").splitlines()[-15:])
