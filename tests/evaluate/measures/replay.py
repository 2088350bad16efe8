"""Auctions replayed with bids that are known beforehand: what published results were computed with."""

import numpy as np

from farthing.evaluate.measures.auctions import Replay
from farthing.evaluate.measures.choices import EPISODE


def replay(bids, market_prices, clicks, *, budget, episode=EPISODE):
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
