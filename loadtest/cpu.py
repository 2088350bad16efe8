"""CPU time of a process and of all that descend from it, from /proc; and which process goes first."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path

from farthing.process.first_start import cpu_ticks


def family_of(pid: int | None) -> frozenset[int]:
    """Give a process and all its descendants that are alive; nothing where /proc does not say, or for None."""
    if pid is None or cpu_ticks(pid) is None:
        return frozenset()
    children: dict[int, list[int]] = {}
    for file in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = file.read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
        except OSError:  # it has just ended
            continue
        children.setdefault(int(fields[1]), []).append(int(file.parent.name))
    found, waiting = set(), [pid]
    while waiting:
        one = waiting.pop()
        found.add(one)
        waiting += children.get(one, [])
    return frozenset(found)


def cpu_s_of(pids: Collection[int]) -> float | None:
    """Give the CPU seconds that these processes have used; None if one has ended, or without any."""
    ticks = [cpu_ticks(pid) for pid in pids]
    known = [one for one in ticks if one is not None]
    return sum(known) / os.sysconf("SC_CLK_TCK") if known and len(known) == len(ticks) else None


@contextmanager
def going_first() -> Iterator[bool]:
    """Let this process go before others where the system allows it; gives whether it does.

    Generator and readers stand for other machines: what they wait for a core here, they would not wait for there. They
    use a few hundredths of one.
    """
    try:
        before, parameters = os.sched_getscheduler(0), os.sched_getparam(0)
        # Real time, because niceness counts within a session only where the system groups processes by sessions.
        os.sched_setscheduler(
            0, os.SCHED_RR | os.SCHED_RESET_ON_FORK, os.sched_param(os.sched_get_priority_min(os.SCHED_RR))
        )
    except (OSError, AttributeError):  # not root, or a system without it
        yield False
        return
    try:
        yield True
    finally:
        os.sched_setscheduler(0, before, parameters)
