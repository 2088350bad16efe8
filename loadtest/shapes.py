"""How many users there are at each moment of a run. A user is a connection with a fixed rate, so more users, more load.

::

    constant  ________      step      __--       spike     __|~|__      diurnal  _/~\\_      soak   /~~~~~~~~
                                   __--
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Final

STEPS: Final = 5
SPIKE_FROM, SPIKE_TO = 0.4, 0.6
BEFORE_SPIKE: Final = 0.25  # of the peak
NIGHT: Final = 0.2  # of the peak
RAMP_SHARE, RAMP_MOST_S = 0.05, 300.0


def _constant(_at: float, _run_s: float) -> float:
    return 1.0


def _step(at: float, _run_s: float) -> float:
    return min(int(at * STEPS) + 1, STEPS) / STEPS


def _spike(at: float, _run_s: float) -> float:
    return 1.0 if SPIKE_FROM <= at < SPIKE_TO else BEFORE_SPIKE


def _diurnal(at: float, _run_s: float) -> float:
    """One day from night to night in the time of the run."""
    return NIGHT + (1 - NIGHT) * (1 - math.cos(2 * math.pi * at)) / 2


def _soak(at: float, run_s: float) -> float:
    ramp_s = min(RAMP_SHARE * run_s, RAMP_MOST_S)
    return min(at * run_s / ramp_s, 1.0)


SHAPES: Final[Mapping[str, Callable[[float, float], float]]] = {
    "constant": _constant,
    "step": _step,
    "spike": _spike,
    "diurnal": _diurnal,
    "soak": _soak,
}
"""Share of the peak, by progress of the run (0 to 1) and its seconds."""

DEFAULT_RUN_S: Final = {"constant": 60.0, "step": 300.0, "spike": 300.0, "diurnal": 1_440.0, "soak": 8 * 3_600.0}


def users_at(shape: str, elapsed_s: float, run_s: float, peak: int) -> int | None:
    """Give the number of users, at least one; None after the end of the run."""
    if elapsed_s >= run_s:
        return None
    return max(round(SHAPES[shape](max(elapsed_s, 0.0) / run_s, run_s) * peak), 1)
