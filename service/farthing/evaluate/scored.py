"""Scores events as the service would, chunk by chunk."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from farthing.blocks import Status
from farthing.errors import DataError
from farthing.evaluate.measures.choices import Advance
from farthing.model.scorer import Scorer

CHUNK_EVENTS = 4_096


def score(
    scorer: Scorer, events: Sequence[bytes], places: Sequence[str], advance: Advance, *, chunk: int = CHUNK_EVENTS
) -> NDArray[np.float32]:
    """Score all events: float32 (n_rows, n_heads).

    ``places`` are the events' files and rows, for messages.

    Raises
    ------
    DataError
        An event is refused.
    """
    parts = []
    for start in range(0, len(events), chunk):
        scored = scorer.score_events(events[start : start + chunk])
        refused = np.flatnonzero(scored.status)
        if len(refused):
            reason = Status(int(scored.status[refused[0]])).name.lower()
            raise DataError(f"{places[start + refused[0]]}: cannot be scored ({reason}); fix or remove the row")
        parts.append(scored.scores)
        advance(len(scored))
    return np.concatenate(parts)
