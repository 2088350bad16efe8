"""The model as an ONNX graph, from feature ids to scores, with int8 weights: how it is built, checked and read.

::

    ids (rows, length)  int64, padded with id n_buckets
      Gather int8 table, Cast, ReduceSum        -> accumulators (rows, dim)    int32
      ids that are not padding, counted         -> counts       (rows, 1)      int32
      accumulators * column_scale / divisor(counts),
      QuantizeLinear                            -> input_quantized             uint8
    --------------------------- farthing.scoring.embedding_bag does the above in two kernels
      MatMulInteger + bias, * hidden_scale, QuantizeLinear with zero point 0   uint8: its clipping is the ReLU
      MatMulInteger                             -> logits       (rows, heads)  int32
    --------------------------- farthing.scoring.finish does the below in one kernel
      Sigmoid(logits * logit_scale + logit_bias) -> scores      (rows, heads)  float32

Up to ``logits`` every float step is one IEEE 754 operation on one element (Cast, Mul, Div, QuantizeLinear) and every
sum is a sum of integers. So ``logits`` have the same bits on every CPU, whatever the batch size, the other rows and the
thread count. ``divisor`` comes from a table rather than from Sqrt, which some runtimes approximate; past the table's
end it grows in proportion to the count, so that a very long text is averaged.

Dense weights have 7 bits because some CPUs' 8-bit products saturate (:data:`farthing.scoring.tensors.WEIGHT_LIMIT`).

Source: https://onnx.ai/onnx/operators/ (opset 17).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from farthing.blocks import Int32s
from farthing.errors import BundleError
from farthing.scoring.model_file import array_of
from farthing.scoring.tensors import QuantizedTensors

OPSET = 17
IR_VERSION = 8
Float32s = NDArray[np.float32]


def build_model(tensors: QuantizedTensors, metadata: Mapping[str, str] | None = None) -> onnx.ModelProto:
    """Lay the tensors out as an ONNX model that any runtime can run.

    Parameters
    ----------
    tensors:
        All numbers of the model.
    metadata:
        Stored in ``metadata_props``. A bundle's model has its ``task`` and its ``feature_fingerprint`` there.

    Returns
    -------
    A checked model with the input ``ids`` int64 (rows, length) and the outputs ``scores`` float32 (rows, heads),
    ``logits`` int32 (rows, heads) and ``accumulators`` int32 (rows, dim).
    """
    inputs, outputs, within = _values(tensors)
    initializers = [numpy_helper.from_array(value, name) for name, value in _initializers(tensors).items()]
    graph = helper.make_graph(_nodes(), "farthing", inputs, outputs, initializers, value_info=within)
    model = helper.make_model(
        graph, producer_name="farthing", ir_version=IR_VERSION, opset_imports=[helper.make_opsetid("", OPSET)]
    )
    helper.set_model_props(model, dict(metadata or {}))
    onnx.checker.check_model(model, full_check=True)
    return model


def _values(t: QuantizedTensors) -> tuple[list[onnx.ValueInfoProto], ...]:
    """Return what goes in, what goes out, and the value between that the dense part begins with."""
    value, int32 = helper.make_tensor_value_info, TensorProto.INT32
    return (
        [value("ids", TensorProto.INT64, ["rows", "length"])],
        [
            value("scores", TensorProto.FLOAT, ["rows", t.n_heads]),
            value("logits", int32, ["rows", t.n_heads]),
            value("accumulators", int32, ["rows", t.dim]),
        ],
        [value("input_quantized", TensorProto.UINT8, ["rows", t.dim])],
    )


def _initializers(t: QuantizedTensors) -> dict[str, NDArray[np.generic]]:
    limit = t.length_divisor.size - 1
    return {
        "table": np.concatenate([t.table, np.zeros((1, t.dim), np.int8)]),
        "padding_id": np.asarray(t.n_buckets, np.int64),
        "length_axis": np.asarray([1], np.int64),
        "length_divisor": t.length_divisor,
        "length_limit": np.asarray(limit, np.int32),
        "length_limit_float": np.asarray(limit, np.float32),
        "column_scale": t.column_scale,
        "input_scale": np.asarray(t.input_scale, np.float32),
        "input_zero_point": np.asarray(t.input_zero_point, np.uint8),
        "hidden_weight": t.hidden_weight,
        "hidden_bias": t.hidden_bias,
        "hidden_scale": t.hidden_scale,
        "activation_scale": np.asarray(t.activation_scale, np.float32),
        "activation_zero_point": np.asarray(0, np.uint8),
        "output_weight": t.output_weight,
        "logit_scale": t.logit_scale,
        "logit_bias": t.logit_bias,
    }


def _nodes() -> list[onnx.NodeProto]:
    """Return all nodes, in order. A bundle of this format version has exactly these."""
    node = helper.make_node
    int32, f32 = TensorProto.INT32, TensorProto.FLOAT
    return [
        node("Gather", ["table", "ids"], ["embeddings"], axis=0),
        node("Cast", ["embeddings"], ["embeddings_int32"], to=int32),
        node("ReduceSum", ["embeddings_int32", "length_axis"], ["accumulators"], keepdims=0),
        node("Equal", ["ids", "padding_id"], ["is_padding"]),
        node("Not", ["is_padding"], ["is_id"]),
        node("Cast", ["is_id"], ["is_id_int32"], to=int32),
        node("ReduceSum", ["is_id_int32", "length_axis"], ["counts"], keepdims=1),
        # divisor = length_divisor[min(count, limit)] * (max(count, limit) / limit)
        node("Min", ["counts", "length_limit"], ["count_within"]),
        node("Gather", ["length_divisor", "count_within"], ["divisor_within"], axis=0),
        node("Max", ["counts", "length_limit"], ["count_beyond"]),
        node("Cast", ["count_beyond"], ["count_beyond_float"], to=f32),
        node("Div", ["count_beyond_float", "length_limit_float"], ["stretch"]),
        node("Mul", ["divisor_within", "stretch"], ["divisor"]),
        # the hidden layer
        node("Cast", ["accumulators"], ["accumulators_float"], to=f32),
        node("Mul", ["accumulators_float", "column_scale"], ["sums"]),
        node("Div", ["sums", "divisor"], ["means"]),
        node("QuantizeLinear", ["means", "input_scale", "input_zero_point"], ["input_quantized"]),
        node("MatMulInteger", ["input_quantized", "hidden_weight", "input_zero_point"], ["hidden_products"]),
        node("Add", ["hidden_products", "hidden_bias"], ["hidden_sums"]),
        node("Cast", ["hidden_sums"], ["hidden_sums_float"], to=f32),
        node("Mul", ["hidden_sums_float", "hidden_scale"], ["hidden"]),
        node("QuantizeLinear", ["hidden", "activation_scale", "activation_zero_point"], ["hidden_quantized"]),
        # the heads
        node("MatMulInteger", ["hidden_quantized", "output_weight"], ["logits"]),
        node("Cast", ["logits"], ["logits_float"], to=f32),
        node("Mul", ["logits_float", "logit_scale"], ["logits_scaled"]),
        node("Add", ["logits_scaled", "logit_bias"], ["logits_real"]),
        node("Sigmoid", ["logits_real"], ["scores"]),
    ]


ALLOWED_OPS = frozenset(node.op_type for node in _nodes())


def read_tensors(model: onnx.ModelProto) -> QuantizedTensors:
    """Check that a model is safe to run and has the graph of this format, and return its numbers.

    Raises
    ------
    BundleError
        External data, functions, sparse tensors, an operator that is not allowed, a node that differs from what
        :func:`build_model` writes, or a tensor that :class:`QuantizedTensors` refuses.
    """
    _check_safe(model)
    _check_nodes(model.graph)
    stored = {tensor.name: array_of(tensor, "model.onnx") for tensor in model.graph.initializer}
    if len(stored) < len(model.graph.initializer):
        raise BundleError("model.onnx: two tensors have the same name; build the model again")
    scalars = {"input_scale": np.float32, "input_zero_point": np.uint8, "activation_scale": np.float32}
    names = {field.name for field in fields(QuantizedTensors)}
    missing = names - stored.keys()
    if missing:
        raise BundleError(f"model.onnx: no tensor named {', '.join(sorted(missing))}; build the model again")
    for name, dtype in scalars.items():
        if stored[name].shape != ():
            raise BundleError(f"model.onnx: tensor {name} has shape {stored[name].shape}, expected a scalar")
        if stored[name].dtype != dtype:
            raise BundleError(f"model.onnx: tensor {name} is {stored[name].dtype}, expected {np.dtype(dtype)}")
    values: dict[str, Any] = {name: stored[name].item() if name in scalars else stored[name] for name in names}
    if stored["table"].ndim == 2:
        values["table"] = stored["table"][:-1]
    tensors = QuantizedTensors(**values)
    _check_values(model.graph, tensors)
    rebuilt = _initializers(tensors)
    if stored.keys() != rebuilt.keys():
        raise BundleError(f"model.onnx: tensors {sorted(stored.keys() ^ rebuilt.keys())} are missing or unknown")
    for name, expected in rebuilt.items():
        if stored[name].dtype != expected.dtype or not np.array_equal(stored[name], expected):
            raise BundleError(
                f"model.onnx: tensor {name} does not follow from the other tensors "
                f"(expected {_short(expected)}, found {_short(stored[name])}); build the model again"
            )
    return tensors


def _short(value: NDArray[np.generic]) -> str:
    return f"{value.dtype} {value.item()}" if value.size == 1 else f"{value.dtype} {value.shape}"


def check_contained(model: onnx.ModelProto, name: str) -> None:
    """Refuse a model that could read another file or load code: a digest shows that a file is unchanged, not harmless.

    ``name`` is what messages call the model.

    Raises
    ------
    BundleError
        Data outside the file, functions, training information, sparse tensors, or runtime settings.
    """
    for tensor in model.graph.initializer:
        if tensor.data_location == TensorProto.EXTERNAL or tensor.external_data:
            where = {entry.key: entry.value for entry in tensor.external_data}.get("location", "?")
            raise BundleError(
                f"{name}: tensor {tensor.name} lies outside the file ({where!r}), expected inside; "
                "save the model without external data"
            )
    for what, present in (
        ("functions", model.functions),
        ("training_info", model.training_info),
        ("sparse initializers", model.graph.sparse_initializer),
    ):
        if present:
            raise BundleError(f"{name}: holds {len(present)} {what}, expected none")
    for prop in model.metadata_props:
        if prop.key == "ort_config":  # ONNX Runtime would take session settings from it
            raise BundleError(f"{name}: metadata holds ort_config, expected no settings of a runtime")


def _check_safe(model: onnx.ModelProto) -> None:
    check_contained(model, "model.onnx")
    opsets = {entry.domain: entry.version for entry in model.opset_import}
    if opsets != {"": OPSET}:
        raise BundleError(f"model.onnx: operator sets are {opsets}, expected {{'': {OPSET}}} (ai.onnx only)")
    for node in model.graph.node:
        if node.domain not in ("", "ai.onnx") or node.op_type not in ALLOWED_OPS:
            raise BundleError(
                f"model.onnx: operator {node.domain or 'ai.onnx'}::{node.op_type}, expected one of ai.onnx::"
                f"{', '.join(sorted(ALLOWED_OPS))}"
            )


def _check_nodes(graph: onnx.GraphProto) -> None:
    expected = _nodes()
    if len(graph.node) != len(expected):
        raise BundleError(f"model.onnx: has {len(graph.node)} nodes, expected {len(expected)}; build the model again")
    for given, node in zip(graph.node, expected, strict=True):
        if given != node:
            raise BundleError(
                f"model.onnx: node {helper.printable_node(given)}, expected {helper.printable_node(node)}; "
                "build the model again"
            )
    names = ([value.name for value in graph.input], [value.name for value in graph.output])
    if names != (["ids"], ["scores", "logits", "accumulators"]):
        raise BundleError(f"model.onnx: inputs and outputs are {names}, expected ids and scores, logits, accumulators")


def _check_values(graph: onnx.GraphProto, tensors: QuantizedTensors) -> None:
    for given, expected in zip((graph.input, graph.output, graph.value_info), _values(tensors), strict=True):
        if list(given) != expected:
            raise BundleError(
                f"model.onnx: the values {[value.name for value in given]} have other types or shapes than "
                f"{[value.name for value in expected]} must have; build the model again"
            )


def reference_logits(tensors: QuantizedTensors, accumulators: Int32s, counts: Int32s) -> Int32s:
    """Compute logits from accumulators with NumPy: the same bits as the graph.

    Parameters
    ----------
    tensors:
        The model.
    accumulators:
        int32 (rows, dim): sums of the table's rows.
    counts:
        int32 (rows,): ids in each row.

    Returns
    -------
    int32 (rows, heads).
    """
    t = tensors
    limit = t.length_divisor.size - 1
    counts = counts.reshape(-1, 1)
    divisor = t.length_divisor[np.minimum(counts, limit)]
    divisor = divisor * (np.maximum(counts, limit).astype(np.float32) / np.float32(limit))
    means = accumulators.astype(np.float32) * t.column_scale / divisor
    inputs = _quantize(means, t.input_scale, t.input_zero_point) - np.int32(t.input_zero_point)
    sums = inputs @ t.hidden_weight.astype(np.int32) + t.hidden_bias
    hidden = _quantize(sums.astype(np.float32) * t.hidden_scale, t.activation_scale, 0)
    logits: Int32s = hidden @ t.output_weight.astype(np.int32)
    return logits


def _quantize(values: Float32s, scale: float, zero_point: int) -> Int32s:
    """ONNX QuantizeLinear to uint8 (half to even), widened to int32."""
    steps: Float32s = np.rint(values / np.float32(scale)) + np.float32(zero_point)
    return np.clip(steps, 0, 255).astype(np.int32)
