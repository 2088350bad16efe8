"""Score records are JSON, echo ids as they came, and write scores the same everywhere."""

import json
from decimal import ROUND_HALF_EVEN, Decimal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from farthing.blocks import DecisionBlock
from farthing.payload import Field, FieldPlan, parse, render_scores
from farthing.payload.render import DECIMALS, write_score

from .test_parse import block

PLAN = FieldPlan((Field("id", "id", "raw"), Field("text", "text", required=True)))


def written(score):
    out = np.zeros(64, np.uint8)
    return out[: write_score(out, 0, np.float32(score))].tobytes().decode()


@given(st.floats(0, 1, width=32))
def test_a_score_is_its_float32_rounded_half_to_even(score):
    unit = Decimal(1).scaleb(-DECIMALS)
    exact = Decimal(float(np.float64(np.float32(score)) * 10**DECIMALS)).quantize(Decimal(1), ROUND_HALF_EVEN) * unit
    assert Decimal(written(score)) == exact
    assert "e" not in written(score)


@pytest.mark.parametrize(
    ("score", "text"),
    [(0, "0.0"), (1, "1.0"), (0.5, "0.5"), (0.125, "0.125"), (1e-9, "0.0"), (-0.25, "-0.25"), (123456.5, "123456.5")],
)
def test_scores_as_text(score, text):
    assert written(score) == text


@pytest.mark.parametrize("heads", [("offensive",), ("offensive", 'se"xist', "ü")])
def test_records(heads):
    values = [
        b'{"id":"a\\n\xc3\xa9","text":""}',
        b'{"text":"x"}',
        b"{",
        b'{"id":null,"text":"x"}',
        b'{"id":[1, {"b":2}],"text":"x"}',
    ]
    records = block(values)
    columns = parse(records, PLAN)
    rng = np.random.default_rng(0)
    rows = int(columns.row_indptr[-1])
    scores = rng.random((rows, len(heads)), dtype=np.float32)
    decisions = DecisionBlock(columns.status, scores, np.arange(rows, dtype=np.uint8) % 3)
    out = render_scores(
        records, columns.columns["id"], decisions,
        row_indptr=columns.row_indptr, heads=heads, labels=("allow", "review", "block"), model="m@1",
    )  # fmt: skip
    assert out.events.tolist() == [0, 1, 3, 4]
    found = [json.loads(out.data[a:b].tobytes()) for a, b in zip(out.indptr, out.indptr[1:], strict=False)]
    assert [f.get("id", "missing") for f in found] == ["a\né", "missing", None, [1, {"b": 2}]]
    for row, record in enumerate(found):
        assert abs(record["score"] - scores[row, 0]) <= 1e-7
        assert record["label"] == ("allow", "review", "block")[row % 3]
        assert record["model"] == "m@1"
        if len(heads) > 1:
            assert list(record["scores"]) == list(heads)
            assert record["scores"]["offensive"] == record["score"]
        else:
            assert "scores" not in record
