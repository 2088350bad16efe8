"""What a start says while it goes on, and how long we wait for it: the first one on a machine compiles kernels."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from rich.console import Console
from rich.text import Text

from farthing.kernels.jit import kernel_count, watch_compilation

COMPILING: Final = "compiling kernels, once on this machine"

SAY_AGAIN_S: Final = 10.0
LONGEST_START_S: Final = 3600.0


def compiling(number: int) -> str:
    """Say that the kernel of this number is being compiled, and how many there are."""
    return f"{COMPILING}: {number} of at most {max(number, kernel_count())}"


@contextmanager
def starting(console: Console, what: str, *, kernels: bool = True) -> Iterator[Callable[[str], None]]:
    """Show on a terminal that ``what`` is going on; elsewhere print a line now and then, and when kernels are compiled.

    Gives a function that says how far it is, for any thread. ``kernels`` False: says nothing about this process's own.
    """
    numbers = itertools.count(1)
    # Text, not markup: what is going on may name a file, and a file may be called [/b].
    with console.status(Text(f"{what} ...")) as status:  # shows nothing where there is no terminal
        printed = _Printed()

        def say(words: str) -> None:
            if console.is_terminal:
                status.update(Text(f"{what}: {words} ..."))
            elif printed.is_due(words):
                console.print(f"{what}: {words} ...", highlight=False, markup=False, soft_wrap=True)

        if not kernels:
            yield say
            return
        with watch_compilation(lambda _: say(compiling(next(numbers)))):  # several threads compile; next() is one step
            yield say


class _Printed:
    """Decides what is printed where lines cannot replace each other: the first about kernels, then one now and then."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._compiling = False
        self._last_s = time.monotonic()

    def is_due(self, words: str) -> bool:
        """Tell whether to print these; if so, they count as printed."""
        with self._lock:
            first = COMPILING in words and not self._compiling
            if not first and time.monotonic() - self._last_s < SAY_AGAIN_S:
                return False
            self._compiling |= COMPILING in words
            self._last_s = time.monotonic()
            return True


class Patience:
    """How long we wait for a start: as long as it makes progress, which on a busy machine may be many times as long.

    Parameters
    ----------
    quiet_s:
        Seconds without a sign of progress after which we give up.
    longest_s:
        Seconds after which we give up whatever happens: what goes round in circles uses CPU time too.
    """

    def __init__(
        self, quiet_s: float, longest_s: float = LONGEST_START_S, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._quiet_s = quiet_s
        self._longest_s = longest_s
        self._clock = clock
        self._began_s = self._sign_s = clock()
        self._sign: object = None

    def ends(self, sign: object) -> bool:
        """Tell whether it is time to give up; a ``sign`` that is not the last call's is progress."""
        now_s = self._clock()
        if sign != self._sign:
            self._sign, self._sign_s = sign, now_s
        return now_s - self._sign_s > self._quiet_s or now_s - self._began_s > self._longest_s

    def __str__(self) -> str:
        """Say how long the wait was."""
        waited_s = self._clock() - self._began_s
        return f"within {waited_s:.0f} s, the last {self._clock() - self._sign_s:.0f} s without progress"


def cpu_ticks(pid: int) -> int | None:
    """CPU time that a process has used, in the system's ticks; None where /proc does not say."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
        return int(fields[11]) + int(fields[12])  # utime and stime: fields 14 and 15 of proc_pid_stat(5)
    except (OSError, ValueError, IndexError):
        return None
