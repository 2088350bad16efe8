"""Small ONNX classifiers over number columns, made by hand, and bundles of them."""

import numpy as np
from onnx import TensorProto, helper, numpy_helper

COLUMNS = ("age", "tenure", "fee")
MANIFEST = """\
name = "churn"
model = "churn.onnx"
task = "classify"
columns = ["age", "tenure", "plan.fee"]
heads = ["churn"]
cut = 0.4
missing = "refuse"
output = "probabilities"
licence = "ours"
allow_batch_variant = false
"""


def tensor_info(name, kind=TensorProto.FLOAT, shape=("rows", 3)):
    return helper.make_tensor_value_info(name, kind, shape)


def model_of(nodes, inputs, outputs, initializers=(), *, ml=True):
    graph = helper.make_graph(
        nodes, "g", inputs, outputs, [numpy_helper.from_array(np.asarray(v), n) for n, v in dict(initializers).items()]
    )
    opsets = [helper.make_opsetid("", 17), *([helper.make_opsetid("ai.onnx.ml", 3)] if ml else [])]
    return helper.make_model(graph, ir_version=8, opset_imports=opsets)


def tree_model(*, input_shape=("rows", 3), kind=TensorProto.FLOAT):
    """Two stumps: age under 30 and a fee over 50 make churn likelier; the answer of one row depends on no other."""
    node = helper.make_node(
        "TreeEnsembleClassifier", ["input"], ["label", "probabilities"], domain="ai.onnx.ml",
        nodes_treeids=[0, 0, 0, 1, 1, 1], nodes_nodeids=[0, 1, 2, 0, 1, 2], nodes_featureids=[0, 0, 0, 2, 0, 0],
        nodes_modes=["BRANCH_LT", "LEAF", "LEAF", "BRANCH_LT", "LEAF", "LEAF"],
        nodes_values=[30.0, 0.0, 0.0, 50.0, 0.0, 0.0], nodes_truenodeids=[1, 0, 0, 1, 0, 0],
        nodes_falsenodeids=[2, 0, 0, 2, 0, 0], nodes_missing_value_tracks_true=[0] * 6,
        class_treeids=[0, 0, 1, 1], class_nodeids=[1, 2, 1, 2], class_ids=[0, 0, 0, 0],
        class_weights=[1.0, -0.5, -1.0, 1.5], classlabels_int64s=[0, 1], post_transform="LOGISTIC",
    )  # fmt: skip
    return model_of(
        [node],
        [tensor_info("input", kind, input_shape)],
        [tensor_info("label", TensorProto.INT64, ("rows",)), tensor_info("probabilities", shape=("rows", 2))],
    )


def expected_of(rows):
    """What :func:`tree_model` says, float64."""
    rows = np.asarray(rows, float)
    return 1 / (1 + np.exp(-(np.where(rows[:, 0] < 30, 1.0, -0.5) + np.where(rows[:, 2] < 50, -1.0, 1.5))))


def linear_model():
    """A step on a sum of columns that stand for themselves: no float operation mixes rows."""
    nodes = [
        helper.make_node("Add", ["age", "tenure"], ["both"]),
        helper.make_node("Greater", ["both", "limit"], ["over"]),
        helper.make_node("Cast", ["over"], ["probabilities"], to=TensorProto.FLOAT),
    ]
    inputs = [tensor_info("age", shape=("rows", 1)), tensor_info("tenure", shape=("rows", 1))]
    outputs = [tensor_info("probabilities", shape=("rows", 1))]
    return model_of(nodes, inputs, outputs, {"limit": np.float32(10)}, ml=False)


def batch_variant_model():
    """Each row's score is compared with the mean of its batch: as variant as can be."""
    nodes = [
        helper.make_node("ReduceMean", ["input"], ["mean"], axes=[0], keepdims=1),
        helper.make_node("Greater", ["input", "mean"], ["over"]),
        helper.make_node("Cast", ["over"], ["ones"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["ones"], ["probabilities"], axes=[1], keepdims=1),
    ]
    return model_of(nodes, [tensor_info("input")], [tensor_info("probabilities", shape=("rows", 1))], ml=False)


def write_column_bundle(folder, model=None, manifest=MANIFEST):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "manifest.toml").write_text(manifest)
    (folder / "churn.onnx").write_bytes((tree_model() if model is None else model).SerializeToString())
    return folder
