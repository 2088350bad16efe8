"""Counts a block's usage in one pass over the events: integers only, by the partition that the events came from.

A row of counts is int64 (:data:`N_COUNTS`,): scored, dead, rows, payload bytes; then for each size class the calls, and
for each size class their bytes (:mod:`farthing.meter.usage`). Rows of one partition and model are added up as arrays,
and become a :class:`~farthing.meter.usage.UsageTotals` only when one is needed.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from farthing.blocks import Bytes, Int64s
from farthing.kernels.jit import kernel
from farthing.meter.usage import LAST_SIZE_CLASS, SizeCount, UsageTotals, size_class

N_CLASSES: Final = LAST_SIZE_CLASS + 1
SCORED, DEAD, ROWS, PAYLOAD, CALLS = 0, 1, 2, 3, 4
SIZES: Final = CALLS + N_CLASSES
N_COUNTS: Final = SIZES + N_CLASSES


def count_usage_reference(
    bounds: Int64s, status: Bytes, row_indptr: Int64s, value_bytes: Int64s, prompt_bytes: Int64s
) -> Int64s:
    """Plain form of :func:`count_usage`: one event after another."""
    counts = np.zeros((len(bounds) - 1, N_COUNTS), np.int64)
    for part, row in enumerate(counts):
        for event in range(bounds[part], bounds[part + 1]):
            row[PAYLOAD] += value_bytes[event]
            if status[event]:
                row[DEAD] += 1
                continue
            at = size_class(int(prompt_bytes[event]))
            row[SCORED] += 1
            row[ROWS] += row_indptr[event + 1] - row_indptr[event]
            row[CALLS + at] += 1
            row[SIZES + at] += prompt_bytes[event]
    return counts


@kernel(reference=count_usage_reference, allocates=True)
def count_usage(bounds: Int64s, status: Bytes, row_indptr: Int64s, value_bytes: Int64s, prompt_bytes: Int64s) -> Int64s:
    """Count the events of each part of a block.

    Parameters
    ----------
    bounds:
        int64 (n_parts+1,): part p is the events ``bounds[p]`` to ``bounds[p+1]``.
    status:
        uint8 (n,): final Status; 0 is scored.
    row_indptr:
        int64 (n+1,): events -> rows.
    value_bytes, prompt_bytes:
        int64 (n,): sizes of the whole value, and of the fields that the model reads.

    Returns
    -------
    int64 (n_parts, N_COUNTS).
    """
    counts = np.zeros((len(bounds) - 1, N_COUNTS), np.int64)
    for part in range(len(bounds) - 1):
        row = counts[part]
        for event in range(bounds[part], bounds[part + 1]):
            row[PAYLOAD] += value_bytes[event]
            if status[event] != 0:
                row[DEAD] += 1
                continue
            size = prompt_bytes[event]
            if size < 4:
                at = size
            else:
                exponent = 2
                left = size >> 3
                while left > 0:
                    exponent += 1
                    left >>= 1
                at = min(4 * (exponent - 1) + ((size >> (exponent - 2)) & 3), LAST_SIZE_CLASS)
            row[SCORED] += 1
            row[ROWS] += row_indptr[event + 1] - row_indptr[event]
            row[CALLS + at] += 1
            row[SIZES + at] += size
    return counts


def totals_of(counts: Int64s) -> UsageTotals:
    """Return a row of counts as a total."""
    used = np.flatnonzero(counts[CALLS:SIZES])
    calls = {int(at): SizeCount(int(counts[CALLS + at]), int(counts[SIZES + at])) for at in used}
    scored, dead, rows, payload_bytes = counts[:CALLS].tolist()
    return UsageTotals(scored, dead, rows, payload_bytes, calls)


def counts_of(totals: UsageTotals) -> Int64s:
    """Return a total as a row of counts: the inverse of :func:`totals_of`."""
    counts = np.zeros(N_COUNTS, np.int64)
    counts[:CALLS] = totals.scored, totals.dead, totals.rows, totals.payload_bytes
    for at, (calls, size) in totals.calls.items():
        counts[CALLS + at], counts[SIZES + at] = calls, size
    return counts
