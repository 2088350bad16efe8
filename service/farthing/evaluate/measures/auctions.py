"""Measures a replay of a bid stream with recorded market prices: what bids would have won and cost.

The setting is that of H. Cai et al., Real-Time Bidding by Reinforcement Learning in Display Advertising, WSDM 2017, and
of the authors' published results: auctions come in episodes of equal length, each with its own budget. A bid wins if it
reaches the market price, and pays the market price; a bid above the remaining budget is reduced to it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from farthing.evaluate.measures.bootstrap import Estimate, estimate_sums
from farthing.evaluate.measures.choices import EPISODE, RESAMPLES, Advance

Floats = NDArray[np.float64]
Int64s = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Replay:
    """What was won in each episode; the last may be shorter."""

    auctions: Int64s  # (n_episodes,)
    impressions_won: Int64s  # (n_episodes,)
    clicks_won: Int64s  # (n_episodes,)
    spend: Floats  # (n_episodes,) in the unit of the market prices


def episode_budget(mean_market_price: float, budget_factor: float, *, episode: int = EPISODE) -> float:
    """Return the budget of one episode: a share, ``budget_factor``, of its auctions' cost at the mean training price.

    It is in whole units of the market price, as in the paper.
    """
    if not (np.isfinite(mean_market_price) and mean_market_price > 0 and budget_factor > 0 and episode > 0):
        raise ValueError(
            f"mean market price is {mean_market_price}, budget factor {budget_factor}, episode {episode}; expected "
            "numbers over 0"
        )
    return float(np.floor(mean_market_price * budget_factor * episode))


def estimate(
    replayed: Replay, *, seed: int = 0, resamples: int = RESAMPLES, advance: Advance | None = None
) -> dict[str, Estimate]:
    """Compute ``clicks_won``, ``impressions_won`` and ``spend`` of all episodes, with intervals over episodes."""
    values = {
        "clicks_won": replayed.clicks_won.astype(np.float64),
        "impressions_won": replayed.impressions_won.astype(np.float64),
        "spend": replayed.spend,
    }
    return estimate_sums(values, seed=seed, resamples=resamples, advance=advance)
