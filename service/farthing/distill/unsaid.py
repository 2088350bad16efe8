"""Warns about labels that a finished model gives to none of its own rows and so will hardly ever give when served."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from farthing.model.scorer import Scorer

CHUNK_EVENTS: Final = 8_192


def unsaid(scorer: Scorer, splits: Iterable[Sequence[bytes]], labels: Sequence[str]) -> str | None:
    """Score the events of all splits, and warn about those of ``labels`` that none of them gets.

    Parameters
    ----------
    labels:
        The labels that the model can give, besides ``allow`` and ``none``.

    Returns
    -------
    The warning; None if every label was given.
    """
    n, missing = 0, dict.fromkeys(labels)
    for split in splits:
        for start in range(0, len(split), CHUNK_EVENTS):
            scored = scorer.score_events(split[start : start + CHUNK_EVENTS])
            n += len(scored)
            for label in set(scored.labels):
                missing.pop(label, None)
    if not missing:
        return None
    names = ", ".join(missing)
    if len(missing) == len(labels):
        return (
            f"warning: the model never says yes: of its own {n:,} rows none is called {names}. Look at how many rows "
            "have those labels, and at the cuts that the recipe asks for"
        )
    return f"warning: the model never says {names} of its own {n:,} rows; look at the cuts that the recipe asks for"
