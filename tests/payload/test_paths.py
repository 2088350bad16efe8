"""Paths of fields, and maps of them: one grammar; what is mapped is read as if it had always lain there."""

import json
import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from farthing.blocks import RecordBlock, Status
from farthing.errors import ConfigError
from farthing.payload import ABSENT, Field, FieldPath, FieldPlan, hint, needs, parse, parse_pairs, parse_path
from farthing.payload.paths import escape

KEYS = st.text(st.sampled_from("ab.\\[]*\n é"), min_size=1, max_size=5)
TEXT = FieldPlan((Field("id", "id", "raw"), Field("text", "text", required=True)))
ROWS = FieldPlan(
    (Field("query", "query", required=True), Field("row_id", "candidates[*].id", "raw"),
     Field("text", "candidates[*].text"))
)  # fmt: skip
SPARE = (Field("id", "id", "raw"),)


@given(st.lists(KEYS, min_size=1, max_size=4), st.integers(-1, 2))
def test_any_keys_can_be_written_and_are_read_back(keys, array):
    path = FieldPath(tuple(keys), array if array < len(keys) - 1 else -1)
    assert parse_path(str(path)) == path


@given(KEYS, st.lists(KEYS, min_size=1, max_size=3), st.integers())
def test_what_is_put_is_found_and_parsed(first, keys, value):
    path = FieldPath((first, *keys))
    event = {}
    path.put(event, value)
    assert path.find(event) == value
    assert FieldPath((first, *keys, "more")).find(event) is ABSENT
    plan = FieldPlan((Field("n", str(path), "number"),))
    records = RecordBlock.of_values([json.dumps(event).encode()])
    for read in (parse, parse.reference) if hasattr(parse, "reference") else (parse,):
        assert read(records, plan).columns["n"].values[0] == float(value)


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("", "path is empty"), (".a", "empty key"), ("a.", "empty key"), ("a..b", "empty key"), ("[*].a", "empty key"),
        ("a[*]", "ends in an array"), ("a[*].b[*].c", "two arrays"), ("a[0].b", "bracket"), ("a[", "bracket"),
        ("a[*]b", "bracket"), ("a\\b", "backslash before b"), ("a\\", "backslash before nothing"), ("a\udcff", "UTF-8"),
    ],
)  # fmt: skip
def test_what_is_no_path_is_refused(path, said):
    with pytest.raises(ConfigError, match=said):
        parse_path(path)


@pytest.mark.parametrize("path", ["a..b", "a\\b"])
def test_a_refusal_says_how_a_dot_is_escaped(path):
    with pytest.raises(ConfigError, match=r"written \\\., as in 'comment\\\.text'"):
        parse_path(path)


def test_pairs():
    assert parse_pairs(["text=comment.text", "id=a=b"]) == {"text": "comment.text", "id": "a=b"}
    for pairs, said in (
        (["text"], "NEW=OLD"),
        (["=a"], "NEW=OLD"),
        (["text="], "NEW=OLD"),
        (["a=b", "a=c"], "already"),
    ):
        with pytest.raises(ConfigError, match=f"^--map .*{said}"):
            parse_pairs(pairs)


def moved(event, moves):
    """Lay an event out by hand."""
    laid = {key: value for key, value in event.items() if key not in moves}
    for name, path in moves.items():
        if name in event:
            parse_path(path).put(laid, event[name])
    return laid


@given(
    st.lists(st.fixed_dictionaries({}, optional={"id": st.integers(), "text": st.none() | st.integers() | st.text()}),
             min_size=1, max_size=6),
    st.sampled_from([{"text": "body"}, {"text": "a.b", "id": "a.c"}, {"text": "id", "id": "text"}, {"text": "x\\.y"}]),
)  # fmt: skip
def test_a_mapped_plan_reads_what_the_plan_reads_of_events_as_it_has_them(events, fields):
    events = [json.loads(json.dumps(event).replace("\\ud", "\\u0")) for event in events]
    own = parse(RecordBlock.of_values([json.dumps(event).encode() for event in events]), TEXT)
    there = [json.dumps(moved(event, fields)).encode() for event in events]
    records = RecordBlock.of_values(there)
    mapped = TEXT.mapped(fields)
    found = parse(records, mapped)
    assert found.status.tolist() == own.status.tolist()
    text, expected = found.columns["text"], own.columns["text"]
    assert text.data[: text.indptr[-1]].tobytes() == expected.data[: expected.indptr[-1]].tobytes()
    assert found.columns["id"].presence.tolist() == own.columns["id"].presence.tolist()


def test_rows_follow_their_array():
    plan = ROWS.mapped({"candidates[*].text": "docs[*].body.en", "row_id": "docs[*].key", "query": "q"})
    value = b'{"q":"x","docs":[{"key":1,"body":{"en":"a"}},{"key":2,"body":{"en":"bc"}}]}'
    columns = parse(RecordBlock.of_values([value]), plan)
    assert columns.status.tolist() == [Status.OK]
    assert columns.columns["text"].data[:3].tobytes() == b"abc"
    assert np.diff(columns.row_indptr).tolist() == [2]


def test_an_id_may_be_mapped_where_the_plan_has_none():
    plan = FieldPlan((Field("text", "text", required=True),))
    assert plan.mapped({"id": "key"}, spare=SPARE).fields[-1] == Field("id", "key", "raw")
    assert plan.mapped({"text": "body"}, spare=SPARE).fields == (Field("text", "body", required=True),)
    assert plan.mapped({}, spare=SPARE) is plan


@pytest.mark.parametrize(
    ("plan", "fields", "said"),
    [
        (TEXT, {"txt": "body"}, r"^txt=body: nothing is called 'txt' here; known are id, text; did you mean text\?"),
        (TEXT, {"text": "a..b"}, "^text=a..b: .*empty key"),
        (TEXT, {"text": ""}, "^text=: .*empty"),
        (TEXT, {"text": "a[*].b"}, "one value per event"),
        (TEXT, {"text": "id"}, "two fields, id and text"),
        (TEXT, {"text": "id.x"}, "lies above"),
        (TEXT, {"id": "text.x"}, "lies above"),
        (TEXT, {"text": ".".join("k" * 64)}, "64 keys"),
        (ROWS, {"text": "body"}, r"one value for each element .* such as candidates\[\*\].text"),
        (ROWS, {"text": "docs[*].body"}, "one array, found row_id through candidates; text through docs"),
        (ROWS, {"query": "candidates.query"}, "in both or in neither"),
        (ROWS, {"text": "candidates[*].a", "candidates[*].text": "candidates[*].b"}, "mapped to .* already"),
    ],
)
def test_maps_that_cannot_be(plan, fields, said):
    with pytest.raises(ConfigError, match=said):
        plan.mapped(fields)


@pytest.mark.parametrize(
    ("event", "fields", "said"),
    [
        ({"body": "x", "id": 1}, {}, "the event has body, id, but no text; .*--map text=KEY"),
        ({"comment.text": "x"}, {"text": "comment.text"}, r"escape it: --map 'text=comment\\.text'"),
        ({"a": {"b.c": "x"}}, {"text": "a.b.c"}, r"--map 'text=a\.b\\\.c'"),
        ({"a": {"x": 1}}, {"text": "a.b"}, "a has x, but no b; .*--map text=a.KEY"),
        ({}, {}, "the event has no keys, but no text"),
        ({"a\x1b[1m": 1, "b c": 2}, {}, r'has "a\\u001b\[1m", "b c", but'),
        ({"text": None}, {}, "^$"),
        ({"comment": "x"}, {"text": "comment.text"}, "^$"),
        ([], {}, "^$"),
    ],
)
def test_what_an_event_has_instead(event, fields, said):
    assert re.search(said, hint(json.dumps(event).encode(), TEXT.mapped(fields), TEXT))


def test_what_is_needed_says_where_it_was_looked_for():
    assert needs(TEXT, TEXT) == "text"
    assert needs(TEXT.mapped({"text": "comment.text"}), TEXT) == "text at comment.text"
    assert needs(ROWS, ROWS, ["text"]) == "query, candidates[*].text"
    rows = ROWS.mapped({"text": "docs[*].body", "row_id": "docs[*].id"})
    assert needs(rows, ROWS, ["text"]) == "query, candidates[*].text at docs[*].body"
    assert "candidates[*].text=KEY[*].KEY" in hint(b'{"query":"q","docs":[]}', ROWS, ROWS, ["text"])


@given(KEYS)
def test_an_escaped_key_is_one_key(key):
    assert parse_path(escape(key)).keys == (key,)
