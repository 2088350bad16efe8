"""An event loop whose time passes at once: it jumps to the next timer as soon as nothing is left to run.

The same program with the same seed then does the same things in the same order, wherever and however often it runs.
"""

import asyncio
import contextlib
import itertools
import selectors
import time

EPOCH_S = 1_700_000_000.0


class Deadlock(AssertionError):
    """Nothing is left to run, and no timer is set."""


class _Jumping(selectors.SelectSelector):
    """Waits for nothing: the time that it was asked to wait for has passed when it returns."""

    loop = None

    def select(self, timeout=None):
        if timeout is None:
            raise Deadlock("nothing is left to run, and no timer is set")
        self.loop.now += timeout
        return []


class _Task(asyncio.Task):
    """A task with a number for its hash: sets of tasks then have the same order in every run."""

    def __init__(self, coroutine, *, loop, number, **options):
        self._number = number
        super().__init__(coroutine, loop=loop, **options)

    def __hash__(self):
        return self._number

    def __eq__(self, other):
        return self is other


class VirtualLoop(asyncio.SelectorEventLoop):
    """``now`` are the seconds since its start."""

    def __init__(self):
        self.now = 0.0
        selector = _Jumping()
        selector.loop = self
        super().__init__(selector)
        numbers = itertools.count(1)
        self.set_task_factory(lambda loop, coroutine, **options: _Task(
            coroutine, loop=loop, number=next(numbers), **options
        ))  # fmt: skip

    def time(self):
        return self.now


@contextlib.contextmanager
def virtual_time(loop):
    """Let every clock of the process show the loop's time."""
    kept = {name: getattr(time, name) for name in ("monotonic", "perf_counter", "time", "time_ns")}
    time.monotonic = time.perf_counter = loop.time
    time.time = lambda: EPOCH_S + loop.now
    time.time_ns = lambda: int((EPOCH_S + loop.now) * 1e9)
    try:
        yield
    finally:
        for name, function in kept.items():
            setattr(time, name, function)
