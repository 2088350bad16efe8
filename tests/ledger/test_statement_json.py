"""The JSON: what it says is the statement, its schema holds for every kind of books, and nothing is left out of it."""

import json
from decimal import Decimal
from typing import get_args

import pytest
from jsonschema import Draft202012Validator

from farthing.errors import ConfigError
from farthing.ledger.ledger import Ledger
from farthing.ledger.series import cost_series
from farthing.ledger.statement import RateBasis, WindowName, make_statement
from farthing.ledger.statement_json import CHEAPEST, accounts, statement_body
from farthing.ledger.web import PAGE
from farthing.meter.breakeven import Verdict
from farthing.meter.money import json_text
from farthing.meter.opponents import MODES
from farthing.meter.records import TenantCount
from farthing.meter.usage import SizeCount, UsageTotals
from farthing.serving.metrics import STATES
from tests.ledger.cases import EDGES, NOW, MadeUp, beat, book, close_to, record

OPENAPI = json.loads((PAGE / "openapi.json").read_text(encoding="utf-8"))
TERMS = book()
MODELS = TERMS.meter.compare_with


def closed(node):
    """The same schema, in which an object may have no property that is not described."""
    if isinstance(node, list):
        return [closed(item) for item in node]
    if not isinstance(node, dict):
        return node
    shut = {key: closed(value) for key, value in node.items()}
    if node.get("type") == "object" and "properties" in node:
        shut.setdefault("additionalProperties", False)
    return shut


def validator(name):
    schemas = closed(OPENAPI["components"]["schemas"])
    Draft202012Validator.check_schema({"components": {"schemas": schemas}})
    return Draft202012Validator({"components": {"schemas": schemas}, "$ref": f"#/components/schemas/{name}"})


STATEMENT, HISTORY, ACCOUNT, FIRST_EVENT = map(validator, ("Statement", "History", "Account", "FirstEvent"))


def said_of(ledger, window="all", model=None, mode=CHEAPEST, terms=TERMS, at=NOW):
    said = make_statement(ledger, terms, window, at)
    text = json_text(statement_body(ledger, said, model, mode, terms.meter.compare_with))
    STATEMENT.validate(json.loads(text))
    return said, json.loads(text, parse_float=Decimal)


def books_of_every_kind():
    yield "nothing", Ledger()
    idle = Ledger()
    idle.beat(beat())
    yield "idle", idle
    dead = Ledger()
    dead.post(record(0, used=UsageTotals(dead=5, payload_bytes=9)))
    yield "only dead letters", dead
    silent = Ledger()
    silent.beat(beat(at_ms=NOW - 60_000))
    silent.post(record(10))
    yield "all workers dead", silent
    slow = Ledger()
    slow.beat(beat(latency_edges_ms=EDGES, latency={"events.m": (0,) * 18}))
    slow.post(record(10))
    slow.note_moment(NOW - 1_000)
    slow.beat(beat(at_ms=NOW + 1, latency_edges_ms=EDGES, latency={"events.m": (0,) * 17 + (5,)}))
    slow.note_moment(NOW)
    yield "slower than the histogram", slow
    two = MadeUp(100, hours=0.1, until_ms=NOW).ledger
    two.post(record(10, topic="queries", task="rerank"))
    yield "two routes", two
    large = Ledger()
    large.post(record(0, used=UsageTotals(1, 0, 1, 600_000, {72: SizeCount(1, 600_000)})))
    yield "too large for a model", large
    yield "busy", MadeUp(120_000, hours=2, until_ms=NOW).ledger


KINDS = dict(books_of_every_kind())


@pytest.mark.parametrize("ledger", list(KINDS.values()), ids=list(KINDS))
@pytest.mark.parametrize("window", ["minute", "all"])
def test_every_statement_is_as_the_schema_says(ledger, window):
    for mode in (CHEAPEST, *(mode.name for mode in MODES)):
        said_of(ledger, window, MODELS[-1], mode)


@pytest.mark.parametrize("without", [{"answers_can_wait": False}, {"free_endpoint": False, "labels": 0}])
def test_settings_that_leave_things_out_keep_to_the_schema(without):
    for mode in (CHEAPEST, "batch"):
        said_of(MadeUp(100, hours=0.1, until_ms=NOW).ledger, mode=mode, terms=book(**without))


def test_the_schema_would_notice():
    _, body = said_of(MadeUp(100, hours=0.1, until_ms=NOW).ledger)
    body = json.loads(json_text(body))
    for change in (
        {"extra": 1},
        {"lag": "3"},
        {"own": {**body["own"], "usd": {"low": 1}}},
        {"workers": [{**body["workers"][0], "extra": 0}]},
        {"comparison": {**body["comparison"], "verdict": "maybe"}},
    ):
        assert not STATEMENT.is_valid({**body, **change})
    for name in body:
        assert not STATEMENT.is_valid({k: v for k, v in body.items() if k != name})


@pytest.mark.parametrize("ledger", list(KINDS.values()), ids=list(KINDS))
def test_accounts_and_history_are_as_the_schema_says(ledger):
    found = accounts(ledger.accounts)
    for one in found:
        ACCOUNT.validate(one)
    assert len(found) == len(ledger.accounts)
    said = make_statement(ledger, TERMS, "all", NOW)
    HISTORY.validate(json.loads(json_text(cost_series(said, [], MODELS[0], "naive"))))


def test_every_schema_and_every_field_is_described():
    used = json.dumps(OPENAPI)
    for name, schema in OPENAPI["components"]["schemas"].items():
        assert f"#/components/schemas/{name}" in used
        assert schema["description"].endswith(".") or schema["type"] == "number"
        for field, of in schema.get("properties", {}).items():
            assert "description" in of or "$ref" in of, f"{name}.{field}"
        assert sorted(schema.get("required", [])) == sorted(schema.get("properties", []))


def test_lists_of_the_schema_are_those_of_the_code():
    schemas, asked = OPENAPI["components"]["schemas"], OPENAPI["components"]["parameters"]
    modes = [mode.name for mode in MODES]
    windows = list(get_args(WindowName))
    assert schemas["Statement"]["properties"]["window"]["enum"] == asked["window"]["schema"]["enum"] == windows
    assert schemas["Statement"]["properties"]["mode"]["enum"] == asked["mode"]["schema"]["enum"] == [CHEAPEST, *modes]
    assert schemas["Opponent"]["properties"]["mode"]["enum"] == modes
    assert schemas["Worker"]["properties"]["state"]["enum"] == list(STATES)
    assert schemas["Comparison"]["properties"]["verdict"]["enum"] == list(get_args(Verdict))
    assert schemas["Comparison"]["properties"]["events_per_day_from"]["enum"] == list(get_args(RateBasis))


def test_the_answer_is_the_statement():
    ledger = MadeUp(1_000, hours=2, until_ms=NOW).ledger
    said, body = said_of(ledger, "hour", MODELS[1], "packed")
    assert body["events"] == {
        "scored": said.scored,
        "dead": sum(line.used.dead for line in said.lines),
        "rows": said.scored,
        "lost_ever": 0,
    }
    assert body["avoided_usd"] == said.avoided(MODELS[1], "packed").usd()
    assert body["own"]["usd"] == said.own.usd.usd()
    assert body["own"]["by"] == {name: line.usd() for name, line in said.own.lines.items()}
    saved = said.saved(MODELS[1], "packed")
    for scenario in saved:
        turned = {"low": "high", "mid": "mid", "high": "low"}[scenario]
        assert close_to(body["saved_usd"][scenario], body["avoided_usd"][scenario] - body["own"]["usd"][turned])
    per_million = body["avoided_usd_per_million"]["mid"] * said.scored / 10**6
    assert abs(per_million - body["avoided_usd"]["mid"]) < Decimal("1e-6")
    assert body["events_per_second"] == Decimal(1000)
    assert body["latency_p99_ms"] == 64
    assert body["lag"] == 2_401
    chosen = [o for o in body["opponents"] if (o["model"], o["mode"]) == (MODELS[1], "packed")]
    assert [o["usd"] for o in chosen] == [body["avoided_usd"]]
    assert {t["tenant"] for t in body["tenants"]} == {"acme", "globex", "other"}
    assert abs(sum(t["share"] for t in body["tenants"]) - 1) < Decimal("1e-8")
    assert abs(sum(t["avoided_usd"]["mid"] for t in body["tenants"]) - body["avoided_usd"]["mid"]) < Decimal("1e-8")
    assert [w["worker"] for w in body["workers"]] == ["node-a/0", "node-a/1"]
    assert body["workers"][0]["cpu_share"] == Decimal("0.42")


def test_every_price_names_its_source_and_date():
    _, body = said_of(MadeUp(100, hours=0.1, until_ms=NOW).ledger)
    (route,) = body["routes"]
    assert [p["model"] for p in route["prices"]] == list(MODELS)
    assert all(p["source"].startswith("genai-prices ") and p["as_of"] == "2026-11-24" for p in route["prices"])


def test_the_cheapest_form_is_the_strongest_opponent():
    ledger = MadeUp(100, hours=0.5, until_ms=NOW).ledger
    _, body = said_of(ledger)
    forms = [o for o in body["opponents"] if o["model"] == MODELS[0] and o["usd"] is not None]
    assert body["avoided_usd"]["mid"] == min(o["usd"]["mid"] for o in forms)
    cheapest = min(forms, key=lambda o: o["usd"]["mid"])["mode"]
    assert body["routes"][0]["prices"][0]["cheapest_mode"] == body["comparison"]["mode"] == cheapest


def test_undefined_is_null():
    _, body = said_of(Ledger())
    for name in ("avoided_usd", "avoided_usd_per_million", "saved_usd", "events_per_second", "latency_p99_ms", "lag"):
        assert body[name] is None, name
    assert body["comparison"] is None
    assert body["own"]["usd_per_million"] is None
    assert body["events"] == {"scored": 0, "dead": 0, "rows": 0, "lost_ever": 0}


def test_a_lag_that_nobody_tells_is_null_and_a_silent_worker_is_named():
    ledger = KINDS["all workers dead"]
    _, body = said_of(ledger)
    assert body["lag"] is None
    assert [(w["worker"], w["alive"], w["seen_ms_ago"]) for w in body["workers"]] == [("node-a/0", False, 60_000)]


def test_a_lag_that_a_worker_does_not_know_is_null_and_not_zero():
    ledger = Ledger()
    ledger.beat(beat("a/0", lag={"events.m": 36_000}, latency={"events.m": ()}))
    ledger.beat(beat("a/1", latency={"events.m": ()}))  # it is joining
    _, body = said_of(ledger)
    assert body["lag"] is None
    assert [w["lag"] for w in body["workers"]] == [36_000, None]
    ledger.beat(beat("a/1", at_ms=NOW + 1, lag={"events.m": 0}, latency={"events.m": ()}))
    assert said_of(ledger)[1]["lag"] == 36_000


def test_what_is_behind_an_open_transaction_is_told_apart():
    ledger = Ledger()
    ledger.beat(beat("a/0", lag={"events.m": 30}, unreadable={"events.m": 20}))
    ledger.beat(beat("a/1", lag={"events.m": 4}))
    _, body = said_of(ledger)
    assert (body["lag"], body["lag_unreadable"]) == (34, 20)
    assert said_of(Ledger())[1]["lag_unreadable"] is None


def test_the_partitions_of_a_worker_that_just_fell_silent_are_not_forgotten():
    ledger = Ledger()
    ledger.beat(beat("a/0", lag={"events.m": 3}))
    ledger.beat(beat("a/1", at_ms=NOW - 20_000, lag={"events.m": 9}))
    assert said_of(ledger)[1]["lag"] is None
    ledger.beat(beat("a/0", at_ms=NOW + 60_000, lag={"events.m": 3}))  # by now somebody has its partitions
    assert said_of(ledger, at=NOW + 60_000)[1]["lag"] == 3


def test_a_latency_past_the_last_edge_is_said():
    _, body = said_of(KINDS["slower than the histogram"])
    assert body["latency_p99_ms"] is None
    assert body["latency_p99_over_ms"] == EDGES[-1]


def test_the_verdict_at_100_events_a_second():
    _, body = said_of(MadeUp(100, hours=1, until_ms=NOW).ledger)
    of = body["comparison"]
    assert of["verdict"] == "api"
    assert of["free_endpoint"]["takes_this_volume"] is True
    assert of["threshold_events_per_day"]["mid"] > of["events_per_day"]
    assert of["curve"][0]["events_per_day"] == 1_000
    assert of["curve"][-1]["events_per_day"] == 10**12
    cheaper = [p["api_usd"]["mid"] < p["own_usd"]["mid"] for p in of["curve"]]
    assert cheaper == sorted(cheaper, reverse=True)  # one crossing
    crossing = of["curve"][cheaper.index(False)]["events_per_day"]
    before = of["curve"][cheaper.index(False) - 1]["events_per_day"]
    assert before < of["threshold_events_per_day_paid"]["mid"] <= crossing


def test_tenants_beyond_the_limit_are_other():
    ledger = Ledger()
    ledger.post(record(2_100, tenants={f"t{n:03}": TenantCount(n, 0, n) for n in range(1, 60)}))
    _, body = said_of(ledger)
    assert len(body["tenants"]) == 21
    assert body["tenants"][0]["tenant"] == "t059"
    assert body["tenants"][-1]["tenant"] == "other"
    assert sum(t["scored"] for t in body["tenants"]) == sum(range(60))


@pytest.mark.parametrize(
    ("model", "mode", "said"),
    [("openai:gpt-99", CHEAPEST, "is not compared with; one of openai:"), (None, "free", "one of cheapest, naive")],
)
def test_an_unknown_model_or_mode_is_refused_with_what_is_known(model, mode, said):
    with pytest.raises(ConfigError, match=said):
        said_of(Ledger(), model=model, mode=mode)
