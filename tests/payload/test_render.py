"""Score records are JSON, echo ids as they came, and write scores the same everywhere."""

import importlib
import json
from decimal import ROUND_HALF_EVEN, Decimal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from farthing.blocks import DecisionBlock, RawColumn
from farthing.kernels.jit import NO_JIT
from farthing.kernels.machine import SHORT_BYTES
from farthing.payload import Field, FieldPlan, parse, render_scores
from farthing.payload.render import DECIMALS, write_score, write_scores
from tests.references import both

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


def same_text(kernel, *arguments):
    """Assert that kernel and reference write the same and say so; what lies after it does not count."""
    (end, ours), (expected_end, theirs) = both(kernel, *arguments)
    assert end == expected_end
    for one, other in zip(ours[1:], theirs[1:], strict=True):
        assert np.array_equal(one, other)
    written = ours[1][-1] if end is None else end
    assert ours[0][:written].tobytes() == theirs[0][:written].tobytes()


two_ways = pytest.mark.skipif(NO_JIT, reason="without compilation there is one path")


@two_ways
@given(st.floats(-1e10, 1e10, width=32) | st.floats(0, 1, width=32) | st.integers(0, 10**8).map(lambda n: n / 1e8))
def test_a_score_is_written_as_by_the_reference(score):
    same_text(write_score, np.zeros(64, np.uint8), 3, np.float32(score))


@two_ways
def test_every_number_of_decimals_is_written_as_by_the_reference():
    units = np.unique(
        np.concatenate([10 ** np.arange(8), 10 ** np.arange(8) - 1, np.arange(0, 10**7, 9_973), 5 * 10 ** np.arange(7)])
    )
    for score in (units / 1e7).astype(np.float32):
        same_text(write_score, np.zeros(64, np.uint8), 0, score)


@two_ways
@given(st.data())
def test_records_are_written_as_by_the_reference(data):
    n, heads = data.draw(st.integers(1, 6)), data.draw(st.integers(1, 4))
    rows = n + 2
    ids = data.draw(st.lists(st.none() | st.binary(min_size=1, max_size=70), min_size=n, max_size=n))
    pieces = [b"" if i is None else i for i in ids]
    ends = np.cumsum([0, *map(len, pieces)])
    names = ["offensive", "h" * 40, "ü", ""][:heads]
    parts = ['{"id":', '"score":', *(f',"{name}":' for name in names)]
    tails = [',"label":"allow"}', "}", ',"label":"' + "b" * 90 + '"}']

    def joined(texts):
        encoded = [text.encode() for text in texts]
        return np.frombuffer(b"".join(encoded), np.uint8), np.cumsum([0, *map(len, encoded)])

    events = np.array(sorted(data.draw(st.sets(st.integers(0, n - 1)))), np.int64)
    drawn = data.draw(
        st.lists(
            st.floats(0, 1, width=32) | st.floats(-1e10, 1e10, width=32), min_size=rows * heads, max_size=rows * heads
        )
    )
    same_text(
        write_scores, np.zeros(4096, np.uint8), np.zeros(len(events) + 1, np.int64), events,
        np.array(data.draw(st.lists(st.integers(0, rows - 1), min_size=n, max_size=n)), np.int64),
        np.frombuffer(b"".join(pieces), np.uint8), np.array([0 if i is None else 2 for i in ids], np.uint8), ends[:-1], ends[1:],
        np.array(drawn, np.float32).reshape(rows, heads), np.arange(rows, dtype=np.uint8) % 3, *joined(parts), *joined(tails),
    )  # fmt: skip


@pytest.mark.parametrize("raw", [True, False])
def test_no_room_is_missing_for_the_longest_record(monkeypatch, raw):
    """The most digits that a score can have, the longest label, and an id of any length; kernels check no bounds."""
    module = importlib.import_module("farthing.payload.render")
    write, left = module.write_scores, []

    def watched(out, indptr, *arguments):
        write(out, indptr, *arguments)
        left.append(len(out) - indptr[-1])

    monkeypatch.setattr(module, "write_scores", watched)
    long_id = b'"' + b"i" * 5000 + b'"'
    records = block([b'{"text":"","id":' + long_id + b"}"] * 3)
    columns = parse(records, PLAN)
    scores = np.array([[1.0, 0.1234567, 1e-7]] * 3, np.float32)
    decisions = DecisionBlock(columns.status, scores, np.array([0, 1, 2], np.uint8))
    ids = columns.columns["id"]
    out = render_scores(
        records, ids if raw else None, decisions, heads=("a", "b" * 300, "c"), labels=("", "x" * 500, "y"), model="m"
    )
    assert isinstance(ids, RawColumn)
    assert len(left) == 1 and left[0] >= SHORT_BYTES
    found = [json.loads(out.data[a:b].tobytes()) for a, b in zip(out.indptr, out.indptr[1:], strict=False)]
    assert [len(f.get("id", "")) for f in found] == [5000 if raw else 0] * 3
    assert [f["label"] for f in found] == ["", "x" * 500, "y"]
