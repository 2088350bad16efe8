"""Single operations of the machine: equal to their references."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from farthing.features import FeatureSpec, featurize_texts
from farthing.kernels import machine
from farthing.kernels.instruction import target_has
from farthing.kernels.jit import NO_JIT, kernel
from farthing.wire.crc32c import crc32c

ROOT = Path(__file__).resolve().parents[2]

compiled = pytest.mark.skipif(NO_JIT, reason="without compilation there is one path")


# Kernels alone can call the intrinsics of machine.py.
@kernel
def load_8(data, at):
    return machine.load_u8(data, at)


@kernel
def load_64(data, at):
    return machine.load_u64(data, at)


@kernel
def store_64(data, at, word):
    machine.store_u64(data, at, word)


@kernel
def zeros_below(word):
    return machine.trailing_zeros(word)


@kernel
def zeros_above(word):
    return machine.leading_zeros(word)


@kernel
def copy_short(out, at, data, start, stop):
    return machine.copy_short(out, at, data, start, stop)


@kernel
def copy(out, at, data, start, stop):
    return machine.copy_bytes(out, at, data, start, stop)


@compiled
@given(
    st.binary(min_size=20, max_size=40), st.integers(0, 2**64 - 1) | st.integers(0, 63).map(lambda k: 1 << k), st.data()
)
def test_intrinsics_equal_their_references(data, word, draw):
    array = np.frombuffer(data, np.uint8).copy()
    at = draw.draw(st.integers(0, len(array) - 8))
    assert load_8(array, at) == machine.load_u8_reference(array, at)
    assert load_64(array, at) == machine.load_u64_reference(array, at)
    assert zeros_below(np.uint64(word)) == machine.trailing_zeros_reference(word)
    assert zeros_above(np.uint64(word)) == machine.leading_zeros_reference(word)
    one, other = array.copy(), array.copy()
    store_64(one, at, np.uint64(word))
    machine.store_u64_reference(other, at, word)
    assert one.tobytes() == other.tobytes()


@compiled
@given(st.integers(0, 200), st.data())
def test_copying_equals_its_reference(size, data):
    """Long and short pieces, up to the very end of what there is; behind a short one anything may be written."""
    array = np.random.default_rng(size).integers(0, 256, size, np.uint8)
    start = data.draw(st.integers(0, size))
    stop = data.draw(st.integers(start, size))
    for function in (copy, copy_short):
        one, other = np.zeros(size + 5 + machine.SHORT_BYTES, np.uint8), np.zeros(size + 5, np.uint8)
        end = function(one, 3, array, start, stop)
        assert end == machine.copy_bytes_reference(other, 3, array, start, stop)
        assert one[:end].tobytes() == other[:end].tobytes()


SCRIPT = """
import json
from farthing.features import grams
from farthing.wire.crc32c import crc32c_instruction
from tests.kernels.test_machine import some_results
print(json.dumps([crc32c_instruction is None, grams._fastest is grams.hash_grams_by_one, *some_results()]))
"""


def some_results():
    """A checksum and feature ids, which are made by the processor's widest instructions where it has them."""
    data = np.frombuffer(bytes(range(256)) * 80, np.uint8)
    texts = ["Some  ordinary text, and MORE of it!!!!", "\u00c4"]
    return int(crc32c(data, 0, len(data))), featurize_texts(FeatureSpec(), texts).indices.tolist()


@compiled
def test_an_image_for_other_processors_gets_what_they_can_do_and_gives_the_same(tmp_path):
    """LLVM ends the process when it is asked for an instruction that the target has not."""
    if not target_has("avx2"):
        pytest.skip("this processor has no more than the plainest one")
    plain = {"NUMBA_CPU_NAME": "x86-64", "NUMBA_CPU_FEATURES": "", "NUMBA_CACHE_DIR": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT], cwd=ROOT, env=os.environ | plain, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == [True, True, *some_results()]


@compiled
@pytest.mark.parametrize(
    ("name", "features", "has"),
    [
        ("x86-64", "", False), ("x86-64-v3", "", True), ("x86-64", "+sse4.2,+avx2", True), ("x86-64-v2", "", False),
        ("generic", "-avx2", False),
    ],
)  # fmt: skip
def test_what_an_image_s_processor_has(monkeypatch, name, features, has):
    monkeypatch.setattr("numba.config.CPU_NAME", name)
    monkeypatch.setattr("numba.config.CPU_FEATURES", features)
    assert target_has("avx2") is has
