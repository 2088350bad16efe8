"""Every command reads the same file equally: events by their lines, rows by their cells."""

import csv
import gzip
import io
import json
from pathlib import Path

import pytest
from backports import zstd
from loadtest.events import from_file
from rich.console import Console

from farthing import Scorer
from farthing.breakeven.report import _texts
from farthing.commands.score import _blocks, score_lines
from farthing.demo.events import FileEvents
from farthing.distill.clicks.log import read_clicks
from farthing.distill.clicks.recipe import ClickRecipe
from farthing.distill.data_files import read_texts
from farthing.distill.ranking.data import read_queries
from farthing.distill.texts.recipe import TextRecipe as Recipe
from farthing.distill.texts.rows import read_file
from farthing.evaluate.prices import read_histogram
from farthing.evaluate.rows import read_candidates, read_labelled
from farthing.files import open_source

BOM = b"\xef\xbb\xbf"
ROWS = [
    {"qid": "q", "query": "what?", "docid": "1", "text": 'a "quoted" cell', "label": "1", "click": "1"},
    {"qid": "q", "query": "what?", "docid": "2", "text": "two\nlines, and\ta tab", "label": "0", "click": "0"},
    {"qid": "q", "query": "what?", "docid": "3", "text": "ñ" * 75_000, "label": "0", "click": "0"},  # 150 kB
]


def as_table(delimiter, ends):
    out = io.StringIO(newline="")
    writer = csv.DictWriter(out, list(ROWS[0]), delimiter=delimiter, lineterminator=ends)
    writer.writeheader()
    writer.writerows(ROWS)
    return out.getvalue().encode()


def as_lines():
    numbers = [{**row, "label": int(row["label"]), "click": int(row["click"])} for row in ROWS]
    return "\n".join(json.dumps(row, ensure_ascii=False) for row in numbers).encode()


FORMS = {
    "csv": as_table(",", "\r\n"),
    "csv, byte order mark, gzip": gzip.compress(BOM + as_table(",", "\n")),
    "tsv": as_table("\t", "\n"),
    "tsv, zstd": zstd.compress(as_table("\t", "\r\n")),
    "json lines": as_lines(),
    "json lines, byte order mark, zstd": zstd.compress(BOM + as_lines()),
}
RECIPE = Recipe.model_validate(
    {
        "name": "r", "task": "moderation", "description": "",
        "source": [{"name": "s", "train": "x", "licence": "none", "gold": {"rude": "label"}, "id": "docid"}],
        "features": {"features": [{"kind": "text", "field": "text"}]},
    }
)  # fmt: skip


@pytest.fixture(params=FORMS, ids=list(FORMS))
def path(request, tmp_path):
    file = tmp_path / "data.of-no-known-kind"
    file.write_bytes(FORMS[request.param])
    return file


def texts_of(events):
    return [json.loads(event)["text"] for event in events]


def test_rows_are_the_same_for_every_command(path):
    expected = [row["text"] for row in ROWS]
    rows = read_labelled([path], RECIPE.plan(), {})
    assert (texts_of(rows.events), rows.labels.tolist()) == (expected, [1, 0, 0])
    learnt = read_file(path, RECIPE, 0)
    assert (texts_of(learnt.rows.events), learnt.rows.gold[:, 0].tolist()) == (expected, [1, 0, 0])
    assert learnt.ids.keys() == {"1", "2", "3"}
    assert read_texts(path) == expected
    (query,) = read_queries(path).queries
    assert ([c.text for c in query.candidates], query.gains.tolist()) == (expected, [1, 0, 0])
    candidates = read_candidates([path], {})
    assert sorted(candidates.texts) == sorted(expected)
    assert candidates.labels[list(candidates.docids).index("1")] == 1


def test_a_click_log_is_the_same_in_every_form(path):
    recipe = ClickRecipe.model_construct(
        source=ClickRecipe.model_fields["source"].annotation(
            name="s", train="x", test="y", id="docid", click="click", licence="none"
        ),
        column=(),
        constant=(),
    )
    log = read_clicks(path, recipe)
    assert (log.ids, log.clicks.tolist()) == (("1", "2", "3"), [1, 0, 0])


@pytest.mark.parametrize("form", ["json lines", "json lines, byte order mark, zstd"])
def test_events_are_the_same_for_every_command(tmp_path, form):
    path = tmp_path / "events.csv"
    path.write_bytes(FORMS[form])
    expected = as_lines().split(b"\n")
    with open_source(path) as source:
        assert [line for _, lines in _blocks(source) for line in lines] == expected
    chunk = FileEvents(path).take(10)
    assert [chunk.value(k) for k in range(len(chunk))] == expected
    assert [value for value, _ in from_file(path, "moderation", batch_events=1).batches[0].messages] == expected[:1]
    assert list(_texts(path)) == [row["text"] for row in ROWS]


def test_prices_may_lie_in_any_form(tmp_path):
    for delimiter in ",\t":
        file = tmp_path / "prices"
        file.write_bytes(zstd.compress(f"market_price{delimiter}impressions\n0{delimiter}5\n1{delimiter}7\n".encode()))
        assert read_histogram(file).tolist() == [5, 7]


def test_the_bar_of_score_fills(tmp_path, monkeypatch):
    """The size of the file is known, packed or not, and the last step is at its end."""
    steps, totals = [], []

    class Bar:
        def __init__(self, *columns, **options): ...
        def __enter__(self):
            return self

        def __exit__(self, *error): ...
        def add_task(self, name, total, note):
            totals.append(total)

        def update(self, task, completed, note):
            steps.append(completed)

    monkeypatch.setattr("farthing.commands.score.Progress", Bar)
    path = tmp_path / "e.jsonl.gz"
    path.write_bytes(gzip.compress(BOM + b'{"text":"a"}\n' * 3))
    with open_source(path) as source, (tmp_path / "out").open("wb") as sink:
        done = score_lines(Scorer.load("moderation"), source, sink, None, Console(quiet=True))
    assert (done.scored, done.dead) == (3, 0)
    assert totals == [path.stat().st_size] and steps == totals


def test_a_cut_off_file_is_scored_up_to_there(tmp_path):
    path = tmp_path / "cut.gz"
    path.write_bytes(gzip.compress(b'{"text":"a"}\n' * 99, mtime=0)[:-8])
    with open_source(path) as source, pytest.raises(Exception, match="what came before is scored"):
        blocks = _blocks(source)
        assert len(next(blocks)[1]) == 99
        next(blocks)


def test_no_other_module_reads_such_files():
    root = Path(__file__).resolve().parents[2]
    readers = {
        str(path.relative_to(root))
        for folder in ("service/farthing", "loadtest")
        for path in (root / folder).rglob("*.py")
        for line in path.read_text().splitlines()
        if line.startswith(("import csv", "import gzip", "from csv", "from gzip"))
    }
    assert readers == {"service/farthing/files/rows.py", "service/farthing/files/source.py"}
