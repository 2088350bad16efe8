"""Kernels for what the stage ``parse`` knows of a field so far: begun, forgotten, blocked, and judged at the end."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from farthing.blocks import Bytes, Int64s, Presence
from farthing.blocks import Status as S
from farthing.kernels.jit import kernel

# Integers for the kernels: numba does not turn another module's enum members into constants.
OK, NOT_AN_OBJECT, MISSING_FIELD, NULL_FIELD, WRONG_TYPE, NO_ROWS = (
    int(S.OK), int(S.NOT_AN_OBJECT), int(S.MISSING_FIELD), int(S.NULL_FIELD), int(S.WRONG_TYPE), int(S.NO_ROWS)
)  # fmt: skip
MISSING, NULL, PRESENT = int(Presence.MISSING), int(Presence.NULL), int(Presence.PRESENT)
MISTYPED: Final = int(Presence.WRONG_TYPE)
BLOCKED: Final = 4  # inside the kernels only: a scalar where the path needs a container


@kernel(inline=True)
def open_row(row: int, in_array: Bytes, presence: Bytes, text_at: Int64s, text_indptr: Int64s) -> None:
    """Begin a row: its fields are missing so far, and its strings begin where the last row's ended."""
    for f in range(len(in_array)):
        if in_array[f]:
            presence[f, row] = MISSING
            text_indptr[f, row] = text_at[f]


@kernel
def forget(
    first: int, last: int, event: int, row: int, first_row: int, in_rows: bool,
    in_array: Bytes, presence: Bytes, text_at: Int64s, text_indptr: Int64s,
) -> bool:  # fmt: skip
    """Undo what fields ``first`` to ``last`` (excluded) got so far; returns True when that undoes all rows."""
    rows_too = False
    for f in range(first, last):
        if in_array[f] and not in_rows:
            text_at[f] = text_indptr[f, first_row]
            rows_too = True
        else:
            slot = row if in_array[f] else event
            presence[f, slot] = MISSING
            text_at[f] = text_indptr[f, slot]
    return rows_too


@kernel
def block(first: int, last: int, event: int, in_rows: bool, in_array: Bytes, presence: Bytes) -> bool:
    """Mark fields ``first`` to ``last`` (excluded) as below a value that is not a container.

    Returns True when the plan's array is among them.
    """
    array_too = False
    for f in range(first, last):
        if not in_array[f]:
            presence[f, event] = BLOCKED
        elif not in_rows:
            array_too = True
    return array_too


@kernel(inline=True)
def close_event(event: int, presence: Bytes, text_at: Int64s, text_indptr: Int64s) -> bool:
    """Close all slots of an event whose fields are all present, and lie outside arrays; False where one is not."""
    for f in range(len(text_at)):
        if presence[f, event] != PRESENT:
            return False
        text_indptr[f, event + 1] = text_at[f]
    return True


@kernel(inline=True)
def close_slot(f: int, slot: int, presence: Bytes, starts: Int64s, stops: Int64s, numbers: NDArray[np.float64]) -> None:
    """Return a field that is missing, null or of the wrong type the positions and number that say so."""
    if presence[f, slot] == MISSING:
        starts[f, slot] = -1
        stops[f, slot] = -1
    if presence[f, slot] != PRESENT:
        numbers[f, slot] = np.nan


@kernel
def field_status(event: int, rows: int, has_array: bool, required: Bytes, in_array: Bytes, presence: Bytes) -> int:
    """Return the Status of an event whose JSON is valid, from what became of its required fields outside the array."""
    for f in range(len(required)):
        if in_array[f] or not required[f]:
            continue
        state = presence[f, event]
        if state == BLOCKED:
            return NOT_AN_OBJECT
        if state == MISTYPED:
            return WRONG_TYPE
        if state == MISSING:
            return MISSING_FIELD
        if state == NULL:
            return NULL_FIELD
    return NO_ROWS if has_array and rows == 0 else OK
