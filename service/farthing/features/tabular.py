"""Hashes categorical values, number intervals and their crosses: one id per row for each feature."""

from __future__ import annotations

import math
from bisect import bisect_right

import numpy as np
from numpy.typing import NDArray

from farthing.blocks import Bytes, Column, Int32s, Int64s, NumberColumn, Presence, RawColumn
from farthing.errors import ConfigError
from farthing.features import hashing
from farthing.features.hashing import bucket, combine, token
from farthing.features.spec import CategoricalFeature, NumericFeature
from farthing.kernels.jit import kernel

_PRESENT = int(Presence.PRESENT)
_NULL = int(Presence.NULL)

Hashes = NDArray[np.uint64]


@kernel(allocates=True)
def hash_values(
    data: Bytes, start: Int64s, stop: Int64s, presence: Bytes, slots: Int64s, salts: Hashes, out: Hashes
) -> None:
    """Hash each slot's bytes; ``salts`` are for values, missing and null.

    Bytes are copied first, because hashing reads past their end.
    """
    longest = 0
    for row in range(len(slots)):
        longest = max(longest, stop[slots[row]] - start[slots[row]])
    value = np.zeros(longest + 8, np.uint8)
    for row in range(len(slots)):
        slot = slots[row]
        if presence[slot] == _PRESENT:
            n = stop[slot] - start[slot]
            for i in range(n):
                value[i] = data[start[slot] + i]
            out[row] = token(value, 0, n, salts[0])
        elif presence[slot] == _NULL:
            out[row] = salts[2]
        else:
            out[row] = salts[1]


@kernel(allocates=True)
def hash_numbers(
    values: NDArray[np.float64], slots: Int64s, boundaries: NDArray[np.float64], salts: Hashes, out: Hashes
) -> None:
    """Hash the number of the interval that each slot's value is in; NaN counts as missing."""
    text = np.zeros(16, np.uint8)
    for row in range(len(slots)):
        value = values[slots[row]]
        if np.isnan(value):
            out[row] = salts[1]
            continue
        interval = np.searchsorted(boundaries, value, side="right")
        for i in range(8):
            text[i] = (interval >> (8 * i)) & 0xFF
        out[row] = token(text, 0, 8, salts[0])


@kernel
def combine_hashes(into: Hashes, other: Hashes) -> None:
    """Cross two columns of hashes, in place."""
    for row in range(len(into)):
        into[row] = combine(into[row], other[row])


@kernel
def bucket_hashes(hashes: Hashes, multiplier: np.uint64, shift: np.uint64, out: Int32s) -> None:
    """Return each hash's bucket."""
    for row in range(len(hashes)):
        out[row] = bucket(hashes[row], multiplier, shift)


def check_column(feature: CategoricalFeature | NumericFeature, column: Column) -> None:
    """Raise ConfigError when a feature cannot be made of this kind of column."""
    if isinstance(feature, NumericFeature) != isinstance(column, NumberColumn):
        kind, field = ("numeric", "number") if isinstance(feature, NumericFeature) else ("categorical", "text or raw")
        raise ConfigError(f"feature {feature.field}: a {kind} feature needs a {field} field")


def value_hash_reference(
    feature: CategoricalFeature | NumericFeature, column: Column, buffer: Bytes, slot: int, salts: Hashes
) -> int:
    """Plain form of :func:`value_hashes` for one slot."""
    for_value, missing, null = (int(salt) for salt in salts)
    if isinstance(column, NumberColumn):
        number = float(column.values[slot])
        if math.isnan(number) or not isinstance(feature, NumericFeature):
            return missing
        return hashing.token_reference(bisect_right(feature.boundaries, number).to_bytes(8, "little"), for_value)
    if column.presence[slot] != _PRESENT:
        return null if column.presence[slot] == _NULL else missing
    if isinstance(column, RawColumn):
        value = buffer[column.start[slot] : column.stop[slot]]
    else:
        value = column.data[column.indptr[slot] : column.indptr[slot + 1]]
    return hashing.token_reference(value.tobytes(), for_value)


def value_hashes(
    feature: CategoricalFeature | NumericFeature, column: Column, buffer: Bytes, slots: Int64s, salts: Hashes
) -> Hashes:
    """Hash a feature's value for each row: uint64 (n_rows,). Raw columns are views into ``buffer``.

    :func:`check_column` checks that the column is of the kind the feature needs.
    """
    out = np.empty(len(slots), np.uint64)
    if isinstance(column, NumberColumn):
        assert isinstance(feature, NumericFeature)
        hash_numbers(column.values, slots, np.array(feature.boundaries, np.float64), salts, out)
    elif isinstance(column, RawColumn):
        hash_values(buffer, column.start, column.stop, column.presence, slots, salts, out)
    else:
        hash_values(column.data, column.indptr[:-1], column.indptr[1:], column.presence, slots, salts, out)
    return out


def value_salts(seed: int, place: int) -> Hashes:
    """Return the salts of a categorical or numeric feature: for values, missing, null."""
    uses = (hashing.SALT_VALUE, hashing.SALT_MISSING, hashing.SALT_NULL)
    return np.array([hashing.salt(seed, 64 * place + use) for use in uses], np.uint64)
