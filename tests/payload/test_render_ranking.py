"""Rankings as JSON: every answer parses, ids come out as they came in, candidates without one have their place."""

import json

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from farthing.blocks import RankingBlock, RawColumn, TextColumn
from farthing.model.scorer import Scorer
from farthing.payload import Field, FieldPlan, parse, render_rankings
from farthing.tasks.rerank import LABELS, rank

PLAN = FieldPlan(
    (
        Field("id", "id", "raw"),
        Field("query", "query", required=True),
        Field("candidate_id", "candidates[*].id", "raw"),
        Field("text", "candidates[*].text"),
    )
)


def rendered(events, scores):
    records = Scorer.records_of(events)
    columns = parse(records, PLAN)
    text, ids = columns.columns["text"], columns.columns["candidate_id"]
    assert isinstance(text, TextColumn) and isinstance(ids, RawColumn)
    table = np.array(scores, np.float32)[: columns.row_indptr[-1], None]
    status, labels, order = rank(columns.status, columns.row_indptr, text.presence, table)
    block = RankingBlock(status, table, labels, order, ids)
    out = render_rankings(
        records, columns.columns["id"], block, row_indptr=columns.row_indptr, heads=("r",), labels=LABELS, model='m"@1'
    )
    data = out.data.tobytes()
    return out.events.tolist(), [data[a:b] for a, b in zip(out.indptr, out.indptr[1:], strict=False)]


def test_a_ranking_to_the_byte():
    event = (
        b'{"id": "q\\u0031", "query": "x", "candidates": [{"id": 7, "text": "a"}, {"text": "b"}, {"id": "n"}, '
        b'{"id": null, "text": null}, {"id": {"k": [1]}, "text": "c"}]}'
    )
    events, values = rendered([b"{}", event], [0.25, 1.0, 9.0, 9.0, 0.25])
    assert events == [1]
    assert values == [
        b'{"id":"q\\u0031","ranking":[{"id":1,"score":1.0},{"id":7,"score":0.25},{"id":{"k": [1]},"score":0.25},'
        b'{"id":"n","score":null,"reason":"missing_field"},{"id":3,"score":null,"reason":"null_field"}],'
        b'"model":"m\\"@1"}'
    ]


def test_an_event_without_an_id():
    _, values = rendered([b'{"query":"x","candidates":[{"text":"a"}]}'], [1e-8])
    assert values == [b'{"ranking":[{"id":0,"score":0.0}],"model":"m\\"@1"}']


ids = st.none() | st.integers() | st.text(max_size=9) | st.lists(st.integers(0, 9), max_size=3)
rows = st.lists(st.tuples(ids, st.booleans(), st.floats(0, 1, width=32)), min_size=1, max_size=12)


@given(st.lists(st.tuples(ids, rows), min_size=1, max_size=5))
def test_every_ranking_parses_and_is_complete(events):
    values = [
        json.dumps(
            {"id": i, "query": "q", "candidates": [{"id": c, **({"text": "t"} if there else {})} for c, there, _ in rs]}
        ).encode()
        for i, rs in events
    ]
    answered, found = rendered(values, [score for _, rs in events for _, _, score in rs])
    assert answered == [k for k, (_, rs) in enumerate(events) if any(there for _, there, _ in rs)]
    for k, value in zip(answered, found, strict=True):
        i, rs = events[k]
        record = json.loads(value)
        assert record["id"] == i and record["model"] == 'm"@1'
        order = sorted(range(len(rs)), key=lambda r: (not rs[r][1], -np.float32(rs[r][2]) if rs[r][1] else 0))
        assert [c["id"] for c in record["ranking"]] == [r if rs[r][0] is None else rs[r][0] for r in order]
        for candidate, r in zip(record["ranking"], order, strict=True):
            assert (candidate["score"] is None) != rs[r][1]
