"""Ends the process when something that nobody can interrupt does not end in time."""

from __future__ import annotations

import threading
from typing import Final

from farthing.process.exits import exit_saying

SLICES: Final = 4
"""Parts of a time limit. A process that was suspended finds time gone and no work done: it loses one slice by that."""


class Watchdog:
    """Watches what runs inside its ``with`` blocks, one at a time, from a thread that starts with the first of them."""

    def __init__(self, timeout_s: float, exit_code: int, why: str) -> None:
        """``why`` is the last word of a process that is ended."""
        self._timeout_s = timeout_s
        self._exit_code = exit_code
        self._why = why
        self._number = 0  # of the last block
        self._running = 0  # the same while it runs, else 0
        self._closed = threading.Event()
        self._thread: threading.Thread | None = None

    def __enter__(self) -> None:
        self._number += 1
        self._running = self._number
        if self._thread is None:
            self._thread = threading.Thread(target=self._watch, name="watchdog", daemon=True)
            self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._running = 0

    def _watch(self) -> None:
        last, seen = 0, 0
        while not self._closed.wait(self._timeout_s / SLICES):
            running = self._running
            seen = seen + 1 if running and running == last else 0
            last = running
            if seen == SLICES:
                exit_saying(self._exit_code, self._why)

    def close(self) -> None:
        """Stop watching."""
        self._closed.set()
