"""Runs the dense part of a model in ONNX Runtime: quantized inputs in, integer logits out.

The dense part is cut from the bundle's ``model.onnx`` when it is loaded, so what runs is what the bundle holds. Threads
are set explicitly and never spin, the memory arena is off (it grows to the largest shape and stays there), a run has at
most :data:`MAX_ROWS` rows, and only exact graph rewrites are allowed.
"""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
from onnx.utils import Extractor

from farthing.blocks import Bytes, Int32s
from farthing.errors import BundleError, ScoreError

MAX_ROWS = 4096
"""Most rows of one run: enough to hide its 20 microseconds of overhead, few enough for the columns to stay in L2."""

_INPUT, _OUTPUT = "input_quantized", "logits"

PROVIDERS = ["CPUExecutionProvider"]


def open_session(model: onnx.ModelProto, *, threads: int) -> onnxruntime.InferenceSession:
    """Start ONNX Runtime on a model held in memory.

    Raises
    ------
    BundleError
        ONNX Runtime refuses the model, or would run it on other providers than the CPU.
    """
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    # BASIC rewrites preserve results; EXTENDED ones replace nodes with fused kernels that have their own arithmetic.
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    options.enable_cpu_mem_arena = False
    options.enable_mem_pattern = False
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.add_session_config_entry("session.inter_op.allow_spinning", "0")
    options.log_severity_level = 3  # errors only, which are raised as well
    try:
        session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=PROVIDERS)
    except Exception as error:  # pybind11 raises a dozen unrelated types here
        raise BundleError(
            f"ONNX Runtime {onnxruntime.__version__} refuses the model: {error}; build the bundle again or "
            "install an ONNX Runtime that supports its operators"
        ) from error
    if session.get_providers() != PROVIDERS:
        raise BundleError(f"ONNX Runtime runs the model on {session.get_providers()}, expected {PROVIDERS}")
    return session


class DenseSession:
    """The dense part, ready to run.

    Parameters
    ----------
    model:
        A whole model as :func:`farthing.scoring.graph.build_model` writes it.
    threads:
        Threads of one run. More than one rarely pays for nets this small.
    """

    def __init__(self, model: onnx.ModelProto, *, threads: int = 1) -> None:
        if threads < 1:
            raise ValueError(f"threads is {threads}, expected at least 1")
        self._session = open_session(Extractor(model).extract_model([_INPUT], [_OUTPUT]), threads=threads)
        tensors = {value.name: value.type for value in (*self._session.get_inputs(), *self._session.get_outputs())}
        expected = {_INPUT: "tensor(uint8)", _OUTPUT: "tensor(int32)"}
        if tensors != expected:
            raise BundleError(f"the dense part takes and gives {tensors}, expected {expected}; build the model again")
        self.dim: int = self._session.get_inputs()[0].shape[1]
        self.n_heads: int = self._session.get_outputs()[0].shape[1]

    def run(self, inputs: Bytes) -> Int32s:
        """Compute the integer logits of any number of rows.

        Parameters
        ----------
        inputs:
            uint8 (n_rows, dim), C order, from :func:`farthing.scoring.embedding_bag.quantize_sums`.

        Returns
        -------
        int32 (n_rows, n_heads).

        Raises
        ------
        ScoreError
            ONNX Runtime failed: a bug or a bad bundle.
        """
        n_rows = len(inputs)
        logits = np.empty((n_rows, self.n_heads), np.int32)
        for start in range(0, n_rows, MAX_ROWS):
            stop = min(start + MAX_ROWS, n_rows)
            try:
                (logits[start:stop],) = self._session.run([_OUTPUT], {_INPUT: inputs[start:stop]})
            except Exception as error:  # pybind11 raises a dozen unrelated types here
                raise ScoreError(
                    f"ONNX Runtime failed on rows {start}..{stop} of {n_rows} "
                    f"(inputs {inputs.dtype} {inputs.shape}, expected uint8 (n, {self.dim})): {error}"
                ) from error
        return logits
