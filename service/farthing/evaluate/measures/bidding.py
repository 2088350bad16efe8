"""Bidding under a budget: fits recorded market prices, and replays bidders that adapt to the remaining budget.

In a second-price auction the bid that wins the most clicks for the money is p / lambda, where p is the click
probability and lambda the value that a unit of money must bring; if a bid is assumed to cost its full amount, it is

    b(p) = sqrt(c p / lambda + c^2) - c      where a bid wins with probability w(b) = b / (c + b)

(Zhang, Yuan and Wang, KDD 2014, equation 14). Either has one unknown, lambda, which follows from the budget. Here it is
solved again before each auction, for the budget and the auctions that remain in the episode, so that savings are spent
and overspending is made up for: a receding horizon. The average cost of a bid comes from a histogram of market prices,
and all remaining impressions are assumed to have the average click probability (as in Cai et al., WSDM 2017). Nothing
is learned from the stream itself.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from farthing.evaluate.measures.auctions import Replay
from farthing.evaluate.measures.choices import EPISODE, Strategy

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class PriceModel:
    """Market prices as counted in training."""

    impressions: Floats  # (n_prices,) impressions whose market price was 0, 1, 2, ...

    def __post_init__(self) -> None:
        counts = self.impressions
        if counts.ndim != 1 or not np.isfinite(counts).all() or (counts < 0).any() or counts[1:].sum() <= 0:
            raise ValueError("a price histogram needs counts that are not negative, some of them at a price over 0")

    @property
    def mean(self) -> float:
        """The mean market price."""
        return float(self.impressions @ np.arange(len(self.impressions)) / self.impressions.sum())

    @property
    def spend(self) -> Floats:
        """The mean cost per auction of bidding 0, 1, 2, ... in every auction: (n_prices,), not falling."""
        paid = np.cumsum(self.impressions * np.arange(len(self.impressions))) / self.impressions.sum()
        return np.asarray(paid, np.float64)

    def fit_c(self) -> float:
        """Fit the winning function b / (c + b) by maximum likelihood.

        The market price then has the density c / (c + b)^2, whose likelihood is highest where the mean of
        (b - c) / (b + c) is 0; that falls as c rises.
        """
        prices = np.arange(len(self.impressions), dtype=np.float64)
        low, high = 1e-9, float(len(prices))
        for _ in range(200):
            c = (low + high) / 2
            if float(self.impressions @ ((prices - c) / (prices + c))) > 0:
                low = c
            else:
                high = c
        return (low + high) / 2


def _affordable(cost: Floats, last: int, spend: float) -> float:
    """Return the highest bid that costs at most ``spend`` per auction on average, interpolated between whole prices.

    If winning all auctions costs less, it is the highest price that was seen, ``last``.
    """
    price = int(np.searchsorted(cost, spend, side="right")) - 1
    if price >= last:
        return float(last)
    if price < 0:
        return 0.0
    step = cost[price + 1] - cost[price]
    return price + float((spend - cost[price]) / step) if step > 0 else float(price)


def solve_lambda(
    values: NDArray[Any], prices: PriceModel, *, spend: float, strategy: Strategy, c: float = 0.0, scale: float = 1.0
) -> float:
    """Solve for the multiplier at which bids on ``values`` cost ``spend`` an impression on average.

    Parameters
    ----------
    values:
        (n,) what each impression is worth (click probability times the value of a click), in any unit of money.
    prices:
        Market prices, in whole steps of ``scale`` units of that money.
    spend:
        What may be spent per impression, in the unit of ``values``.
    c:
        For ``ortb``, in the unit of ``values``.

    Returns
    -------
    lambda; 1e12, the most it can be, if even bids of almost nothing cost too much.
    """
    cost = prices.spend * scale
    low, high = 1e-12, 1e12  # costs fall as lambda rises
    for _ in range(200):
        middle = math.sqrt(low * high)
        bids = bid(np.asarray(values, np.float64), middle, strategy=strategy, c=c)
        at = np.clip(np.floor(bids / scale), 0, len(cost) - 1).astype(np.int64)
        if float(cost[at].mean()) > spend:
            low = middle
        else:
            high = middle
    return high


def bid(values: Floats, multiplier: float, *, strategy: Strategy, c: float = 0.0) -> Floats:
    """Return bids on values at a given lambda: ``linear`` v / lambda, ``ortb`` sqrt(c v / lambda + c^2) - c."""
    if strategy == "ortb":
        gain = c * values / multiplier
        return np.asarray(gain / (np.sqrt(gain + c * c) + c), np.float64)
    return np.asarray(values / multiplier, np.float64)


def bid_in_episodes(
    probabilities: NDArray[Any], market_prices: NDArray[Any], clicks: NDArray[Any], *, strategy: Strategy,
    prices: PriceModel, mean_probability: float, budget: float, episode: int = EPISODE, c: float | None = None,
) -> Replay:  # fmt: skip
    """Bid on a stream in its order, episode by episode, each with its own budget.

    A bid wins if it reaches the market price, and pays the market price; it is reduced to the remaining budget. Before
    each auction the bidder knows the impression's click probability, and how much budget and how many auctions remain.

    Parameters
    ----------
    probabilities:
        (n,) click probabilities.
    market_prices:
        (n,) the price to beat and to pay, whole and not negative.
    clicks:
        (n,) 0 or 1: whether the impression was clicked.
    strategy:
        ``constant`` bids the same on every impression.
    prices, mean_probability:
        Market prices and mean click probability of the training data.
    budget:
        The budget of each episode, in the unit of the market prices.
    c:
        For ``ortb``; by default fitted to ``prices``.

    Raises
    ------
    ValueError
        Lengths differ, there are no auctions, or a number is out of range.
    """
    _check_stream(probabilities, market_prices, clicks)
    _check_numbers(mean_probability, budget, episode)
    n = len(probabilities)
    cost, last = prices.spend, int(np.flatnonzero(prices.impressions)[-1])
    curve = (prices.fit_c() if c is None else c) if strategy == "ortb" else 0.0
    relative = np.asarray(probabilities, np.float64) / mean_probability
    won = np.zeros(n, np.bool_)
    left = 0.0
    for k, (value, price) in enumerate(zip(relative.tolist(), market_prices.tolist(), strict=True)):
        if k % episode == 0:
            left = budget
        # The bid on an average impression spends the rest evenly; that determines lambda, and so all other bids.
        average = _affordable(cost, last, left / (episode - k % episode))
        if min(_scaled_bid(average, value, curve, strategy), left) >= price:
            won[k] = True
            left -= price
    starts = np.arange(0, n, episode)
    return Replay(
        auctions=np.diff(np.append(starts, n)),
        impressions_won=np.add.reduceat(won.astype(np.int64), starts),
        clicks_won=np.add.reduceat(np.where(won, clicks, 0).astype(np.int64), starts),
        spend=np.add.reduceat(np.where(won, market_prices, 0).astype(np.float64), starts),
    )


def _scaled_bid(average: float, value: float, curve: float, strategy: Strategy) -> float:
    """Return the bid on an impression worth ``value`` times the average one, on which ``average`` is bid."""
    if strategy == "constant":
        return average
    if strategy == "linear":
        return average * value
    return math.sqrt(((average + curve) ** 2 - curve**2) * value + curve**2) - curve


def _check_stream(probabilities: NDArray[Any], market_prices: NDArray[Any], clicks: NDArray[Any]) -> None:
    n = len(probabilities)
    if not n == len(market_prices) == len(clicks) > 0:
        raise ValueError(f"{n} probabilities, {len(market_prices)} market prices, {len(clicks)} clicks; one at least")
    if not (np.isfinite(probabilities).all() and np.isfinite(market_prices).all() and (market_prices >= 0).all()):
        raise ValueError("a probability or market price is not finite, or a market price is negative")


def _check_numbers(mean_probability: float, budget: float, episode: int) -> None:
    if not (mean_probability > 0 and budget > 0 and episode > 0):
        raise ValueError(
            f"mean probability is {mean_probability}, budget {budget}, episode {episode}; expected numbers over 0"
        )
