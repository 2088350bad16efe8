"""Single operations of the machine: equal to their references."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from farthing import machine
from farthing.jit import NO_JIT, kernel

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
