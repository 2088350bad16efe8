"""Sum and maximum of lengths in one call: of a small block, two reductions of NumPy's take longer than its scores."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from farthing.kernels.jit import kernel

Int64s = NDArray[np.int64]


def extent_reference(start: Int64s, stop: Int64s) -> tuple[int, int]:
    """Plain form of :func:`extent`."""
    lengths = stop - start
    return int(lengths.sum()), int(lengths.max(initial=0))


@kernel(reference=extent_reference)
def extent(start: Int64s, stop: Int64s) -> tuple[int, int]:
    """Return the sum of ``stop - start`` and its largest, at least 0; both are int64 (n,)."""
    total = longest = 0
    for i in range(len(start)):
        length = stop[i] - start[i]
        total += length
        longest = max(longest, length)
    return total, longest
