"""Generated bid requests are what a bidder may meet, and the same for the same seed."""

import json

from farthing import Scorer
from farthing.local.bid_requests import bid_request_events


def test_requests_are_plausible_and_seeded():
    events = bid_request_events(400)
    assert events == bid_request_events(400) and events != bid_request_events(400, seed=1)
    read = [json.loads(event) for event in events]
    assert len({request["id"] for request in read}) == 400
    assert {len(request["imp"]) for request in read} == {1, 2, 3, 4}
    assert any("app" in request for request in read) and any(request.get("test") == 1 for request in read)


def test_the_shipped_bundle_answers_all_of_them():
    scored = Scorer.load("bidding").score_events(bid_request_events(400))
    assert not scored.status.any()
    assert {"bid", "other_format", "below_floor"} <= set(scored.labels)
