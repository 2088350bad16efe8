"""When a batch is due. This is an open loop: the schedule goes on whatever the broker or the service does.

A generator that waits for answers before it sends again measures nothing while the service is slow, which is when
there is most to measure (coordinated omission). Here the intended time of each batch is fixed from the start. A batch
that is late is sent at once, still carries its intended time, and counts as late.
"""

from __future__ import annotations

GOLDEN = 0.618_033_988_749_895


class Pacer:
    """The intended times of one user's batches: ``began_s + k * interval_s`` for k = 0, 1, 2, ..."""

    def __init__(self, began_s: float, interval_s: float) -> None:
        self._began_s = began_s
        self._interval_s = interval_s
        self._taken = 0

    @property
    def next_s(self) -> float:
        """When the next batch is due, on the clock of ``began_s``."""
        return self._began_s + self._taken * self._interval_s

    def wait_s(self, now_s: float) -> float:
        """Seconds until the next batch is due; 0 when it is late."""
        return max(self.next_s - now_s, 0.0)

    def take(self) -> float:
        """Take the next batch; gives its intended time."""
        due = self.next_s
        self._taken += 1
        return due


def phase_s(number: int, interval_s: float) -> float:
    """Give a user's first wait: users that start together do not send together.

    Multiples of the golden ratio lie evenly in the interval, however many users there are.
    """
    return (number * GOLDEN % 1.0) * interval_s
