"""An ONNX classifier of a team's own: what is served, what is refused at load, and that rows do not mix."""

import hashlib
import json

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from farthing import Scorer
from farthing.blocks import Status
from farthing.errors import BundleError
from farthing.evaluate.options import EvaluateOptions
from farthing.evaluate.run import run as evaluate
from farthing.kernels.jit import NO_JIT
from farthing.scoring.columns import ALLOWED_OPS, ColumnSession, probe_rows
from tests.column_factory import (
    COLUMNS,
    MANIFEST,
    batch_variant_model,
    expected_of,
    linear_model,
    model_of,
    tensor_info,
    tree_model,
    write_column_bundle,
)
from tests.inprocess import farthing


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    return write_column_bundle(tmp_path_factory.mktemp("bundles") / "churn")


def event(age, tenure, fee, **more):
    return json.dumps({"id": f"{age}", "age": age, "tenure": tenure, "plan": {"fee": fee}, **more}).encode()


def refused(folder, said, model=None, manifest=MANIFEST):
    write_column_bundle(folder, model, manifest)
    with pytest.raises(BundleError, match=said):
        Scorer.load(folder)


def test_scores_are_the_model_s_and_labels_follow_the_cut(bundle):
    rng = np.random.default_rng(0)
    rows = np.stack([rng.integers(18, 80, 500), rng.integers(0, 90, 500), rng.integers(0, 100, 500)], axis=1)
    scorer = Scorer.load(bundle)
    scored = scorer.score_events([event(*map(int, row)) for row in rows])
    expected = expected_of(rows)
    assert scored.scores[:, 0] == pytest.approx(expected, abs=1e-6)
    assert scored.labels == tuple("churn" if p >= 0.4 else "none" for p in expected)
    first = json.loads(scored.values[0])
    assert first == {
        "id": f"{rows[0][0]}", "score": pytest.approx(expected[0], abs=1e-6), "label": scored.labels[0],
        "model": scorer.model_id,
    }  # fmt: skip
    assert scorer.model_id.startswith("churn@") and len(MANIFEST.splitlines()) == 10
    alone = np.concatenate([scorer.score_events([event(*map(int, row))]).scores for row in rows[:50]])
    assert np.array_equal(alone, scored.scores[:50])


def test_events_without_a_column_are_refused_or_filled(bundle, tmp_path):
    events = [event(20, 1, 60), event(20, 1, None), b'{"age":20,"tenure":1}', event("x", 1, 2), b"{"]
    status = Scorer.load(bundle).score_events(events).status.tolist()
    assert status == [Status.OK, Status.NULL_FIELD, Status.MISSING_FIELD, Status.WRONG_TYPE, Status.SYNTAX]
    filled = Scorer.load(write_column_bundle(tmp_path / "0", manifest=MANIFEST.replace('"refuse"', "60.0")))
    scored = filled.score_events(events[:3])
    assert scored.status.tolist() == [0, 0, 0] and len(set(scored.scores[:, 0].tolist())) == 1
    as_nan = Scorer.load(write_column_bundle(tmp_path / "nan", manifest=MANIFEST.replace('"refuse"', '"nan"')))
    assert as_nan.score_events(events[:2]).scores[1, 0] == pytest.approx(expected_of([[20, 1, np.nan]])[0], abs=1e-6)


@pytest.mark.skipif(NO_JIT, reason="commands run with kernels")
def test_the_commands_take_it(bundle, tmp_path, capsys):
    done = farthing("score", bundle, "-", stdin=event(20, 1, 60) + b"\n" + event(70, 1, 2) + b"\n")
    assert done.returncode == 0, done.stderr
    assert [json.loads(line)["label"] for line in done.stdout.splitlines()] == ["churn", "none"]
    verified = farthing("model", "verify", bundle, "--json")
    assert verified.returncode == 0 and json.loads(verified.stdout.splitlines()[-1])["ok"]
    assert "scores do not depend on the batch" in " ".join(verified.stderr.split())
    shown = json.loads(farthing("model", "show", bundle, "--json").stdout.splitlines()[-1])
    assert (shown["task"], shown["heads"], shown["labels"]) == ("classify", ["churn"], ["none", "churn"])
    assert "score" in json.loads(farthing("model", "bench", bundle, "--json").stdout.splitlines()[-1])["ns_per_event"]
    rows = tmp_path / "rows.csv"
    rows.write_text("age,tenure,fee,label\n" + "".join(f"{20 + k % 40},3,{k % 90},{k % 3 % 2}\n" for k in range(200)))
    options = EvaluateOptions(str(bundle), (rows,), names=("plan.fee=fee",), resamples=5, as_json=True)
    assert evaluate(options) == 0
    report = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert (report["task"], report["head"], report["cut"], report["rows"]) == ("classify", "churn", 0.4, 200)


def test_a_model_changed_on_disk_is_told(tmp_path):
    scorer = Scorer.load(write_column_bundle(tmp_path / "b"))
    assert scorer.verify().batch_difference == 0.0
    (tmp_path / "b" / "manifest.toml").write_text(MANIFEST.replace("0.4", "0.5"))
    with pytest.raises(BundleError, match="when loaded and is"):
        scorer.verify()


def test_batch_variance_is_refused_unless_it_is_allowed(tmp_path):
    manifest = MANIFEST.replace("cut = 0.4", "cut = 0.5")
    refused(tmp_path / "b", r"a row's score depends on .*write allow_batch_variant = true into manifest\.toml",
            batch_variant_model(), manifest)  # fmt: skip
    allowed = manifest.replace("allow_batch_variant = false", "allow_batch_variant = true")
    scorer = Scorer.load(write_column_bundle(tmp_path / "b", batch_variant_model(), allowed))
    assert scorer.verify().batch_difference > 0
    done = farthing("model", "verify", tmp_path / "b")
    assert done.returncode == 0 and "scores depend on the batch" in " ".join(done.stderr.split())


def test_a_tensor_a_column_and_float64(tmp_path):
    manifest = MANIFEST.replace('["age", "tenure", "plan.fee"]', '["tenure", "age"]')
    scorer = Scorer.load(write_column_bundle(tmp_path / "two", linear_model(), manifest))
    found = scorer.score_events([b'{"age":9,"tenure":2}', b'{"age":9,"tenure":1}']).scores[:, 0]
    assert found.tolist() == [1.0, 0.0]
    double = ColumnSession(tree_model(kind=TensorProto.DOUBLE), COLUMNS, n_heads=1, output="probabilities")
    rows = probe_rows(3, with_nan=False)
    assert double.run(rows)[:, 0] == pytest.approx(expected_of(rows), abs=1e-6)
    assert double.run(rows[:0]).shape == (0, 1)
    free = ColumnSession(tree_model(input_shape=("rows", None)), COLUMNS, n_heads=2, output="probabilities")
    assert free.run(rows).sum(axis=1) == pytest.approx(np.ones(len(rows)), abs=1e-6)


def test_several_heads_are_the_output_s_columns(tmp_path):
    manifest = MANIFEST.replace('["churn"]', '["stay", "churn"]').replace("cut = 0.4", "cut = { churn = 0.6 }")
    scorer = Scorer.load(write_column_bundle(tmp_path / "b", manifest=manifest))
    scored = scorer.score_events([event(20, 1, 60), event(70, 1, 2)])
    assert scored.labels == ("churn", "none")
    assert json.loads(scored.values[0])["scores"].keys() == {"stay", "churn"}


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("cut = 0.4", "cut = 0.0", r"manifest\.toml: cut.*greater than 0"),
        ("cut = 0.4", "cut = { other = 0.5 }", "cut names other, the heads are churn"),
        ("cut = 0.4", "cuts = 0.4", r"manifest\.toml: cuts: Extra inputs"),
        ('columns = ["age", "tenure", "plan.fee"]', 'columns = ["age", "tenure"]', "the manifest names 2 columns"),
        ('"plan.fee"', '"age"', "give each a name of its own"),
        ('"plan.fee"', '"age.x"', "the manifest's field plan: field path 'age' \\(column_age\\) lies above"),
        ('["churn"]', '["a", "b", "c"]', r"made-up rows cannot be scored: the output probabilities has the shape"),
        ('["churn"]', '["none"]', "a head is called 'none'"),
        ('name = "churn"', 'name = "a churn"', r"manifest\.toml: name"),
        ('"churn.onnx"', '"../churn.onnx"', r"manifest\.toml: model"),
        ('"churn.onnx"', '"other.onnx"', r"cannot read other\.onnx: No such file"),
        ('"probabilities"', '"label"', r"output label is tensor\(int64\)"),
        ('"probabilities"', '"scores"', "there is no output scores; the outputs are label"),
        ('licence = "ours"', f'sha256 = "{"0" * 64}"', rf"churn\.onnx: SHA-256 is .*says {'0' * 64}; copy the model"),
        ('licence = "ours"', 'licence = "ours', "not TOML"),
    ],
)
def test_manifests_that_cannot_be(tmp_path, old, new, said):
    assert old in MANIFEST
    refused(tmp_path / "b", said, manifest=MANIFEST.replace(old, new, 1))


def test_a_stated_digest_is_held(tmp_path):
    digest = hashlib.sha256(tree_model().SerializeToString()).hexdigest()
    folder = write_column_bundle(tmp_path / "b", manifest=MANIFEST + f'sha256 = "{digest}"\n')
    assert Scorer.load(folder).heads == ("churn",)


def simple(op, *, inputs=("input",), domain="", ml=False, output=None, **attributes):
    node = helper.make_node(op, list(inputs), ["probabilities"], domain=domain, **attributes)
    return model_of([node], [tensor_info("input")], [output or tensor_info("probabilities")], ml=ml)


def outside():
    model = tree_model()
    tensor = numpy_helper.from_array(np.ones(2, np.float32), "w")
    tensor.data_location = TensorProto.EXTERNAL
    entry = tensor.external_data.add()
    entry.key, entry.value = "location", "/etc/passwd"
    model.graph.initializer.append(tensor)
    return model


def constant_outside():
    model = model_of(
        [helper.make_node("Constant", [], ["c"], value=numpy_helper.from_array(np.ones(2, np.float32)))],
        [tensor_info("input")], [tensor_info("probabilities")], ml=False,
    )  # fmt: skip
    tensor = model.graph.node[0].attribute[0].t
    tensor.data_location = TensorProto.EXTERNAL
    return model


def looped():
    body = helper.make_graph([helper.make_node("Identity", ["input"], ["y"])], "b", [], [tensor_info("y")])
    node = helper.make_node("If", ["c"], ["probabilities"], then_branch=body, else_branch=body)
    return model_of([node], [tensor_info("input")], [tensor_info("probabilities")], {"c": np.bool_(True)}, ml=False)


@pytest.mark.parametrize(
    ("model", "said"),
    [
        (simple("RandomUniformLike"), "operator ai.onnx::RandomUniformLike is not allowed; export"),
        (simple("DynamicQuantizeLinear"), "ai.onnx::DynamicQuantizeLinear is not allowed"),
        (simple("Evil", domain="com.example"), "com.example::Evil is not allowed"),
        (simple("ZipMap", domain="ai.onnx.ml", ml=True, classlabels_int64s=[0, 1]), "zipmap=False"),
        (looped(), "ai.onnx::If is not allowed"),
        (outside(), r"tensor w lies outside the file \('/etc/passwd'\)"),
        (constant_outside(), "node Constant reads another file"),
        (tree_model(input_shape=(1, 3)), r"shape \[1, 3\], expected any number of rows first"),
        (tree_model(input_shape=("rows", 4)), r"shape \['rows', 4\], the manifest names 3 columns"),
        (tree_model(kind=TensorProto.INT64), r"input input is tensor\(int64\), expected tensor\(float\)"),
        (linear_model(), "the inputs are age .*; the manifest names the columns age, tenure, plan.fee"),
        (simple("Relu"), r"the output probabilities goes from 0 to .*, expected probabilities, 0 to 1"),
    ],
)  # fmt: skip
def test_models_that_are_refused(tmp_path, model, said):
    refused(tmp_path / "b", said, model)


def test_a_file_that_is_no_model_is_refused(tmp_path):
    folder = write_column_bundle(tmp_path / "b")
    (folder / "churn.onnx").write_bytes(b"\x00 no model")
    with pytest.raises(BundleError, match=r"churn\.onnx"):
        Scorer.load(folder)


def test_no_allowed_operator_branches_or_draws():
    for name in ("If", "Loop", "Scan", "RandomNormal", "Dropout", "Multinomial", "DynamicQuantizeLinear"):
        assert all(name not in ops for ops in ALLOWED_OPS.values())
