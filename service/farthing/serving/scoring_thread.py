"""Runs kernels and model: small blocks at once, all others on one thread; and limits how long either may take.

Handing a block to another thread and back costs more than scoring ten events, so a block that takes no longer than
QUICK_S is scored where it is. The event loop alone keeps a worker in its group, so without a limit a worker whose model
hangs would keep its partitions for ever.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Final, TypeVar

from farthing.errors import ScoreError
from farthing.process.watchdog import SLICES, Watchdog

T = TypeVar("T")

QUICK_S: Final = 0.002
"""CPU time for which one block may hold the event loop up: probes and heartbeats wait as long, or longer on a busy
machine, where waiting for another thread takes longer too."""


class ScoringThread:
    """Runs one call after another; each may take ``timeout_s`` seconds."""

    def __init__(self, timeout_s: float) -> None:
        self._timeout_s = timeout_s
        self._executor = ThreadPoolExecutor(1, thread_name_prefix="scoring")
        self._watchdog = Watchdog(timeout_s, ScoreError.exit_code, self._too_long())
        self._on_thread = 0  # calls that are running there, or wait for it
        self._slow: set[Callable[..., object]] = set()  # those whose last small call took longer than QUICK_S

    async def call(self, function: Callable[..., T], *arguments: object, small: bool = False) -> T:
        """Call ``function``, on the thread unless the call is ``small``; returns or raises what it does.

        A small call that hangs ends the process, with the error's exit code: nothing else can stop it.

        Raises
        ------
        ScoreError
            It did not end in time. The thread cannot be used again, and the process must not wait for it at exit.
        """
        if not small:
            return await self._call_on_thread(function, *arguments)
        result: T
        if self._on_thread or function in self._slow:
            result, cpu_s = await self._call_on_thread(_timed, function, *arguments)
        else:
            with self._watchdog:
                result, cpu_s = _timed(function, *arguments)
        note = self._slow.discard if cpu_s <= QUICK_S else self._slow.add
        note(function)
        return result

    async def _call_on_thread(self, function: Callable[..., T], *arguments: object) -> T:
        running = asyncio.get_running_loop().run_in_executor(self._executor, function, *arguments)
        self._on_thread += 1
        running.add_done_callback(self._came_back)
        for _ in range(SLICES):
            done, _ = await asyncio.wait({running}, timeout=self._timeout_s / SLICES)
            if done:
                return running.result()
        raise ScoreError(self._too_long())

    def _came_back(self, _running: object) -> None:
        self._on_thread -= 1

    def _too_long(self) -> str:
        return (
            f"a block was not scored within worker.stall_timeout_ms = {self._timeout_s * 1000:.0f}: the model or a "
            "kernel hangs; the worker ends, and the next owner of its partitions tries again"
        )

    def close(self) -> None:
        """Accept no more calls; does not wait for one that is running."""
        self._watchdog.close()
        self._executor.shutdown(wait=False, cancel_futures=True)


def _timed(function: Callable[..., T], *arguments: object) -> tuple[T, float]:
    """Call a function; returns its result, and the CPU seconds that it took."""
    began = time.thread_time()
    return function(*arguments), time.thread_time() - began
