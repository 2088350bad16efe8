"""Ages of events by route, added up over all processes ever seen. Pure.

The sums are kept up to date with each heartbeat, because there may be thousands, and copied once a second. Whoever may
write heartbeats can invent routes and edges, so there is room for a number of buckets that workers do not reach.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

MOST_BUCKETS: Final = 50_000
"""Route and edge with events: 80 routes that use every edge, or some hundred usual ones."""

ByRoute = Mapping[str, Mapping[float, int]]  # route -> events by upper edge in ms


class Ages:
    """The sums. Routes and buckets without events are not kept."""

    def __init__(self) -> None:
        self._sums: dict[str, dict[float, int]] = {}
        self._buckets = 0

    def replace(self, previous: ByRoute, counts: ByRoute) -> bool:
        """Count a process' ages in place of its ``previous`` ones; False, and nothing changes, if there is no room."""
        new = sum(
            1
            for route, by_edge in counts.items()
            for known in (self._sums.get(route, {}),)
            for edge, n in by_edge.items()
            if n and edge not in known
        )
        if new and self._buckets + new > MOST_BUCKETS:
            return False
        self._add(counts, 1)
        self._add(previous, -1)
        return True

    def _add(self, counts: ByRoute, sign: int) -> None:
        for route, by_edge in counts.items():
            sums = self._sums.setdefault(route, {})
            self._buckets -= len(sums)
            for edge, n in by_edge.items():
                total = sums.get(edge, 0) + sign * n
                if total:
                    sums[edge] = total
                else:
                    sums.pop(edge, None)
            self._buckets += len(sums)
            if not sums:
                del self._sums[route]

    def copied(self) -> ByRoute:
        """Return the sums as they are now."""
        return {route: dict(sums) for route, sums in self._sums.items()}
