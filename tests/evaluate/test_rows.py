"""Rows of data files: what is read as it is, and what is refused with file, row and a way out."""

import gzip
import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from farthing.errors import ConfigError, DataError
from farthing.evaluate.cells import parse_names
from farthing.evaluate.impressions import Layout, read_impressions
from farthing.evaluate.rows import read_candidates, read_labelled, read_qrels
from farthing.payload import Field, FieldPlan
from tests.evaluate.shared import DATA, needs_shared_data, shared

PLAN = FieldPlan((Field("id", "id", "raw"), Field("text", "text", "text", required=True)))
WIDE = FieldPlan(
    (
        Field("text", "body.text", "text", required=True),
        Field("age", "user.age", "number"),
        Field("os", "user.os", "text"),
        Field("raw", "raw", "raw"),
    )
)


@pytest.fixture
def file(tmp_path):
    """Write a file; objects become JSON lines."""
    made = []

    def make(content, *, name=None, zipped=False):
        if isinstance(content, list):
            content = "".join(json.dumps(row) + "\n" for row in content)
        data = content if isinstance(content, bytes) else content.encode()
        path = tmp_path / (name or f"data{len(made)}")
        path.write_bytes(gzip.compress(data) if zipped else data)
        made.append(path)
        return path

    return make


def labelled(*paths, plan=PLAN, names=None, **options):
    return read_labelled(paths, plan, names or {}, **options)


def events(rows):
    return [json.loads(event) for event in rows.events]


ROWS = [{"text": 'a, "b"\nc', "label": 1}, {"text": "ñ 🎈", "label": 0}, {"text": "", "label": True}]
AS_CSV = 'label,text\r\n1,"a, ""b""\nc"\r\n0,ñ 🎈\r\n1.0,\r\n'


@pytest.mark.parametrize("zipped", [False, True])
@pytest.mark.parametrize(
    "content",
    [
        ROWS,
        AS_CSV,
        "\n\ufeff".replace("\n", "") + AS_CSV,
        AS_CSV.replace(",", "\t").replace("a\t", "a,"),
        "\n\n" + AS_CSV,
    ],
    ids=["json lines", "csv", "byte order mark", "tabs", "blank lines first"],
)
def test_json_lines_and_csv_are_read_alike(file, content, zipped):
    rows = labelled(file(content, zipped=zipped))
    assert events(rows) == [{"text": row["text"]} for row in ROWS]
    assert rows.labels.tolist() == [1, 0, 1]
    assert rows.soft == 0


TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)


@given(st.lists(st.tuples(TEXT, st.integers(0, 1)), min_size=1, max_size=8))
def test_any_text_comes_through_json_lines(tmp_path_factory, rows):
    rows = [("x", 0), *rows, ("y", 1)]
    path = tmp_path_factory.mktemp("rows") / "a.jsonl"
    path.write_text("".join(json.dumps({"text": t, "label": y}, ensure_ascii=False) + "\n" for t, y in rows))
    assert [event["text"] for event in events(labelled(path))] == [text for text, _ in rows]


def test_fields_of_a_plan_keep_their_places_and_types(file):
    rows = [
        {"body": {"text": "a"}, "user": {"age": 7, "os": "x"}, "raw": {"k": [1]}, "label": 0, "more": 5},
        {"body": {"text": "b"}, "user": {"age": None}, "label": 1},
    ]
    read = labelled(file(rows), plan=WIDE)
    assert events(read)[0] == {key: rows[0][key] for key in ("body", "user", "raw")}
    assert events(read)[1] == {"body": {"text": "b"}, "user": {"age": None}}
    csv = file("comment,years,user.os,label\na,7.5,x,0\nb,,y,1\n")
    read = labelled(csv, plan=WIDE, names={"body.text": "comment", "user.age": "years"})
    assert events(read) == [
        {"body": {"text": "a"}, "user": {"age": 7.5, "os": "x"}},
        {"body": {"text": "b"}, "user": {"age": None, "os": "y"}},
    ]


def test_several_files_keep_their_names_and_places(file):
    one = file([{"text": "a", "label": 1}])
    two = file('text,label\nb,0\n\n"c\nd",0\ne,1\n')
    rows = labelled(one, two)
    assert rows.sources == (str(one), str(two))
    assert rows.source.tolist() == [0, 1, 1, 1]
    assert rows.places[2:] == (f"{two}, row 2 (line 4)", f"{two}, row 3 (line 6)")


def test_shares_of_annotators_count_from_a_half_on(file):
    rows = labelled(file([{"text": "a", "label": share} for share in (0, 0.49, 0.5, 1)]))
    assert rows.labels.tolist() == [0, 0, 1, 1]
    assert rows.soft == 2


def test_slices_are_values_as_text_and_must_be_few(file):
    rows = [{"text": "a", "label": k % 2, "by": {"site": s}} for k, s in enumerate(["x", 3, None, True])]
    assert labelled(file(rows), slices=["by.site"]).slices == {"by.site": ("x", "3", "null", "true")}
    with pytest.raises(DataError, match=r"row 1 .*has no nothing; --slice"):
        labelled(file(rows), slices=["nothing"])
    many = file([{"text": "a", "label": k % 2, "id": k} for k in range(101)])
    with pytest.raises(ConfigError, match="101 different values, at most 100"):
        labelled(many, slices=["id"])


GOOD = '{"text":"a","label":1}\n{"text":"b","label":0}\n'


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("", "has no rows"),
        ("\n  \n", "has no rows"),
        ("text,label\n", "has no rows"),
        (GOOD + '{"text":"c"}', r"row 3 \(line 3\): has no label, its columns are text; .*--map label=COLUMN"),
        (GOOD + '\n{"label":1}', r"row 3 \(line 4\): has no text, its columns are label"),
        (GOOD + '{"text":null,"label":1}', "row 3 .*text is null; fix"),
        (GOOD + '{"text":5,"label":1}', "row 3 .*text is 5, expected a string"),
        (GOOD + '{"text":"c","label":null}', "row 3 .*label is null; fix"),
        (GOOD + '{"text":"c","label":2}', "row 3 .*label is 2, expected a number from 0 to 1"),
        (GOOD + '{"text":"c","label":-0.1}', "row 3 .*label is -0.1, expected a number from 0 to 1"),
        (GOOD + '{"text":"c","label":"1"}', 'row 3 .*label is "1", expected a number'),
        (GOOD + '{"text":"c","label":NaN}', "row 3 .*NaN is not a JSON number"),
        (GOOD + '{"text":"c","label":1e999}', "row 3 .*label is inf, expected a finite number"),
        (GOOD + '{"text":"c","label":1', "row 3 .*not JSON .*one object a line"),
        (GOOD + "[1]", "row 3 .*JSON array; expected one object"),
        (GOOD + "null", "row 3 .*JSON null; expected one object"),
        (GOOD + '{"text":"\\ud800","label":1}', "row 3 .*half of a surrogate pair"),
        ('[\n{"text":"a","label":1}\n]', "row 1 .*not JSON .*one object a line"),
        (GOOD.encode() + b'{"text":"\xff","label":1}', "line 3: not UTF-8 .*save the file as UTF-8"),
        ("text,label\na,1\nb,x\n", r'row 2 \(line 3\): label is "x", expected a number'),
        ("text,label\na,1\nb,nan\n", "row 2 .*label is nan, expected a finite number"),
        ("text,label\na,1\nb,\n", "row 2 .*label is null"),
        ("text,label\na,1\nb\n", "row 2 .*has 1 cells, the header 2; quote"),
        ("text,label\na,1\nb, c,0\n", "row 2 .*has 3 cells, the header 2; quote"),
        ('text,label\na,1\n"b"c,0\n', "row 2 .*not CSV"),
        ('text,label\na,1\n"b,0\n', "row 2 .*not CSV"),
        ("text,label,text\na,1,b\n", "the header names text twice"),
        ("comment,label\na,1\n", "row 1 .*has no text, its columns are comment, label; .*--map text=COLUMN"),
        ('{"text":"a","label":1}\n' * 3, "all 3 rows have label 0.5 or more; metrics need both"),
        ('{"text":"a","label":0}\n' * 2, "all 2 rows have label under 0.5; metrics need both"),
    ],
)
def test_wrong_input_stops_with_file_row_and_a_way_out(file, content, said):
    path = file(content, name="wrong.data")
    with pytest.raises(DataError, match=rf"^\S*wrong\.data[,:] ?.*{said}"):
        labelled(path)


def test_broken_gzip_is_told(file, tmp_path):
    whole = gzip.compress("".join(f'{{"text":"{k} {k**9}","label":{k % 2}}}\n' for k in range(5_000)).encode())
    for name, data in {"cut": whole[:-2_000], "bent": whole[:-8] + bytes(4) + whole[-4:]}.items():
        path = tmp_path / name
        path.write_bytes(data)
        with pytest.raises(
            DataError, match=rf"{name}, after line \d+: cannot be read any further .*get the file again"
        ):
            labelled(path)


def test_files_must_be_there_and_different(file, tmp_path):
    path = file(GOOD)
    with pytest.raises(ConfigError, match=r"none: cannot be read"):
        labelled(tmp_path / "none")
    with pytest.raises(ConfigError, match=r"cannot be read"):
        labelled(tmp_path)
    with pytest.raises(ConfigError, match="given twice"):
        labelled(path, path)
    with pytest.raises(ConfigError, match="no data"):
        labelled()


def test_events_of_several_rows_need_another_shape(file):
    plan = FieldPlan((Field("text", "candidates[*].text"),))
    with pytest.raises(ConfigError, match="several rows per event"):
        labelled(file(GOOD), plan=plan)


def test_names():
    assert parse_names(["text=a=b", "label=toxic"], ("text", "label")) == {"text": "a=b", "label": "toxic"}
    for pairs, said in ((["text"], "NEW=OLD"), (["x=y"], "known are text"), (["text=a", "text=b"], "already")):
        with pytest.raises(ConfigError, match=said):
            parse_names(pairs, ("text", "label"))


CANDIDATES = [
    {"qid": "q1", "query": "one", "docid": f"d{k}", "title": "" if k else "t", "text": f"x{k}", "label": k % 3, "s": k}
    for k in range(30)
] + [{"qid": 2, "query": "two", "docid": 9, "text": "x", "label": None, "s": None}]


def test_candidates_are_kept_together_and_in_no_order_of_the_file(file):
    mixed = [CANDIDATES[0], CANDIDATES[-1], *CANDIDATES[1:-1]]
    read = read_candidates([file(mixed)], {})
    assert (read.qids, read.queries) == (("q1", "2"), ("one", "two"))
    assert read.query_indptr.tolist() == [0, 30, 31]
    assert sorted(read.docids[:30]) == sorted(f"d{k}" for k in range(30))
    assert read.docids[:30] != tuple(f"d{k}" for k in range(30))
    for docid, text, title, label in zip(read.docids, read.texts, read.titles, read.labels, strict=True):
        if docid == "9":
            assert (text, title) == ("x", "")
            assert np.isnan(label)
        else:
            k = int(docid[1:])
            assert (text, title, label) == (f"x{k}", "" if k else "t", k % 3)
    assert read.docids == read_candidates([file(mixed)], {}).docids
    assert read.docids != read_candidates([file(mixed)], {}, seed=1).docids


def test_rows_that_the_first_stage_had_not_found_are_left_out_and_counted(file):
    read = read_candidates([file(CANDIDATES)], {}, first_stage="s")
    assert (read.qids, read.left_out, len(read)) == (("q1",), 1, 30)
    assert [f"d{int(score)}" for score in read.first_stage] == list(read.docids)
    with pytest.raises(DataError, match="no row has a score in bm25"):
        read_candidates([file(CANDIDATES)], {}, first_stage="bm25")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"label": -1}, "label is -1, expected 0 or more"),
        ({"label": "x"}, 'label is "x", expected a number'),
        ({"title": "", "text": " "}, "title and text are both empty"),
        ({"qid": None}, "qid is null"),
        ({"docid": 1.5}, "docid is 1.5, expected a string"),
        ({"s": "high"}, 's is "high", expected a number'),
    ],
)
def test_wrong_candidates_are_refused(file, change, said):
    with pytest.raises(DataError, match=f"row 2 .*{said}"):
        read_candidates([file([CANDIDATES[0], {**CANDIDATES[1], **change}])], {}, first_stage="s")


def test_candidates_need_right_and_wrong_ones(file):
    with pytest.raises(DataError, match=r"all 31 rows have label under 9; .* or another --positive-from"):
        read_candidates([file(CANDIDATES)], {}, positive_from=9)


def test_judgements(file):
    path = file("qid,docid,label\nq,a,0\nq,b,3\n")
    assert read_qrels(path, {}) == {("q", "a"): 0, ("q", "b"): 3}
    with pytest.raises(DataError, match=r"row 3 .*a is judged twice for q"):
        read_qrels(file("qid,docid,label\nq,a,0\nq,b,3\nq,a,1\n"), {})


def test_impressions_keep_order_prices_and_the_columns_asked_for(file):
    path = file("os,click,market_price\nios,1,70\nweb,0,0\n")
    read = read_impressions([path], {}, slices=["os"])
    assert read.clicks.tolist() == [1, 0]
    assert read.market_prices.tolist() == [70, 0]
    assert read.slices == {"os": ("ios", "web")}
    assert read_impressions([file("y,n\n1,2\n0,3\n")], {"click": "y"}).market_prices is None


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("click\n1\n0.5\n", "row 2 .*click is 0.5, expected 0 or 1"),
        ("click\n1\n2\n", "row 2 .*click is 2, expected a number from 0 to 1"),
        ("click,market_price\n1,5\n0,-1\n", "row 2 .*market_price is -1, expected 0 or more"),
        ("click,market_price\n1,5\n0,\n", "row 2 .*market_price is null"),
        ('{"click":1,"market_price":5}\n{"click":0}\n', "row 2 .*has no market_price; replay"),
        ('{"click":1}\n{"click":0,"market_price":5}\n', "row 2 .*has market_price, rows before it have none"),
        ("click\n0\n0\n", "all 2 rows have no click"),
        ("clicks\n0\n", "row 1 .*has no click, its columns are clicks"),
    ],
)
def test_wrong_impressions_are_refused(file, content, said):
    with pytest.raises(DataError, match=said):
        read_impressions([file(content)], {})


def test_a_column_that_is_asked_for_must_be_there(file):
    with pytest.raises(DataError, match=r"row 1 .*has no pctr \(column p\), .*with --map pctr=COLUMN"):
        read_impressions([file("click\n0\n1\n")], {}, Layout(pctr="p"))


@needs_shared_data
def test_shared_files_are_read_as_they_are():
    for path in sorted((DATA / "moderation").glob("*/test*.gz")):
        assert len(labelled(path)) > 400
    with pytest.raises(DataError, match=r"all 8,311 rows have label under 0\.5"):
        labelled(shared("moderation/stormfront/extra_train.jsonl.gz"))
    for path in sorted((DATA / "rerank").glob("*/test.jsonl.gz")):
        rows = read_candidates([path], {}, positive_from=2.33 if "home_depot" in str(path) else 1)
        assert rows.query_indptr[-1] == len(rows) > 500
    for path in sorted((DATA / "ad").glob("*/test.csv.gz")):
        if "2259" in str(path):
            with pytest.raises(DataError, match="all 4,171 rows have no click"):
                read_impressions([path], {})
        else:
            assert len(read_impressions([path], {})) > 6_000
    assert len(read_qrels(shared("rerank/trec_dl21/qrels.csv.gz"), {})) == 10_828
