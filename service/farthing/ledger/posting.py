"""Reads the records of the two topics into the books: each is posted, or counted as refused. No table, no topic."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection
from typing import TypeVar

from farthing.ledger.books import Account, in_time
from farthing.ledger.ledger import Ledger
from farthing.ledger.refusals import Refusals
from farthing.meter.records import Heartbeat, UsageRecord
from farthing.meter.tokens import TextSample
from farthing.meter.untrusted import Refused, shown

Values = Collection[bytes | None]
_Read = TypeVar("_Read", UsageRecord, Heartbeat)


class Posting:
    """Posts to any ledger. ``live`` records were just written; others have waited in their topic."""

    def __init__(self, tasks: Collection[str]) -> None:
        """``tasks`` are those with a price: records of other tasks are refused until the ledger is updated."""
        self._tasks = tasks
        self.records = 0  # read since the start
        self.refusals = Refusals()

    def post(self, ledger: Ledger, values: Values, *, live: bool) -> dict[bytes, Account]:
        """Post usage records; returns the accounts that changed, to be stored."""
        changed = {}
        now_ms = time.time_ns() // 1_000_000
        for value in values:
            record = self._read("usage", self._usage, value)
            try:
                account = None if record is None else ledger.post(in_time(record, now_ms, live=live))
            except Refused as error:
                self.refusals.refuse("usage", error)
                continue
            if account is not None:
                changed[account.record.key] = account
        return changed

    def beat(self, ledger: Ledger, values: Values, *, live: bool) -> dict[bytes, Heartbeat]:
        """Note heartbeats; returns those that are news, to be stored."""
        changed = {}
        heard_ms = time.time_ns() // 1_000_000 if live else None
        for value in values:
            beat = self._read("heartbeats", _heartbeat, value)
            try:
                if beat is not None and ledger.beat(beat, heard_ms):
                    changed[beat.key] = beat
            except Refused as error:
                self.refusals.refuse("heartbeats", error)
        return changed

    def _read(self, source: str, decode: Callable[[bytes | None], _Read], value: bytes | None) -> _Read | None:
        self.records += 1
        try:
            return decode(value)
        except Refused as error:
            self.refusals.refuse(source, error)
            return None

    def _usage(self, value: bytes | None) -> UsageRecord:
        record = UsageRecord.decode(value)
        if record.task not in self._tasks:
            raise Refused(
                "task",
                f"task {shown(record.task)} of {shown(record.topic)} is not known to this Farthing: update the ledger",
            )
        return record


def _heartbeat(value: bytes | None) -> Heartbeat:
    beat = Heartbeat.decode(value)
    try:
        for row in beat.sample.values():
            TextSample.of_ints(row)  # raises if it is from another version
    except ValueError as error:
        raise Refused("version", str(error)) from error
    return beat
