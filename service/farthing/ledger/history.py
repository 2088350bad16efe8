"""The history of what was scored and reserved, for the page's chart: a day of minutes, and hours before that. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

from farthing.ledger.ledger import Ledger, Subject

MINUTE_MS: Final = 60_000
MINUTES_KEPT: Final = 24 * 60
HOURS_KEPT: Final = 90 * 24
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
    def decode(cls, value: bytes) -> Snapshot:
        """Read what :meth:`encode` wrote. Raises ValueError when it is something else."""
        try:
            body = json.loads(value)
            scored = {Subject(*key.split(_BY)): int(n) for key, n in body["scored"].items()}
            return cls(int(body["minute"]), scored, int(body["core_ms"]))
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"a damaged snapshot ({type(error).__name__}: {error})") from error


@dataclass(slots=True)
class History:
    """Snapshots by minute, oldest first."""

    snapshots: dict[int, Snapshot] = field(default_factory=dict)

    @classmethod
    def restored(cls, values: Iterator[bytes]) -> History:
        """Read the table's values. Raises ValueError when one is damaged."""
        snapshots = sorted((Snapshot.decode(value) for value in values), key=lambda snapshot: snapshot.minute)
        return cls({snapshot.minute: snapshot for snapshot in snapshots})

    def note(self, ledger: Ledger, now_ms: int) -> tuple[Snapshot | None, list[bytes]]:
        """Take a snapshot when a new minute has begun.

        Returns
        -------
        The new snapshot, to be stored, or None; and the keys of those that are no longer kept.
        """
        minute = now_ms // MINUTE_MS
        if self.snapshots and minute <= next(reversed(self.snapshots)):
            return None, []
        new = Snapshot(minute, ledger.scored(), ledger.reserved_core_ms())
        self.snapshots[minute] = new
        old = [m for m in self.snapshots if self._is_over(m, minute)]
        return new, [self.snapshots.pop(m).key for m in old]

    @staticmethod
    def _is_over(minute: int, now: int) -> bool:
        age = now - minute
        return age > HOURS_KEPT * 60 or (age > MINUTES_KEPT and minute % 60 != 0)

    def since(self, from_ms: int) -> list[Snapshot]:
        """Return the snapshots from a time on, oldest first."""
        return [snapshot for minute, snapshot in self.snapshots.items() if minute * MINUTE_MS >= from_ms]
