"""The part of an event that an API would be sent: the fields that the model reads, for the meter's token estimates."""

from __future__ import annotations

from collections.abc import Set

import numpy as np

from farthing.blocks import Bytes, Column, FieldColumns, Int64s, NumberColumn, RawColumn, TextColumn
from farthing.payload import FieldPlan


def count_bytes(columns: FieldColumns, plan: FieldPlan, read: Set[str]) -> Int64s:
    """Count the bytes of each event's fields that are named in ``read``: int64 (n,). Numbers do not count."""
    total = np.zeros(len(columns), np.int64)
    for field in plan.fields:
        ends = _ends(columns.columns[field.name]) if field.name in read else None
        if ends is None:
            continue
        if field.in_array:
            total += ends[columns.row_indptr[1:]] - ends[columns.row_indptr[:-1]]
        else:
            total += ends[1:] - ends[:-1]  # costs a small block less than np.diff
    return total


def text_of(columns: FieldColumns, plan: FieldPlan, read: Set[str], buffer: Bytes, event: int) -> str:
    """Return those fields of one event, one after another; ``buffer`` is what raw columns are views into."""
    parts = []
    for field in plan.fields:
        column = columns.columns[field.name]
        rows = columns.row_indptr[event : event + 2] if field.in_array else (event, event + 1)
        if field.name not in read or isinstance(column, NumberColumn):
            continue
        for slot in range(*map(int, rows)):
            if isinstance(column, TextColumn):
                parts.append(column.data[column.indptr[slot] : column.indptr[slot + 1]].tobytes())
            elif column.start[slot] >= 0:
                parts.append(buffer[column.start[slot] : column.stop[slot]].tobytes())
    return b" ".join(parts).decode("utf-8", "replace")


def _ends(column: Column) -> Int64s | None:
    """Return where each slot's bytes would end if all were laid out one after another from 0; None for numbers."""
    if isinstance(column, TextColumn):
        return column.indptr
    if isinstance(column, RawColumn):
        return np.concatenate([[0], np.cumsum(column.stop - column.start)])
    return None
