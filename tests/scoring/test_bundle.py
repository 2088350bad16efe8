"""A bundle that was changed, in any way, is refused with both values and what to do."""

import hashlib
import json
import re

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from farthing.errors import BundleError
from farthing.scoring.bundle import Bundle, write_bundle
from farthing.scoring.golden_file import Golden
from farthing.scoring.graph import build_model, read_tensors
from farthing.scoring.manifest import Manifest
from tests.bundle_factory import empty_golden, make_manifest, make_tensors, model_of

FILES = ("CARD.md", "SHA256SUMS", "golden.npz", "manifest.json", "model.onnx")
TENSORS = make_tensors(n_buckets=64)


@pytest.fixture
def bundle(tmp_path):
    manifest = make_manifest()
    model = model_of(manifest, TENSORS)
    return write_bundle(tmp_path / "b", manifest=manifest, model=model, golden=empty_golden(TENSORS), card="# Card\n")


def reseal(folder, *, manifest=None, **files):
    """Change files as an attacker or a careless tool would: with all digests made right again."""
    for name, data in files.items():
        (folder / name.replace("_", ".")).write_bytes(data)
    document = json.loads((folder / "manifest.json").read_text())
    document["files"] = {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in document["files"]}
    if manifest is not None:
        manifest(document)
    (folder / "manifest.json").write_text(json.dumps(document))
    names = ("CARD.md", "golden.npz", "manifest.json", "model.onnx")
    lines = [f"{hashlib.sha256((folder / name).read_bytes()).hexdigest()}  {name}\n" for name in names]
    (folder / "SHA256SUMS").write_text("".join(lines))


def changed_model(folder, change):
    model = onnx.load_model_from_string((folder / "model.onnx").read_bytes())
    change(model)
    reseal(folder, model_onnx=model.SerializeToString())


def test_round_trip(bundle):
    assert bundle.manifest == make_manifest()
    digest = hashlib.sha256((bundle.path / "manifest.json").read_bytes()).hexdigest()
    assert (bundle.digest, bundle.model_id) == (digest, f"moderation@{digest[:8]}")
    assert bundle.card == "# Card\n"
    for name in ("table", "column_scale", "hidden_weight", "logit_bias"):
        assert np.array_equal(getattr(bundle.tensors, name), getattr(TENSORS, name))
    assert bundle.tensors.input_scale == np.float32(TENSORS.input_scale)
    assert sorted(file.name for file in bundle.path.iterdir()) == sorted(FILES)


def test_the_same_parts_give_the_same_bytes(bundle, tmp_path):
    model = model_of(bundle.manifest, TENSORS)
    again = write_bundle(
        tmp_path / "c", manifest=bundle.manifest, model=model, golden=empty_golden(TENSORS), card="# Card\n"
    )
    assert again.model_id == bundle.model_id
    for name in FILES:
        assert (again.path / name).read_bytes() == (bundle.path / name).read_bytes()


@pytest.mark.parametrize("name", FILES)
def test_one_changed_byte_is_found_wherever_it_is(bundle, name):
    data = (bundle.path / name).read_bytes()
    places = sorted({0, len(data) // 3, len(data) // 2, len(data) - 1})
    if name == "SHA256SUMS":
        places = range(len(data))
    for place in places:
        flipped = bytearray(data)
        flipped[place] ^= 1
        (bundle.path / name).write_bytes(flipped)
        with pytest.raises(BundleError, match="SHA256SUMS"):
            Bundle.load(bundle.path)


@pytest.mark.parametrize("name", [name for name in FILES if name != "SHA256SUMS"])
def test_a_digest_error_names_both_values(bundle, name):
    stated = hashlib.sha256((bundle.path / name).read_bytes()).hexdigest()
    (bundle.path / name).write_bytes(b"other")
    computed = hashlib.sha256(b"other").hexdigest()
    with pytest.raises(BundleError, match=rf"{re.escape(name)}: .*{stated}, computed {computed}.*opy it again"):
        Bundle.load(bundle.path)


@pytest.mark.parametrize("name", FILES)
def test_a_missing_file_is_named(bundle, name):
    (bundle.path / name).unlink()
    with pytest.raises(BundleError, match=f"cannot read {re.escape(name)}.*Copy the whole folder"):
        Bundle.load(bundle.path)


def test_more_lines_in_the_sums_are_refused(bundle):
    with (bundle.path / "SHA256SUMS").open("a") as file:
        file.write("0" * 64 + "  other.txt\n")
    with pytest.raises(BundleError, match=r"SHA256SUMS: holds .*other.txt.*expected"):
        Bundle.load(bundle.path)


def test_the_manifest_states_digests_too(bundle):
    reseal(bundle.path, manifest=lambda m: m["files"].update({"CARD.md": "ab" * 32}))
    with pytest.raises(BundleError, match=r"CARD.md: manifest.json says SHA-256 abab\w+, computed"):
        Bundle.load(bundle.path)


def drop(key):
    return lambda document: document.pop(key)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda m: m.update(format_version=2), "format_version is 2, this Farthing reads 1"),
        (drop("format_version"), "format_version is None, this Farthing reads 1"),
        (drop("heads"), r"missing \['heads'\], unknown \[\]"),
        (lambda m: m.update(colour="red"), r"missing \[\], unknown \['colour'\]"),
        (drop("files"), "files is None"),
        (lambda m: m["files"].update({"../../secret": "00"}), "secret"),
        (lambda m: m.update(heads="offensive"), "heads is 'offensive', expected the type list"),
        (lambda m: m.update(heads=[]), r"heads is \[\]"),
        (lambda m: m.update(heads=["a", "a", "b"]), r"heads is \['a', 'a', 'b'\]"),
        (lambda m: m.update(heads=["a", 1, "b"]), "heads is"),
        (lambda m: m.update(heads=["a", "b"]), r"2 heads \['a', 'b'\], model.onnx has 3"),
        (lambda m: m.update(name="../x"), "name is '../x'"),
        (lambda m: m.update(thresholds=[]), r"thresholds is \[\], expected the type dict"),
        (
            lambda m: m.update(task="rerank"),
            "task: manifest.json says 'rerank', the metadata of model.onnx 'moderation'",
        ),
        (lambda m: m.update(feature_fingerprint="11"), "feature_fingerprint: manifest.json says '11'.*'00'"),
        (lambda m: m.update(evaluation={"auc": float("nan")}), "NaN is not a JSON number"),
    ],
)
def test_bad_manifests(bundle, change, message):
    reseal(bundle.path, manifest=change)
    with pytest.raises(BundleError, match=message):
        Bundle.load(bundle.path)


@pytest.mark.parametrize("text", [b"", b"[]", b"{", b"\xff\xfe{}", b"[" * 100_000])
def test_a_manifest_that_is_no_json_object(text):
    with pytest.raises(BundleError, match=r"manifest\.json"):
        Manifest.from_json(text)


def initializer(model, name):
    return next(tensor for tensor in model.graph.initializer if tensor.name == name)


def set_tensor(name, value):
    return lambda model: initializer(model, name).CopyFrom(numpy_helper.from_array(value, name))


def external(model):
    tensor = initializer(model, "table")
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="../../../etc/passwd")


def foreign_domain(model):
    model.graph.node[0].domain = "com.evil"


def foreign_opset(model):
    model.opset_import.add(domain="com.microsoft", version=1)


def foreign_operator(model):
    model.graph.node[0].op_type = "Loop"


def swapped_inputs(model):
    model.graph.node[14].input[1] = "hidden_scale"


def one_node_less(model):
    del model.graph.node[-1]


def local_function(model):
    model.functions.append(helper.make_function("d", "f", [], [], [], [helper.make_opsetid("", 17)]))


def runtime_settings(model):
    model.metadata_props.add(key="ort_config", value="{}")


def no_tensor(model):
    model.graph.initializer.remove(initializer(model, "hidden_bias"))


def one_tensor_more(model):
    model.graph.initializer.append(numpy_helper.from_array(np.zeros(3), "spare"))


def other_output(model):
    model.graph.output[0].name = "logits_real"


F32_NAN = np.array([1e-3, np.nan, 1e-3], np.float32)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (external, r"tensor table lies outside the file \('../../../etc/passwd'\), expected inside"),
        (foreign_domain, "operator com.evil::Gather, expected one of ai.onnx"),
        (foreign_opset, r"operator sets are .*com.microsoft.*, expected \{'': 17\}"),
        (foreign_operator, "operator ai.onnx::Loop, expected one of"),
        (swapped_inputs, "hidden_scale.*, expected .*column_scale"),
        (one_node_less, "has 26 nodes, expected 27"),
        (local_function, "holds 1 functions, expected none"),
        (runtime_settings, "ort_config"),
        (no_tensor, "no tensor named hidden_bias"),
        (one_tensor_more, r"tensors \['spare'\] are missing or unknown"),
        (other_output, "inputs and outputs are"),
        (set_tensor("logit_scale", F32_NAN), "tensor logit_scale: holds nan, expected"),
        (set_tensor("hidden_scale", np.zeros(24, np.float32)), "tensor hidden_scale: holds 0.0"),
        (set_tensor("column_scale", np.full(16, -1e-3, np.float32)), "tensor column_scale: holds -0.001"),
        (set_tensor("input_scale", np.asarray(np.inf, np.float32)), "tensor input_scale: holds inf"),
        (set_tensor("logit_bias", F32_NAN), "tensor logit_bias: holds nan"),
        (set_tensor("hidden_weight", np.full((16, 24), -65, np.int8)), "magnitude 65, expected at most 64"),
        (set_tensor("output_weight", np.full((24, 3), -128, np.int8)), "magnitude 128, expected at most 64"),
        (
            set_tensor("hidden_bias", np.zeros(23, np.int32)),
            r"hidden_bias: expected int32 \(24,\), found int32 \(23,\)",
        ),
        (set_tensor("hidden_bias", np.zeros(24, np.int64)), r"expected int32 \(24,\), found int64 \(24,\)"),
        (set_tensor("table", np.zeros((5, 15), np.int8)), "table: has 15 columns, expected a multiple of 16"),
        (set_tensor("table", np.ones((65, 16), np.int8)), "tensor table does not follow from the other tensors"),
        (set_tensor("table", np.zeros(16, np.int8)), "table"),
        (
            set_tensor("padding_id", np.asarray(3, np.int64)),
            "padding_id does not follow from .*expected int64 64, found int64 3",
        ),
        (set_tensor("length_divisor", np.ones(1, np.float32)), "length_divisor: has 1 entry"),
        (set_tensor("input_scale", np.ones(2, np.float32)), r"input_scale has shape \(2,\), expected a scalar"),
    ],
)
def test_models_that_are_not_ours_are_refused(bundle, change, message):
    changed_model(bundle.path, change)
    with pytest.raises(BundleError, match=message):
        Bundle.load(bundle.path)


@pytest.mark.parametrize("data", [b"", b"\x00", b"not a model", b"\x08" * 50])
def test_bytes_that_are_no_model(bundle, data):
    reseal(bundle.path, model_onnx=data)
    with pytest.raises(BundleError, match=r"model\.onnx"):
        Bundle.load(bundle.path)


def test_golden_files_are_not_unpickled(bundle, tmp_path):
    np.savez(tmp_path / "g.npz", values=np.array([{"a": 1}], dtype=object), allow_pickle=True)
    for data in ((tmp_path / "g.npz").read_bytes(), b"", b"PK\x03\x04", b"\x93NUMPY"):
        with pytest.raises(BundleError, match=r"golden\.npz"):
            Golden.from_npz(data)
        reseal(bundle.path, golden_npz=data)
        with pytest.raises(BundleError, match=r"golden\.npz"):
            Bundle.load(bundle.path)


def test_golden_arrays_have_their_types():
    golden = empty_golden(TENSORS)
    wrong = Golden(**{**{n: getattr(golden, n) for n in Golden.__slots__}, "logits": np.zeros((0, 3), np.int64)})
    with pytest.raises(BundleError, match="logits is int64 with 2 axes, expected int32 with 2 axes"):
        Golden.from_npz(wrong.to_npz())


def test_a_folder_that_is_not_there(tmp_path):
    with pytest.raises(BundleError, match=r"nowhere: the folder cannot be read \(No such file"):
        Bundle.load(tmp_path / "nowhere")


def test_built_models_read_back_and_pass_the_checker():
    model = build_model(TENSORS, {"task": "moderation"})
    onnx.checker.check_model(model, full_check=True)
    assert np.array_equal(read_tensors(model).table, TENSORS.table)
