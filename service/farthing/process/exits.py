"""Ending a process in time, whatever hangs in it.

From its signal on a worker has one time budget, and whoever waits for it waits longer: the supervisor, the demo,
Kubernetes (``terminationGracePeriodSeconds``) and Docker (``stop_grace_period``).
"""

from __future__ import annotations

import os
import sys
import threading
from contextlib import suppress
from typing import Final

EXIT_TIMEOUT_S: Final = 24.0
"""A worker ends within this time after its signal."""

FORCED_EXIT_CODE: Final = 3
"""Of a process that did not end by itself."""


def exit_after(seconds: float, code: int, why: str) -> threading.Timer:
    """End the process after so many seconds, whatever hangs, unless it has ended by itself.

    Returns
    -------
    The timer, so that a process that goes on after all can cancel it.
    """
    timer = threading.Timer(seconds, exit_saying, (code, why))
    timer.daemon = True
    timer.start()
    return timer


def exit_saying(code: int, why: str) -> None:
    """End the process at once, without clean-up, and say why: something hangs in it."""
    with suppress(OSError, ValueError, AttributeError):  # nobody is listening: it must end all the same
        sys.stderr.write(f"farthing: {why}\n")
        sys.stderr.flush()
    os._exit(code)


def exit_now(code: int = FORCED_EXIT_CODE) -> None:
    """End the process at once, without clean-up: it was asked twice, or there is nothing to clean up."""
    sys.stderr.flush()
    os._exit(code)
