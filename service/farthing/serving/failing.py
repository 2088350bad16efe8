"""Finds the events on which the model fails, when a block with them cannot be scored.

Runs on parts of the block narrow it down. An event is taken for one of them only after it has failed alone, because an
error may pass, and memory be too short for a longer run. One such event among n costs at most log2(n) + 2 runs more
than a good block, the last one included, in which it is left out.
"""

from __future__ import annotations

import traceback
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final

import structlog

from farthing.blocks import FieldColumns, RecordBlock, RenderedValues
from farthing.errors import BlockHeldError, FarthingError
from farthing.model.task_table import Decisions
from farthing.serving.breaker import IN_A_ROW, NEARLY_ALL

log = structlog.get_logger()

_COLUMNS: Final = (
    "offsets", "timestamps_ms", "key_start", "key_stop", "value_start", "value_stop", "headers_start", "headers_stop",
    "header_count",
)  # fmt: skip


class Search:
    """The events of a block that fail. ``run(first, last)`` raises if one of the events from first to last does."""

    def __init__(self, n: int, run: Callable[[int, int], object]) -> None:
        self._n = n
        self._run = run
        self._at = 0  # all before are known
        self._sampled = False
        self.error: Exception | None = None  # of the last run that failed
        self.failing: list[int] = []

    def go_on(self, error: Exception) -> bool:
        """Look on, ``error`` being that of the block without the known ones; False if nothing more is found.

        Raises
        ------
        BlockHeldError
            So many events fail that it must be the model.
        """
        self.error = error
        before = len(self.failing)
        if before < 2:  # most often it is one, or two
            self._find_first(self._n)
            return len(self.failing) > before
        while self._at < self._n:  # many: in steps that probably have one
            self._look_whether_all_fail()
            stop = min(self._at + max(2 * self._at // len(self.failing), 1), self._n)
            if self._succeeds(self._at, stop):
                self._at = stop
            elif not self._find_first(stop):
                self._at = stop
        return len(self.failing) > before

    def _succeeds(self, first: int, last: int) -> bool:
        try:
            self._run(first, last)
        except Exception as error:  # whatever it is, it must not stop the other events
            self.error = error
            return False
        return True

    def _find_first(self, stop: int) -> bool:
        """Find the first one before ``stop``, which a run up to there says there is."""
        good, bad, failed_alone = self._at, stop, False
        while bad - good > 1:
            middle = (good + bad) // 2
            if self._succeeds(good, middle):
                good = middle
            else:
                bad, failed_alone = middle, middle - good == 1
        if good >= bad:
            return False
        if not failed_alone and self._succeeds(good, bad):
            return False  # it was not the event
        self.failing.append(good)
        self._at = good + 1
        return True

    def _look_whether_all_fail(self) -> None:
        """Run some of the events that are left alone, once nearly all so far have failed."""
        if self._sampled or len(self.failing) < IN_A_ROW or len(self.failing) < NEARLY_ALL * self._at:
            return
        self._sampled = True
        left = self._n - self._at
        places = sorted({self._at + left * k // IN_A_ROW for k in range(IN_A_ROW)} - {self._n})
        failing = sum(not self._succeeds(place, place + 1) for place in places)
        if failing >= NEARLY_ALL * len(places):
            raise BlockHeldError(f"the model fails on nearly all events ({say(self.error)})")


def say(error: Exception | None) -> str:
    """Name an error; its text only where it is ours, because others may quote the event."""
    return str(error) if isinstance(error, FarthingError) else type(error).__name__


@dataclass(frozen=True, slots=True)
class Worked:
    """What the stages between decoding and encoding made of a block."""

    columns: FieldColumns
    decisions: Decisions
    values: RenderedValues
    rows: int  # that were scored


def work_around(records: RecordBlock, work: Callable[[RecordBlock], Worked]) -> tuple[Worked, list[int]]:
    """Do the work on a block, without the events on which it fails; returns those too.

    Raises
    ------
    BlockHeldError
        It fails on nearly all events, or on the block and not on its parts.
    """
    try:
        return work(records), []
    except Exception as failure:  # whatever it is, one event must not stop the others
        error = failure
    search = Search(len(records), lambda first, last: work(part_of(records, first, last)))
    while search.go_on(error):
        try:
            worked = work(_without(records, search.failing))
        except Exception as failure:
            error = failure
            continue
        places = [_place(records, row) for row in search.failing[:3]]
        log.error("model_failed", error=say(search.error), at=_where(search.error), events=len(search.failing),
                  first=places, note="they are dead letters")  # fmt: skip
        return worked, search.failing
    raise BlockHeldError(f"the model fails on a block and not on its parts ({say(error)}); is memory short?") from error


def part_of(records: RecordBlock, first: int, last: int) -> RecordBlock:
    """Return the records from ``first`` to before ``last`` as a block, without segments."""
    columns = {name: getattr(records, name)[first:last] for name in _COLUMNS}
    cut = tuple(replace(one, row=one.row - first) for one in records.cut if first <= one.row < last)
    return replace(records, **columns, segments=(), cut=cut)


def _without(records: RecordBlock, rows: list[int]) -> RecordBlock:
    """Return a block in which some records have no value: they are refused at once, and keep their places."""
    start, stop = records.value_start.copy(), records.value_stop.copy()
    start[rows] = stop[rows] = -1
    return replace(records, value_start=start, value_stop=stop)


def _place(records: RecordBlock, row: int) -> str:
    segment = next(segment for segment in records.segments if row < segment.stop)
    return f"{segment.topic}[{segment.partition}] {int(records.offsets[row])}"


def _where(error: Exception | None) -> str:
    """Return the line of code that raised an error."""
    frames = traceback.extract_tb(None if error is None else error.__traceback__)
    return f"{frames[-1].filename}:{frames[-1].lineno}" if frames else ""
