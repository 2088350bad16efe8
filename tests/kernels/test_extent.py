"""Sum and maximum of lengths are NumPy's."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from farthing.kernels.extent import extent, extent_reference

PLACES = st.integers(-(2**40), 2**40)


@given(st.lists(st.tuples(PLACES, PLACES), max_size=40))
def test_it_is_that_of_the_reference(places):
    start, stop = (np.array([pair[k] for pair in places], np.int64) for k in (0, 1))
    assert extent(start, stop) == extent_reference(start, stop)
