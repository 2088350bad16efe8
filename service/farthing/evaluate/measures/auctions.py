"""Replay of a bid stream with recorded market prices: what bids would have won, and what they would have cost.

The setting is that of H. Cai et al., Real-Time Bidding by Reinforcement Learning in Display Advertising, WSDM 2017, and
of the authors' published results: auctions come in episodes of equal length, each with a budget of its own. A bid wins
when it reaches the market price, and pays the market price; a bid above what is left of the budget is cut to that.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from farthing.evaluate.measures.bootstrap import RESAMPLES, Advance, Estimate, estimate_sums

Floats = NDArray[np.float64]
Int64s = NDArray[np.int64]

EPISODE: Final = 1000
"""Auctions in an episode, in the published setting."""


@dataclass(frozen=True, slots=True)
class Replay:
    """What was won in each episode; the last may be shorter."""

    auctions: Int64s  # (n_episodes,)
    impressions_won: Int64s  # (n_episodes,)
    clicks_won: Int64s  # (n_episodes,)
    spend: Floats  # (n_episodes,) in the unit of the market prices


def episode_budget(mean_market_price: float, budget_factor: float, *, episode: int = EPISODE) -> float:
    """Give the budget of one episode: ``budget_factor`` of what all its auctions cost at the mean price in training.

    In whole units of the market price, as published.
    """
    if not (np.isfinite(mean_market_price) and mean_market_price > 0 and budget_factor > 0 and episode > 0):
        raise ValueError(
            f"mean market price is {mean_market_price}, budget factor {budget_factor}, episode {episode}; expected "
            "numbers over 0"
        )
    return float(np.floor(mean_market_price * budget_factor * episode))


def replay(
    bids: NDArray[Any], market_prices: NDArray[Any], clicks: NDArray[Any], *, budget: float, episode: int = EPISODE
) -> Replay:
    """Replay auctions in their order.

    Parameters
    ----------
    bids:
        (n,) in the unit of the market prices, made from what a bidder knows before the auction. A whole-number bidder
        rounds them itself. Bids that answer to the budget left are not replayed here.
    market_prices:
        (n,) the price to beat and to pay.
    clicks:
        (n,) 0 or 1: what the impression brought whoever won it.
    budget:
        Of each episode, also of a last short one.

    Raises
    ------
    ValueError
        Different lengths, no auctions, a number that is not finite, a negative price.
    """
    if not len(bids) == len(market_prices) == len(clicks) > 0:
        raise ValueError(f"{len(bids)} bids, {len(market_prices)} market prices, {len(clicks)} clicks; one at least")
    if not (np.isfinite(bids).all() and np.isfinite(market_prices).all() and (market_prices >= 0).all()):
        raise ValueError("a bid or market price is not finite, or a market price is negative")
    starts = np.arange(0, len(bids), episode)
    won = np.zeros(len(bids), np.bool_)
    affordable = np.flatnonzero(bids >= market_prices)  # all others lose whatever the budget is
    prices = market_prices[affordable].tolist()
    left, current = 0.0, -1
    for row, price, number in zip(affordable.tolist(), prices, (affordable // episode).tolist(), strict=True):
        if number != current:
            left, current = budget, number
        if price <= left:
            won[row] = True
            left -= price
    return Replay(
        auctions=np.diff(np.append(starts, len(bids))),
        impressions_won=np.add.reduceat(won.astype(np.int64), starts),
        clicks_won=np.add.reduceat(np.where(won, clicks, 0).astype(np.int64), starts),
        spend=np.add.reduceat(np.where(won, market_prices, 0).astype(np.float64), starts),
    )


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
