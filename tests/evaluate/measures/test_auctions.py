"""Replaying a bid stream: rules one by one, a plain loop as oracle, and results published for the stream."""

import csv
import gzip

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from farthing.evaluate.impressions import Layout, read_impressions
from farthing.evaluate.measures import auctions
from tests.evaluate.measures.replay import replay
from tests.evaluate.shared import needs_shared_data, shared


def plain(bids, prices, clicks, budget, episode):
    """The published rule, one auction after the other."""
    totals = []
    for start in range(0, len(bids), episode):
        left, won, clicked, spent = budget, 0, 0, 0
        for k in range(start, min(start + episode, len(bids))):
            if min(bids[k], left) >= prices[k]:
                won, clicked, spent, left = won + 1, clicked + clicks[k], spent + prices[k], left - prices[k]
        totals.append((won, clicked, spent))
    return totals


def test_you_win_at_the_market_price_pay_it_and_stop_at_the_budget():
    found = replay(
        np.array([5, 4, 9, 2, 9, 9]), np.array([5, 5, 3, 2, 1, 1]), np.array([1, 1, 0, 1, 1, 1]), budget=9, episode=4
    )
    assert found.impressions_won.tolist() == [2, 2]  # 5, then 3; 2 is more than is left
    assert found.clicks_won.tolist() == [1, 2]
    assert found.spend.tolist() == [8, 2]
    assert found.auctions.tolist() == [4, 2]


AUCTION = st.tuples(st.integers(0, 20), st.integers(0, 20), st.integers(0, 1))


@given(st.lists(AUCTION, min_size=1, max_size=60), st.integers(0, 60), st.integers(1, 25))
def test_a_plain_loop_agrees(rows, budget, episode):
    bids, prices, clicks = (np.array(column) for column in zip(*rows, strict=True))
    found = replay(bids, prices, clicks, budget=budget, episode=episode)
    totals = zip(found.impressions_won, found.clicks_won, found.spend, strict=True)
    assert list(totals) == plain(bids, prices, clicks, budget, episode)
    assert found.auctions.sum() == len(rows)


def test_intervals_are_over_episodes():
    rng = np.random.default_rng(0)
    found = replay(np.full(5_000, 2), rng.integers(0, 4, 5_000), rng.integers(0, 2, 5_000), budget=9_000)
    estimates = auctions.estimate(found, resamples=200)
    assert estimates["clicks_won"].value == found.clicks_won.sum()
    assert estimates["spend"].low < estimates["spend"].value < estimates["spend"].high


def test_budgets():
    assert auctions.episode_budget(19_689_072 / 312_437, 1 / 32) == 1_969
    for wrong in ((0, 1, 1), (1, 0, 1), (1, 1, 0), (np.nan, 1, 1)):
        with pytest.raises(ValueError, match="over 0"):
            auctions.episode_budget(wrong[0], wrong[1], episode=wrong[2])


@pytest.mark.parametrize(
    ("bids", "prices", "clicks"),
    [([1], [1, 2], [0]), ([], [], []), ([np.nan], [1], [0]), ([1], [np.inf], [0]), ([1], [-1], [0])],
)
def test_wrong_arrays_are_refused(bids, prices, clicks):
    with pytest.raises(ValueError, match=r"market price"):
        replay(np.array(bids), np.array(prices), np.array(clicks), budget=1)


@pytest.fixture(scope="module")
def stream():
    return read_impressions([shared("ad/ipinyou_2997/bidstream_test.csv.gz")], {}, Layout(pctr="pctr_lr_rlb"))


@needs_shared_data
@pytest.mark.parametrize(
    ("value_of_click", "clicks", "impressions", "spend"),
    [
        (19_689_072 / 1_386, 48, 14_752, 307_751),  # mcpc: what a click cost in training
        (10 / (1_386 / 312_437), 71, 32_208, 203_610),  # lin_bid: base bid 10 at the mean click rate
    ],
    ids=["mcpc", "lin_bid"],
)
def test_results_published_for_campaign_2997_at_one_32nd_of_the_budget(
    stream, value_of_click, clicks, impressions, spend
):
    with gzip.open(shared("ad/ipinyou_2997/train_market_price_histogram.csv.gz"), "rt") as file:
        histogram = [(int(row["market_price"]), int(row["impressions"])) for row in csv.DictReader(file)]
    mean = sum(price * n for price, n in histogram) / sum(n for _, n in histogram)
    bids = np.minimum(np.floor(stream.pctr * value_of_click), 300)
    budget = auctions.episode_budget(mean, 1 / 32)
    found = replay(bids, stream.market_prices, stream.clicks, budget=budget)
    assert (found.clicks_won.sum(), found.impressions_won.sum(), found.spend.sum()) == (clicks, impressions, spend)
    assert len(found.auctions) == 157
