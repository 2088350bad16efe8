"""The books of one count: the furthest total, and the totals when the current minute, hour and day began. Pure.

A window is the difference of two totals, so the next record makes up for one that is lost, repeated or late. One
account is one value of one table: a post is one write, however many windows there are.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Final

from farthing.meter.records import MOST_BYTES, OTHER, TenantCount, UsageRecord
from farthing.meter.untrusted import Refused, damaged, read_object, whole
from farthing.meter.usage import UsageTotals

WINDOWS_MS: Final[Mapping[str, int]] = {"minute": 60_000, "hour": 3_600_000, "day": 86_400_000}
"""Windows begin at whole minutes, hours and days of UTC, by the workers' clocks."""

CLOCKS_APART_MS: Final = 600_000
"""How far apart the times of one count's records may be without any clock having been put forward or back."""


@dataclass(frozen=True, slots=True)
class Window:
    """A window: its number since the epoch, and the totals when it began."""

    number: int
    opening: UsageTotals

    def at(self, at_ms: int, size_ms: int, total: UsageTotals) -> Window:
        """Return the window that is open at a time: this one, or another that begins with ``total``.

        A little before this one is a clock that is behind another: what is counted stays in the open window. Long
        before, a clock was put forward and back again, and this window would stay open for as long.
        """
        number = at_ms // size_ms
        if 0 <= self.number - number <= CLOCKS_APART_MS // size_ms + 1:
            return self
        return Window(number, total)

    def fitting(self, total: UsageTotals) -> Window:
        """Return the window if it can have begun before ``total``, else one that begins with it.

        A count's total is lower than before only if its last owner scored the same events otherwise, or if the record
        is made up: the count is right again at once, and only the open windows lose what was counted in them.
        """
        return self if self.opening <= total else Window(self.number, total)


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
            name: window.at(record.at_ms, WINDOWS_MS[name], total).fitting(record.totals)
            for name, window in self.windows.items()
        }
        return Account(record, windows)

    def used(self, window: str, now_ms: int) -> UsageTotals:
        """Return the counts so far of the window (a key of WINDOWS_MS) that contains ``now_ms``."""
        return self.record.totals - self.opening(window, now_ms)

    def opening(self, window: str, now_ms: int) -> UsageTotals:
        """Return the totals when that window began, or ``record.totals`` itself if nothing was counted in it."""
        return self.windows[window].at(now_ms, WINDOWS_MS[window], self.record.totals).opening

    def without_tenants(self) -> Account:
        """Return the account with all its tenants as OTHER."""
        totals = self.record.totals
        other = {OTHER: TenantCount(totals.scored, totals.dead, totals.prompt_bytes)}
        return Account(replace(self.record, tenants=other), self.windows)

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
    def decode(cls, value: bytes | None) -> Account:
        """Read what :meth:`encode` wrote. Raises Refused, which is a ValueError, when it is something else."""
        head, _, tail = (value or b"").partition(b"\n")
        record = UsageRecord.decode(head)
        try:
            body = read_object(tail, "account", most=MOST_BYTES)
            totals = [record.totals, *map(UsageTotals.decode, body["totals"])]
            windows = {
                # Accounts written by 0.1.0 also have the totals from when the window before began.
                name: Window(_number(number), totals[whole(opening)])
                for name, (number, opening, *_) in body["windows"].items()
            }
            if windows.keys() != WINDOWS_MS.keys():
                raise Refused("damaged", f"it has {len(windows)} windows, and they are {', '.join(WINDOWS_MS)}")
        except (KeyError, TypeError, IndexError, AttributeError, ValueError, RecursionError) as error:
            raise damaged("account", error) from error
        return cls(record, {name: window.fitting(record.totals) for name, window in windows.items()})


def _number(value: object) -> int:
    """Check a window's number, which is negative while the clock stands before 1970."""
    return -whole(-value) if type(value) is int and value < 0 else whole(value)


def in_time(record: UsageRecord, now_ms: int, *, live: bool) -> UsageRecord:
    """Return a record with a time that the ledger can use, which decides only in which windows it is counted.

    Parameters
    ----------
    record:
        As its worker wrote it, by its own clock.
    now_ms:
        The ledger's time.
    live:
        It was just written: it has not waited in the topic for the ledger to start.
    """
    is_ahead = record.at_ms > now_ms + CLOCKS_APART_MS // 2
    is_behind = live and record.at_ms < now_ms - CLOCKS_APART_MS // 2
    return replace(record, at_ms=max(now_ms, 0)) if is_ahead or is_behind else record


def post(account: Account | None, record: UsageRecord) -> Account:
    """Return the account of a count after one more record; ``account`` is None for the first."""
    return Account.opened(record) if account is None else account.posted(record)
