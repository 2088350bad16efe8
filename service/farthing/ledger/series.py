"""Own and avoided dollars since a window began, minute by minute, for the page's chart. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from typing import Any

from farthing.ledger.history import MINUTE_MS, Snapshot
from farthing.ledger.statement import Statement
from farthing.meter.money import usd
from farthing.meter.opponents import ModeName


def cost_series(
    statement: Statement, snapshots: Sequence[Snapshot], model: str, mode: ModeName | None
) -> dict[str, Any]:
    """Return the middle of both costs at the window's beginning, at each snapshot in it, and now.

    The statement's dollars are spread over the window by what they grow with: the API's and the variable part of own
    cost with the events scored so far, cores with the core-time so far, the rest with the clock. So the last point is
    the statement's, and an API's dollars are at the mean price of the window.

    Parameters
    ----------
    statement:
        The window's statement.
    snapshots:
        Running totals, oldest first; those outside the window are left out.
    model, mode:
        The alternative; None is its cheapest mode.

    Returns
    -------
    ``at_s`` (seconds since the epoch), ``own_usd`` and ``api_usd``, each with one entry per point; ``api_usd`` has None
    where it is undefined.
    """
    inside = [s for s in snapshots if statement.from_ms < s.minute * MINUTE_MS < statement.now_ms]
    times_ms = [statement.from_ms, *(s.minute * MINUTE_MS for s in inside), statement.now_ms]
    scored = [0, *(sum(s.scored.values()) - statement.scored_before for s in inside), statement.scored]
    core_ms = [0, *(s.core_ms - statement.core_ms_before for s in inside), statement.own.core_ms]
    events = [_share(n, statement.scored) for n in scored]
    cores = [_share(n, statement.own.core_ms) for n in core_ms]
    clock = [_share(ms - statement.from_ms, statement.now_ms - statement.from_ms) for ms in times_ms]
    avoided = statement.avoided(model, mode)
    return {
        "at_s": [ms // 1000 for ms in times_ms],
        "own_usd": [usd(statement.own.so_far(*shares).mid) for shares in zip(cores, events, clock, strict=True)],
        "api_usd": [None if avoided is None else usd(avoided.mid * share) for share in events],
    }


def _share(part: int, whole: int) -> Fraction:
    """Return part over whole, clipped to 0 to 1, because a snapshot is taken a moment after its minute began."""
    return Fraction(min(max(part, 0), whole), whole) if whole else Fraction(0)
