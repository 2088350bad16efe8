"""What a generator process sent, by route: running totals, which are added up over processes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from loadtest.histogram import added


@dataclass(slots=True)
class SentTotals:
    """Events and batches of one source topic. ``sent`` are those handed to the client, and each is acked or failed."""

    batches: int = 0
    sent: int = 0
    acked: int = 0
    failed: int = 0
    value_bytes: int = 0
    error: str = ""  # the first one
    late_ms: dict[int, int] = field(default_factory=dict)  # batches by how late they were handed over
    first_s: float | None = None  # seconds since the epoch: the first batch's intended time
    last_s: float | None = None  # when the last batch was handed over

    def plain(self) -> dict[str, Any]:
        """Give the fields as they travel between processes."""
        return {name: getattr(self, name) for name in self.__slots__}

    @staticmethod
    def of(many: Iterable[Mapping[str, Any]]) -> SentTotals:
        """Add up what :meth:`plain` gave in several processes."""
        parts = [SentTotals(**one) for one in many]
        firsts = [one.first_s for one in parts if one.first_s is not None]
        lasts = [one.last_s for one in parts if one.last_s is not None]
        return SentTotals(
            batches=sum(one.batches for one in parts),
            sent=sum(one.sent for one in parts),
            acked=sum(one.acked for one in parts),
            failed=sum(one.failed for one in parts),
            value_bytes=sum(one.value_bytes for one in parts),
            error=next((one.error for one in parts if one.error), ""),
            late_ms=dict(added(*({int(ms): n for ms, n in one.late_ms.items()} for one in parts))),
            first_s=min(firsts, default=None),
            last_s=max(lasts, default=None),
        )
