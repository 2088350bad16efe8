"""Own and avoided dollars since a window began, minute by minute: what a page draws over time. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from typing import Any

from farthing.ledger.history import MINUTE_MS, Snapshot
from farthing.ledger.statement import Statement
from farthing.meter.money import usd
from farthing.meter.opponents import ModeName


def cost_series(said: Statement, snapshots: Sequence[Snapshot], model: str, form: ModeName | None) -> dict[str, Any]:
    """Give the middle of both costs at the window's beginning, at each snapshot in it, and now.

    The statement's dollars are spread over the window by what they grow with: the API's and the variable part of own
    cost with the events scored so far, cores with the core-time so far, the rest with the clock. So the last point is
    the statement's, and an API's dollars are at the mean price of the window.

    Parameters
    ----------
    said:
        The window's statement.
    snapshots:
        Running totals, oldest first; those outside the window are left out.
    model, form:
        The opponent; None is the cheapest form.

    Returns
    -------
    ``at_s`` (seconds since the epoch), ``own_usd`` and ``api_usd``, each with one entry a point; ``api_usd`` has None
    where it is undefined.
    """
    inside = [s for s in snapshots if said.from_ms < s.minute * MINUTE_MS < said.now_ms]
    times_ms = [said.from_ms, *(s.minute * MINUTE_MS for s in inside), said.now_ms]
    scored = [0, *(sum(s.scored.values()) - said.scored_before for s in inside), said.scored]
    core_ms = [0, *(s.core_ms - said.core_ms_before for s in inside), said.own.core_ms]
    events = [_share(n, said.scored) for n in scored]
    cores = [_share(n, said.own.core_ms) for n in core_ms]
    clock = [_share(ms - said.from_ms, said.now_ms - said.from_ms) for ms in times_ms]
    avoided = said.avoided(model, form)
    return {
        "at_s": [ms // 1000 for ms in times_ms],
        "own_usd": [usd(said.own.so_far(*shares).mid) for shares in zip(cores, events, clock, strict=True)],
        "api_usd": [None if avoided is None else usd(avoided.mid * share) for share in events],
    }


def _share(part: int, whole: int) -> Fraction:
    """Give part over whole, within 0 and 1: a snapshot is taken a moment after its minute began."""
    return Fraction(min(max(part, 0), whole), whole) if whole else Fraction(0)
