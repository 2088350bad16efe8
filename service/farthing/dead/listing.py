"""``farthing dead list``: how many letters there are, by route, partition and reason, and from when to when."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from farthing.dead.letters import Letter

MOST_GROUPS: Final = 10_000
OTHERS: Final = "(other reasons)"


@dataclass(slots=True)
class Group:
    """Letters of one route, partition and reason. Times are ms since the epoch."""

    count: int = 0
    first_ms: int = 0
    last_ms: int = 0
    cut: int = 0
    events: int = 0  # with those in whole batches, as far as their number is known

    def add(self, letter: Letter) -> None:
        """Count one letter."""
        at_ms = letter.at_ms
        self.first_ms = min(self.first_ms, at_ms) if self.count else at_ms
        self.last_ms = max(self.last_ms, at_ms) if self.count else at_ms
        self.count += 1
        self.cut += bool(letter.cut)
        stop, first = letter.batch_stop, letter.offset
        self.events += 1 if stop is None or first is None else max(stop - first, 0)


class Listing:
    """The counts. A reason is text from a header, so their number is bounded: the rest are counted together."""

    def __init__(self) -> None:
        self.groups: dict[tuple[str, int, str], Group] = {}

    def add(self, route: str, letter: Letter) -> None:
        """Count one letter."""
        key = (route, letter.partition, letter.reason)
        if key not in self.groups and len(self.groups) >= MOST_GROUPS:
            key = (route, letter.partition, OTHERS)
        self.groups.setdefault(key, Group()).add(letter)

    def rows(self) -> list[dict[str, Any]]:
        """Return the groups as JSON objects, by route, partition and reason."""
        return [
            {
                "route": route, "partition": partition, "reason": reason, "letters": group.count,
                "events": group.events, "cut": group.cut, "first": instant(group.first_ms),
                "last": instant(group.last_ms),
            }
            for (route, partition, reason), group in sorted(self.groups.items())
        ]  # fmt: skip


def instant(ms: int) -> str:
    """Write a time in UTC to the millisecond; what no calendar has, as the number that it is."""
    try:
        return datetime.fromtimestamp(ms / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    except (ValueError, OverflowError, OSError):
        return f"{ms} ms"
