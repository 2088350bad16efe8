"""Warm calls only, in turns: each round times every case once, so that a slow moment of the machine hits all alike.

Time is the thread's CPU time: what others on the machine take in between is not counted (what they do to caches is).
"""

import statistics
import time
from collections import defaultdict
from contextlib import contextmanager

import numpy as np

COPY_BYTES = 8 << 20  # more than L2 holds, as blocks are


def copying():
    """Give (a copy that no kernel can beat, the bytes that it reads and writes)."""
    source, target = np.ones(COPY_BYTES, np.uint8), np.empty(COPY_BYTES, np.uint8)
    return lambda: np.copyto(target, source), 2 * COPY_BYTES


@contextmanager
def compilation():
    """Give a dictionary that is filled with the seconds that each kernel's compilation takes, without its parts'."""
    from numba.core import event

    took, running = defaultdict(float), []

    class Listener(event.Listener):
        def on_start(self, started):
            now = time.perf_counter()
            if running:
                took[running[-1][0]] += now - running[-1][1]
            function = started.data["dispatcher"].py_func
            running.append([f"{function.__module__.removeprefix('farthing.')}.{function.__name__}", now])

        def on_end(self, ended):
            name, since = running.pop()
            now = time.perf_counter()
            took[name] += now - since
            if running:
                running[-1][1] = now

    with event.install_listener("numba:compile", Listener()):
        yield took


def calls_for(call, seconds):
    """Give how many calls last about so long."""
    best = min(_time_ns(call, 1) for _ in range(3))
    return max(1, round(seconds * 1e9 / best))


def _time_ns(call, times):
    began = time.thread_time_ns()
    for _ in range(times):
        call()
    return (time.thread_time_ns() - began) / times


def rounds_ns(calls, *, rounds, seconds):
    """Time every call in each round; gives the nanoseconds of one call, by round, for each."""
    times = [calls_for(call, seconds) for call in calls]
    by_call = [[] for _ in calls]
    for _ in range(rounds):
        for place, (call, n) in enumerate(zip(calls, times, strict=True)):
            by_call[place].append(_time_ns(call, n))
    return by_call


def summary(ns):
    """Median, least and spread (half the distance of the quartiles, as a part of the median)."""
    median = statistics.median(ns)
    low, _, high = statistics.quantiles(ns, n=4) if len(ns) > 1 else (ns[0], ns[0], ns[0])
    return {"median": median, "least": min(ns), "spread": (high - low) / 2 / median}
