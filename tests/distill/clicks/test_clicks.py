"""Click logs as bid requests, recipes, calibration and the market; training itself where PyTorch and LightGBM are."""

import dataclasses
import gzip
import importlib.util
import json
from pathlib import Path

import numpy as np
import pytest

from farthing import Scorer
from farthing.blocks import Outcome
from farthing.distill.clicks import build as build_module
from farthing.distill.clicks.build import build_clicks, fit_market, measure_clicks
from farthing.distill.clicks.log import golden_events, read_clicks
from farthing.distill.clicks.recipe import Market, read_click_recipe
from farthing.distill.clicks.train import calibrate
from farthing.errors import BundleError, ConfigError, DataError
from farthing.evaluate.measures.bidding import PriceModel, bid
from farthing.evaluate.prices import read_histogram
from farthing.evaluate.requests import put
from farthing.payload import parse

RECIPES = Path(__file__).parents[3] / "models" / "recipes"
RECIPE = """
name = "small"
task = "bidding"
description = "A log made up by a test."
slices = ["os"]
[source]
name = "log"
train = "train.csv"
test = "test.csv.gz"
absent = ["", "null"]
licence = "CC0-1.0"
[[column]]
column = "os"
path = "device.os"
[[column]]
column = "size"
path = "imp[*].ext.size"
kind = "number"
[[column]]
column = "floor"
name = "bidfloor"
path = "imp[*].bidfloor"
values = { low = 0.1, high = 2.0 }
[[constant]]
path = "imp[*].banner.w"
value = 300
[features]
n_buckets = 1024
[[features.features]]
kind = "categorical"
field = "os"
[[features.features]]
kind = "numeric"
field = "size"
boundaries = [2.0, 4.0]
per_row = true
[[features.features]]
kind = "numeric"
field = "bidfloor"
boundaries = [1.0]
per_row = true
[training]
epochs = 4
folds = 3
batch = 64
learning_rate = 0.02
[campaign]
campaign = "c"
currency = "USD"
value_per_click = 1.0
crid = "c-1"
offers = ["banner_w"]
"""
HEADER = "id,os,size,floor,click"


def recipe(tmp_path, text=RECIPE):
    path = tmp_path / "r.toml"
    path.write_text(text)
    return read_click_recipe(path)


def log(tmp_path, *lines, name="train.csv"):
    path = tmp_path / name
    data = "\n".join([HEADER, *lines, ""]).encode()
    path.write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
    return path


def test_rows_become_requests_that_the_plan_reads(tmp_path):
    read, _ = recipe(tmp_path)
    found = read_clicks(log(tmp_path, "a,android,3,low,1", "b,null,,high,0", 'c,"i""OS",1e2,low,0'), read)
    assert [json.loads(event) for event in found.events] == [
        {
            "id": "a",
            "imp": [{"id": "1", "banner": {"w": 300}, "ext": {"size": 3}, "bidfloor": 0.1}],
            "device": {"os": "android"},
        },
        {"id": "b", "imp": [{"id": "1", "banner": {"w": 300}, "bidfloor": 2.0}]},
        {
            "id": "c",
            "imp": [{"id": "1", "banner": {"w": 300}, "ext": {"size": 100}, "bidfloor": 0.1}],
            "device": {"os": 'i"OS'},
        },
    ]
    assert found.clicks.tolist() == [1, 0, 0]
    assert found.cells["bidfloor"] == (0.1, 2.0, 0.1)
    columns = parse(Scorer.records_of(found.events), read.plan())
    assert columns.status.tolist() == [0, 0, 0]
    assert np.array_equal(columns.columns["size"].values, [3, np.nan, 100], equal_nan=True)
    assert columns.columns["banner_w"].presence.tolist() == [2, 2, 2]


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        (["a,x,1,low,1", "b,x,1,low,2"], r"train.csv, row 2 \(line 3\): click is 2, expected"),
        (["a,x,1,low,1", "a,x,1,low,0"], r"train.csv:3: id 'a' is also that of line 2"),
        (["a,x,1,low,1", "b,x,1,odd,0"], r"train.csv:3: floor is 'odd', which \[\[column\]\] values does not map"),
        (["a,x,much,low,1", "b,x,1,low,0"], r"train.csv:2: size is 'much', expected a number"),
        (["a,x,nan,low,1", "b,x,1,low,0"], r"train.csv:2: size is 'nan'"),
        (["a,x,1,low,1", "b,x,1,low,nan"], r"row 2 \(line 3\): click is nan, expected"),
        (["a,x,1,low,1", "b,x,1,low"], r"row 2 \(line 3\): has 4 cells, the header 5"),
        (["a,x,1,low,0", "b,x,1,low,0"], r"2 rows, 0 of them clicks"),
        ([], r"train.csv: has no rows"),
    ],
)
def test_bad_logs_name_the_row(tmp_path, lines, said):
    with pytest.raises(DataError, match=said):
        read_clicks(log(tmp_path, *lines), recipe(tmp_path)[0])


def test_logs_that_cannot_be_read(tmp_path):
    read, _ = recipe(tmp_path)
    with pytest.raises(ConfigError, match="--data"):
        read_clicks(tmp_path / "none.csv", read)
    (tmp_path / "other.csv").write_text("id,click\na,1\n")
    with pytest.raises(DataError, match=r"no columns \['floor', 'os', 'size'\]"):
        read_clicks(tmp_path / "other.csv", read)
    (tmp_path / "cut.gz").write_bytes(gzip.compress(b"id,os,size,floor,click\n")[:-12])
    with pytest.raises(DataError, match="cannot be read any further"):
        read_clicks(tmp_path / "cut.gz", read)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('field = "os"', 'field = "browser"', "browser"),
        ("per_row = true", "per_row = false", "fields below"),
        ('path = "device.os"', 'path = "device..os"', "device..os"),
        ('currency = "USD"', 'currency = "USD"\nstrategy = "ortb"', "belong together"),
        ('name = "small"', "", "name"),
        ('task = "bidding"', 'task = "moderation"', "bidding"),
        ("epochs = 4", "epochs = 0", "training.epochs"),
        ('slices = ["os"]', 'slices = ["colour"]', "colour"),
    ],
)
def test_recipes_that_cannot_be(tmp_path, old, new, said):
    with pytest.raises(ConfigError, match=said):
        recipe(tmp_path, RECIPE.replace(old, new, 1))


@pytest.mark.parametrize("name", ["bidding", "ipinyou", "kdd12"])
def test_kept_recipes(name):
    read, sha256 = read_click_recipe(RECIPES / f"{name}.toml")
    assert read.name == name and len(sha256) == 64
    assert {"id", "imp_id", "bidfloor", "cur"} <= {field.name for field in read.plan().fields}


def test_values_go_where_their_paths_say():
    request = {"id": "r", "imp": [{"id": "1"}]}
    put(request, "imp[*].ext.a", 1)
    put(request, "imp[*].ext.b", 2)
    put(request, "site.publisher.id", "p")
    assert request == {"id": "r", "imp": [{"id": "1", "ext": {"a": 1, "b": 2}}], "site": {"publisher": {"id": "p"}}}


def test_calibration_finds_slope_and_shift():
    rng = np.random.default_rng(0)
    logits = rng.normal(-3, 1, 200_000)
    clicks = (rng.random(len(logits)) < 1 / (1 + np.exp(-(0.5 * logits + 0.25)))).astype(np.float32)
    slope, shift = calibrate(clicks, logits.astype(np.float32))
    assert slope == pytest.approx(0.5, abs=0.02) and shift == pytest.approx(0.25, abs=0.06)
    turned, shift = calibrate(clicks, -logits.astype(np.float32))  # the order is never turned
    assert turned == 0.05
    assert (1 / (1 + np.exp(-(turned * -logits + shift)))).mean() == pytest.approx(clicks.mean(), rel=1e-3)


def test_the_market_is_fitted_in_units_of_the_currency(tmp_path):
    path = tmp_path / "h.csv"
    counts = [0, *(1000 // (k + 3) for k in range(1, 200))]
    path.write_text("market_price,impressions\n" + "".join(f"{k},{c}\n" for k, c in enumerate(counts)))
    histogram = read_histogram(path)
    rng = np.random.default_rng(3)
    probabilities = rng.exponential(0.003, 5000).astype(np.float32)
    market = Market(histogram="h.csv", step=0.01, budget_factor=0.1)
    found = fit_market(market, histogram, {"value_per_click": 0.5}, probabilities)
    assert found["c"] == pytest.approx(PriceModel(histogram).fit_c() * 0.01, rel=1e-5)
    bids = bid(probabilities * 0.5 * 1000.0, found["lambda"], strategy="ortb", c=found["c"])
    paid = PriceModel(histogram).spend[np.clip(np.floor(bids * 100), 0, 199).astype(int)].mean() * 0.01
    assert paid == pytest.approx(PriceModel(histogram).mean * 0.01 * 0.1, rel=0.05)
    for text in (
        "market_price,impressions\n1,5\n",
        "a,b\n",
        "market_price,impressions\n0,x\n",
        "market_price,impressions\n0,5\n",
    ):
        path.write_text(text)
        with pytest.raises(ConfigError, match=r"market_price"):
            read_histogram(path)


def test_measures_on_a_case_worked_by_hand():
    found = measure_clicks(np.array([0, 0, 1, 1], np.float32), np.array([0.1, 0.4, 0.35, 0.8], np.float32))
    assert found["auc"]["value"] == 0.75
    assert found["log_loss"]["value"] == pytest.approx(-np.log([0.9, 0.6, 0.35, 0.8]).mean(), abs=1e-4)


def test_the_gate_compares_the_areas_on_test(tmp_path):
    read, _ = recipe(tmp_path)
    found = read_clicks(log(tmp_path, *(f"{k},ios,1,low,{k % 2}" for k in range(40))), read)
    exact = found.clicks / 2 + np.linspace(0, 0.4, 40, dtype=np.float32)
    said = []
    measured = build_module._measured(found, exact, exact, None, said.append)
    assert measured["int8"] == measured["fp32"] and "int8 loses 0.00 points of AUC" in said[0]
    rounded = np.where(np.arange(40) == 39, np.float32(0), exact)  # the surest click ties with the lowest score
    with pytest.raises(
        BundleError, match=r"^int8 loses 4\.87 points of AUC to float32 on test, at most 0\.2 are allowed"
    ):
        build_module._measured(found, rounded, exact, None, said.append)
    build_module._measured(found, exact, rounded, None, said.append)  # a gain is no loss


@pytest.mark.parametrize("seed", range(8))
def test_the_calibration_error_lies_in_its_interval(seed):
    rng = np.random.default_rng(seed)
    scores = rng.random(200).astype(np.float32)
    found = measure_clicks((rng.random(200) < scores).astype(np.float32), scores)["ece"]
    assert 0 <= found["low"] <= found["value"] <= found["high"] <= 1
    assert found["low"] < found["high"]


def made_up(tmp_path, n, name, seed):
    rng = np.random.default_rng(seed)
    lines = []
    for k in range(n):
        os, size = rng.choice(["android", "ios", "null"]), rng.integers(1, 6)
        p = 0.05 + 0.3 * (os == "ios") + 0.1 * (size >= 4)
        lines.append(f"{name}-{k},{os},{size},{rng.choice(['low', 'high'])},{int(rng.random() < p)}")
    return log(tmp_path, *lines, name=name)


def missing(*modules):
    return [module for module in modules if importlib.util.find_spec(module) is None]


@pytest.mark.distill
@pytest.mark.skipif(bool(missing("torch")), reason="PyTorch is not installed (extra distill)")
def test_a_bundle_is_built_and_serves(tmp_path):
    read, sha256 = recipe(tmp_path)
    made_up(tmp_path, 1500, "train.csv", 1)
    made_up(tmp_path, 600, "test.csv.gz", 2)
    said = []
    manifest = build_clicks(read, sha256, tmp_path, tmp_path / "bundle", said.append)
    assert manifest.evaluation["test"]["int8"]["auc"]["low"] > 0.6
    slices = manifest.evaluation["slices"]["os"]
    assert slices.keys() == {"android", "ios", "None"} and sum(part["rows"] for part in slices.values()) == 600
    assert slices["ios"]["mean_probability"] > slices["android"]["mean_probability"]
    scorer = Scorer.load(tmp_path / "bundle")
    assert scorer.verify().golden_events > 256
    found = read_clicks(tmp_path / "test.csv.gz", read)
    scored = scorer.score_events(found.events)
    assert set(scored.labels) <= {"bid", "below_floor"}
    assert scored.scores[:, 0].mean() == pytest.approx(found.clicks.mean(), rel=0.25)  # calibrated
    again = build_clicks(read, sha256, tmp_path, tmp_path / "again", said.append)
    same = dataclasses.replace(again, evaluation={}) == dataclasses.replace(manifest, evaluation={})
    assert (
        same and (tmp_path / "again" / "model.onnx").read_bytes() == (tmp_path / "bundle" / "model.onnx").read_bytes()
    )
    assert "CC0-1.0" in (tmp_path / "bundle" / "CARD.md").read_text()
    made_up(tmp_path, 600, "train.csv", 1).rename(tmp_path / "test.csv.gz")
    with pytest.raises(DataError, match=r"test\.csv\.gz:2: id .* is in .*train\.csv too"):
        made_up(tmp_path, 600, "train.csv", 1)
        build_clicks(read, sha256, tmp_path, tmp_path / "none", said.append)


@pytest.mark.distill
@pytest.mark.skipif(bool(missing("lightgbm")), reason="LightGBM is not installed (extra distill)")
def test_the_teacher_answers_out_of_fold(tmp_path):
    from farthing.distill.clicks.recipe import Boosting
    from farthing.distill.clicks.teacher import Teacher
    from farthing.distill.measure import auc

    read, _ = recipe(tmp_path)
    train = read_clicks(made_up(tmp_path, 3000, "train.csv", 1), read)
    test = read_clicks(made_up(tmp_path, 1500, "test.csv.gz", 2), read)
    settings = Boosting(rounds=40, min_leaf_rows=20)
    teacher = Teacher(settings, train, train.folds % 3, seed=0)
    own, theirs = teacher.out_of_fold(None), teacher.predict(test)
    assert own.shape == (3000,) and theirs.shape == (1500,)
    assert auc(test.clicks, theirs) > 0.6 and auc(train.clicks, own) > 0.6
    assert np.array_equal(own, Teacher(settings, train, train.folds % 3, seed=0).out_of_fold(None))
    # What is held out has no say: other clicks there change nothing of what is taught elsewhere.
    held = train.folds % 3 == 1
    other = dataclasses.replace(train, clicks=np.where(held, 1 - train.clicks, train.clicks).astype(np.float32))
    found = Teacher(settings, other, train.folds % 3, seed=0).out_of_fold(1)
    assert np.array_equal(found, teacher.out_of_fold(1), equal_nan=True)
    assert np.isnan(found).tolist() == held.tolist()


def test_golden_events_are_of_every_kind(tmp_path):
    from tests.bidding_factory import make_scorer

    read, _ = recipe(tmp_path)
    found = read_clicks(log(tmp_path, "a,android,3,low,1", "b,ios,4,low,0"), read)
    scored = make_scorer().score_events(list(golden_events(found, 2)))
    assert {Outcome[label.upper()] for label in scored.labels} >= {
        Outcome.BID, Outcome.BELOW_FLOOR, Outcome.UNREADABLE_FLOOR, Outcome.FLOOR_CURRENCY, Outcome.PRIVATE_AUCTION,
        Outcome.NO_IMPRESSION_ID, Outcome.CURRENCY_NOT_ACCEPTED,
    }  # fmt: skip
    assert len(np.unique(scored.status)) > 5
