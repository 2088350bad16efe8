"""``farthing evaluate`` on rankings: its figures beside plain loops, judgements that stand apart, and what is refused."""

import json
import math

import numpy as np
import pytest

from farthing import Scorer
from farthing.errors import ConfigError, DataError
from farthing.evaluate.options import EvaluateOptions
from farthing.evaluate.rank_plots import DEPTH, curves_of
from farthing.evaluate.run import run
from farthing.model.shipped import find_bundle
from tests.bundle_factory import RERANK_WORDS, make_rerank_bundle
from tests.evaluate.shared import needs_shared_data, shared


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    return make_rerank_bundle(tmp_path_factory.mktemp("bundle")).path


def rows(n_queries=12, *, seed=3):
    rng = np.random.default_rng(seed)
    found = []
    for q in range(n_queries):
        for d in range(3 + q % 4):
            text = " ".join(rng.choice(RERANK_WORDS, 9))
            found.append(
                {
                    "qid": f"q{q}", "query": " ".join(rng.choice(RERANK_WORDS, 4)) if d == 0 else found[-1]["query"],
                    "docid": f"d{q}-{d}", "title": "fever" if d % 2 else "", "text": text,
                    "label": None if d == 2 else 0 if q == 5 else int(rng.integers(0, 4)),
                    "bm25": None if d == 1 and q == 1 else round(float(rng.random()), 4),
                }
            )  # fmt: skip
    return found


def write(path, lines):
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def report_of(capsys, *arguments, **options):
    assert run(EvaluateOptions(*arguments, **{"resamples": 20, "as_json": True, **options})) == 0
    out, err = capsys.readouterr()
    return json.loads(out.splitlines()[-1]), err


def plain(lists):
    """Means over queries of average precision, reciprocal rank and nDCG@10: (labels in ranked order, all labels)."""
    ap, rr, ndcg = [], [], []
    for ranked, judged in lists:
        hits = [k for k, label in enumerate(ranked, 1) if label >= 1]
        relevant = sum(label >= 1 for label in judged)
        if relevant:
            ap.append(sum((n + 1) / k for n, k in enumerate(hits)) / relevant)
            rr.append(1 / hits[0] if hits else 0.0)
            ndcg.append(dcg(ranked) / dcg(sorted(judged, reverse=True)))
    return [float(np.mean(values)) for values in (ap, rr, ndcg)]


def dcg(labels):
    return sum(label / math.log2(k + 1) for k, label in enumerate(labels[:10], 1))


def ranked_by_the_service(bundle, lines):
    """Rankings as ``farthing score`` gives them, by query: docids."""
    queries = {}
    for line in lines:
        queries.setdefault(line["qid"], []).append(line)
    events = []
    for qid, group in queries.items():
        candidates = [
            {
                "id": line["docid"], "text": line["text"], **({"title": line["title"]} if line["title"] else {}),
                **({} if line.get("s") is None else {"score": line["s"]}),
            }
            for line in group
        ]  # fmt: skip
        events.append(json.dumps({"id": qid, "query": group[0]["query"], "candidates": candidates}).encode())
    values = Scorer.load(bundle).score_events(events).values
    return {json.loads(v)["id"]: [r["id"] for r in json.loads(v)["ranking"]] for v in values}


def test_figures_are_those_of_plain_loops_over_the_service_s_rankings(bundle, tmp_path, capsys):
    lines = rows()
    report, told = report_of(capsys, str(bundle), (write(tmp_path / "rows.jsonl", lines),))
    label = {line["docid"]: line["label"] or 0 for line in lines}
    lists = [
        ([label[d] for d in docs], [label[d] for d in docs]) for docs in ranked_by_the_service(bundle, lines).values()
    ]
    found = [report["metrics"][name]["value"] for name in ("map", "mrr", "ndcg@10")]
    assert found == pytest.approx(plain(lists), abs=1e-6)
    assert (report["rows"], report["queries"], report["queries_without_positive"]) == (len(lines), 12, 1)
    assert "1 of 12 queries have no relevant document and are left out of map and mrr" in " ".join(told.split())
    assert "12 candidates are not judged" in told
    assert all(m["low"] <= m["value"] <= m["high"] for m in report["metrics"].values())


def test_a_first_stage_is_scored_with_and_compared(bundle, tmp_path, capsys):
    lines = rows()
    path = write(tmp_path / "rows.jsonl", lines)
    report, told = report_of(capsys, str(bundle), (path,), first_stage="bm25")
    kept = [{**line, "s": line["bm25"]} for line in lines if line["bm25"] is not None]
    assert (report["rows"], report["rows_without_first_stage"]) == (len(kept), 1)
    assert "1 rows have no bm25 and are left out" in told
    label = {line["docid"]: line["label"] or 0 for line in lines}
    lists = [
        ([label[d] for d in docs], [label[d] for d in docs]) for docs in ranked_by_the_service(bundle, kept).values()
    ]
    assert report["metrics"]["ndcg@10"]["value"] == pytest.approx(plain(lists)[2], abs=1e-6)
    by_query = {}
    for line in sorted(kept, key=lambda line: -line["bm25"]):
        by_query.setdefault(line["qid"], []).append(label[line["docid"]])
    first = report["compared"]["first stage (bm25)"]["metrics"]
    assert first["map"]["value"] == pytest.approx(plain([(x, x) for x in by_query.values()])[0], abs=1e-6)


def test_judgements_that_stand_apart(bundle, tmp_path, capsys):
    lines = rows()
    whole = {(line["qid"], line["docid"]): line["label"] for line in lines if line["label"] is not None}
    judged = {**whole, ("q0", "never found"): 3, ("q99", "d"): 2}
    qrels = tmp_path / "qrels.csv"
    qrels.write_text("qid,docid,label\n" + "".join(f"{q},{d},{label}\n" for (q, d), label in judged.items()))
    bare = [{key: value for key, value in line.items() if key != "label"} for line in lines]
    report, _ = report_of(capsys, str(bundle), (write(tmp_path / "bare.jsonl", bare),), qrels=qrels)
    lists = []
    for qid, docs in ranked_by_the_service(bundle, lines).items():
        mine = [label for (q, _), label in judged.items() if q == qid]
        lists.append(([judged.get((qid, d), 0) for d in docs], mine))
    assert [report["metrics"][n]["value"] for n in ("map", "mrr", "ndcg@10")] == pytest.approx(plain(lists), abs=1e-6)
    same, _ = report_of(capsys, str(bundle), (write(tmp_path / "rows.jsonl", lines),), qrels=qrels)
    assert same["metrics"] == report["metrics"]
    lines[0]["label"] = 9
    with pytest.raises(DataError, match=r"row 1 .*label is 9, the judgements of --qrels say"):
        run(EvaluateOptions(str(bundle), (write(tmp_path / "other.jsonl", lines),), qrels=qrels))
    with pytest.raises(DataError, match=r"bare\.jsonl, row 1 .*has no label"):
        run(EvaluateOptions(str(bundle), (tmp_path / "bare.jsonl",)))


def test_files_stand_by_themselves(bundle, tmp_path, capsys):
    paths = write(tmp_path / "a.jsonl", rows(seed=3)), write(tmp_path / "b.jsonl", rows(seed=4))
    both, _ = report_of(capsys, str(bundle), paths)
    assert both["rows"] == sum(group["rows"] for group in both["sources"].values())
    for path in paths:
        alone, _ = report_of(capsys, str(bundle), (path,))
        assert both["sources"][str(path)]["metrics"]["mrr"] == alone["metrics"]["mrr"]


def test_titles_stand_for_texts_that_are_empty_and_columns_may_be_called_otherwise(bundle, tmp_path, capsys):
    lines = [{**line, "title": line["text"], "text": ""} for line in rows()]
    plainly, _ = report_of(capsys, str(bundle), (write(tmp_path / "t.jsonl", lines),))
    other = [{("doc" if key == "docid" else key): value for key, value in line.items()} for line in rows()]
    for line in other:
        line["title"] = ""
    named, _ = report_of(capsys, str(bundle), (write(tmp_path / "n.jsonl", other),), names=("docid=doc",))
    assert plainly["metrics"] == named["metrics"]


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"query": "something else"}, r"row 2 .*query q0 has another text than in rows before it"),
        ({"label": float("nan")}, r"row 2 .*not JSON \(NaN is not a JSON number\)"),
        ({"text": ""}, r"row 2 .*title and text are both empty"),
    ],
)
def test_wrong_rows_name_file_and_row(bundle, tmp_path, changed, said):
    lines = [{**line, "title": ""} for line in rows()]
    lines[1].update(changed)
    with pytest.raises(DataError, match=rf"rows\.jsonl, {said}"):
        run(EvaluateOptions(str(bundle), (write(tmp_path / "rows.jsonl", lines),)))


def test_a_query_may_be_spelt_in_two_ways(bundle, tmp_path, capsys):
    lines = rows()
    plainly, _ = report_of(capsys, str(bundle), (write(tmp_path / "rows.jsonl", lines),))
    lines[1]["query"] = lines[1]["query"].upper() + " ."
    spelt, _ = report_of(capsys, str(bundle), (write(tmp_path / "rows.jsonl", lines),))
    assert plainly["metrics"] == spelt["metrics"]


def test_a_document_may_stand_twice_in_a_query_but_not_where_judgements_stand_apart(bundle, tmp_path, capsys):
    lines = rows()
    lines[1]["docid"] = "d0-0"
    path = write(tmp_path / "rows.jsonl", lines)
    report, told = report_of(capsys, str(bundle), (path,))
    assert (report["rows"], report["repeated_candidates"]) == (len(lines), 1)
    assert "1 candidates have the docid of another" in " ".join(told.split())
    qrels = tmp_path / "qrels.csv"
    qrels.write_text("qid,docid,label\nq0,d0-0,1\n")
    with pytest.raises(DataError, match=r"row 2 .*d0-0 is a candidate of q0 for the second time"):
        run(EvaluateOptions(str(bundle), (path,), qrels=qrels))


def test_flags_of_other_tasks_are_refused(bundle, tmp_path):
    path = write(tmp_path / "rows.jsonl", rows())
    for flag, options in (("--head", {"head": "x"}), ("--slice", {"slices": ("a",)}), ("--prices", {"prices": path})):
        with pytest.raises(ConfigError, match=rf"{flag} does not apply to a bundle of the task rerank"):
            run(EvaluateOptions(str(bundle), (path,), **options))


def test_pictures(bundle, tmp_path, capsys):
    path = write(tmp_path / "rows.jsonl", rows())
    report_of(capsys, str(bundle), (path,), first_stage="bm25", plots=tmp_path / "plots")
    assert (tmp_path / "plots" / "ranks.png").read_bytes().startswith(b"\x89PNG\r\n")


def test_curves_of_ranks_by_hand():
    ranked = np.array([True, False, True, False, False, True])
    precision, recall = curves_of(ranked, np.array([0, 3, 4, 6]))  # the second query has nothing relevant
    assert precision[:3] == pytest.approx([(1 + 0) / 2, (0.5 + 0.5) / 2, (2 / 3 + 1 / 3) / 2])
    assert recall[:3] == pytest.approx([(0.5 + 0) / 2, (0.5 + 1) / 2, 1])
    assert len(precision) == len(recall) == DEPTH and recall[-1] == 1


@needs_shared_data
def test_the_shipped_bundle_is_as_good_as_its_card_says(capsys):
    stated = json.loads((find_bundle("rerank") / "manifest.json").read_text())["evaluation"]["sets"]
    report, _ = report_of(
        capsys, "rerank", (shared("rerank/trec_dl21/test.jsonl.gz"),), first_stage="bm25_score",
        qrels=shared("rerank/trec_dl21/qrels.csv.gz"),
    )  # fmt: skip
    there = stated["trec_dl21, BM25 top 100"]
    assert report["metrics"]["ndcg@10"]["value"] == pytest.approx(there["int8"]["ndcg@10"]["value"], abs=2e-3)
    assert report["metrics"]["mrr"]["value"] == pytest.approx(there["int8"]["mrr"]["value"], abs=2e-3)
    first = report["compared"]["first stage (bm25_score)"]["metrics"]["ndcg@10"]["value"]
    assert first == pytest.approx(there["first stage"]["ndcg@10"]["value"], abs=2e-3)  # equal scores by chance
    report, _ = report_of(capsys, "rerank", (shared("rerank/liveqa_med/test.jsonl.gz"),))
    assert report["metrics"]["ndcg@10"]["value"] == pytest.approx(
        stated["liveqa_med"]["int8"]["ndcg@10"]["value"], abs=2e-3
    )
