"""Fields that lie elsewhere in the events: the same scores, by the same bundle, wherever a map can be given."""

import asyncio
import json
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

from farthing import Scorer, config
from farthing.blocks import FetchedPartition, Status
from farthing.commands.score import run as score
from farthing.demo import DemoOptions, run_demo
from farthing.errors import BundleError, ConfigError
from farthing.evaluate.cells import parse_names
from farthing.evaluate.options import EvaluateOptions
from farthing.evaluate.run import run as evaluate
from farthing.local.bid_requests import bid_request_events
from farthing.local.comments import comment_events, ranking_events
from farthing.model.shipped import find_bundle
from farthing.model.task_table import SPARE_FIELDS
from farthing.payload import FieldPlan, parse_path
from farthing.scoring.bundle import write_bundle
from farthing.serving.metrics import Metrics
from farthing.serving.route import Route, RouteTopics
from farthing.wire import Arena, Dropped, decode, encode_records, header_bytes

from ..bundle_factory import make_bundle
from ..column_factory import write_column_bundle

COMMENT = {"text": "comment.text", "id": "comment.id"}


def renamed(value, **keys):
    """An event with other names for keys at the top, and below candidates."""
    event = json.loads(value)
    for old, new in keys.items():
        event[new] = event.pop(old)
    return json.dumps(event).encode()


def in_comment(value):
    event = json.loads(value)
    return json.dumps({"comment": {"text": event.pop("text"), "id": event.pop("id")}, **event}).encode()


def test_scores_of_mapped_events_are_those_of_the_events_as_the_bundle_has_them():
    events = [*comment_events(300), b'{"id":1,"text":null}', b"{"]
    own, mapped = Scorer.load("moderation", verify=False), Scorer.load("moderation", fields=COMMENT)
    there = [*(in_comment(event) for event in events[:301]), b"{"]
    expected, found = own.score_events(events), mapped.score_events(there)
    assert found.values == expected.values
    assert found.status.tolist() == expected.status.tolist()
    assert (mapped.model_id, mapped.manifest) == (own.model_id, own.manifest)
    assert mapped.verify() == own.verify()  # golden events are read by the bundle's own plan
    records, plain = mapped.records_of(there), own.records_of(events)
    assert (
        mapped.stages.prompt_bytes(mapped.stages.parse(records)).tolist()
        == own.stages.prompt_bytes(own.stages.parse(plain)).tolist()
    )
    assert mapped.score_texts(["a", "b"]).values == own.score_texts(["a", "b"]).values


def test_a_list_in_another_array_and_bids_with_other_names():
    fields = {"query": "q", "candidates[*].text": "docs[*].text", "candidates[*].id": "docs[*].id"}
    fields |= {"title": "docs[*].title", "score": "docs[*].score"}
    events = ranking_events(20, candidates=5)
    expected = Scorer.load("rerank", verify=False).score_events(events).values
    there = [renamed(event, query="q", candidates="docs") for event in events]
    assert Scorer.load("rerank", verify=False, fields=fields).score_events(there).values == expected
    bids = bid_request_events(50)
    expected = Scorer.load("bidding", verify=False).score_events(bids).values
    there = [renamed(event, id="request") for event in bids]
    assert Scorer.load("bidding", verify=False, fields={"id": "request"}).score_events(there).values == expected


@pytest.mark.parametrize("name", ["plan.fee", "column_plan_fee"])
def test_a_column_has_its_own_name_and_its_path(tmp_path, name):
    bundle = write_column_bundle(tmp_path / "b")
    event = {"id": 1, "age": 20, "tenure": 1, "plan.fee": 60}
    mapped = Scorer.load(bundle, fields={name: r"plan\.fee"})
    assert mapped.score_events([json.dumps(event).encode()]).status.tolist() == [Status.OK]
    with pytest.raises(ConfigError, match=r"did you mean plan\.fee"):
        Scorer.load(bundle, fields={"plan.fees": "x"})


def test_an_id_is_echoed_by_a_plan_that_has_none(tmp_path):
    bundle = make_bundle(tmp_path / "b")
    scorer = Scorer.load(bundle.path, fields={"id": "key.0"})
    assert json.loads(scorer.score_events([b'{"key":{"0":[7]},"text":"x"}']).values[0])["id"] == [7]
    for fields in ({"text": "body", "ids": "x"}, {"text": "a..b"}, {"id": "text.x"}):
        with pytest.raises(ConfigError):
            Scorer.load(bundle.path, fields=fields)


def test_a_manifest_that_was_edited_is_refused_with_a_word_on_maps(tmp_path):
    bundle = make_bundle(tmp_path / "b")
    manifest = bundle.path / "manifest.json"
    manifest.write_text(manifest.read_text().replace('"path": "text"', '"path": "body"'))
    with pytest.raises(BundleError, match=r"SHA-256 .*--map text=comment\.body.*\[route\.fields\]"):
        Scorer.load(bundle.path)
    edited = json.loads(manifest.read_text())["field_plan"]
    write_bundle(
        tmp_path / "c", manifest=replace(bundle.manifest, field_plan=edited), model=bundle.model, golden=bundle.golden,
        card=bundle.card,
    )  # fmt: skip
    with pytest.raises(BundleError, match=r"golden status: .*was it edited\?.*--map") as refused:
        Scorer.load(tmp_path / "c")
    assert "report this machine" not in str(refused.value)


TOPICS = RouteTopics("e", "s", "d")


def answered(route, values, **headers):
    data, indptr = np.frombuffer(b"".join(values), np.uint8), np.cumsum([0, *map(len, values)])
    batch = encode_records("e", 0, data, indptr, np.zeros(len(values), int), **headers)
    return route.answer([FetchedPartition("e", 0, 0, len(values), batch.data.tobytes())])


def test_a_tenant_is_read_beside_a_map():
    scorer = Scorer.load("moderation", verify=False, fields={"text": "account.text"})
    events = [b'{"account":{"id":"acme","text":"a nice day"},"text":"t"}']
    for tenant, name in (("account.id", "acme"), ("text", "t"), (r"account.text", "a nice day")):
        found = answered(Route(TOPICS, scorer.stages, tenant=tenant), events)
        assert [found.tenants.names.text(row[1]) for row in found.tenants.rows.tolist()] == [name]
        assert found.status.tolist() == [Status.OK]
    with pytest.raises(ConfigError, match="lies above"):
        Route(TOPICS, scorer.stages, tenant="account")


@pytest.mark.parametrize("limit", [0, 4096])
def test_headers_travel_and_what_does_not_is_counted(limit):
    route = Route(TOPICS, Scorer.load("moderation", verify=False).stages, max_header_bytes=limit)
    headers = header_bytes("traceparent", "00-1") + header_bytes("farthing.offset", "7")
    found = answered(route, [b'{"text":"a"}', b"{"], headers=headers, header_count=2)
    score, dead = (
        decode([FetchedPartition("s", 0, 0, 1, batch.data.tobytes())], Arena()).header_count.tolist()
        for batch in found.batches
    )
    assert (score, dead) == ([2] if limit else [1], [8])  # traceparent and farthing.offset; traceparent and seven
    assert found.stats.dropped_headers[Dropped.RESERVED] == 2
    metrics = Metrics({"e": "m"})
    metrics.record(found.stats)
    value = metrics.registry.get_sample_value
    labels = {"route": "e", "reason": "over_limit"}
    assert value("farthing_dropped_headers_total", labels) == (0 if limit else 1)
    assert value("farthing_dropped_headers_total", {**labels, "reason": "reserved"}) == 2


def test_a_warm_route_has_scored_an_event():
    route = Route(TOPICS, Scorer.load("moderation", verify=False, fields=COMMENT).stages)
    seen = []
    answer = route.answer
    route.answer = lambda fetched: seen.append(answer(fetched))
    route.warm()
    assert seen[0].status.tolist() == [Status.OK, Status.SYNTAX]


def farthing(*arguments, stdin=None):
    return subprocess.run(
        [sys.executable, "-m", "farthing", *map(str, arguments)], input=stdin, capture_output=True, timeout=300
    )


def test_score_takes_a_map_and_says_where_it_looked():
    lines = b'{"comment":{"id":5,"text":"a nice day"}}\n{"comment.text":"a"}\n{"comment":{"text":null}}\n'
    done = farthing("score", "moderation", "-", "--map", "text=comment.text", "--map", "id=comment.id", stdin=lines)
    assert [json.loads(line)["id"] for line in done.stdout.splitlines()] == [5]
    said = done.stderr.decode()
    assert "line 2: missing_field (needed: text at comment.text)\n" in said
    assert r"escape it: --map 'text=comment\.text'" in said
    assert "line 3: null_field (needed: text at comment.text)\n" in said


@pytest.mark.parametrize("command", ["score", "evaluate", "demo"])
@pytest.mark.parametrize(
    ("pairs", "said"),
    [
        (["text"], "--map text: expected NEW=OLD"),
        (["text=a", "text=b"], "--map text=b: text is mapped to a already"),
        (["txt=body"], "--map txt=body: nothing is called 'txt' here; known are "),
        (["text=a..b"], r"--map text=a\.\.b: .*field path 'a\.\.b' is not like .*written \\\."),
        (["text=a[*].b"], "--map .*one value .*array has one per element"),
    ],
)
def test_one_error_text_for_all(tmp_path, command, pairs, said):
    events = tmp_path / "e.jsonl"
    events.write_text('{"body":"x","label":1}\n')
    names = tuple(pairs)
    with pytest.raises(ConfigError, match=said):
        if command == "score":
            score("moderation", str(events), output=None, dead=None, max_event_bytes=99, as_json=False, names=names)
        elif command == "evaluate":
            evaluate(EvaluateOptions("moderation", (events,), names=names))
        else:
            asyncio.run(run_demo(DemoOptions(events=events, names=names)))


def test_a_demo_of_made_up_events_takes_no_map():
    with pytest.raises(ConfigError, match="with --events FILE"):
        asyncio.run(run_demo(DemoOptions(names=("text=body",))))


def test_evaluate_reads_a_field_by_either_of_its_names():
    names = {"column_plan_fee": "plan.fee"}
    assert parse_names(["column_plan_fee=fee"], ("label", "plan.fee"), names) == {"plan.fee": "fee"}
    with pytest.raises(ConfigError, match="already"):
        parse_names(["column_plan_fee=fee", "plan.fee=x"], ("label", "plan.fee"), names)


ROUTE = '[[route]]\nbundle = "moderation"\nsource = "a"\nsink = "b"\ndead_letters = "c"\n'


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ('text = "a..b"', r"route\.0\.fields: text: field path 'a\.\.b' is not like .*written \\\."),
        ('plan.fee = "x"', r'route\.0\.fields: plan is a table: .*"plan\.fee" = "\.\.\."'),
        ('text = "comment\\.text"', "single quotes"),
        ("text = 5", r"route\.0\.fields\.text: .*string"),
        ('text = ""', "path is empty"),
    ],
)
def test_settings_that_cannot_be(tmp_path, fields, said):
    file = tmp_path / "farthing.toml"
    file.write_text(f"{ROUTE}[route.fields]\n{fields}\n")
    with pytest.raises(ConfigError, match=said):
        config.load(file)


def test_the_map_is_shown_with_where_it_came_from(tmp_path):
    file = tmp_path / "farthing.toml"
    file.write_text(f"{ROUTE}[route.fields]\ntext = 'comment\\.text'\n")
    loaded = config.load(file)
    assert ("route.0.fields.text", r"comment\.text", str(file)) in list(loaded.rows())
    file.write_text(ROUTE)
    assert ("route.0.fields", {}, "default") in list(config.load(file).rows())
    assert ("route.0.max_header_bytes", 4096, "default") in list(config.load(file).rows())


def test_spare_fields_are_read_by_every_task():
    for name in ("moderation", "rerank", "bidding"):
        manifest = json.loads((find_bundle(name) / "manifest.json").read_text())
        plan = FieldPlan.from_manifest(manifest["field_plan"]).mapped({"id": r"a\.b"}, spare=SPARE_FIELDS)
        assert next(field for field in plan.fields if field.name == "id").parsed == parse_path(r"a\.b")
