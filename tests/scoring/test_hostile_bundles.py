"""Bundles that an attacker made: each is refused in one sentence, soon, and with little memory.

Every folder is loaded in one child process whose address space is limited, so that what would take more fails there.
"""

import hashlib
import io
import itertools
import json
import os
import shutil
import socket
import struct
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper

from farthing.features import FeatureSpec
from farthing.kernels.jit import NO_JIT
from farthing.scoring import model_file
from tests.bundle_factory import make_bundle, make_rerank_bundle
from tests.column_factory import MANIFEST, model_of, tensor_info, tree_model, write_column_bundle
from tests.inprocess import farthing
from tests.scoring.test_bundle import reseal

pytestmark = [
    pytest.mark.skipif(sys.platform != "linux", reason="reads /proc and limits the address space"),
    pytest.mark.skipif(NO_JIT, reason="no kernel is involved"),
]

MORE_MIB = 512  # than a process has that has loaded a bundle
SECONDS = 60  # for one folder; each takes a fraction of a second on an idle machine
CASES = {}


def case(said, *, kind="moderation", name=None):
    """Register a function that changes a good bundle's folder; ``said`` must stand in the error."""

    def register(change):
        CASES[name or change.__name__] = (kind, change, said)
        return change

    return register


def cases(said, variants, *, kind="moderation"):
    def register(change):
        for name, value in variants.items():
            case(said, kind=kind, name=f"{change.__name__} {name}")(lambda f, value=value: change(f, value))

    return register


# ------------------------------------------------------------------------------------------------- what is not a file


def instead_of(folder, name):
    (folder / name).unlink()
    return folder / name


def bind(path):
    here = Path.cwd()
    os.chdir(path.parent)  # a socket's address has at most 108 bytes
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(path.name)
    os.chdir(here)


def device(path):
    os.mknod(path, 0o600 | 0o020000, os.makedev(1, 5))  # as /dev/zero


KINDS_OF_FILE = {
    "pipe": os.mkfifo,
    "socket": bind,
    "folder": os.mkdir,
    "loop": lambda path: path.symlink_to(path.name),
    "link to nothing": lambda path: path.symlink_to("nothing"),
    "link to a device": lambda path: path.symlink_to("/dev/zero"),
    "link to a pipe": lambda path: (os.mkfifo(f"{path}.pipe"), path.symlink_to(f"{path}.pipe")),
    "link outside": lambda path: path.symlink_to("/etc/hostname"),
    "endless": lambda path: path.symlink_to("/proc/self/environ"),
    "sparse": lambda path: (path.touch(), os.truncate(path, 3 << 30)),
}
if os.geteuid() == 0:
    KINDS_OF_FILE["device"] = device

for _name in ("manifest.json", "model.onnx", "golden.npz", "SHA256SUMS"):
    for _kind, _make in KINDS_OF_FILE.items():
        case(f"cannot read {_name}: ", name=f"{_kind} as {_name}")(
            lambda folder, name=_name, make=_make: make(instead_of(folder, name))
        )
for _kind, _make in KINDS_OF_FILE.items():
    case("cannot read manifest.toml: ", kind="columns", name=f"{_kind} as manifest.toml")(
        lambda folder, make=_make: make(instead_of(folder, "manifest.toml"))
    )
    case("cannot read churn.onnx: ", kind="columns", name=f"{_kind} as churn.onnx")(
        lambda folder, make=_make: make(instead_of(folder, "churn.onnx"))
    )
case("cannot read features.npz: ", kind="rerank", name="pipe as features.npz")(
    lambda folder: os.mkfifo(instead_of(folder, "features.npz"))
)


case("cannot read manifest.json: ", name="evil\n\x1b[31m[/b]name")(
    lambda folder: os.mkfifo(instead_of(folder, "manifest.json"))
)


# ---------------------------------------------------------------------------------------------------- golden.npz


def npy(descr, shape, data=b"", fortran=False):
    header = repr({"descr": descr, "fortran_order": fortran, "shape": shape}).encode()
    header += b" " * (-(len(header) + 11) % 64) + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header + data


def npz(members, **how):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", how.get("method", zipfile.ZIP_DEFLATED)) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return file.getvalue()


def announced(data, size):
    """The archive with another unpacked size for its first member, in both places that state it."""
    data = bytearray(data)
    data[22:26] = struct.pack("<I", size)
    at = data.index(b"PK\x01\x02")
    data[at + 24 : at + 28] = struct.pack("<I", size)
    return bytes(data)


def lists(shape):
    return npz({"values.npy": npy("|u1", shape, b"x" * 8)})


def with_comment():
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.comment = b"x" * 60_000
        archive.writestr("values.npy", npy("|u1", (0,)))
    return file.getvalue()


def many_members():
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for k in range(5_000):
            archive.writestr(f"{k}.npy", b"")
    return file.getvalue()


def pickled():
    file = io.BytesIO()
    np.savez(file, values=np.array([{"a": 1}, print], dtype=object), allow_pickle=True)
    return file.getvalue()


@cases(
    "golden.npz: ",
    {
        "of objects": pickled,
        "huge shape": lambda: lists((1 << 40,)),
        "shape past 64 bits": lambda: lists((1 << 70,)),
        "negative shape": lambda: lists((-8,)),
        "two axes": lambda: lists((2, 4)),
        "empty axis times a huge one": lambda: npz({"logits.npy": npy("<i4", (0, 1 << 62))}),
        "another type": lambda: npz({"values.npy": npy("<f8", (1,), bytes(8))}),
        "objects by name": lambda: npz({"values.npy": npy("|O", (1,), bytes(8))}),
        "a record type": lambda: npz({"values.npy": npy([("a", "<i8")], (1,), bytes(8))}),
        "no header": lambda: npz({"values.npy": b"\x93NUMPY\x01\x00\xff\xff"}),
        "code in the header": lambda: npz({"values.npy": b"\x93NUMPY\x01\x00\x10\x00__import__('os')"}),
        "version 9": lambda: npz({"values.npy": b"\x93NUMPY\x09\x00" + bytes(100)}),
        "3 GiB announced": lambda: announced(lists((8,)), 3 << 30),
        "a bomb": lambda: npz({"values.npy": npy("|u1", (300 << 20,), bytes(300 << 20))}),
        "less than announced": lambda: announced(npz({"values.npy": npy("|u1", (8,), b"12345678")}), 8 << 20),
        "more than announced": lambda: announced(npz({"values.npy": npy("|u1", (8,), bytes(1 << 24))}), 136),
        "many members": many_members,
        "a path": lambda: npz({"../values.npy": b""}),
        "another array": lambda: npz({"spare.npy": npy("|u1", (0,))}),
        "lzma": lambda: npz({"values.npy": npy("|u1", (0,))}, method=zipfile.ZIP_LZMA),
        "a comment": with_comment,
        "nothing": lambda: b"",
        "junk": lambda: os.urandom(4096),
        "only an end": lambda: b"PK\x05\x06" + bytes(18),
        "an end that lies": lambda: b"PK\x05\x06" + b"\xff" * 16 + bytes(2),
    },
)
def golden(folder, make):
    reseal(folder, golden_npz=make())


def changed_golden(**arrays):
    def change(folder):
        with np.load(folder / "golden.npz") as held:
            file = io.BytesIO()
            np.savez_compressed(file, **{**held, **arrays})
        reseal(folder, golden_npz=file.getvalue())

    return change


for _name, _arrays in {
    "bounds outside": {"values_indptr": np.array([0, 1 << 40], np.int64)},
    "bounds backwards": {"values_indptr": np.array([0, 5, 3], np.int64)},
    "no bounds": {"values_indptr": np.zeros(0, np.int64)},
    "negative bounds": {"values_indptr": np.array([-5, 3], np.int64)},
    "fewer labels": {"labels": np.zeros(1, np.uint8)},
    "statuses unknown": {"status": np.full(14, 250, np.uint8)},
    "another width": {"logits": np.zeros((8, 1 << 20), np.int32)},
}.items():
    case("golden", name=f"golden {_name}")(changed_golden(**_arrays))


# ------------------------------------------------------------------------------------------------------ features.npz


def reseal_features(folder, data):
    (folder / "features.npz").write_bytes(data)
    document = json.loads((folder / "manifest.json").read_text())
    digest = hashlib.sha256(data).hexdigest()
    document["files"]["features.npz"] = digest
    document["feature_spec"]["features"][0]["lexicon_sha256"] = digest
    document["feature_fingerprint"] = FeatureSpec.from_manifest(document["feature_spec"]).fingerprint()
    model = onnx.load_model_from_string((folder / "model.onnx").read_bytes())
    next(p for p in model.metadata_props if p.key == "feature_fingerprint").value = document["feature_fingerprint"]
    (folder / "model.onnx").write_bytes(model.SerializeToString())
    document["files"]["model.onnx"] = hashlib.sha256((folder / "model.onnx").read_bytes()).hexdigest()
    (folder / "manifest.json").write_text(json.dumps(document))
    names = ("CARD.md", "features.npz", "golden.npz", "manifest.json", "model.onnx")
    sums = [f"{hashlib.sha256((folder / name).read_bytes()).hexdigest()}  {name}\n" for name in names]
    (folder / "SHA256SUMS").write_text("".join(sums))


@cases(
    "features.npz",
    {
        "of objects": pickled,
        "huge": lambda: npz({"vectors.npy": npy("|i1", (1 << 24, 256))}),
        "3 GiB announced": lambda: announced(lists((8,)), 3 << 30),
        "half": lambda: npz({"vectors.npy": npy("|i1", (8, 0))}),
    },
    kind="rerank",
)
def lexicon(folder, make):
    reseal_features(folder, make())


# ------------------------------------------------------------------------------------------------------ manifest.json

WEIRD = {
    "400 digits": 10**400, "minus": -(10**30), "2^63": 1 << 63, "1e308": 1e308, "tiny": 5e-324, "nothing": None,
    "true": True, "a list": [], "nested": [[[[{"a": [None]}]]]], "an object": {}, "text": "x\ny\x1b[31m\u202e", "long": "x" * 100_000,
    "empty": "", "names": ["a", "b", "c"], "numbers": [1, 2.5, -3], "null names": [None, None, None],
    "surrogate": "\ud800", "code": "__import__('os').system('true')", "path": "../../etc/passwd",
}  # fmt: skip


def places(value, path=()):
    """Every place in a JSON value."""
    yield path
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        yield from places(inner, (*path, key))


def put(document, path, value):
    for key in path[:-1]:
        document = document[key]
    document[path[-1]] = value


def manifest_text(folder, text):
    (folder / "manifest.json").write_bytes(text)
    names = ("CARD.md", "golden.npz", "manifest.json", "model.onnx")
    lines = [f"{hashlib.sha256((folder / name).read_bytes()).hexdigest()}  {name}\n" for name in names]
    (folder / "SHA256SUMS").write_text("".join(lines))


def twice(text):
    return text.replace(b'"heads"', b'"heads": [], "heads"', 1)


@cases(
    "manifest.json: ",
    {
        "5 MB": lambda text: text + b" " * 5_000_000,
        "depth": lambda text: text.replace(
            b'"evaluation": {}', b'"evaluation": {"a": ' + b"[" * 50_000 + b"]" * 50_000 + b"}"
        ),
        "NaN": lambda text: text.replace(b'"evaluation": {}', b'"evaluation": {"a": NaN}'),
        "infinity": lambda text: text.replace(b'"evaluation": {}', b'"evaluation": {"a": -Infinity}'),
        "a key twice": twice,
        "5,000 digits": lambda text: text.replace(b'"evaluation": {}', b'"evaluation": {"a": ' + b"9" * 5000 + b"}"),
        "byte order mark": lambda text: b"\xef\xbb\xbf" + text,
        "UTF-16": lambda text: text.decode().encode("utf-16"),
        "not UTF-8": lambda text: text.replace(b"moderation", b"moder\xffation", 1),
        "cut": lambda text: text[:-20],
        "two": lambda text: text + text,
        "version true": lambda text: text.replace(b'"format_version": 1', b'"format_version": true'),
        "version 1.0": lambda text: text.replace(b'"format_version": 1', b'"format_version": 1.0'),
    },
)
def manifest(folder, change):
    before = (folder / "manifest.json").read_bytes()
    after = change(before)
    assert after != before
    if len(after) > 1 << 22:
        (folder / "manifest.json").write_bytes(after)
    else:
        manifest_text(folder, after)


# --------------------------------------------------------------------------------------------------------- model.onnx


def counted(field, data):
    """A field of a protobuf message with this content."""
    size = len(data)
    out = bytearray([field << 3 | 2])
    while size > 0x7F:
        out.append(size & 0x7F | 0x80)
        size >>= 7
    return bytes(out) + bytes([size]) + data


def nested(depth):
    """A graph in an attribute of a node of a graph, and so on."""
    data = b""
    for _ in range(depth):
        data = counted(7, counted(1, counted(5, counted(6, data)[0:0] + counted(6, data))))
    return data


def tensor_of(dims, **fields):
    tensor = TensorProto(name="table", data_type=TensorProto.INT8, dims=dims)
    for name, value in fields.items():
        if name == "int32_data":
            tensor.int32_data.extend(value)
        else:
            setattr(tensor, name, value)
    return tensor


def with_tensor(tensor):
    def change(data):
        model = onnx.load_model_from_string(data)
        table = next(t for t in model.graph.initializer if t.name == "table")
        table.CopyFrom(tensor)
        return model.SerializeToString()

    return change


def with_model(change):
    def changed(data):
        model = onnx.load_model_from_string(data)
        change(model)
        return model.SerializeToString()

    return changed


def twin(model):
    model.graph.initializer.append(next(t for t in model.graph.initializer if t.name == "hidden_bias"))


def numbers(tags, value=b"\x01"):
    """A number for each tag, as a message would have it."""
    out = bytearray()
    for tag in tags:
        while tag > 0x7F:
            out.append(tag & 0x7F | 0x80)
            tag >>= 7
        out += bytes([tag]) + value
    return bytes(out)


def alternating(count):
    """Tags of two known fields by turns, each longer than it need be."""
    return b"\x88\x80\x00\x01\xa8\x80\x80\x00\x01" * count


MODELS = {
    "200,000 unknown fields": lambda data: data + numbers(8 * n for n in range(100_000, 300_000)),
    "200,000 unknown fields of eight bytes": lambda data: (
        data + numbers((8 * n + 1 for n in range(100_000, 300_000)), b"\x01" * 8)
    ),
    "200,000 fields by turns": lambda data: data + alternating(100_000),
    "an unknown number without end": lambda data: data + numbers([8 * 100_000 + 5], b"\x01"),
    "cut": lambda data: data[: len(data) // 2],
    "10 million empty nodes": lambda data: data + counted(7, b"\x0a\x00" * 10_000_000),
    "10 million empty names": lambda data: data + counted(7, counted(1, b"\x0a\x00" * 10_000_000)),
    "deep": lambda data: data + nested(60),
    "group": lambda data: data + b"\x3b\x3c",
    "varint without end": lambda data: data + b"\xff" * 40,
    "length beyond the end": lambda data: data + b"\x3a\xff\xff\xff\xff\x0f",
    "2^62 dims": with_tensor(tensor_of([1 << 62, 16], raw_data=b"x")),
    "2 GiB dims": with_tensor(tensor_of([1 << 27, 16], raw_data=b"x" * 16)),
    "negative dims": with_tensor(tensor_of([-1, 16], raw_data=b"x" * 32)),
    "product past 64 bits": with_tensor(tensor_of([1 << 40, 1 << 40], raw_data=b"")),
    "no data": with_tensor(tensor_of([64, 16])),
    "empty with huge dims": with_tensor(tensor_of([0, 1 << 62], raw_data=b"")),
    "type 99": with_tensor(TensorProto(name="table", data_type=99, dims=[1], raw_data=b"x")),
    "no type": with_tensor(TensorProto(name="table", dims=[1], raw_data=b"x")),
    "texts": with_tensor(TensorProto(name="table", data_type=8, dims=[16, 16], string_data=[b"x"] * 256)),
    "a name twice": with_model(twin),
    "opset 9999": with_model(lambda model: setattr(model.opset_import[0], "version", 9999)),
    "no opset": with_model(lambda model: model.ClearField("opset_import")),
    "ir version": with_model(lambda model: setattr(model, "ir_version", 2**40)),
    "custom domain": with_model(lambda model: setattr(model.graph.node[3], "domain", "evil\n")),
    "shape of a value": with_model(lambda model: model.graph.value_info[0].type.tensor_type.ClearField("shape")),
    "type of an input": with_model(lambda model: setattr(model.graph.input[0].type.tensor_type, "elem_type", 1)),
    "no graph": with_model(lambda model: model.ClearField("graph")),
}


@cases("", MODELS)
def model(folder, change):
    reseal(folder, model_onnx=change((folder / "model.onnx").read_bytes()))


# ------------------------------------------------------------------------------------------------------ number columns


def columns_of(nodes, initializers=(), *, ml=False, width=1):
    outputs = [tensor_info("probabilities", shape=("rows", width))]
    return model_of(nodes, [tensor_info("input")], outputs, initializers, ml=ml)


def node(op, inputs, outputs, **attributes):
    return helper.make_node(op, inputs, outputs, **attributes)


def doubling(times):
    names = ["input", *(f"x{k}" for k in range(times))]
    nodes = [node("Concat", [a, a], [b], axis=1) for a, b in itertools.pairwise(names)]
    return columns_of([*nodes, node("ReduceMean", [names[-1]], ["probabilities"], axes=[1], keepdims=1)])


def tree(**changed):
    model = tree_model()
    for attribute in model.graph.node[0].attribute:
        if attribute.name in changed:
            value = changed[attribute.name]
            attribute.CopyFrom(helper.make_attribute(attribute.name, value))
    return model


def with_hidden_graph():
    model = tree_model()
    attribute = model.graph.node[0].attribute[0]
    attribute.g.CopyFrom(tree_model().graph)
    return model


def with_sparse():
    model = tree_model()
    attribute = model.graph.node[0].attribute.add(name="sparse", type=onnx.AttributeProto.SPARSE_TENSOR)
    attribute.sparse_tensor.values.external_data.add(key="location", value="/etc/passwd")
    return model


def external(model):
    tensor = model.graph.initializer.add(name="w", data_type=1, dims=[1], data_location=TensorProto.EXTERNAL)
    tensor.external_data.add(key="location", value="../../etc/passwd")
    return model


COLUMNS = {
    "cycle": lambda: columns_of([node("Add", ["input", "b"], ["a"]), node("Neg", ["a"], ["b"]),
                                 node("ReduceMean", ["a"], ["probabilities"], axes=[1])]),
    "fills 64 GiB": lambda: columns_of([node("ConstantOfShape", ["n"], ["x"]), node("ReduceMean", ["x"], ["y"], keepdims=0),
                                        node("Add", ["input", "y"], ["z"]), node("ReduceMean", ["z"], ["probabilities"], axes=[1])],
                                       {"n": np.array([1 << 17, 1 << 17], np.int64)}),
    "expands to 64 GiB": lambda: columns_of([node("Expand", ["one", "n"], ["x"]), node("ReduceMean", ["x"], ["y"], keepdims=0),
                                             node("Add", ["input", "y"], ["z"]), node("ReduceMean", ["z"], ["probabilities"], axes=[1])],
                                            {"one": np.ones((1, 1), np.float32), "n": np.array([1 << 17, 1 << 17], np.int64)}),
    "outer product": lambda: columns_of([node("Mul", ["a", "b"], ["x"]), node("ReduceMean", ["x"], ["y"], keepdims=0),
                                         node("Add", ["input", "y"], ["z"]), node("ReduceMean", ["z"], ["probabilities"], axes=[1])],
                                        {"a": np.ones((1 << 17, 1), np.float32), "b": np.ones((1, 1 << 17), np.float32)}),
    "doubles 40 times": lambda: doubling(40),
    "unknown input": lambda: columns_of([node("Neg", ["nowhere"], ["probabilities"])]),
    "no nodes": lambda: columns_of([]),
    "hidden graph": with_hidden_graph,
    "sparse attribute": with_sparse,
    "external data": lambda: external(tree_model()),
    "tree of node 9 billion": lambda: tree(nodes_truenodeids=[1, 0, 0, 1 << 33, 0, 0]),
    "tree of a negative node": lambda: tree(nodes_truenodeids=[-1, 0, 0, 1, 0, 0]),
    "tree that is its own branch": lambda: tree(nodes_truenodeids=[0, 0, 0, 0, 0, 0], nodes_falsenodeids=[0, 0, 0, 0, 0, 0]),
    "tree of a negative feature": lambda: tree(nodes_featureids=[-5, 0, 0, 2, 0, 0]),
    "tree of a feature that is not there": lambda: tree(nodes_featureids=[1 << 40, 0, 0, 2, 0, 0]),
    "tree of fewer values": lambda: tree(nodes_values=[30.0]),
    "tree of fewer nodes": lambda: tree(nodes_nodeids=[0, 1]),
    "tree of a class that is not there": lambda: tree(class_ids=[0, 7, 1 << 20, -3]),
    "tree of an unknown mode": lambda: tree(nodes_modes=["BRANCH_NO"] * 6),
    "tree of an unknown transform": lambda: tree(post_transform="EVIL"),
}  # fmt: skip


@cases("", COLUMNS, kind="columns")
def columns(folder, make):
    write_column_bundle(folder, make())


@cases(
    "manifest.toml: ",
    {
        "depth": b"a = " + b"[" * 100_000,
        "5,000 digits": b"cut = " + b"9" * 5_000,
        "long key": b".".join([b"a"] * 100_000) + b" = 1",
        "long table": b"[" + b".".join([b"a"] * 100_000) + b"]",
        "long quoted key": b" . ".join([b'"a"'] * 50_000) + b" = 1",
        "inline": b"a = {" + b".".join([b"b"] * 100_000) + b" = 1}",
        "not UTF-8": b"name = '\xff'",
        "zero byte": b"name = 'a\0'",
        "infinite cut": MANIFEST.replace("0.4", "inf").encode(),
        "path": MANIFEST.replace("churn.onnx", "../churn.onnx").encode(),
        "many columns": b"name = 'a'\ncolumns = [" + b"'x'," * 10_000 + b"]",
    },
    kind="columns",
)
def toml(folder, text):
    (folder / "manifest.toml").write_bytes(text)


@case("cannot read a\\x00b: embedded null byte", kind="columns")
def zero_byte_in_the_model_s_name(folder):
    (folder / "manifest.toml").write_text(MANIFEST.replace("churn.onnx", "a\\u0000b"))


# ------------------------------------------------------------------------------------------------------------- the test

CHILD = """
import json, resource, sys, time, warnings
warnings.simplefilter("error")
from farthing import Scorer
from farthing.errors import FarthingError
def status(name):
    return next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith(name + ":")) // 1024
for kind in ("moderation", "rerank", "columns"):
    Scorer.load(sys.argv[1] + "/good " + kind)
resource.setrlimit(resource.RLIMIT_AS, ((status("VmSize") + int(sys.argv[2])) << 20,) * 2)
print(json.dumps(status("VmRSS")), flush=True)
for line in sys.stdin:
    began = time.monotonic()
    try:
        with open("/proc/self/clear_refs", "w") as file:
            file.write("5")
        Scorer.load(json.loads(line))
        error = (None, "")
    except FarthingError as e:
        error = (type(e).__name__, str(e))
    except BaseException as e:
        error = (repr(type(e)), str(e))
    print(json.dumps([*error, time.monotonic() - began, status("VmHWM")]), flush=True)
"""


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """A folder for each case, changed from a good one."""
    root = tmp_path_factory.mktemp("hostile")
    make_bundle(root / "good moderation")
    make_rerank_bundle(root / "good rerank")
    write_column_bundle(root / "good columns")
    for name, (kind, change, _) in CASES.items():
        change(Path(shutil.copytree(root / f"good {kind}", root / name)))
    return root


def test_hostile_bundles_are_refused_with_bounded_memory_and_time(folders):
    with subprocess.Popen(
        [sys.executable, "-X", "faulthandler", "-c", CHILD, str(folders), str(MORE_MIB)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    ) as child:  # fmt: skip
        before = json.loads(child.stdout.readline() or child.stderr.read())
        wrong = {}
        for name, (_, _, said) in CASES.items():
            child.stdin.write(json.dumps(str(folders / name)) + "\n")
            child.stdin.flush()
            answer = child.stdout.readline()
            assert answer, f"{name}: the process ended ({child.wait()}): {child.stderr.read()[-2000:]}"
            kind, message, seconds, peak = json.loads(answer)
            right = kind == "BundleError" and said in message and message.isprintable() and len(message) <= 2_400
            if not right or seconds > SECONDS or peak > before + MORE_MIB:
                wrong[name] = (kind, message[:300], round(seconds, 1), peak - before)
        child.stdin.close()
    assert wrong == {}


def test_what_a_bundle_says_is_no_markup(tmp_path):
    """Words in square brackets are rich's markup, where nobody says otherwise, and [/b] without [b] is an error of it."""
    folder = make_bundle(tmp_path / "[/b]", heads=("[/b]", "[red]", "threat")).path
    done = farthing("model", "show", folder)
    assert done.returncode == 0 and "[/b]" in done.stdout and "[red]" in done.stdout, done.stderr
    (folder / "CARD.md").write_text("changed")
    done = farthing("model", "verify", folder)
    assert done.returncode == 1 and "failed: " in done.stderr, done.stderr


def test_a_command_says_it_in_one_sentence(folders):
    for name in ("pipe as manifest.json", "golden of objects", "model 2^62 dims", "columns fills 64 GiB"):
        done = farthing("score", folders / name, os.devnull)
        assert done.returncode == 3, name
        assert len([line for line in done.stderr.splitlines() if line.startswith("farthing: ")]) == 1
        assert "Traceback" not in done.stderr and done.stdout == ""


def test_a_model_of_ever_new_fields_is_counted_in_little_time_and_leaves_nothing_behind():
    """Without the bundle's own limit: a forest may have millions of parts."""
    data = numbers(8 * n for n in range(100_000, 300_000)) + alternating(20_000)
    model_file._run.cache_clear()
    began = time.monotonic()
    assert model_file._count_parts(data, model_file.MOST_PARTS) == 240_000
    assert time.monotonic() - began < 10  # it was more than twenty
    assert model_file._run.cache_info().currsize == 0


@given(st.lists(st.tuples(st.integers(0, 30), st.integers(0, 2**64 - 1), st.integers(1, 3)), max_size=40))
def test_parts_of_numbers_are_the_runs_of_known_fields_and_each_of_others(fields):
    data, parts, last = b"", 0, None
    for number, value, repeats in fields:
        known = number in onnx.ModelProto.DESCRIPTOR.fields_by_number
        data += numbers([8 * number] * repeats, numbers([value], b""))
        parts += 0 if known and number == last else 1 if known else repeats
        last = number
    assert model_file._count_parts(data, model_file.MOST_PARTS) == parts
