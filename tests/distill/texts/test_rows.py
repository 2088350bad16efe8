"""Data files are read, and whatever is wrong with one is said with its file, its row and the remedy."""

import csv
import gzip
import json

import numpy as np
import pytest

from farthing.distill.texts.prepare import prepare
from farthing.distill.texts.recipe import read_recipe
from farthing.distill.texts.rows import key_of, read_file
from farthing.distill.texts.splits import read_splits, truth
from farthing.errors import ConfigError, DataError
from tests.distill.texts.cases import RECIPE, make_rows, write_lines, write_task


def splits_of(folder, **kwargs):
    recipe, _ = read_recipe(write_task(folder, **kwargs))
    return read_splits(recipe, folder, lambda line: None)


def changed(rows, at, **values):
    rows[at] = {**rows[at], **values}
    return rows


def test_rows_hold_events_gold_and_teachers(tmp_path):
    recipe, _ = read_recipe(write_task(tmp_path, rows=make_rows(40)))
    file = read_file(tmp_path / "train.jsonl", recipe, 0)
    rows = make_rows(40)
    assert [json.loads(e)["text"] for e in file.rows.events] == [r["text"] for r in rows]
    assert np.isnan(file.rows.gold[0, 0]) and file.rows.gold[1, 0] == rows[1]["label"]
    p = rows[3]["answers"]["big"]
    assert file.rows.given["big"][3, 0] == pytest.approx(np.log(p / (1 - p)), rel=1e-5)
    assert file.rows.places[2] == f"{tmp_path / 'train.jsonl'}:3"


def test_gzip_and_csv_give_the_same_rows(tmp_path):
    rows = [{"id": r["id"], "text": r["text"], "label": k % 2} for k, r in enumerate(make_rows(30))]
    text = RECIPE.replace('[source.teacher]\nbig = { rude = "answers.big" }\n', "").replace(
        '[[teacher]]\nkind = "given"\nname = "big"\n', ""
    )
    found = []
    for name in ("train.jsonl.gz", "train.csv"):
        if name.endswith(".gz"):
            (tmp_path / name).write_bytes(gzip.compress("\n".join(map(json.dumps, rows)).encode()))
        else:
            with (tmp_path / name).open("w", newline="") as file:
                writer = csv.DictWriter(file, list(rows[0]))
                writer.writeheader()
                writer.writerows(rows)
        path = tmp_path / "r.toml"
        path.write_text(text.replace("train.jsonl", name))
        recipe, _ = read_recipe(path)
        found.append(read_file(tmp_path / name, recipe, 0).rows)
    assert found[0].keys == found[1].keys
    assert np.array_equal(found[0].gold, found[1].gold)


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"label": 2}, r"train\.jsonl, row 8 \(line 8\): label is 2, expected a number from 0 to 1"),
        ({"label": -0.5}, r"train\.jsonl, row 8 \(line 8\): label is -0.5"),
        ({"label": float("nan")}, r"train\.jsonl, row 8 \(line 8\): .*NaN is not a JSON number"),
        (
            {"label": "yes"},
            r'train\.jsonl, row 8 \(line 8\): label is "yes", expected a number as in other rows.*positive = ',
        ),
        ({"answers": {"big": 1.5}}, r"train\.jsonl:8: answers\.big is 1\.5"),
        ({"answers": {}}, r"train\.jsonl:8: no column 'answers\.big'.*null"),
        ({"id": "r3"}, r"train\.jsonl:8: id 'r3' is in line 4 too"),
        ({"text": None}, r"train\.jsonl:8: the event would be refused when served.*fix"),
        ({"text": 5}, r"train\.jsonl:8: the event would be refused when served"),
    ],
)
def test_a_wrong_row_is_named(tmp_path, values, said):
    recipe, _ = read_recipe(write_task(tmp_path, rows=changed(make_rows(60), 7, **values)))
    with pytest.raises(DataError, match=said):
        prepare(
            recipe, tmp_path, {}, work=tmp_path / "work", threads=1, progress=lambda *a: None, say=lambda line: None
        )


def test_lines_that_are_no_objects_are_named(tmp_path):
    path = write_task(tmp_path, rows=make_rows(5))
    recipe, _ = read_recipe(path)
    for line, said in (("{", "not JSON"), ("[1]", "expected one object")):
        (tmp_path / "train.jsonl").write_text(json.dumps(make_rows(1)[0]) + "\n" + line + "\n")
        with pytest.raises(DataError, match=rf"train\.jsonl, row 2 \(line 2\): .*{said}"):
            read_file(tmp_path / "train.jsonl", recipe, 0)


def test_missing_files_and_empty_files_are_named(tmp_path):
    recipe, _ = read_recipe(write_task(tmp_path, rows=[]))
    with pytest.raises(DataError, match=r"train\.jsonl: has no rows"):
        read_splits(recipe, tmp_path, lambda line: None)
    (tmp_path / "train.jsonl").unlink()
    with pytest.raises(ConfigError, match="--data"):
        read_splits(recipe, tmp_path, lambda line: None)


def test_ids_in_two_splits_are_refused(tmp_path):
    rows = make_rows(400)
    write_lines(tmp_path / "test.jsonl", [{**make_rows(40, seed=9)[k], "id": f"t{k}"} for k in range(40)])
    recipe = RECIPE.replace('train = "train.jsonl"', 'train = "train.jsonl"\ntest = "test.jsonl"')
    splits_of(tmp_path, rows=rows, recipe=recipe)
    write_lines(tmp_path / "test.jsonl", make_rows(40, seed=9))
    with pytest.raises(DataError, match=r"test\.jsonl:1: id 'r0' is in .*train\.jsonl:1 too.*remove"):
        splits_of(tmp_path, rows=rows, recipe=recipe)


def test_one_class_only_is_refused(tmp_path):
    rows = [{**row, "label": 1 if row["label"] is not None else None} for row in make_rows(200)]
    with pytest.raises(DataError, match=r"train\.jsonl: the train split has only labels of class 1 for head rude"):
        splits_of(tmp_path, rows=rows)


def test_a_split_that_repeats_the_test_split_is_empty(tmp_path):
    rows = make_rows(200)
    recipe = RECIPE.replace('train = "train.jsonl"', 'train = "train.jsonl"\ndev = "dev.jsonl"\ntest = "test.jsonl"')
    for name, ids in (("dev", "d"), ("test", "t")):
        write_lines(tmp_path / f"{name}.jsonl", [{**r, "id": f"{ids}{k}"} for k, r in enumerate(make_rows(50, seed=3))])
    with pytest.raises(DataError, match=r"dev\.jsonl: the dev split of source made is empty"):
        splits_of(tmp_path, rows=rows, recipe=recipe)


def test_leaks_and_repeats_are_left_out_and_splits_are_the_same_at_every_run(tmp_path):
    rows = make_rows(600)
    rows += [{**row, "id": f"x{k}", "text": "RT " + row["text"].upper() + "!"} for k, row in enumerate(rows[:300])]
    splits = splits_of(tmp_path, rows=rows)
    again = splits_of(tmp_path, rows=rows)
    keys = [set(getattr(splits, name).keys) for name in ("train", "dev", "test")]
    assert not (keys[0] & keys[1] or keys[0] & keys[2] or keys[1] & keys[2])
    assert len(splits.train) + len(splits.dev) + len(keys[2]) == 600
    assert splits.dev.events == again.dev.events
    assert 20 < len(splits.dev) < 120


def test_truth_is_gold_or_else_the_teachers(tmp_path):
    splits = splits_of(tmp_path, n=300)
    known, labels = truth(splits.dev, 0)
    assert np.array_equal(labels, splits.dev.gold[known, 0]) and 0 < known.sum() < len(known)
    no_gold = [{**row, "label": None} for row in make_rows(300)]
    splits = splits_of(tmp_path, rows=no_gold)
    known, labels = truth(splits.dev, 0)
    assert known.all()
    assert np.array_equal(labels, splits.dev.given["big"][:, 0] > 0)


def test_keys_forget_case_punctuation_and_the_retweet_mark():
    assert key_of("RT Hello, World!") == key_of("hello world")
    assert key_of("!!!") != key_of("???")


CSV_RECIPE = """
name = "spam"
task = "classify"
description = "Spam."
[[field]]
name = "channel"
path = "channel"
[[field]]
name = "price"
path = "price"
kind = "number"
[[source]]
name = "made"
train = "train.csv"
gold = { spam = "spam" }
licence = "CC0-1.0"
[features]
n_buckets = 1024
[[features.features]]
kind = "categorical"
field = "channel"
[[features.features]]
kind = "numeric"
field = "price"
boundaries = [1.0]
"""


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("channel,price,spam\na,1,0\nb,nan,1\n", r"train\.csv:3: price is 'nan', expected a finite number; fix"),
        ("channel,price,spam\na,1,0\nb,much,1\n", r"train\.csv:3: price is 'much'"),
        (
            "channel,price,spam\na,1,0\nb,1,2\n",
            r"train\.csv, row 2 \(line 3\): spam is 2, expected a number from 0 to 1",
        ),
        (
            "channel,price,spam\na,1,0\nb,1,NaN\n",
            r"train\.csv, row 2 \(line 3\): spam is nan, expected a finite number",
        ),
        (
            "channel,spam\na,0\nb,1\n",
            r"train\.csv: no row has price, which the feature price reads; fix \[\[field\]\]",
        ),
        ("channel,price\na,1\n", r"train\.csv:2: no column 'spam' for head spam; the row has channel, price"),
        ("channel,price,spam\na,1\n", r"train\.csv, row 1 \(line 2\): has 2 cells, the header 3"),
        ("channel,price,spam\n", r"train\.csv: has no rows"),
        ("channel,price,spam\n" + "".join(f"a,{k},1\n" for k in range(90)), r"train\.csv: the train split has only"),
    ],
)
def test_wrong_csv_names_file_row_and_remedy(tmp_path, content, said):
    (tmp_path / "train.csv").write_text(content)
    path = tmp_path / "r.toml"
    path.write_text(CSV_RECIPE)
    with pytest.raises(DataError, match=said):
        read_splits(read_recipe(path)[0], tmp_path, lambda line: None)
