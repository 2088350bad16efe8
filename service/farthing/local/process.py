"""A broker's process: a child of ours on loopback, in a temporary folder, that ends whatever happens.

On Linux it ends also when its parent is killed.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from farthing.errors import StartError
from farthing.process.first_start import Patience, cpu_ticks

START_TIMEOUT_S = 60.0  # without a sign of progress
STOP_TIMEOUT_S = 15.0
_PDEATHSIG = 1  # prctl(2)


def free_port() -> int:
    """Give a loopback TCP port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _require_free(port: int) -> int:
    """Give a port back, if nobody listens there now. Raises StartError."""
    with socket.socket() as probe:
        if os.name == "posix":  # connections of a listener that is gone do not count
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            raise StartError(
                f"port {port} cannot be listened on ({error.strerror}): perhaps a broker is already running there; "
                "stop it, or choose another port with --port"
            ) from error
    return port


class BrokerProcess:
    """A broker in a temporary folder. ``start`` after ``kill`` or ``stop`` goes on with the same data."""

    name = "broker"
    stop_timeout_s = STOP_TIMEOUT_S

    def __init__(self, port: int | None = None) -> None:
        """``port`` is that of the listener for clients; None: one that is free."""
        self.port = free_port() if port is None else _require_free(port)
        self.bootstrap_servers = f"127.0.0.1:{self.port}"
        self.folder = Path(tempfile.mkdtemp(prefix=f"farthing-{self.name}-"))
        self.process: subprocess.Popen[bytes] | None = None

    def command(self) -> Sequence[str]:
        """Give the command line."""
        raise NotImplementedError

    def environment(self) -> dict[str, str]:
        """Give the environment of the process."""
        return dict(os.environ)

    @property
    def log_file(self) -> Path:
        """Where the process's output goes."""
        return self.folder / "broker.log"

    def start(self) -> None:
        """Start the process and wait until it takes connections.

        Raises
        ------
        StartError
            It died or did not listen in time; the end of its log is in the message.
        """
        with self.log_file.open("ab") as log:
            self.process = subprocess.Popen(
                self.command(),
                cwd=self.folder,
                env=self.environment(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                # A session of its own: Ctrl-C in a terminal is for us, who end it when we no longer need it.
                start_new_session=True,
                preexec_fn=_die_with_parent() if sys.platform == "linux" else None,
            )
        patience = Patience(START_TIMEOUT_S)
        while not _listens(self.port):
            self.check()
            if patience.ends((cpu_ticks(self.process.pid), self.log_file.stat().st_size)):
                self._end(signal.SIGKILL)
                raise StartError(f"{self.name} did not listen {patience}; the end of its log:\n{self.log_tail()}")
            time.sleep(0.05)
        self.check()  # or it was another process that listens

    def check(self) -> None:
        """Raise StartError if the process has ended; the end of its log is in the message."""
        exit_code = None if self.process is None else self.process.poll()
        if exit_code is not None:
            self.process = None
            raise StartError(f"{self.name} exited with {exit_code}; the end of its log:\n{self.log_tail()}")

    def log_tail(self, lines: int = 15) -> str:
        """Give the last lines of the log."""
        with contextlib.suppress(OSError):
            return "\n".join(self.log_file.read_text(errors="replace").splitlines()[-lines:])
        return "(no log)"

    def kill(self) -> None:
        """Kill the process as a crash would."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        """End the process in good order, or kill it when it takes too long. May be called again."""
        self._end(signal.SIGTERM)

    def _end(self, number: int) -> None:
        process, self.process = self.process, None
        if process is None:
            return
        if process.poll() is None:
            process.send_signal(number)
            try:
                process.wait(self.stop_timeout_s)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait(STOP_TIMEOUT_S)

    def __enter__(self) -> Any:
        try:
            self.start()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(0.5)
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _die_with_parent() -> Callable[[], None]:
    """Make the function that asks Linux to end this child when its parent ends, however that happens."""
    libc = ctypes.CDLL(None, use_errno=True)

    def ask() -> None:
        libc.prctl(_PDEATHSIG, signal.SIGTERM)

    return ask
