"""Counts what the ledger refuses to read, by where it came from and why, and says so once in a while."""

from __future__ import annotations

import math
import time
from collections import Counter
from typing import Final

import structlog

from farthing.meter.untrusted import Refused

log = structlog.get_logger()

SOURCES: Final = ("usage", "heartbeats", "accounts", "workers", "minutes")
"""The two topics that workers write, and the three tables whose changelogs the ledger writes itself."""

SAY_AGAIN_S: Final = 10.0


class Refusals:
    """How many records or table values were refused since the start, by source and reason."""

    def __init__(self) -> None:
        self.counts: Counter[tuple[str, str]] = Counter()
        self._said_s: dict[tuple[str, str], float] = {}
        self._said: Counter[tuple[str, str]] = Counter()

    def refuse(self, source: str, error: Refused) -> None:
        """Count one; the first of its kind is logged, and others once in :data:`SAY_AGAIN_S`."""
        kind = (source, error.reason)
        self.counts[kind] += 1
        now = time.monotonic()
        if now - self._said_s.get(kind, -math.inf) >= SAY_AGAIN_S:
            others = self.counts[kind] - self._said[kind] - 1
            log.warning("record_refused", source=source, reason=error.reason, error=str(error), others=others)
            self._said_s[kind], self._said[kind] = now, self.counts[kind]

    @property
    def records(self) -> int:
        """How many records of the topics were refused."""
        return sum(n for (source, _), n in self.counts.items() if source in ("usage", "heartbeats"))
