"""Calls what may block without end (a name server, a server that drips, a hung disk), and waits for it so long only."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeVar

T = TypeVar("T")


def limited(work: Callable[[], T], limit_s: float) -> T:
    """Call ``work`` on a thread of its own, and give back what it returns or raise what it raises.

    Raises
    ------
    TimeoutError
        ``limit_s`` are over. The call goes on, and what becomes of it is dropped; it keeps no process from ending.
    """
    done: Future[T] = Future()

    def run() -> None:
        try:
            done.set_result(work())
        except BaseException as error:
            done.set_exception(error)

    threading.Thread(target=run, name="limited", daemon=True).start()
    return done.result(limit_s)
