"""The dense part in vectors: the integers of ONNX Runtime and of NumPy, for any net, without saturation on the way."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from farthing.errors import BundleError
from farthing.kernels.jit import NO_JIT
from farthing.model.golden import verify
from farthing.model.nets import HashedNet
from farthing.model.stages import Stages
from farthing.scoring import dense as dense_module
from farthing.scoring.dense import LARGEST, DenseVectors, dense_reference, runs_in_vectors
from farthing.scoring.graph import build_model
from farthing.scoring.session import DenseSession
from tests.bundle_factory import make_bundle, make_tensors

ROOT = Path(__file__).resolve().parents[2]
compiled = pytest.mark.skipif(NO_JIT, reason="ONNX Runtime has the dense part where nothing is compiled")

shapes = st.tuples(st.sampled_from([16, 32, 48]), st.integers(1, 70), st.integers(1, 9))
common = st.sampled_from([(16, 32, 3), (16, 16, 1), (32, 32, 1), (32, 64, 9), (64, 64, 8)])


def inputs_for(tensors, rng, n_rows):
    """Rows of random bytes, every other one of bytes at either end."""
    inputs = rng.integers(0, 256, (n_rows, tensors.dim), dtype=np.uint8)
    inputs[::2] = rng.choice(np.array([0, 255], np.uint8), inputs[::2].shape)
    inputs[:1], inputs[1:2] = 255, tensors.input_zero_point
    return inputs


def tensors_of(seed, shape, zero_point, extreme):
    dim, hidden, heads = shape
    tensors = make_tensors(seed=seed, n_buckets=8, dim=dim, hidden=hidden, heads=heads)
    rng = np.random.default_rng(seed)
    if extreme:
        tensors.hidden_weight[:] = rng.choice([-64, 64], tensors.hidden_weight.shape)
        tensors.hidden_weight[:, 0] = 64  # 255 * 64 * 2: the largest sum of a pair
        tensors.output_weight[:] = rng.choice([-64, 64], tensors.output_weight.shape)
        tensors.output_weight[:, 0] = 64
        tensors.hidden_bias[:] = rng.integers(-(2**31), 2**31, hidden)
        tensors.hidden_scale[:] = 10.0 ** rng.uniform(-9, 2, hidden)
    object.__setattr__(tensors, "input_zero_point", zero_point)
    return tensors


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 2**32 - 1), shapes | common, st.sampled_from([0, 50, 126, 255]), st.booleans(), st.integers(0, 9))
def test_any_net_gives_the_integers_of_onnx_runtime_and_of_numpy(seed, shape, zero_point, extreme, n_rows):
    tensors = tensors_of(seed, shape, zero_point, extreme)
    dense, inputs = DenseVectors(tensors), inputs_for(tensors, np.random.default_rng(seed), n_rows)
    found = dense.run(inputs)
    assert found.dtype == np.int32 and found.shape == (n_rows, tensors.n_heads)
    assert np.array_equal(found, dense_reference(dense, inputs))
    assert np.array_equal(found, DenseSession(build_model(tensors)).run(inputs))


def test_hidden_units_round_half_to_even_and_are_cut():
    """A net that passes a column through: the unit's rounded value is the logit."""
    tensors = tensors_of(0, (16, 16, 1), 0, False)
    tensors.hidden_weight[:], tensors.output_weight[:] = 0, 0
    tensors.hidden_weight[3, 5] = tensors.output_weight[5, 0] = 1
    tensors.hidden_scale[5] = 0.25
    object.__setattr__(tensors, "activation_scale", 0.5)
    inputs = np.zeros((256, 16), np.uint8)
    inputs[:, 3] = np.arange(256)
    for bias, expected in (
        (0, np.rint(np.arange(256) / 2)),
        (2**31 - 256, np.full(256, 255)),
        (-(2**31), np.zeros(256)),
    ):
        tensors.hidden_bias[:] = bias
        assert DenseVectors(tensors).run(inputs)[:, 0].tolist() == expected.tolist(), bias


@compiled
def test_one_compiled_kernel_serves_nets_of_every_shape():
    for shape in ((16, 32, 3), (32, 64, 9)):
        tensors = tensors_of(1, shape, 50, False)
        DenseVectors(tensors).run(inputs_for(tensors, np.random.default_rng(1), 3))
    assert len(dense_module.dense_rows.signatures) == 1


@compiled
def test_large_nets_and_other_processors_keep_onnx_runtime(monkeypatch):
    large, small = make_tensors(n_buckets=8, dim=64, hidden=LARGEST // 64), make_tensors(n_buckets=8)
    assert runs_in_vectors(small) and not runs_in_vectors(large)
    monkeypatch.setattr(dense_module, "target_has", lambda feature: False)
    assert not runs_in_vectors(small)


@compiled
def test_a_kernel_that_differs_from_onnx_runtime_is_refused(tmp_path, monkeypatch):
    """On rows that no golden event has."""
    bundle = make_bundle(tmp_path)
    right = DenseVectors.run

    def wrong(self, inputs):
        found = right(self, inputs)
        found[(inputs == 255).all(axis=1)] += 1
        return found

    stages = Stages.of(bundle.manifest, HashedNet(bundle.manifest, bundle.model), model_id="x")
    verify(stages, bundle.golden)
    monkeypatch.setattr(DenseVectors, "run", wrong)
    with pytest.raises(BundleError, match=r"logits of ONNX Runtime, random rows: .* do not trust its scores here"):
        verify(stages, bundle.golden)


CHILD_SHAPES = [(16, 32, 3), (32, 64, 9), (48, 70, 5)]
CHILD = """
import numpy as np
from farthing.scoring.dense import DenseVectors
from tests.scoring.test_dense import CHILD_SHAPES, inputs_for, tensors_of
for seed, shape in enumerate(CHILD_SHAPES):
    tensors = tensors_of(seed, shape, 126, True)
    print(DenseVectors(tensors).run(inputs_for(tensors, np.random.default_rng(seed), 65)).tolist())
"""


@compiled
def test_processors_without_avx2_would_get_the_same_integers(tmp_path):
    """Nothing in the kernel names a processor: compiled for an older one, it runs here as well."""
    told = {
        **os.environ,
        "NUMBA_CPU_NAME": "nehalem",
        "NUMBA_CPU_FEATURES": "+sse4.2",
        "NUMBA_CACHE_DIR": str(tmp_path),
    }
    done = subprocess.run(
        [sys.executable, "-c", CHILD], cwd=ROOT, env=told, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    for seed, (shape, line) in enumerate(zip(CHILD_SHAPES, done.stdout.splitlines(), strict=True)):
        tensors = tensors_of(seed, shape, 126, True)
        expected = dense_reference(DenseVectors(tensors), inputs_for(tensors, np.random.default_rng(seed), 65))
        assert json.loads(line) == expected.tolist()
