"""The stage ``parse``: event values become columns of fields."""

from __future__ import annotations

from typing import Final

import numpy as np

from farthing.blocks import Column, FieldColumns, NumberColumn, RawColumn, RecordBlock, TextColumn
from farthing.kernels.extent import extent
from farthing.kernels.jit import stage
from farthing.limits import MAX_EVENT_BYTES
from farthing.payload.json import STACK_WIDTH, parse_events
from farthing.payload.plan import MAX_DEPTH, FieldPlan
from farthing.payload.rules import parse_reference
from farthing.payload.shape import MOST_BYTES, MOST_NODES, NODE_WIDTH, TALLY_WIDTH
from farthing.payload.slots import PRESENT

ROW_BYTES: Final = 256
"""Columns first get room for one row per so many bytes; when that is not enough, for eight times as many rows."""


@stage(reference=parse_reference)
def parse(records: RecordBlock, plan: FieldPlan, *, max_event_bytes: int = MAX_EVENT_BYTES) -> FieldColumns:
    """Read the plan's fields of every event.

    Never raises for an event: a refused one has the reason in ``status``, missing fields and no rows. Only the JSON
    itself, the array and required fields can refuse an event. An optional field, or one inside the array, is WRONG_TYPE
    where it has another type than the plan's, and missing where a null or anything but an object is on the way to it.
    An event whose array is valid and empty is NO_ROWS.
    """
    compiled = plan.compiled
    n = len(records)
    n_fields = len(compiled.order)
    n_bytes, longest = extent(records.value_start, records.value_stop)  # a null has no length: both are -1
    most = max(n, n_bytes // 3 + 1) if compiled.has_array else n  # an element and its comma take three bytes or more
    # Rows are rarely that small, and even reserved memory costs something: the kernel writes a little of each field's
    # share, and the system clears a huge page for each. Reserving less took an event with 21 fields and 845 bytes from
    # 2.8 to 2.2 us.
    slots = min(most, n + n_bytes // ROW_BYTES + 64)
    status = np.empty(n, np.uint8)
    row_indptr = np.empty(n + 1, np.int64)
    text = np.empty(n_fields * n_bytes, np.uint8)
    done = False
    while not done:
        presence = np.empty((n_fields, slots), np.uint8)
        starts = np.empty((n_fields, slots), np.int64)
        stops = np.empty((n_fields, slots), np.int64)
        numbers = np.empty((n_fields, slots), np.float64)
        undecided = np.zeros((n_fields, slots), np.uint8)
        text_indptr = np.empty((n_fields, slots + 1), np.int64)
        done = parse_events(
            records.buffer, records.value_start, records.value_stop, max_event_bytes, plan.max_rows, compiled.has_array,
            compiled.key_data, compiled.key_indptr, compiled.edge_indptr, compiled.edge_field, compiled.edge_node,
            compiled.edge_array, compiled.node_fields, compiled.kinds, compiled.required, compiled.in_array,
            status, row_indptr, presence, starts, stops, numbers, undecided, text, n_bytes, text_indptr,
            np.empty(n_fields, np.int64), np.empty(longest, np.uint8), np.empty((MAX_DEPTH, STACK_WIDTH), np.int64),
            np.empty((len(compiled.node_fields) + MOST_NODES) * NODE_WIDTH, np.int64), np.empty(MOST_BYTES, np.uint8),
            np.empty(TALLY_WIDTH, np.int64),
        )  # fmt: skip
        slots = min(most, 8 * slots)
    columns: dict[str, Column] = {}
    for f, field in enumerate(compiled.order):
        m = int(row_indptr[-1]) if compiled.has_array and compiled.in_array[f] else n
        there = presence[f, :m]
        if field.kind == "text":
            columns[field.name] = TextColumn(there, text[f * n_bytes : (f + 1) * n_bytes], text_indptr[f, : m + 1])
        elif field.kind == "raw":
            columns[field.name] = RawColumn(there, starts[f, :m], stops[f, :m])
        else:
            values = numbers[f, :m]
            for slot in np.flatnonzero((there == PRESENT) & (undecided[f, :m] == 1)):
                values[slot] = float(records.buffer[starts[f, slot] : stops[f, slot]].tobytes())
            columns[field.name] = NumberColumn(there, values)
    return FieldColumns(status, row_indptr, columns)
