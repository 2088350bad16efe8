"""What is refused is counted always and said now and then."""

from structlog.testing import capture_logs

from farthing.ledger import refusals
from farthing.ledger.refusals import SAY_AGAIN_S, Refusals
from farthing.meter.untrusted import Refused


def test_a_million_refusals_are_a_few_lines(monkeypatch):
    now_s = [50.0]
    monkeypatch.setattr(refusals.time, "monotonic", lambda: now_s[0])
    one = Refusals()
    with capture_logs() as logs:
        for _ in range(1_000):
            one.refuse("usage", Refused("syntax", "x"))
        one.refuse("usage", Refused("nesting", "y"))
        one.refuse("accounts", Refused("syntax", "z"))
        now_s[0] += SAY_AGAIN_S
        one.refuse("usage", Refused("syntax", "x"))
    assert [(log["source"], log["reason"], log["others"]) for log in logs] == [
        ("usage", "syntax", 0), ("usage", "nesting", 0), ("accounts", "syntax", 0), ("usage", "syntax", 999),
    ]  # fmt: skip
    assert one.records == 1_002
    assert one.counts["accounts", "syntax"] == 1
