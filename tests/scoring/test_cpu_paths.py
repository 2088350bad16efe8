"""The same integers whichever instructions ONNX Runtime chooses: AVX-512 VNNI, AVX2 alone, SSE.

ONNX Runtime takes what the CPU says it has and can be told nothing else, so an emulated CPU says it: QEMU in user mode.
On CPUs without VNNI products are added up in saturating 16 bits; weights of 7 bits are what keeps them from it. The last
test shows that the emulated CPU does take that path: weights of 8 bits do give other integers there.
"""

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from farthing.kernels.jit import NO_JIT
from farthing.scoring.bundle import Bundle
from farthing.scoring.graph import build_model, reference_logits
from tests.bundle_factory import make_tensors

QEMU = shutil.which("qemu-x86_64")
CPUS = {"Haswell": "AVX2, no VNNI", "Nehalem": "SSE 4.2", "max": "what the emulator has"}
CHILD = """
import hashlib, sys
import numpy as np, onnx
from farthing.scoring.session import DenseSession
for path in sys.argv[2:]:
    print(hashlib.sha256(DenseSession(onnx.load(path)).run(np.load(sys.argv[1])[path]).tobytes()).hexdigest())
"""

pytestmark = [
    pytest.mark.skipif(QEMU is None, reason="qemu-x86_64 is not there (Debian: qemu-user): no CPU to choose"),
    pytest.mark.skipif(NO_JIT, reason="ONNX Runtime's integers: no kernel has a part in them"),
]
N_ROWS = 65


def extreme_inputs(dim, seed):
    """Rows of a quantized input at both ends and between."""
    rng = np.random.default_rng(seed)
    inputs = rng.integers(0, 256, (N_ROWS, dim), dtype=np.uint8)
    inputs[::2] = rng.choice(np.array([0, 255], np.uint8), inputs[::2].shape)
    inputs[0], inputs[1] = 255, 0
    return inputs


def logits_of(tensors, inputs):
    """What NumPy says of quantized inputs: sums that quantize to them, one id a row."""
    t = tensors
    hidden_in = inputs.astype(np.int32) - t.input_zero_point
    sums = hidden_in @ t.hidden_weight.astype(np.int32) + t.hidden_bias
    steps = np.rint(sums.astype(np.float32) * t.hidden_scale / np.float32(t.activation_scale))
    return np.clip(steps, 0, 255).astype(np.int32) @ t.output_weight.astype(np.int32)


def emulated(cpu, folder, models, inputs):
    """SHA-256 of the logits of each model, as ONNX Runtime gives them on such a CPU."""
    paths = []
    for name, model in models.items():
        path = folder / f"{name}.onnx"
        path.write_bytes(model.SerializeToString())
        paths.append(str(path))
    arrays = folder / "inputs.npz"
    np.savez(arrays, **dict(zip(paths, inputs, strict=True)))
    told = {name: value for name, value in os.environ.items() if name != "OPENBLAS_CORETYPE"}  # NumPy asks the CPU too
    done = subprocess.run(
        [QEMU, "-cpu", cpu, sys.executable, "-c", CHILD, str(arrays), *paths], cwd=Path(__file__).parents[2],
        capture_output=True, text=True, timeout=240, env=told,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


def digest(logits):

    return hashlib.sha256(np.ascontiguousarray(logits, np.int32).tobytes()).hexdigest()


@pytest.fixture(scope="module")
def nets():
    """Nets of random and of extreme weights, and the shipped ones."""
    found = {}
    for seed, (dim, hidden, heads) in enumerate([(16, 24, 3), (32, 33, 1), (64, 70, 5)]):
        tensors = make_tensors(seed=seed, n_buckets=8, dim=dim, hidden=hidden, heads=heads)
        if seed:
            rng = np.random.default_rng(seed)
            tensors.hidden_weight[:] = rng.choice([-64, 64], tensors.hidden_weight.shape)
            tensors.hidden_weight[:, 0] = 64  # 255 * 64 * 2: the largest sum of a pair
            tensors.output_weight[:] = 64
        found[f"net{seed}"] = tensors
    for name in ("moderation", "rerank", "bidding"):
        found[name] = Bundle.load(Path(__file__).parents[2] / "models" / "bundles" / name).tensors
    return found


@pytest.mark.parametrize("cpu", CPUS)
def test_the_integers_are_numpy_s_on_every_path(cpu, nets, tmp_path):
    inputs = [extreme_inputs(tensors.dim, seed) for seed, tensors in enumerate(nets.values())]
    expected = [digest(logits_of(tensors, rows)) for tensors, rows in zip(nets.values(), inputs, strict=True)]
    models = {name: build_model(tensors) for name, tensors in nets.items()}
    assert emulated(cpu, tmp_path, models, inputs) == expected


def test_the_plain_form_here_is_that_of_the_golden_vectors(nets):
    """``logits_of`` begins at the quantized input; ``reference_logits`` at the sums: they agree where both can begin."""
    tensors = nets["net0"]
    sums = np.random.default_rng(3).integers(-400, 400, (N_ROWS, tensors.dim)).astype(np.int32)
    counts = np.ones(N_ROWS, np.int32)
    means = sums.astype(np.float32) * tensors.column_scale / tensors.length_divisor[1]
    inputs = np.clip(np.rint(means / np.float32(tensors.input_scale)) + tensors.input_zero_point, 0, 255)
    assert np.array_equal(logits_of(tensors, inputs.astype(np.uint8)), reference_logits(tensors, sums, counts))


def test_weights_of_eight_bits_would_give_other_integers_without_vnni(tmp_path):
    tensors = make_tensors(n_buckets=8, dim=64, hidden=16, heads=2)
    tensors.hidden_weight[:] = 64
    model = build_model(tensors)
    (weight,) = [tensor for tensor in model.graph.initializer if tensor.name == "hidden_weight"]
    weight.raw_data = np.full((64, 16), 127, np.int8).tobytes()
    tensors.hidden_weight[:] = 127  # past what a bundle may have: the check is at construction
    tensors.hidden_scale[:] = 1e-7  # so that the sums show in the logits
    (scale,) = [tensor for tensor in model.graph.initializer if tensor.name == "hidden_scale"]
    scale.raw_data = tensors.hidden_scale.tobytes()
    inputs = extreme_inputs(64, 0)
    expected = digest(logits_of(tensors, inputs))
    assert emulated("Haswell", tmp_path, {"eight": model}, [inputs]) != [expected]


def test_what_is_compared_differs_between_nets(nets):
    found = {digest(logits_of(t, extreme_inputs(t.dim, k))) for k, t in enumerate(nets.values())}
    assert len(found) == len(nets)
