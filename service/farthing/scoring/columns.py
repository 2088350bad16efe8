"""Runs an ONNX classifier over number columns, such as a team already has: checks it at load, then uses ONNX Runtime.

The inputs are one tensor (rows, n_columns), or a tensor (rows,) or (rows, 1) for each column, named after it; float32
or float64. The scores are probabilities, (rows,) or (rows, n_heads). Only operators in :data:`ALLOWED_OPS` are allowed:
none of them loops, branches, reads files, draws random numbers, or quantizes by what else is in the batch.

Whether a row's score depends on the other rows of its batch is up to the kernels that ONNX Runtime chooses for floats,
so :meth:`ColumnSession.check` tries it on this machine.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray
from onnx import TensorProto

from farthing.errors import BundleError, ScoreError
from farthing.scoring.graph import check_contained
from farthing.scoring.model_file import check_sizes
from farthing.scoring.session import MAX_ROWS, open_session

Float64s = NDArray[np.float64]
Float32s = NDArray[np.float32]

ALLOWED_OPS: Final = {
    "ai.onnx": frozenset(
        """Abs Add And ArgMax BatchNormalization Cast Clip Concat Constant ConstantOfShape DequantizeLinear Div Elu
        Equal Erf Exp Expand Flatten Floor Gather Gelu Gemm Greater GreaterOrEqual HardSigmoid Identity IsInf IsNaN
        LayerNormalization LeakyRelu Less LessOrEqual Log LogSoftmax MatMul MatMulInteger Max Min Mul Neg Not Or PRelu
        Pow QuantizeLinear Reciprocal ReduceMax ReduceMean ReduceMin ReduceSum ReduceSumSquare Relu Reshape Selu Shape
        Sigmoid Sign Slice Softmax Softplus Sqrt Squeeze Sub Sum Tanh Transpose Unsqueeze Where""".split()
    ),
    "ai.onnx.ml": frozenset(
        """ArrayFeatureExtractor Binarizer FeatureVectorizer Imputer LinearClassifier LinearRegressor Normalizer
        SVMClassifier SVMRegressor Scaler TreeEnsemble TreeEnsembleClassifier TreeEnsembleRegressor""".split()
    ),
}
_INPUT_TYPES: Final[dict[str, type[np.floating[Any]]]] = {"tensor(float)": np.float32, "tensor(double)": np.float64}

BATCH_SIZES: Final = (1, 2, 3, 5, 8, 13, 16, 17, 31, 33, 64, 129)
PROBE_ROWS: Final = 1031
"""A prime: no batch size divides it, so with every size the last batch is incomplete."""
_ATTRIBUTES: Final = {  # of these types; graphs, sparse tensors and types are not among them
    getattr(onnx.AttributeProto, name) for name in "FLOAT INT STRING TENSOR FLOATS INTS STRINGS TENSORS".split()
}
_SEED: Final = 20240229
_CLOSE_OPS: Final = 3


@dataclass(frozen=True, slots=True)
class BatchCheck:
    """What was tried (batch sizes, rows), and the largest difference between two scores of one row."""

    batch_sizes: tuple[int, ...]
    rows: int
    worst_difference: float

    @property
    def variant(self) -> bool:
        """Whether a row's score depends on its batch."""
        return self.worst_difference != 0.0


class ColumnSession:
    """A model ready to run.

    Parameters
    ----------
    model:
        An ONNX model.
    columns:
        Names of the inputs, in the order of a single tensor's columns.
    n_heads:
        How many scores a row has. With one head and several output columns, the score is the last column: class 1.
    output:
        Name of the output with the scores; None for the only output of floats.
    threads:
        Threads of one run.

    Raises
    ------
    BundleError
        An operator that is not allowed, data outside the file, or other inputs or outputs than stated.
    """

    def __init__(
        self, model: onnx.ModelProto, columns: Sequence[str], *, n_heads: int, output: str | None, threads: int = 1
    ) -> None:
        check_operators(model)
        check_sizes(model, "model", rows=MAX_ROWS)
        self._session = open_session(model, threads=threads)
        self._columns, self.n_heads = tuple(columns), n_heads
        self._one, self._inputs = _inputs_of(self._session, self._columns)
        self._output = _output_of(self._session, output)

    def run(self, values: Float64s) -> Float32s:
        """Score any number of rows: float64 (n_rows, n_columns) to float32 (n_rows, n_heads).

        Raises
        ------
        ScoreError
            ONNX Runtime failed, or returned another shape than at load.
        """
        scores = np.empty((len(values), self.n_heads), np.float32)
        for start in range(0, len(values), MAX_ROWS):
            stop = min(start + MAX_ROWS, len(values))
            try:
                (output,) = self._session.run([self._output], self._feed(values[start:stop]))
            except Exception as error:  # pybind11 raises a dozen unrelated types here
                raise ScoreError(f"ONNX Runtime failed on rows {start}..{stop} of {len(values)}: {error}") from error
            scores[start:stop] = self._heads(output, stop - start)
        return scores

    def check(self, *, with_nan: bool) -> BatchCheck:
        """Run made-up rows in batches of many sizes, and compare the scores with those of one run over all rows.

        ``with_nan`` says whether a missing number reaches the model as NaN.

        Raises
        ------
        BundleError
            The model cannot be run, or its scores are not probabilities.
        """
        rows = probe_rows(len(self._columns), with_nan=with_nan)
        try:
            expected = self.run(rows)
            sized = [(size, start, self.run(rows[start : start + size])) for size, start in _batches()]
        except ScoreError as error:
            raise BundleError(f"model: made-up rows cannot be scored: {error}") from error
        finite = expected[np.isfinite(expected)]
        if len(finite) and not (0.0 <= finite.min() and finite.max() <= 1.0):
            raise BundleError(
                f"model: the output {self._output} goes from {finite.min():g} to {finite.max():g}, expected "
                "probabilities, 0 to 1; export the probabilities, or name their output with output = ..."
            )
        worst = 0.0
        for _, start, scores in sized:
            there = expected[start : start + len(scores)]
            same = (scores == there) | (np.isnan(scores) & np.isnan(there))
            if not same.all():
                apart = np.abs(scores - there)[~same]
                worst = max(worst, float(np.where(np.isnan(apart), np.inf, apart).max()))
        return BatchCheck(BATCH_SIZES, PROBE_ROWS, worst)

    def _feed(self, values: Float64s) -> dict[str, NDArray[Any]]:
        with np.errstate(over="ignore"):  # numbers beyond float32 become infinite, and the score shows it
            if self._one:
                name, dtype, _ = self._inputs[0]
                return {name: np.ascontiguousarray(values, dtype)}
            return {
                name: values[:, k].astype(dtype).reshape((-1,) if rank == 1 else (-1, 1))
                for k, (name, dtype, rank) in enumerate(self._inputs)
            }

    def _heads(self, output: NDArray[Any], n_rows: int) -> Float32s:
        table = output.reshape(n_rows, -1) if n_rows and output.shape[:1] == (n_rows,) else output
        if table.ndim != 2 or len(table) != n_rows or (table.shape[1] != self.n_heads and self.n_heads != 1):
            raise ScoreError(
                f"the output {self._output} has the shape {output.shape} for {n_rows} rows and {self.n_heads} heads"
            )
        return np.asarray(table[:, -1:] if self.n_heads == 1 else table, np.float32)


def check_operators(model: onnx.ModelProto) -> None:
    """Refuse a model that could read another file or run code, or has an operator that is not known to be harmless.

    Raises
    ------
    BundleError
        The message says what was refused and what is allowed.
    """
    check_contained(model, "model")
    for node in model.graph.node:
        domain = node.domain or "ai.onnx"
        if node.op_type not in ALLOWED_OPS.get(domain, frozenset()):
            raise BundleError(f"model: operator {domain}::{node.op_type} is not allowed{_instead(node.op_type)}")
        for attribute in node.attribute:
            if attribute.type not in _ATTRIBUTES or attribute.HasField("g") or attribute.graphs:
                raise BundleError(
                    f"model: node {node.name or node.op_type} holds a graph of its own, or what is neither a number, a "
                    "text nor a tensor; expected none"
                )
            for tensor in (attribute.t, *attribute.tensors):
                if tensor.data_location == TensorProto.EXTERNAL or tensor.external_data:
                    raise BundleError(f"model: node {node.name or node.op_type} reads another file, expected none")


def _instead(op_type: str) -> str:
    """Say what to do about an operator that is not allowed, without listing all eighty that are."""
    if op_type == "ZipMap":
        return (
            "; convert the model with zipmap=False, so that its probabilities are a tensor and not a map: "
            "skl2onnx.to_onnx(..., options={'zipmap': False}), or zipmap=False in onnxmltools and lightgbm's converter"
        )
    names = {name.lower(): name for ops in ALLOWED_OPS.values() for name in ops}
    close = [names[name] for name in difflib.get_close_matches(op_type.lower(), names, n=_CLOSE_OPS)]
    near = f"; allowed operators with similar names: {', '.join(close)}" if close else ""
    return f"{near}; export the model without it, models/README.md says what is allowed"


def probe_rows(n_columns: int, *, with_nan: bool) -> Float64s:
    """Make up rows: float64 (PROBE_ROWS, n_columns), of many magnitudes, with zeros and equal rows among them."""
    rng = np.random.default_rng(_SEED)
    rows = rng.normal(0, 1, (PROBE_ROWS, n_columns)) * 10.0 ** rng.integers(-2, 4, (PROBE_ROWS, 1))
    rows[::5] = rng.integers(0, 100, rows[::5].shape)
    rows[7], rows[8] = 0.0, 1.0
    if with_nan:
        rows[rng.random(rows.shape) < 0.05] = np.nan
    return rows


def _batches() -> Iterator[tuple[int, int]]:
    for size in BATCH_SIZES:
        starts = range(0, PROBE_ROWS, size) if size > 3 else range(0, PROBE_ROWS, 11)  # rows run alone cost most
        yield from ((size, start) for start in starts)


def _inputs_of(
    session: onnxruntime.InferenceSession, columns: tuple[str, ...]
) -> tuple[bool, list[tuple[str, type[np.floating[Any]], int]]]:
    """Return whether one tensor holds all columns, and each input's name, dtype and rank, in the columns' order."""
    values = {value.name: value for value in session.get_inputs()}
    listed = ", ".join(f"{v.name} {v.type} {v.shape}" for v in values.values())
    for value in values.values():
        if value.type not in _INPUT_TYPES:
            raise BundleError(f"model: input {value.name} is {value.type}, expected {' or '.join(_INPUT_TYPES)}")
        if not value.shape or isinstance(value.shape[0], int):
            raise BundleError(
                f"model: input {value.name} has the shape {value.shape}, expected any number of rows first; export it "
                "with a dynamic first dimension"
            )
    if len(values) == 1 and (len(columns) > 1 or next(iter(values)) not in columns):
        (value,) = values.values()
        width = value.shape[1] if len(value.shape) == 2 else 0
        if isinstance(width, int) and width != len(columns):  # any other width is symbolic: it fits any number
            raise BundleError(
                f"model: input {value.name} has the shape {value.shape}, the manifest names {len(columns)} columns: "
                f"{', '.join(columns)}; name them all, in the order of training"
            )
        return True, [(value.name, _INPUT_TYPES[value.type], 2)]
    if set(values) != set(columns):
        raise BundleError(
            f"model: the inputs are {listed}; the manifest names the columns {', '.join(columns)}. Expected one input "
            "with all columns, or one for each, named like it"
        )
    inputs = []
    for name in columns:
        value = values[name]
        if len(value.shape) > 2 or (len(value.shape) == 2 and value.shape[1] != 1):
            raise BundleError(f"model: input {name} has the shape {value.shape}, expected one number per row")
        inputs.append((name, _INPUT_TYPES[value.type], len(value.shape)))
    return False, inputs


def _output_of(session: onnxruntime.InferenceSession, name: str | None) -> str:
    outputs = {value.name: value for value in session.get_outputs()}
    listed = ", ".join(f"{v.name} {v.type} {v.shape}" for v in outputs.values())
    if name is None:
        floats = [value.name for value in outputs.values() if value.type in _INPUT_TYPES]
        if len(floats) != 1:
            raise BundleError(f"model: the outputs are {listed}; name the one with the probabilities: output = ...")
        name = floats[0]
    if name not in outputs:
        raise BundleError(f"model: there is no output {name}; the outputs are {listed}")
    value = outputs[name]
    if value.type not in _INPUT_TYPES or len(value.shape) not in (0, 1, 2):
        raise BundleError(
            f"model: output {name} is {value.type} {value.shape}, expected floats, one row each; "
            "export without ZipMap where there is one"
        )
    return name
