"""Decimal digits: equal to what Python writes."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from farthing.kernels import digits
from farthing.kernels.jit import NO_JIT, kernel
from tests.references import both, same

compiled = pytest.mark.skipif(NO_JIT, reason="without compilation there is one path")
EDGES = sorted({n for k in range(19) for n in (10**k - 1, 10**k, 10**k + 1, 2**k, 2**k - 1)} | {2**63 - 1, 2**62})


@kernel
def every_two_and_four():
    """Whether all numbers of four digits come out right in both halves of a word; gives the first that does not."""
    for number in range(10_000):
        for whole in (number, number * 10_000):
            word = digits.eight_digits(whole)
            value = 0
            for place in range(8):
                digit = np.int64((word >> np.uint64(8 * place)) & np.uint64(0xFF))
                if digit > 9:
                    return whole
                value = 10 * value + digit
            if value != whole:
                return whole
    return -1


@compiled
def test_every_division_is_exact():
    assert every_two_and_four() == -1


@compiled
@given(st.integers(0, 10**8 - 1))
def test_eight_digits(number):
    same(digits.eight_digits, number)


@compiled
@given(st.integers(0, 2**63 - 1) | st.sampled_from(EDGES) | st.integers(0, 62).flatmap(lambda k: st.integers(0, 2**k)))
def test_any_number(number):
    same(digits.count_digits, number)
    (end, (ours,)), (expected_end, (theirs,)) = both(digits.write_digits, np.zeros(40, np.uint8), 3, number)
    assert end == expected_end
    assert ours[:end].tobytes() == theirs[:end].tobytes()
    assert not ours[end + digits.AHEAD_BYTES :].any()


@pytest.mark.parametrize("number", EDGES)
def test_edges(number):
    assert digits.count_digits(number) == len(str(number))
    out = np.zeros(40, np.uint8)
    assert out[: digits.write_digits(out, 0, number)].tobytes().decode() == str(number)
