"""Records that are well formed and make no sense: the page, the metrics and the tables go on with them."""

import contextlib
import json
from dataclasses import replace

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, generate_latest

from farthing.ledger.figures import Figures
from farthing.ledger.history import History, Snapshot
from farthing.ledger.ledger import Ledger
from farthing.ledger.posting import Posting
from farthing.ledger.refusals import Refusals
from farthing.ledger.series import cost_series
from farthing.ledger.statement import make_statement
from farthing.ledger.statement_json import CHEAPEST, accounts, statement_body
from farthing.meter.money import json_text
from farthing.meter.tokens import TextSample
from farthing.meter.untrusted import Refused
from tests.ledger.cases import NOW, beat, book
from tests.meter.test_records import heartbeats, usage_records

TERMS = book()
MODEL = "moderation@1a2b3c4d"
counts = st.integers(0, 2**63 - 1)


class Running:
    """Stands in for the app."""

    ready, records, broker_silent_s, refusals = True, 0, 0.0, Refusals()

    def __init__(self, ledger, history):
        self.books = lambda: (ledger, history)


@settings(max_examples=15, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(usage_records(), max_size=4), st.lists(heartbeats, max_size=4), st.data())
def test_a_statement_can_be_made_of_whatever_was_read(records, beats, data):
    ledger, history, posting = Ledger(), History(), Posting({"moderation"})
    history.note(ledger, NOW - 120_000)
    width = len(TextSample().as_ints())
    ours = [replace(r, task="moderation", model=data.draw(st.sampled_from([MODEL, r.model]))) for r in records]
    values = [record.encode() for record in ours]
    posting.post(ledger, values, live=data.draw(st.booleans()))
    posting.post(ledger, values[::-1], live=True)
    texts = st.lists(counts, min_size=width, max_size=width)
    sampled = [replace(one, sample={MODEL: tuple(data.draw(texts))}) for one in beats]
    posting.beat(ledger, [one.encode() for one in sampled], live=data.draw(st.booleans()))
    for now_ms in (NOW, NOW + 1_000, data.draw(st.integers(-(10**13), 10**13))):
        ledger.note_moment(now_ms)
        new, _ = history.note(ledger, now_ms)
        if new is not None:
            with contextlib.suppress(Refused):  # more than fits into a record: that minute is missing
                assert Snapshot.decode(new.encode()) == new
    for window in ("minute", "hour", "day", "all"):
        said = make_statement(ledger, TERMS, window, NOW)
        json.loads(json_text(statement_body(ledger, said, None, CHEAPEST, TERMS.meter.compare_with)))
        json_text(cost_series(said, history.since(said.from_ms), TERMS.meter.compare_with[0], None))
    json.dumps(accounts(ledger.accounts))
    registry = CollectorRegistry()
    registry.register(Figures(Running(ledger, history), TERMS))
    generate_latest(registry)
    restored = Ledger.restored(
        ((key, one.encode()) for key, one in ledger.accounts.items()),
        ((key, one.encode()) for key, one in ledger.beats.items()),
    )
    assert restored.accounts == ledger.accounts
    assert restored.beats == ledger.beats


def test_a_worker_whose_clock_was_never_set_costs_no_time_since_1970():
    ledger = Ledger()
    ledger.beat(beat("a/0", 5_000, 65_000), NOW)
    said = make_statement(ledger, TERMS, "all", NOW)
    assert NOW - said.from_ms == 60_000
    assert said.own.core_ms == 60_000
    waited = Ledger()
    waited.beat(beat("a/0", 5_000, 65_000))
    assert make_statement(waited, TERMS, "all", NOW).from_ms == NOW
