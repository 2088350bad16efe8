"""Which impressions are bid for, at what price, and why the others are not."""

import json
import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from farthing.blocks import DecisionInputs, Outcome, RecordBlock, ScoreBlock, Status
from farthing.errors import BundleError
from farthing.tasks.bid_kernels import lists_any, lists_reference, price_of, price_reference
from farthing.tasks.bidding import LABELS, Bidding, decide_reference
from tests.bidding_factory import CAMPAIGN, examples, imp, make_scorer, request

STAGES = make_scorer().stages


def decide(values, scores=None, *, now_ms=0, pacing=1.0, timestamps_ms=None, stages=STAGES):
    records = RecordBlock.of_values(values)
    columns = stages.parse(records)
    rows = int(columns.row_indptr[-1])
    given_scores = np.full((rows, 1), 0.01, np.float32) if scores is None else np.array(scores, np.float32)[:, None]
    stamps = records.timestamps_ms if timestamps_ms is None else np.array(timestamps_ms, np.int64)
    inputs = DecisionInputs(records.buffer, stamps, now_ms, pacing)
    return stages.decide(columns, ScoreBlock(np.zeros((rows, 1), np.int32), given_scores), inputs)


def outcome(value, **options):
    bids = decide([value], **options)
    assert bids.status.tolist() == [Status.OK]
    return Outcome(int(bids.outcomes[0]))


def test_the_price_is_the_value_of_a_thousand_impressions_in_micros():
    bids = decide([request()], [0.0625])
    assert bids.labels.tolist() == [Outcome.BID]
    assert bids.prices_micros.tolist() == [0.8 * 0.0625 * 1000 * 1_000_000]


def test_pacing_and_the_highest_price_lower_it():
    assert decide([request()], [0.0625], pacing=0.5).prices_micros.tolist() == [25_000_000]
    stages = make_scorer({**CAMPAIGN, "max_cpm": 12.5}).stages
    assert decide([request()], [0.0625], stages=stages).prices_micros.tolist() == [12_500_000]


def test_the_optimal_price_is_that_of_the_paper():
    """sqrt(c v / lambda + c^2) - c, in exact arithmetic but for the square root."""
    stages = make_scorer({**CAMPAIGN, "strategy": "ortb", "c": 3.5, "lambda": 1.25}).stages
    for score in (1e-6, 0.0004, 0.01, 0.3, 1.0):
        value = float(np.float32(score)) * 0.8 * 1000
        expected = math.sqrt(3.5 * value / 1.25 + 3.5**2) - 3.5
        found = decide([request()], [score], stages=stages).prices_micros[0] / 1e6
        assert found == pytest.approx(expected, rel=1e-9, abs=1e-6)
        assert found <= expected + 1e-9  # rounded down


@given(
    st.floats(0, 1, width=32), st.integers(1, 10**12), st.sampled_from([0.0, 1.0, 38_801.6, 3.5e6]),
    st.floats(1e-6, 1e3), st.floats(0.001, 1.0),
)  # fmt: skip
def test_prices_equal_the_reference_bit_for_bit(score, value_micros, c, multiplier, pacing):
    terms = np.array([value_micros * 1000.0, c, c / multiplier, pacing, 1e12])
    assert price_of(np.float32(score), terms) == price_reference(np.float32(score), terms)


@given(st.floats(0, 1, width=32), st.floats(0.001, 1.0))
def test_a_linear_price_is_never_over_the_value(score, pacing):
    price = price_reference(np.float32(score), np.array([800_000_000.0, 0.0, 0.0, pacing, 1e12]))
    assert price <= Fraction(float(np.float32(score))) * 800_000_000 * Fraction(pacing) * (1 + Fraction(1, 2**50))


@pytest.mark.parametrize(
    ("floor", "expected"),
    [
        (7.8125, Outcome.BID),  # exactly the price: the floor is met
        (7.812501, Outcome.BELOW_FLOOR),
        (0, Outcome.BID),
        (-1, Outcome.BID),
        (None, Outcome.BID),
        ("8", Outcome.UNREADABLE_FLOOR),
        ([8], Outcome.UNREADABLE_FLOOR),
        (True, Outcome.UNREADABLE_FLOOR),
        (1e300, Outcome.BELOW_FLOOR),
    ],
)
def test_floors(floor, expected):
    stages = make_scorer({**CAMPAIGN, "value_per_click": 1.0}).stages
    assert outcome(request(imp(bidfloor=floor)), scores=[0.0078125], stages=stages) == expected


@given(st.integers(1, 10**9), st.floats(0, 1, width=32))
def test_no_bid_is_ever_under_its_floor(floor_micros, score):
    floor = floor_micros / 1e6
    bids = decide([request(imp(bidfloor=floor))], [score])
    if bids.labels[0] == Outcome.BID:
        assert bids.prices_micros[0] / 1e6 >= floor
    else:
        assert bids.prices_micros[0] == 0


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"bidfloorcur": "USD"}, Outcome.BID),
        ({"bidfloorcur": "EUR"}, Outcome.FLOOR_CURRENCY),
        ({"bidfloorcur": None}, Outcome.BID),
        ({"bidfloorcur": 7}, Outcome.FLOOR_CURRENCY),
        ({}, Outcome.BID),
    ],
)
def test_a_floor_in_another_currency_cannot_be_compared(fields, expected):
    assert outcome(request(imp(bidfloor=0.01, **fields))) == expected
    assert outcome(request(imp(bidfloor=0, **fields))) == Outcome.BID


def test_a_floor_without_a_currency_is_in_dollars():
    stages = make_scorer({**CAMPAIGN, "currency": "CNY"}).stages
    assert outcome(request(imp(bidfloor=0.01)), stages=stages) == Outcome.FLOOR_CURRENCY
    assert outcome(request(imp(bidfloor=0.01, bidfloorcur="CNY")), stages=stages) == Outcome.BID


@pytest.mark.parametrize(
    ("cur", "expected"),
    [
        (["USD"], Outcome.BID),
        (["EUR", "USD"], Outcome.BID),
        (["usd"], Outcome.BID),
        (["EUR"], Outcome.CURRENCY_NOT_ACCEPTED),
        ([], Outcome.CURRENCY_NOT_ACCEPTED),
        (["USDT", "XUSD"], Outcome.CURRENCY_NOT_ACCEPTED),
        (['a"USD"', "\\"], Outcome.CURRENCY_NOT_ACCEPTED),
        (None, Outcome.BID),
    ],
)
def test_currencies(cur, expected):
    assert outcome(request(cur=cur)) == expected


@pytest.mark.parametrize(
    ("now_ms", "expected"),
    [(1_100, Outcome.BID), (1_101, Outcome.EXPIRED), (10**15, Outcome.EXPIRED), (0, Outcome.BID)],
)
def test_a_request_expires_when_its_tmax_is_over(now_ms, expected):
    assert outcome(request(tmax=100), timestamps_ms=[1_000], now_ms=now_ms) == expected


def test_without_a_tmax_or_a_timestamp_nothing_expires():
    assert outcome(request(), timestamps_ms=[1_000], now_ms=10**15) == Outcome.BID
    assert outcome(request(tmax=None), timestamps_ms=[1_000], now_ms=10**15) == Outcome.BID
    assert outcome(request(tmax=100), timestamps_ms=[-1], now_ms=10**15) == Outcome.BID


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"badv": ["other.example", "SHOP.example"]}, Outcome.BLOCKED_ADVERTISER),
        ({"badv": ["myshop.example"]}, Outcome.BID),
        ({"test": 1}, Outcome.BID),
    ],
)
def test_whole_requests(fields, expected):
    assert outcome(request(**fields)) == expected


def test_test_requests_are_marked():
    bids = decide([request(test=1), request(test=0), request()])
    assert bids.test.tolist() == [1, 0, 0]


@pytest.mark.parametrize(
    ("one", "expected"),
    [
        ({"banner": {"w": 1}}, Outcome.NO_IMPRESSION_ID),
        ({"id": 1, "banner": {"w": 1}}, Outcome.NO_IMPRESSION_ID),
        ({"id": None, "banner": {"w": 1}}, Outcome.NO_IMPRESSION_ID),
        ({"id": "1", "video": {}}, Outcome.OTHER_FORMAT),
        ({"id": "1", "banner": {"w": None}}, Outcome.OTHER_FORMAT),
        ({"id": "1", "banner": {"format": [{"w": 1}]}}, Outcome.BID),
        (imp(pmp={"private_auction": 1}), Outcome.PRIVATE_AUCTION),
        (imp(pmp={"private_auction": 0, "deals": []}), Outcome.BID),
    ],
)
def test_impressions(one, expected):
    assert outcome(request(one)) == expected


def test_a_price_of_nothing_is_no_bid():
    assert outcome(request(), scores=[1e-30]) == Outcome.NO_PRICE


def test_a_request_is_answered_with_the_bids_that_there_are():
    value = request(imp("a", bidfloor=1e5), imp("b"), imp("c", pmp={"private_auction": 1}), imp("d"))
    bids = decide([value, request(imp("a", bidfloor=1e5), imp("b", pmp={"private_auction": 1}))])
    assert [Outcome(x).name for x in bids.labels] == [
        "BELOW_FLOOR", "BID", "PRIVATE_AUCTION", "BID", "BELOW_FLOOR", "PRIVATE_AUCTION",
    ]  # fmt: skip
    assert bids.outcomes.tolist() == [Outcome.BID, Outcome.BELOW_FLOOR]


def test_refused_events_stay_refused_and_others_become_so():
    bids = decide([b"{", request(), b'{"id":7,"imp":[{"id":"1"}]}', b'{"imp":[{}]}'])
    assert [Status(s).name for s in bids.status] == ["SYNTAX", "OK", "WRONG_TYPE", "MISSING_FIELD"]
    assert decide([request(), request()], [np.nan, 0.1]).status.tolist() == [Status.NON_FINITE, Status.OK]
    unread = [
        f'{{"id":"1",{field},"imp":[{{"id":"1"}}]}}'.encode() for field in ('"tmax":"9"', '"test":true', '"tmax":[]')
    ]
    assert decide(unread).status.tolist() == [Status.WRONG_TYPE] * 3  # a restriction that cannot be read


def test_official_examples_parse():
    bids = decide(examples())
    assert bids.status.tolist() == [Status.OK] * 4
    assert sorted(Outcome(x).name for x in bids.outcomes) == ["BID", "BID", "OTHER_FORMAT", "PRIVATE_AUCTION"]


@given(
    st.lists(st.text(max_size=6), max_size=5),
    st.lists(st.sampled_from(["USD", "a", "é", "shop.example"]), min_size=1, max_size=2),
)
def test_lists_equal_the_reference(texts, names):
    data = np.frombuffer(json.dumps(texts, ensure_ascii=False).encode(), np.uint8)
    tokens = [json.dumps(name, ensure_ascii=False).encode() for name in names]
    joined = np.frombuffer(b"".join(tokens), np.uint8)
    indptr = np.cumsum([0, *map(len, tokens)]).astype(np.int64)
    found = lists_any(data, 0, len(data), joined, indptr)
    assert found == lists_reference(data, 0, len(data), joined, indptr)
    if set(texts) & set(names):
        assert found


fields = st.fixed_dictionaries(
    {},
    optional={
        "id": st.sampled_from(["r", 5, None]),
        "cur": st.sampled_from([["USD"], ["EUR"], [], "USD", None]),
        "badv": st.sampled_from([["shop.example"], ["x"], None]),
        "test": st.sampled_from([0, 1, None]),
        "tmax": st.sampled_from([0, 5, 10, 1e9, None]),
        "site": st.just({"domain": "a.example"}),
    },
)
impressions = st.fixed_dictionaries(
    {},
    optional={
        "id": st.sampled_from(["1", "é", 1, None]),
        "banner": st.sampled_from([{"w": 300}, {"format": []}, {}, None, 4]),
        "bidfloor": st.sampled_from([0, 1, 8, 8.5, -1, "x", None]),
        "bidfloorcur": st.sampled_from(["USD", "EUR", 3, None]),
        "pmp": st.sampled_from([{"private_auction": 1}, {"private_auction": 0}, {}, None]),
    },
)


@given(
    st.lists(st.tuples(fields, st.lists(impressions, max_size=3)), max_size=6), st.integers(0, 2**31),
    st.sampled_from(["USD", "CNY"]), st.booleans(), st.integers(0, 20),
)  # fmt: skip
def test_decisions_equal_the_reference_bit_for_bit(requests, seed, currency, optimal, now_ms):
    strategy = {"strategy": "ortb", "c": 4.0, "lambda": 2.0} if optimal else {}
    stages = STAGES.with_settings({**CAMPAIGN, "currency": currency, **strategy})
    records = RecordBlock.of_values(
        [json.dumps({"id": "r", **rest, "imp": imps}).encode() for rest, imps in requests] + [b"{"]
    )
    columns = stages.parse(records)
    rng = np.random.default_rng(seed)
    scores = rng.choice(np.array([0.01, 0.0100001, 0.5, 1e-30, np.nan], np.float32), (int(columns.row_indptr[-1]), 1))
    block = ScoreBlock(np.zeros(scores.shape, np.int32), scores)
    stamps = rng.integers(-1, 10, len(records))
    inputs = DecisionInputs(records.buffer, stamps, now_ms, 0.75)
    found, expected = stages.decide(columns, block, inputs), decide_reference(stages.settled, columns, block, inputs)
    for name in ("status", "labels", "prices_micros", "outcomes", "test"):
        assert np.array_equal(getattr(found, name), getattr(expected, name)), name


def test_a_decision_needs_a_pacing_over_zero_and_rows_that_fit():
    for pacing in (0.0, -1.0, 1.5, math.nan):
        with pytest.raises(ValueError, match="pacing is"):
            decide([request()], pacing=pacing)
    with pytest.raises(ValueError, match="2 rows of scores"):
        decide([request()], [0.1, 0.2])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"campaign": ""}, "campaign is ''"),
        ({"value_per_click": 0}, "value_per_click is 0"),
        ({"value_per_click": math.nan}, "value_per_click is nan"),
        ({"value_per_click": 1e-9}, "less than a millionth"),
        ({"value_per_click": True}, "value_per_click is True"),
        ({"currency": "usd"}, "currency is 'usd'"),
        ({"strategy": "greedy"}, "strategy is 'greedy'"),
        ({"strategy": "ortb"}, "ortb needs both"),
        ({"strategy": "ortb", "c": 1.0}, r"with \['c'\]"),
        ({"c": 1.0, "lambda": 1.0}, "linear takes neither"),
        ({"adomain": "shop.example"}, "adomain is 'shop.example'"),
        ({"offers": ["no_such_field"]}, "no_such_field"),
        ({"offers": ["domain"]}, "'domain', which is not a field of an impression"),
        ({"budget": 5}, r"unknown \['budget'\]"),
    ],
)
def test_campaigns_that_cannot_be(change, message):
    with pytest.raises(BundleError, match=message):
        make_scorer({**CAMPAIGN, **change})
    with pytest.raises(BundleError, match=message):
        STAGES.with_settings({**CAMPAIGN, **change})


def test_a_campaign_that_lacks_its_value_and_other_labels():
    with pytest.raises(BundleError, match=r"missing \['crid', 'value_per_click'\]"):
        Bidding.from_manifest(LABELS, {"campaign": "a", "currency": "USD"})
    with pytest.raises(BundleError, match="the task bidding has"):
        Bidding.from_manifest(("bid",), CAMPAIGN)
