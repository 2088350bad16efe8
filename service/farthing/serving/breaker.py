"""Notices that nearly all events are refused: then the cause is the model or the topic, and not the events."""

from __future__ import annotations

from typing import Final

from farthing.blocks import Int64s, Status

IN_A_ROW: Final = 32
"""Events refused with next to none accepted in between, from which on a route is held. Fewer may be one producer's."""

NEARLY_ALL: Final = 0.9

NOT_ITS_OWN: Final = (
    Status.NON_FINITE, Status.MODEL_FAILED, Status.SCORE_TOO_LARGE, Status.NULL_KEY, Status.SINK_REFUSED,
)  # fmt: skip
"""The reasons for which it may be the model or the sink that is wrong, and not the event."""


class Breaker:
    """Counts what a route's model and sink refuse. Events that are refused for their JSON do not count."""

    def __init__(self) -> None:
        self._in_a_row = 0

    def trips(self, accepted: int, refused: int) -> bool:
        """Note a block; returns whether nearly all events have been refused for a while."""
        if refused == 0 and accepted == 0:
            return False
        if refused <= NEARLY_ALL * (accepted + refused):
            self._in_a_row = 0
            return False
        self._in_a_row += refused
        return self._in_a_row >= IN_A_ROW


def describe_refusals(status_counts: Int64s, sink: str) -> str:
    """Say why nearly all events are refused, and what to do; ``status_counts`` is (N_STATUSES,)."""
    reason = max(NOT_ITS_OWN, key=lambda status: int(status_counts[status]))
    cause = {
        Status.NON_FINITE: "the model gives no finite scores; roll the bundle back",
        Status.MODEL_FAILED: "the model fails on them; roll the bundle back",
        Status.SCORE_TOO_LARGE: f"their scores are larger than max.message.bytes of {sink}; raise it",
        Status.NULL_KEY: f"they have no keys and {sink} is compacted; set its cleanup.policy to delete",
        Status.SINK_REFUSED: f"the broker of {sink} refuses them; look at its log",
    }[reason]
    return f"nearly all events are refused ({reason.name.lower()}): {cause}"
