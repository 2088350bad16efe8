"""Runs kernels and model on one thread, and limits how long the loop waits for it.

The event loop alone keeps a worker in its group, so without a limit a worker whose model hangs would keep its
partitions for ever.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from farthing.errors import ScoreError

T = TypeVar("T")

_SLICES = 4  # a process that was suspended meanwhile finds time gone and no work done: it loses one slice by that


class ScoringThread:
    """Runs one call after another; each may take ``timeout_s`` seconds."""

    def __init__(self, timeout_s: float) -> None:
        self._timeout_s = timeout_s
        self._executor = ThreadPoolExecutor(1, thread_name_prefix="scoring")

    async def call(self, function: Callable[..., T], *arguments: object) -> T:
        """Call ``function`` on the thread; returns or raises what it does.

        Raises
        ------
        ScoreError
            It did not end in time. The thread cannot be used again, and the process must not wait for it at exit.
        """
        running = asyncio.get_running_loop().run_in_executor(self._executor, function, *arguments)
        for _ in range(_SLICES):
            done, _ = await asyncio.wait({running}, timeout=self._timeout_s / _SLICES)
            if done:
                return running.result()
        raise ScoreError(
            f"a block was not scored within worker.stall_timeout_ms = {self._timeout_s * 1000:.0f}: the model or a "
            "kernel hangs; the worker ends, and the next owner of its partitions tries again"
        )

    def close(self) -> None:
        """Accept no more calls; does not wait for one that is running."""
        self._executor.shutdown(wait=False, cancel_futures=True)
