"""Winning functions, multipliers and bidders under a budget: worked cases, properties, and the published setting."""

import csv
import gzip
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from farthing.evaluate.measures.bidding import PriceModel, _affordable, bid, bid_in_episodes, solve_lambda

DATA = Path(__file__).parents[4] / "shared" / "data" / "ad" / "ipinyou_2997"
histograms = st.lists(st.integers(0, 1000), min_size=2, max_size=40).filter(lambda counts: sum(counts[1:]) > 0)


def test_c_is_the_most_likely():
    rng = np.random.default_rng(0)
    u = rng.random(200_000)
    prices = np.minimum(np.floor(40 * u / (1 - u)), 5000).astype(int)  # from 40 / (40 + b)^2
    assert PriceModel(np.bincount(prices).astype(float)).fit_c() == pytest.approx(40, rel=0.03)


@given(histograms)
def test_no_other_c_is_likelier(counts):
    model = PriceModel(np.array([0, *counts[1:]], float))  # with half of the prices at 0, no c over 0 is likeliest
    prices = np.arange(len(counts))

    def likelihood(c):
        return float(model.impressions @ (np.log(c) - 2 * np.log(c + prices)))

    c = model.fit_c()
    assert all(likelihood(c) >= likelihood(c * factor) - 1e-6 * abs(likelihood(c)) for factor in (0.5, 0.9, 1.1, 2.0))


@given(histograms, st.floats(0, 100))
def test_the_affordable_bid_costs_what_may_be_spent(counts, spend):
    model = PriceModel(np.array(counts, float))
    last = int(np.flatnonzero(model.impressions)[-1])
    bid_price = _affordable(model.spend, last, spend)
    assert 0 <= bid_price <= last
    assert model.spend[int(bid_price)] <= spend + 1e-9
    if bid_price < last:
        assert model.spend[int(bid_price) + 1] >= spend - 1e-9


@pytest.mark.parametrize("strategy", ["linear", "ortb"])
def test_lambda_spends_the_budget(strategy):
    rng = np.random.default_rng(1)
    values = rng.exponential(0.02, 20_000)
    model = PriceModel(rng.integers(1, 50, 200).astype(float))
    c = model.fit_c() * 0.01
    spend = model.mean * 0.01 / 8
    found = solve_lambda(values, model, spend=spend, strategy=strategy, c=c, scale=0.01)
    bids = bid(values, found, strategy=strategy, c=c)
    paid = model.spend[np.clip(np.floor(bids / 0.01), 0, 199).astype(int)].mean() * 0.01
    assert paid == pytest.approx(spend, rel=0.02)
    assert solve_lambda(values, model, spend=spend / 2, strategy=strategy, c=c, scale=0.01) > found


def test_the_optimal_bid_solves_its_equation():
    """The stationary point of p w(b) - lambda b w(b), w = b / (c + b): p c = lambda (b^2 + 2 b c)."""
    for p in (1e-4, 0.01, 1.0):
        b = float(bid(np.array([p]), 0.3, strategy="ortb", c=2.0)[0])
        assert p * 2.0 == pytest.approx(0.3 * (b * b + 2 * b * 2.0), rel=1e-9)


@given(
    st.lists(st.tuples(st.floats(1e-5, 0.5), st.integers(0, 30), st.integers(0, 1)), min_size=1, max_size=60),
    st.sampled_from(["constant", "linear", "ortb"]), st.floats(0.1, 300), st.integers(1, 30),
)  # fmt: skip
def test_no_episode_overspends(stream, strategy, budget, episode):
    p, prices, clicks = (np.array(column) for column in zip(*stream, strict=True))
    model = PriceModel(np.ones(31))
    found = bid_in_episodes(
        p, prices, clicks, strategy=strategy, prices=model, mean_probability=0.01, budget=budget, episode=episode
    )
    assert (found.spend <= budget + 1e-9).all()
    assert found.auctions.sum() == len(stream) and (found.impressions_won <= found.auctions).all()
    assert (found.clicks_won <= found.impressions_won).all()


def test_a_bidder_does_not_look_ahead():
    """What comes later changes nothing of what was won before."""
    rng = np.random.default_rng(2)
    p, prices, clicks = rng.random(200) * 0.02, rng.integers(1, 60, 200), np.ones(200, int)
    options = {
        "strategy": "ortb",
        "prices": PriceModel(np.ones(61)),
        "mean_probability": 0.01,
        "budget": 300.0,
        "episode": 50,
    }
    whole = bid_in_episodes(p, prices, clicks, **options)
    other = bid_in_episodes(p, np.concatenate([prices[:100], prices[100:][::-1]]), clicks, **options)
    assert whole.clicks_won[:2].tolist() == other.clicks_won[:2].tolist()


@pytest.mark.parametrize(
    "change",
    [
        {"budget": 0},
        {"mean_probability": 0},
        {"episode": 0},
        {"clicks": np.ones(2)},
        {"probabilities": np.array([np.nan])},
    ],
)
def test_wrong_input(change):
    good = {
        "probabilities": np.array([0.1]), "market_prices": np.array([1]), "clicks": np.array([1]), "strategy": "linear",
        "prices": PriceModel(np.ones(5)), "mean_probability": 0.1, "budget": 5.0,
    }  # fmt: skip
    with pytest.raises(ValueError, match=r"expected|one at least|not finite"):
        bid_in_episodes(**{**good, **change})
    with pytest.raises(ValueError, match="price histogram"):
        PriceModel(np.zeros(4))


@pytest.mark.skipif(not DATA.exists(), reason="the iPinYou data are not there")
def test_the_published_setting_wins_more_clicks_than_published_linear_bidding():
    """iPinYou 2997, episodes of 1000, 1/32 of the budget: Cai et al. publish 71 for linear bids, 78 for theirs."""

    def read(name):
        with gzip.open(DATA / name, "rt") as file:
            return list(csv.DictReader(file))

    stream = read("bidstream_test.csv.gz")
    model = PriceModel(np.array([float(row["impressions"]) for row in read("train_market_price_histogram.csv.gz")]))
    found = bid_in_episodes(
        np.array([float(row["pctr_lr_rlb"]) for row in stream]),
        np.array([int(row["market_price"]) for row in stream]),
        np.array([int(row["click"]) for row in stream]),
        strategy="ortb", prices=model, mean_probability=1386 / 312_437, budget=np.floor(model.mean * 1000 / 32),
    )  # fmt: skip
    assert len(stream) == 156_063
    assert found.clicks_won.sum() == 81
    assert (found.spend <= 1969).all()
