"""Bid responses are valid OpenRTB 2.6, with exact prices, ids as they came, and what the decision read."""

import itertools
import json
from decimal import Decimal
from typing import Annotated, Any

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from farthing.blocks import DecisionInputs, Outcome
from farthing.kernels.jit import NO_JIT
from farthing.payload.render_bids import NO_BID_CODES, BidTerms, render_bids_reference, write_micros
from tests.bidding_factory import CAMPAIGN, imp, make_scorer, request

two_ways = pytest.mark.skipif(NO_JIT, reason="without compilation there is one path")

Text = Annotated[str, msgspec.Meta(min_length=1)]


# The required parts of the specification's JSON Schema (BidResponse, SeatBid, Bid), and those optional ones that we write.
class Bid(msgspec.Struct, forbid_unknown_fields=True):
    id: Text
    impid: Text
    price: Annotated[float, msgspec.Meta(ge=0)]
    crid: str
    cid: str
    ext: dict[str, Any]
    adomain: list[str] = []


class SeatBid(msgspec.Struct, forbid_unknown_fields=True):
    bid: Annotated[list[Bid], msgspec.Meta(min_length=1)]
    seat: str | None = None


class BidResponse(msgspec.Struct, forbid_unknown_fields=True):
    id: str
    ext: dict[str, Any]
    seatbid: list[SeatBid] = []
    cur: Annotated[str, msgspec.Meta(pattern="^[A-Z]{3}$")] = "USD"
    nbr: Annotated[int, msgspec.Meta(ge=0)] | None = None


def read(value):
    response = msgspec.json.decode(value, type=BidResponse, strict=True)
    assert bool(response.seatbid) != (response.nbr is not None)
    return response


SCORER = make_scorer({**CAMPAIGN, "seat": 'se"at', "crid": "crid/é"})


@two_ways
@given(st.integers(0, 10**15))
def test_micros_are_written_exactly(micros):
    out = np.zeros(64, np.uint8)
    text = out[: write_micros(out, 0, micros)].tobytes().decode()
    assert Decimal(text) == Decimal(micros).scaleb(-6)
    assert json.loads(text) == micros / 1e6  # the double that the floor was compared with
    assert not text.endswith("00") and "." in text


def test_responses():
    values = [
        request(imp("a"), imp("b", bidfloor=1e5), imp("ü\n"), id='x"y'),
        request(imp("a", bidfloor=1e5), tmax=5),
        request(test=1),
        request(test=1, cur=["EUR"]),
        b"{",
    ]
    scored = SCORER.score_events(values, now_ms=3, pacing=0.25)
    assert len(scored.values) == 4
    bids, floor, tested, refused = (read(value) for value in scored.values)
    assert bids.id == 'x"y'
    assert [(bid.id, bid.impid) for bid in bids.seatbid[0].bid] == [("1", "a"), ("2", "ü\n")]
    assert bids.seatbid[0].seat == 'se"at' and bids.cur == "USD"
    first = bids.seatbid[0].bid[0]
    assert (first.crid, first.cid, first.adomain) == ("crid/é", "spring", ["shop.example"])
    assert abs(first.ext["farthing"]["score"] - float(scored.scores[0, 0])) < 1e-7
    assert first.price == np.floor(np.float64(scored.scores[0, 0]) * 800e6 * 0.25) / 1e6
    assert bids.ext["farthing"] == {
        "strategy": "linear", "pacing": 0.25, "now_ms": 3, "billable": True, "model": "bids@00000000"
    }  # fmt: skip
    assert floor.nbr == NO_BID_CODES[Outcome.BELOW_FLOOR] and floor.ext["farthing"]["reason"] == "below_floor"
    assert floor.ext["farthing"]["billable"] is False
    assert tested.ext["farthing"]["billable"] is False and tested.ext["farthing"]["test"] == 1 and tested.seatbid
    assert refused.ext["farthing"]["reason"] == "currency_not_accepted" and refused.ext["farthing"]["test"] == 1


@pytest.mark.parametrize("outcome", [o for o in Outcome if o is not Outcome.BID])
def test_every_reason_has_a_code(outcome):
    """Standard ones where the specification's list has them, else the bidder's own from 500 on."""
    assert NO_BID_CODES[outcome] in (2, 15) or NO_BID_CODES[outcome] >= 500


@given(
    st.lists(
        st.tuples(
            st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=12),
            st.lists(st.tuples(st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=5), st.floats(0, 900)), min_size=1, max_size=5),
            st.booleans(),
        ),
        min_size=1,
        max_size=6,
    ),
    st.booleans(),
)  # fmt: skip
def test_any_ids_and_floors_give_valid_responses(requests, ascii_only):
    values = [
        json.dumps(
            {"id": name, "test": int(test), "imp": [imp(i, bidfloor=floor) for i, floor in imps]},
            ensure_ascii=ascii_only,
        ).encode()
        for name, imps, test in requests
    ]
    stages, records = SCORER.stages, SCORER.records_of(values)
    columns = stages.parse(records)
    inputs = DecisionInputs(records.buffer, records.timestamps_ms, 7, 0.3)
    bids = stages.decide(columns, stages.score(stages.featurize(columns, records)), inputs)
    rendered = stages.render(records, columns, bids)
    written = [rendered.data[a:b].tobytes() for a, b in itertools.pairwise(rendered.indptr)]
    terms = BidTerms("spring", "linear", "USD", "crid/é", ("shop.example",), 'se"at')
    expected = render_bids_reference(
        records, columns.columns["id"], columns.columns["imp_id"], bids,
        row_indptr=columns.row_indptr, terms=terms, model="bids@00000000",
    )  # fmt: skip
    assert rendered.data.tobytes() == expected.data.tobytes()
    assert rendered.indptr.tolist() == expected.indptr.tolist()
    for (name, imps, _), value in zip(requests, written, strict=True):
        response = read(value)
        assert response.id == name
        offered = [bid for seat in response.seatbid for bid in seat.bid]
        floors = iter(imps)
        for bid in offered:  # in the order of the impressions, and at their floor or over it
            floor = next(floor for i, floor in floors if i == bid.impid and bid.price >= floor)
            assert bid.price >= floor


def test_no_events_and_no_bids():
    assert SCORER.score_events([]).values == ()
    assert SCORER.score_events([b"{"]).values == ()


def test_a_campaign_without_seat_and_domain():
    value = make_scorer({**CAMPAIGN, "adomain": []}).score_events([request()]).values[0]
    assert b"adomain" not in value and b'seat"' not in value
    read(value)
