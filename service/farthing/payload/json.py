"""The kernel of the stage ``parse``: one pass over each event's JSON.

The plan's fields go to columns; everything else is validated and skipped. The rules and the reference are in
:mod:`farthing.payload.rules`. When a key is given twice the last one counts, and keys are compared after unescaping.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from farthing.blocks import Bytes, Int64s
from farthing.blocks import Status as S
from farthing.kernels.jit import kernel
from farthing.kernels.machine import load_u8
from farthing.payload.numbers import exact_double, scan_number
from farthing.payload.plan import KINDS, MAX_DEPTH
from farthing.payload.shape import EDGE, KEY_READ, NODE_WIDTH, PAUSE, STRIKES, follow, forget_links, learn, settle
from farthing.payload.slots import (
    MISSING,
    MISTYPED,
    NOT_AN_OBJECT,
    NULL,
    OK,
    PRESENT,
    block,
    close_event,
    close_slot,
    field_status,
    forget,
    open_row,
)  # fmt: skip
from farthing.payload.strings import copy_string, scan_string
from farthing.payload.tokens import has_byte_order_mark, scan_literal, skip_space

# Integers for the kernels: numba does not turn another module's enum members into constants.
NULL_VALUE, TOO_LARGE, EMPTY_VALUE, BYTE_ORDER_MARK, SYNTAX, TRAILING_BYTES, TOO_DEEP, TOO_MANY_ROWS = (
    int(S.NULL_VALUE), int(S.TOO_LARGE), int(S.EMPTY_VALUE), int(S.BYTE_ORDER_MARK), int(S.SYNTAX),
    int(S.TRAILING_BYTES), int(S.TOO_DEEP), int(S.TOO_MANY_ROWS),
)  # fmt: skip
NO_ROOM: Final = -1  # inside the kernel only: more rows than there are slots
TEXT, RAW, NUMBER = KINDS.index("text"), KINDS.index("raw"), KINDS.index("number")

STACK_WIDTH: Final = 4
_NOTHING: Final = -1


@kernel(inline=True)
def find_edge(
    data: Bytes, start: int, stop: int, node: int, key_data: Bytes, key_indptr: Int64s, edge_indptr: Int64s
) -> int:
    """Return the edge of ``node`` whose key is ``data[start:stop]``, or -1."""
    size = stop - start
    for edge in range(edge_indptr[node], edge_indptr[node + 1]):
        first = key_indptr[edge]
        if key_indptr[edge + 1] - first == size:
            i = 0
            while i < size and load_u8(data, start + i) == load_u8(key_data, first + i):
                i += 1
            if i == size:
                return edge
    return _NOTHING


@kernel(inline=True)
def parse_event(
    data: Bytes, start: int, stop: int, event: int, first_row: int, max_rows: int,
    key_data: Bytes, key_indptr: Int64s, edge_indptr: Int64s, edge_field: Int64s, edge_node: Int64s,
    edge_array: Bytes, node_fields: Int64s, kinds: Bytes, in_array: Bytes,
    presence: Bytes, starts: Int64s, stops: Int64s, numbers: NDArray[np.float64], undecided: Bytes,
    text: Bytes, text_size: int, text_at: Int64s, text_indptr: Int64s, scratch: Bytes, stack: Int64s,
    nodes: Int64s, links: Bytes, tally: Int64s,
) -> tuple[int, int]:  # fmt: skip
    """Parse one value into its slots: ``event`` for fields outside the array, from ``first_row`` on for those inside.

    Returns (Status, number of rows). ``stack`` is int64 (MAX_DEPTH, STACK_WIDTH), one entry for each open container: 1
    for an array; the plan's node for an object (-1: not in the plan; -2: the plan's array); the raw field that the
    container is the value of, or -1; the node of the last link (below 0: none is followed). ``nodes``, ``links`` and
    ``tally`` are what :mod:`farthing.payload.shape` learned of earlier events.
    """
    at = start
    if at >= stop or load_u8(data, at) != 123:
        at = skip_space(data, start, stop)
        if at >= stop:
            return EMPTY_VALUE, 0
        if has_byte_order_mark(data, start, stop):
            return BYTE_ORDER_MARK, 0
    top_is_object = data[at] == 123
    depth, array_depth = 0, -1  # array_depth: depth of the plan's array while it is open
    rows, row = 0, first_row - 1
    too_many, array_blocked = False, False
    field, node, is_array = _NOTHING, 0, False  # what the next value is in the plan
    array_node = _NOTHING
    following = tally[PAUSE] == 0
    while True:
        if at >= stop:
            return SYNTAX, 0
        byte = load_u8(data, at)
        in_rows = array_depth >= 0
        slot = row if in_rows and field >= 0 and in_array[field] else event
        began, opened, kind_fits = at, False, False
        if byte == 123 or byte == 91:  # { [
            if depth == MAX_DEPTH:
                return TOO_DEEP, 0
            below = _NOTHING
            if node >= 0 and byte == 123 and not is_array:
                below = node
                node = _NOTHING
            elif node >= 0 and byte == 91 and is_array:
                below = -2
                array_node, array_depth = node, depth
                node = _NOTHING
            stack[depth, 0] = byte == 91
            stack[depth, 1] = below
            stack[depth, 2] = field if field >= 0 and kinds[field] == RAW else _NOTHING
            stack[depth, 3] = below * NODE_WIDTH if following else _NOTHING
            depth += 1
            kind_fits = field >= 0 and kinds[field] == RAW
            at += 1
            opened = True
        elif byte == 34:  # a string
            if field >= 0 and kinds[field] == TEXT:
                base = field * text_size
                at, to, state = copy_string(data, at + 1, stop, text, base + text_indptr[field, slot], base + text_size)
                text_at[field] = to - base
            else:
                at, state = scan_string(data, at + 1, stop)
            if at < 0:
                return state, 0
            at += 1
            kind_fits = field >= 0 and kinds[field] != NUMBER
        elif byte == 45 or 48 <= byte <= 57:
            at, state = scan_number(data, at, stop)
            if at < 0:
                return state, 0
            kind_fits = field >= 0 and kinds[field] != TEXT
            if field >= 0 and kinds[field] == NUMBER:
                numbers[field, slot], exact = exact_double(data, began, at)
                undecided[field, slot] = not exact
        else:
            at = scan_literal(data, at, stop)
            if at < 0:
                return SYNTAX, 0
            kind_fits = field >= 0 and kinds[field] == RAW
            if byte == 110:  # null: its field is null, fields below it are missing
                node = _NOTHING
        if field >= 0:
            presence[field, slot] = NULL if byte == 110 else PRESENT if kind_fits else MISTYPED
            starts[field, slot] = began
            stops[field, slot] = at
        elif node >= 0 and block(node_fields[node, 0], node_fields[node, 1], event, in_rows, in_array, presence):
            array_blocked = True
        # A value ended at ``at``, or it was opened there. What comes next?
        edge, known = _NOTHING, False
        while True:
            if depth > 0 and stack[depth - 1, 3] >= 0:
                ended = at
                slot = row if array_depth >= 0 else event
                at, stack[depth - 1, 3], found = follow(
                    data, at, stop, stack[depth - 1, 3], slot, nodes, links,
                    presence, starts, stops, text, text_size, text_at, text_indptr,
                )  # fmt: skip
                if at < 0:
                    return found, 0
                opened = opened and at == ended
                if found == KEY_READ:
                    edge, known = nodes[stack[depth - 1, 3] + EDGE], True
                    break
                if depth == 1 and at == stop - 1 and load_u8(data, at) == 125 and not array_blocked:
                    return (TOO_MANY_ROWS if too_many else OK), rows  # as below, at once
            ended = at
            at = skip_space(data, at, stop)
            if depth == 0:
                if at < stop:
                    return TRAILING_BYTES, 0
                if not top_is_object or array_blocked:
                    return NOT_AN_OBJECT, 0
                return (TOO_MANY_ROWS if too_many else OK), rows
            if at >= stop:
                return SYNTAX, 0
            next_byte = load_u8(data, at)
            if next_byte == (93 if stack[depth - 1, 0] else 125):  # ] }
                depth -= 1
                at += 1
                opened = False
                if stack[depth, 1] == -2:
                    array_depth = -1
                f = stack[depth, 2]
                if f >= 0:
                    stops[f, row if array_depth >= 0 and in_array[f] else event] = at
            elif opened:
                break
            elif next_byte == 44:  # ,
                at = skip_space(data, at + 1, stop)
                break
            else:
                return SYNTAX, 0
        # A member begins: a value in an array, a key in an object.
        field, node, is_array = _NOTHING, _NOTHING, False
        within = stack[depth - 1, 1]
        if stack[depth - 1, 0]:
            if within == -2:
                if rows == max_rows:
                    too_many = True  # the remaining elements are only validated
                elif first_row + rows == presence.shape[1]:
                    return NO_ROOM, 0
                else:
                    row = first_row + rows
                    rows += 1
                    node = array_node
                    open_row(row, in_array, presence, text_at, text_indptr)
            continue
        if not known:
            if at >= stop or load_u8(data, at) != 34:
                return SYNTAX, 0
            end, state = scan_string(data, at + 1, stop)
            if end < 0:
                return state, 0
            if within >= 0:
                if state:
                    _, size, _ = copy_string(data, at + 1, stop, scratch, 0, len(scratch))
                    edge = find_edge(scratch, 0, size, within, key_data, key_indptr, edge_indptr)
                else:
                    edge = find_edge(data, at + 1, end, within, key_data, key_indptr, edge_indptr)
            at = skip_space(data, end + 1, stop)
            if at >= stop or load_u8(data, at) != 58:
                return SYNTAX, 0
            at += 1
        if edge >= 0:
            field, node, is_array = edge_field[edge], edge_node[edge], edge_array[edge] == 1
            first = field if field >= 0 else node_fields[node, 0]
            last = field + 1 if field >= 0 else node_fields[node, 1]
            # The last of equal keys counts: forget the value of an earlier one.
            if forget(first, last, event, row, first_row, array_depth >= 0, in_array, presence, text_at, text_indptr):
                rows, row = 0, first_row - 1
                too_many, array_blocked = False, False
        at = skip_space(data, at, stop)
        if not known and stack[depth - 1, 3] >= 0:
            stack[depth - 1, 3] = learn(data, ended, at, stack[depth - 1, 3], edge, field, kinds, nodes, links, tally)


@kernel
def parse_events(
    data: Bytes, value_start: Int64s, value_stop: Int64s, max_event_bytes: int, max_rows: int, has_array: bool,
    key_data: Bytes, key_indptr: Int64s, edge_indptr: Int64s, edge_field: Int64s, edge_node: Int64s,
    edge_array: Bytes, node_fields: Int64s, kinds: Bytes, required: Bytes, in_array: Bytes,
    status: Bytes, row_indptr: Int64s, presence: Bytes, starts: Int64s, stops: Int64s,
    numbers: NDArray[np.float64], undecided: Bytes, text: Bytes, text_size: int, text_indptr: Int64s,
    text_at: Int64s, scratch: Bytes, stack: Int64s, nodes: Int64s, links: Bytes, tally: Int64s,
) -> bool:  # fmt: skip
    """Parse all values of a block into columns that :func:`farthing.payload.columns.parse` allocates.

    Returns False when they have too few slots for the rows.
    """
    n_fields, n_roots = len(kinds), len(node_fields)
    tally[STRIKES] = tally[PAUSE] = 0
    forget_links(nodes, tally, n_roots)
    row_indptr[0] = 0
    for f in range(n_fields):
        text_at[f] = 0
        text_indptr[f, 0] = 0
    for event in range(len(value_start)):
        first_row = row_indptr[event]
        for f in range(n_fields):
            if not in_array[f]:
                presence[f, event] = MISSING
        start, stop = value_start[event], value_stop[event]
        rows = 0
        if start < 0:
            state = NULL_VALUE
        elif stop - start > max_event_bytes:
            state = TOO_LARGE
        else:
            state, rows = parse_event(
                data, start, stop, event, first_row, max_rows,
                key_data, key_indptr, edge_indptr, edge_field, edge_node, edge_array, node_fields, kinds, in_array,
                presence, starts, stops, numbers, undecided, text, text_size, text_at, text_indptr, scratch, stack,
                nodes, links, tally,
            )  # fmt: skip
            settle(nodes, tally, n_roots)
            if state == NO_ROOM:
                return False
            if state == OK:
                if not has_array and close_event(event, presence, text_at, text_indptr):
                    status[event] = OK
                    row_indptr[event + 1] = first_row + 1
                    continue
                state = field_status(event, rows, has_array, required, in_array, presence)
        status[event] = state
        if state != OK:
            rows = 0
        elif not has_array:
            rows = 1
        row_indptr[event + 1] = first_row + rows
        for f in range(n_fields):
            if in_array[f]:
                if state != OK:
                    text_at[f] = text_indptr[f, first_row]
                text_indptr[f, first_row + rows] = text_at[f]
                for row in range(first_row, first_row + rows):
                    if presence[f, row] > MISTYPED:
                        presence[f, row] = MISSING
                    close_slot(f, row, presence, starts, stops, numbers)
            else:
                if state != OK or presence[f, event] > MISTYPED:
                    presence[f, event] = MISSING
                if presence[f, event] != PRESENT:
                    text_at[f] = text_indptr[f, event]
                text_indptr[f, event + 1] = text_at[f]
                close_slot(f, event, presence, starts, stops, numbers)
    return True
