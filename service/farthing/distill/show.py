"""Shows the progress of a long run: a progress bar on a terminal, else a line now and then."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from types import TracebackType

from rich import progress as bars
from rich.console import Console

LINE_SECONDS = 30.0

Say = Callable[[str], None]
"""Called with a line to print."""
Progress = Callable[[int, int, str], None]
"""Called with the steps done, the steps in all, and what is being done."""


class Show:
    """A context manager that prints to standard error."""

    def __init__(self) -> None:
        self._console = Console(stderr=True, markup=False, emoji=False, highlight=False, soft_wrap=True)
        self._bars: bars.Progress | None = None
        self._task: bars.TaskID | None = None
        self._last = 0.0
        if sys.stderr.isatty():
            columns = (
                bars.TextColumn("{task.description}"),
                bars.BarColumn(),
                bars.MofNCompleteColumn(),
                bars.TimeRemainingColumn(),
            )
            self._bars = bars.Progress(*columns, console=self._console, transient=True)

    def __enter__(self) -> Show:
        if self._bars is not None:
            self._bars.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bars is not None:
            self._bars.stop()

    def say(self, line: str) -> None:
        """Print a line."""
        self._console.print(line, markup=False)

    def progress(self, done: int, total: int, what: str) -> None:
        """Move the bar, or print a line every half minute if there is none."""
        if self._bars is not None:
            if self._task is None:
                self._task = self._bars.add_task(what, total=total)
            self._bars.update(self._task, completed=done, total=total, description=what)
            if done == total:
                self._bars.remove_task(self._task)
                self._task = None
            return
        now = time.monotonic()
        if now - self._last >= LINE_SECONDS:
            self._last = now
            self.say(f"{what}: {done}/{total}")
