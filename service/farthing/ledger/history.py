"""The history of what was scored and reserved, for the page's chart: a day of minutes, and hours before that. Pure."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

from farthing.ledger.books import CLOCKS_APART_MS
from farthing.ledger.ledger import Ledger, Subject
from farthing.meter.untrusted import Refused, damaged, name, read_object, whole

MINUTE_MS: Final = 60_000
MINUTES_KEPT: Final = 24 * 60
HOURS_KEPT: Final = 90 * 24
_MOST_BYTES: Final = 1 << 20
_MOST: Final = 2**80  # sums of many counts, and of the core-milliseconds of many workers
_BY: Final = "\x1f"  # between topic, model and task in an encoded key


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Running totals when a minute began."""

    minute: int  # since the epoch
    scored: Mapping[Subject, int]
    core_ms: int

    @property
    def key(self) -> bytes:
        """The table's key."""
        return str(self.minute).encode()

    def encode(self) -> bytes:
        """Return the table's value."""
        scored = {_BY.join((s.topic, s.model, s.task)): n for s, n in self.scored.items()}
        return json.dumps({"minute": self.minute, "scored": scored, "core_ms": self.core_ms}).encode()

    @classmethod
    def decode(cls, value: bytes | None) -> Snapshot:
        """Read what :meth:`encode` wrote. Raises Refused, which is a ValueError, when it is something else."""
        body = read_object(value, "snapshot", most=_MOST_BYTES)
        try:
            scored = {Subject(*map(name, key.split(_BY))): whole(n, _MOST) for key, n in body["scored"].items()}
            return cls(whole(body["minute"]), scored, whole(body["core_ms"], _MOST))
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            raise damaged("snapshot", error) from error


@dataclass(slots=True)
class History:
    """Snapshots by minute, oldest first."""

    snapshots: dict[int, Snapshot] = field(default_factory=dict)

    @classmethod
    def restored(
        cls, values: Iterable[bytes], *, refuse: Callable[[str, Refused], None] = lambda _table, _error: None
    ) -> History:
        """Read the table's values; each that cannot be read is left out, and ``refuse`` is told."""
        snapshots = []
        for value in values:
            try:
                snapshots.append(Snapshot.decode(value))
            except Refused as error:
                refuse("minutes", error)
        return cls({s.minute: s for s in sorted(snapshots, key=lambda snapshot: snapshot.minute)})

    def note(self, ledger: Ledger, now_ms: int) -> tuple[Snapshot | None, list[bytes]]:
        """Take a snapshot when a new minute has begun.

        Returns
        -------
        The new snapshot, to be stored, or None; and the keys of those that are no longer kept. Those from the future
        go, because the clock was put forward and back again; old ones go when the clock has been where it is for an
        hour.
        """
        minute = now_ms // MINUTE_MS
        old = []
        while self.snapshots and next(reversed(self.snapshots)) > minute + CLOCKS_APART_MS // MINUTE_MS:
            old.append(self.snapshots.popitem()[1].key)
        if self.snapshots and minute <= next(reversed(self.snapshots)):
            return None, old
        new = Snapshot(max(minute, 0), ledger.scored(), ledger.reserved_core_ms())
        self.snapshots[new.minute] = new
        if sum(minute - m <= MINUTES_KEPT for m in self.snapshots) > 60:
            old += [self.snapshots.pop(m).key for m in [m for m in self.snapshots if self._is_over(m, minute)]]
        return new, old

    @staticmethod
    def _is_over(minute: int, now: int) -> bool:
        age = now - minute
        return age > HOURS_KEPT * 60 or (age > MINUTES_KEPT and minute % 60 != 0)

    def since(self, from_ms: int) -> list[Snapshot]:
        """Return the snapshots from a time on, oldest first."""
        return [snapshot for minute, snapshot in self.snapshots.items() if minute * MINUTE_MS >= from_ms]
