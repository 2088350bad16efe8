"""``farthing evaluate``: the real command, its report, its plots, and the figures in the shipped bundle's manifest."""

import json
import subprocess
import sys

import numpy as np
import pytest

from farthing import Scorer
from farthing.errors import ConfigError, DataError
from farthing.evaluate.moderation import Head
from farthing.evaluate.options import EvaluateOptions
from farthing.evaluate.run import run
from farthing.model.shipped import find_bundle
from farthing.scoring.bundle import Bundle
from tests.bundle_factory import make_bundle
from tests.evaluate.shared import DATA, needs_shared_data, shared
from tests.inprocess import farthing

TEXTS = [f"{word} number {k}" for k, word in enumerate(["you fool", "good day", "get lost", "thank you"] * 30)]


@pytest.fixture(scope="module")
def rows(tmp_path_factory):
    folder = tmp_path_factory.mktemp("rows")
    paths = folder / "web.jsonl", folder / "forum.csv"
    lines = [{"text": text, "label": int(k % 4 in (0, 2)), "site": "ab"[k % 2]} for k, text in enumerate(TEXTS)]
    paths[0].write_text("".join(json.dumps(line) + "\n" for line in lines))
    paths[1].write_text(
        "site,comment,toxic\n" + "".join(f"c,{text},{k % 3 % 2}\n" for k, text in enumerate(TEXTS[:50]))
    )
    return paths


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bundle")
    make_bundle(folder)
    return folder


def report_of(capsys, options):
    assert run(options) == 0
    out, err = capsys.readouterr()
    return json.loads(out.splitlines()[-1]), err


def test_the_command_prints_a_table_or_one_object_and_draws(rows, bundle, tmp_path):
    plots = tmp_path / "made" / "plots"
    done = farthing(
        "evaluate", bundle, rows[0], "--head", "threat", "--slice", "site", "--plots", plots, "--resamples", 50, "--json"
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    (line,) = done.stdout.splitlines()
    report = json.loads(line)
    assert (report["data"], report["rows"], report["positives"]) == ([str(rows[0])], 120, 60)
    assert (report["head"], report["cut"], report["cut_from"]) == ("threat", 0.7, "manifest")
    assert set(report["metrics"]) == {"macro_f1", "auc", "ap", "ece"}
    assert all(m["low"] <= m["high"] for m in report["metrics"].values())
    assert report["slices"]["site"]["b"] == {
        "rows": 60, "positives": 0, "metrics": {"ece": report["slices"]["site"]["b"]["metrics"]["ece"]},
    }  # fmt: skip
    for name in ("reliability", "precision_recall", "lift"):
        assert (plots / f"{name}.png").read_bytes().startswith(b"\x89PNG\r\n")
        assert f"wrote {plots / name}.png" in done.stderr.replace("\n", "")
    command = [sys.executable, "-m", "farthing", "evaluate", str(bundle), str(rows[0]), "--resamples", "50"]
    shown = subprocess.run(command, capture_output=True, timeout=300)
    assert shown.returncode == 0, shown.stderr
    assert b"macro_f1" in shown.stdout
    assert b"\x1b" not in shown.stdout + shown.stderr


def test_scores_are_those_of_the_service(rows, bundle, capsys):
    report, _ = report_of(capsys, EvaluateOptions(str(bundle), (rows[0],), resamples=1, as_json=True))
    scores = Scorer.load(bundle).score_texts(TEXTS).scores[:, 0]
    labels = np.arange(len(TEXTS)) % 2 == 0
    pairs = scores[labels][:, np.newaxis] - scores[~labels][np.newaxis]
    assert report["metrics"]["auc"]["value"] == pytest.approx(np.mean((pairs > 0) + 0.5 * (pairs == 0)), abs=1e-6)
    said = scores >= np.float32(0.5)
    f1 = [2 * (s & y).sum() / (s.sum() + y.sum()) for s, y in ((said, labels), (~said, ~labels))]
    assert report["metrics"]["macro_f1"]["value"] == pytest.approx(np.mean(f1), abs=1e-6)


def test_files_stand_by_themselves_and_together(rows, bundle, tmp_path, capsys):
    forum = tmp_path / "forum.jsonl"
    forum.write_text("".join(json.dumps({"text": t, "label": k % 3 % 2}) + "\n" for k, t in enumerate(TEXTS[:50])))
    options = EvaluateOptions(str(bundle), (rows[0], forum), resamples=40, as_json=True)
    both, told = report_of(capsys, options)
    assert (both["rows"], list(both["sources"])) == (170, both["data"])
    assert "all " in told
    for path in (rows[0], forum):
        alone, _ = report_of(capsys, EvaluateOptions(str(bundle), (path,), resamples=40, as_json=True))
        assert both["sources"][str(path)]["metrics"] == alone["metrics"]
    assert report_of(capsys, options)[0] == both


def test_columns_of_other_names(rows, bundle, capsys):
    names = ("text=comment", "label=toxic")
    report, _ = report_of(capsys, EvaluateOptions(str(bundle), (rows[1],), names=names, resamples=1, as_json=True))
    assert (report["rows"], report["positives"]) == (50, 17)


def test_a_head_without_a_cut_is_measured_at_a_half_and_says_so(rows, bundle, capsys):
    options = EvaluateOptions(str(bundle), (rows[0],), head="hateful", resamples=1, as_json=True)
    report, told = report_of(capsys, options)
    assert (report["cut"], report["cut_from"]) == (0.5, "default")
    assert "the manifest has no cut for hateful" in told


def test_soft_labels_are_told(bundle, tmp_path, capsys):
    path = tmp_path / "soft.jsonl"
    path.write_text("".join(json.dumps({"text": text, "label": k % 5 / 4}) + "\n" for k, text in enumerate(TEXTS)))
    report, told = report_of(capsys, EvaluateOptions(str(bundle), (path,), resamples=1, as_json=True))
    assert report["soft_labels"] == 72
    assert "72 labels lie between 0 and 1" in told


def test_what_cannot_be_is_refused(rows, bundle, tmp_path):
    def refused(error, said, **options):
        with pytest.raises(error, match=said):
            run(EvaluateOptions(**{"bundle": str(bundle), "data": (rows[0],), "resamples": 1, **options}))

    refused(ConfigError, "--head rude: the bundle has the heads offensive, hateful, threat", head="rude")
    refused(ConfigError, "--resamples 0", resamples=0)
    refused(ConfigError, "known are label, id, text", names=("body=text",))
    refused(ConfigError, "no data", data=())
    blocked = tmp_path / "file"
    blocked.write_text("")
    refused(ConfigError, "--plots .*file: cannot be written", plots=blocked)
    long = tmp_path / "long.jsonl"
    lines = [*rows[0].read_text().splitlines(), json.dumps({"text": "x" * (1 << 20), "label": 1})]
    long.write_text("\n".join(lines))
    refused(DataError, r"long\.jsonl, row 121 .*cannot be scored \(too_large\); fix or remove", data=(long,))


def test_exit_codes(bundle, tmp_path):
    wrong = tmp_path / "wrong.jsonl"
    wrong.write_text('{"text":"a","label":1}\n{"text":"b","label":7}\n')
    done = farthing("evaluate", bundle, wrong)
    assert done.returncode == 4
    assert "row 2 (line 2): label is 7" in done.stderr
    assert "Traceback" not in done.stderr
    assert farthing("evaluate", bundle, tmp_path / "none").returncode == 2


def test_plots_say_what_to_install(bundle, rows, monkeypatch, tmp_path):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"install the extra evaluate"):
        run(EvaluateOptions(str(bundle), (rows[0],), plots=tmp_path))


def test_heads():
    heads, thresholds = ("a", "b", "c"), {"a": {"review": 0.4, "block": None}, "b": {"block": 0.9}}
    assert Head.of(heads, thresholds, None) == Head("a", 0, 0.4, "manifest")
    assert Head.of(heads, thresholds, "b") == Head("b", 1, 0.5, "default")
    assert Head.of(heads, thresholds, "c") == Head("c", 2, 0.5, "default")


def _told_of_the_shipped_bundle():
    """Yield head, files and stated metrics of each head of the shipped bundle that has its test data here."""
    manifest = Bundle.load(find_bundle("moderation")).manifest
    for head, stated in manifest.evaluation["test"].items():
        if manifest.thresholds[head]["review"] is None:  # told at another cut than the command's 0.5
            stated = {name: metric for name, metric in stated.items() if name != "macro_f1"}
        names = [source["name"] for source in manifest.training_data if head in source["heads"]]
        files = [DATA / "moderation" / name / "test.jsonl.gz" for name in names]
        if all(file.exists() for file in files):
            yield head, files, stated


@needs_shared_data
def test_the_shipped_bundle_is_as_good_as_its_manifest_says(capsys):
    compared = 0
    for head, files, stated in _told_of_the_shipped_bundle():
        report, _ = report_of(
            capsys, EvaluateOptions("moderation", tuple(files), head=head, resamples=200, as_json=True)
        )
        for name, metric in stated.items():
            found = report["metrics"][name]
            assert found["value"] == pytest.approx(metric["value"], abs=1e-4), (head, name)
            # Both intervals are estimates: their ends differ by the noise of some hundred resamples.
            width = metric["high"] - metric["low"]
            assert found["low"] == pytest.approx(metric["low"], abs=0.25 * width), (head, name)
            assert found["high"] == pytest.approx(metric["high"], abs=0.25 * width), (head, name)
            compared += 1
    assert compared >= 4


@needs_shared_data
def test_the_real_command_on_the_shipped_bundle():
    done = farthing("evaluate", "moderation", shared("moderation/tweeteval_offensive/test.jsonl.gz"), "--json")
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout.splitlines()[-1])
    assert (report["rows"], report["positives"], report["head"]) == (860, 240, "offensive")
    assert 0.7 < report["metrics"]["macro_f1"]["value"] < 0.9
