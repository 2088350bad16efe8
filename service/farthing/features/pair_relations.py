"""The second half of a pair feature: compares an event's candidates with one another, and turns numbers into ids."""

from __future__ import annotations

from typing import Final

import numpy as np

from farthing.blocks import Bytes, Int32s, Int64s, Presence
from farthing.features.pair_layout import CENTRAL, SHARE, N
from farthing.features.pair_spec import ABSENT, NUMBERS
from farthing.features.word_vectors import cosine
from farthing.kernels.jit import kernel

_PRESENT: Final = int(Presence.PRESENT)
_UNIT: Final = 1000.0  # texts' vectors are scaled to this length before they are summed
RANK, RELATIVE = N, 2 * N
FEW: Final = 32
"""Up to this many candidates are compared pair by pair; more are sorted."""

assert len(NUMBERS) == N


@kernel
def centralize(rows: Int64s, n: int, sums: Int64s, units: Int64s, centre: Int64s, numbers: Int64s) -> None:
    """Compare the texts ``rows[:n]`` with the sum of all of them, each scaled to the same length."""
    dim = sums.shape[1]
    for d in range(dim):
        centre[d] = 0
    for k in range(n):
        square = np.int64(0)
        for d in range(dim):
            square += sums[rows[k], d] * sums[rows[k], d]
        length = np.sqrt(np.float64(square))
        for d in range(dim):
            unit = np.rint(np.float64(sums[rows[k], d]) / length * _UNIT) if square > 0 else 0.0
            units[k, d] = np.int64(unit)
            centre[d] += units[k, d]
    for k in range(n):
        product = square = square_centre = np.int64(0)
        for d in range(dim):
            product += units[k, d] * centre[d]
            square += units[k, d] * units[k, d]
            square_centre += centre[d] * centre[d]
        numbers[rows[k], CENTRAL] = cosine(product, square, square_centre)


@kernel(allocates=True)
def compare(rows: Int64s, n: int, values: Int64s, ordered: Int64s, column: int, numbers: Int64s) -> None:
    """Compute the rows' ranks and relative numbers in one column from its ``values[:n]``, n > 0."""
    high, low = values[0], np.int64(-ABSENT)
    for k in range(n):
        high = max(high, values[k])
        if values[k] != ABSENT:
            low = min(low, values[k])
    if n > FEW:
        for k in range(n):
            ordered[k] = values[k]
        ordered[:n].sort()
    for k in range(n):
        value = values[k]
        above = np.int64(0)
        if n > FEW:
            above = n - np.searchsorted(ordered[:n], value, side="right")
        else:
            for other in range(n):
                above += values[other] > value
        numbers[rows[k], RANK + column] = above
        relative = np.int64(ABSENT)
        if value != ABSENT:
            relative = (value - low) * SHARE // (high - low) if high > low else np.int64(SHARE)
        numbers[rows[k], RELATIVE + column] = relative


@kernel(allocates=True)
def relate(row_indptr: Int64s, presence: Bytes, sums: Int64s, needed: Bytes, numbers: Int64s) -> None:
    """Fill in ``central``, ranks and relative numbers, event by event, for the columns marked in ``needed``.

    ``numbers`` is (n_rows, 3 N), ``sums`` (n_rows, dim). Rows without a text are left out.
    """
    dim = sums.shape[1]
    longest = 0
    for event in range(len(row_indptr) - 1):
        longest = max(longest, row_indptr[event + 1] - row_indptr[event])
    rows, values, ordered = np.empty(longest, np.int64), np.empty(longest, np.int64), np.empty(longest, np.int64)
    units, centre = np.empty((longest, dim), np.int64), np.empty(dim, np.int64)
    central = dim > 0 and (needed[CENTRAL] or needed[RANK + CENTRAL] or needed[RELATIVE + CENTRAL])
    for event in range(len(row_indptr) - 1):
        n = 0
        for r in range(row_indptr[event], row_indptr[event + 1]):
            if presence[r] == _PRESENT:
                rows[n] = r
                n += 1
        if n == 0:
            continue
        if central:
            centralize(rows, n, sums, units, centre, numbers)
        for column in range(N):
            if needed[RANK + column] or needed[RELATIVE + column]:
                for k in range(n):
                    values[k] = numbers[rows[k], column]
                compare(rows, n, values, ordered, column, numbers)


@kernel(inline=True)
def interval_of(value: int, boundaries: Int64s, start: int, stop: int) -> int:
    """Count the boundaries ``boundaries[start:stop]``, ascending, that are not above the value."""
    low, high = start, stop
    while low < high:
        middle = (low + high) >> 1
        if boundaries[middle] <= value:
            low = middle + 1
        else:
            high = middle
    return low - start


@kernel
def emit(
    numbers: Int64s, presence: Bytes, columns: Int64s, boundaries: Int64s, boundary_indptr: Int64s, number_ids: Int32s,
    crosses: Int64s, cross_ids: Int32s, cross_indptr: Int64s, bias: int, word_ids: Int32s, word_indptr: Int64s,
    intervals: Int64s, out: Int32s, indptr: Int64s,
) -> None:  # fmt: skip
    """Write each row's ids: the bias (-1: none), numbers, crosses, then the word ids from :func:`scan_pairs`.

    ``number_ids`` has one id per interval, number after number, one more for each than it has boundaries; ``cross_ids``
    one for each pair of intervals, the second varying fastest. ``intervals`` is scratch: one interval per number.
    """
    at = 0
    indptr[0] = 0
    for r in range(len(presence)):
        if bias >= 0:
            out[at] = bias
            at += 1
        if presence[r] == _PRESENT:
            for k in range(len(columns)):
                start, stop = boundary_indptr[k], boundary_indptr[k + 1]
                intervals[k] = interval_of(numbers[r, columns[k]], boundaries, start, stop)
                out[at] = number_ids[start + k + intervals[k]]
                at += 1
            for c in range(len(crosses)):
                a, b = crosses[c, 0], crosses[c, 1]
                width = boundary_indptr[b + 1] - boundary_indptr[b] + 1
                out[at] = cross_ids[cross_indptr[c] + intervals[a] * width + intervals[b]]
                at += 1
            for k in range(word_indptr[r], word_indptr[r + 1]):
                out[at] = word_ids[k]
                at += 1
        indptr[r + 1] = at
