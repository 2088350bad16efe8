"""The books of one count: the furthest total, and the totals when the current minute, hour and day began. Pure.

A window is the difference of two totals, so the next record makes up for one that is lost, repeated or late. One
account is one value of one table: a post is one write, however many windows there are.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from farthing.meter.records import UsageRecord
from farthing.meter.usage import UsageTotals

WINDOWS_MS: Final[Mapping[str, int]] = {"minute": 60_000, "hour": 3_600_000, "day": 86_400_000}
"""Windows begin at whole minutes, hours and days of UTC, by the workers' clocks."""


@dataclass(frozen=True, slots=True)
class Window:
    """A window: its number since the epoch, and the totals when it began."""

    number: int
    opening: UsageTotals

    def moved_to(self, number: int, total: UsageTotals) -> Window:
        """Begin a later window at ``total``."""
        if number <= self.number:
            return self  # the same window, or a clock that went back: counts stay in the window that is open
        return Window(number, total)


@dataclass(frozen=True, slots=True)
class Account:
    """The furthest record of one count, and its windows."""

    record: UsageRecord
    windows: Mapping[str, Window] = field(default_factory=dict)

    @classmethod
    def opened(cls, record: UsageRecord) -> Account:
        """Begin with a count's first record: all of it is in the current windows."""
        nothing = UsageTotals()
        numbers = {name: record.at_ms // size for name, size in WINDOWS_MS.items()}
        return cls(record, {name: Window(number, nothing) for name, number in numbers.items()})

    def posted(self, record: UsageRecord) -> Account:
        """Return the account with ``record``, or itself when the record is not further on.

        Raises
        ------
        ValueError
            The record belongs to another count.
        """
        if record.key != self.record.key:
            raise ValueError(f"record {record.key!r} posted to account {self.record.key!r}")
        if record.next_offset <= self.record.next_offset:
            return self
        total = self.record.totals
        windows = {
            name: window.moved_to(record.at_ms // WINDOWS_MS[name], total) for name, window in self.windows.items()
        }
        return Account(record, windows)

    def used(self, window: str, now_ms: int) -> UsageTotals:
        """Return the counts so far of the window (a key of WINDOWS_MS) that contains ``now_ms``."""
        return self.record.totals - self.opening(window, now_ms)

    def opening(self, window: str, now_ms: int) -> UsageTotals:
        """Return the totals when that window began, or ``record.totals`` itself if nothing was counted in it."""
        return self.windows[window].moved_to(now_ms // WINDOWS_MS[window], self.record.totals).opening

    def encode(self) -> bytes:
        """Return the table's value: the record as it came, then the windows as JSON on a line of their own.

        Totals with which several windows begin are written once; number 0 is the record's own.
        """
        seen = {self.record.totals.encode(): 0}
        windows = {
            name: [window.number, seen.setdefault(window.opening.encode(), len(seen))]
            for name, window in self.windows.items()
        }
        body = {"windows": windows, "totals": list(seen)[1:]}
        return self.record.encode() + b"\n" + json.dumps(body, separators=(",", ":")).encode()

    @classmethod
    def decode(cls, value: bytes) -> Account:
        """Read what :meth:`encode` wrote. Raises ValueError when it is something else."""
        head, _, tail = value.partition(b"\n")
        record = UsageRecord.decode(head)
        try:
            body = json.loads(tail)
            totals = [record.totals, *(UsageTotals.decode(total) for total in body["totals"])]
            windows = {
                # Accounts written by 0.1.0 also have the totals from when the window before began.
                name: Window(int(number), totals[opening])
                for name, (number, opening, *_) in body["windows"].items()
            }
        except (KeyError, TypeError, IndexError) as error:
            raise ValueError(f"a damaged account ({type(error).__name__}: {error})") from error
        if windows.keys() != WINDOWS_MS.keys():
            raise ValueError(f"windows are {sorted(windows)}, expected {sorted(WINDOWS_MS)}")
        return cls(record, windows)


def post(account: Account | None, record: UsageRecord) -> Account:
    """Return the account of a count after one more record; ``account`` is None for the first."""
    return Account.opened(record) if account is None else account.posted(record)
