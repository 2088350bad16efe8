"""What a topic takes: sizes, keys and timestamps. Records are laid out by that, so that no broker refuses them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

NO_TIMESTAMP: Final = -1
"""Kafka's own value for a record without a timestamp; every topic takes it."""

MARGIN_MS: Final = 60_000
"""How far inside a topic's bounds a timestamp is put that is outside: the bounds move on with the broker's clock."""

_UNBOUNDED: Final = (1 << 63) - 1


@dataclass(frozen=True, slots=True)
class TopicLimits:
    """The topic settings that decide whether a broker takes a batch. The defaults are those of Apache Kafka 4."""

    max_message_bytes: int = 1_048_588  # a whole batch as it is sent; the least of max.message.bytes and segment.bytes
    compacted: bool = False  # cleanup.policy has compact: a record without a key is refused
    log_append_time: bool = False  # message.timestamp.type: the broker replaces each timestamp
    before_max_ms: int = _UNBOUNDED  # message.timestamp.before.max.ms
    after_max_ms: int = 3_600_000  # message.timestamp.after.max.ms

    def times(self, now_ms: int) -> tuple[int, int]:
        """Return the earliest and the latest timestamp that the topic takes at ``now_ms``."""
        if self.log_append_time:
            return -_UNBOUNDED, _UNBOUNDED
        return max(now_ms - self.before_max_ms, -_UNBOUNDED), min(now_ms + self.after_max_ms, _UNBOUNDED)


DEFAULT_LIMITS: Final = TopicLimits()
ANY_TIME: Final = (-_UNBOUNDED, _UNBOUNDED)
NO_TIME: Final = (NO_TIMESTAMP, NO_TIMESTAMP)
"""For records without timestamps, where even those inside a topic's bounds are refused: its broker's clock differs."""
