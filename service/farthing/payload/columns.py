"""Event values to columns of fields: the stage ``parse``."""

from __future__ import annotations

import numpy as np

from farthing.blocks import Column, FieldColumns, NumberColumn, RawColumn, RecordBlock, TextColumn
from farthing.jit import stage
from farthing.payload.json import PRESENT, parse_events
from farthing.payload.plan import MAX_DEPTH, FieldPlan
from farthing.payload.rules import parse_reference


@stage(reference=parse_reference)
def parse(records: RecordBlock, plan: FieldPlan, *, max_event_bytes: int = 1 << 20) -> FieldColumns:
    """Read the plan's fields of every event.

    Never raises for an event: what is refused has its reason in ``status``, its fields are missing and it has no rows.
    A null on the way to a field means that the field is missing. Inside the array a field of another type than its
    plan says is missing too, and does not refuse the event. An event with a good array of no elements is NO_ROWS.
    """
    compiled = plan.compiled
    n = len(records)
    n_fields = len(compiled.order)
    lengths = records.value_stop - records.value_start  # 0 of a null: both are -1
    n_bytes, longest = int(lengths.sum()), int(lengths.max(initial=0))
    slots = max(n, n_bytes // 3 + 1) if plan.has_array else n  # an element and its comma take three bytes or more
    status = np.empty(n, np.uint8)
    row_indptr = np.empty(n + 1, np.int64)
    presence = np.empty((n_fields, slots), np.uint8)
    starts = np.empty((n_fields, slots), np.int64)
    stops = np.empty((n_fields, slots), np.int64)
    numbers = np.empty((n_fields, slots), np.float64)
    undecided = np.zeros((n_fields, slots), np.uint8)
    text = np.empty(n_fields * n_bytes, np.uint8)
    text_indptr = np.empty((n_fields, slots + 1), np.int64)
    parse_events(
        records.buffer, records.value_start, records.value_stop, max_event_bytes, plan.max_rows, plan.has_array,
        compiled.key_data, compiled.key_indptr, compiled.edge_indptr, compiled.edge_field, compiled.edge_node,
        compiled.edge_array, compiled.node_fields, compiled.kinds, compiled.required, compiled.in_array,
        status, row_indptr, presence, starts, stops, numbers, undecided, text, n_bytes, text_indptr,
        np.empty(n_fields, np.int64), np.empty(longest, np.uint8), np.empty((MAX_DEPTH, 4), np.int64),
    )  # fmt: skip
    columns: dict[str, Column] = {}
    for f, wanted in enumerate(compiled.order):
        m = int(row_indptr[-1]) if wanted.in_array else n
        there = presence[f, :m]
        if wanted.kind == "text":
            columns[wanted.name] = TextColumn(there, text[f * n_bytes : (f + 1) * n_bytes], text_indptr[f, : m + 1])
        elif wanted.kind == "raw":
            columns[wanted.name] = RawColumn(there, starts[f, :m], stops[f, :m])
        else:
            values = numbers[f, :m]
            for slot in np.flatnonzero((there == PRESENT) & (undecided[f, :m] == 1)):
                values[slot] = float(records.buffer[starts[f, slot] : stops[f, slot]].tobytes())
            columns[wanted.name] = NumberColumn(there, values)
    return FieldColumns(status, row_indptr, columns)
