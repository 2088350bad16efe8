"""Renders rankings: one kernel writes the decisions of the task rerank as JSON."""

from __future__ import annotations

import json
from typing import Final

import numpy as np
from numpy.typing import NDArray

from farthing.blocks import Bytes, Int64s, Presence, RankingBlock, RawColumn, RecordBlock, RenderedValues
from farthing.kernels.digits import AHEAD_BYTES, write_digits
from farthing.kernels.jit import kernel, stage
from farthing.kernels.machine import copy_bytes
from farthing.payload.render import join, joined_values, write_score, write_score_reference

_PRESENT: Final = int(Presence.PRESENT)
_MISSING: Final = int(Presence.MISSING)
_INDEX_BYTES: Final = 20
_SCORE_BYTES: Final = 32

ID, RANKING, ROW, SCORE, NEXT, END, TAIL, NO_SCORE = range(8)
_PARTS: Final = ('{"id":', '"ranking":[', '{"id":', ',"score":', "},", "}]", ',"model":', ',"score":null,"reason":')


@kernel
def write_rankings(
    out: Bytes, indptr: Int64s, events: Int64s, row_indptr: Int64s, order: Int64s, buffer: Bytes,
    id_presence: Bytes, id_start: Int64s, id_stop: Int64s, row_presence: Bytes, row_start: Int64s, row_stop: Int64s,
    scores: NDArray[np.float32], labels: Bytes, parts: Bytes, parts_indptr: Int64s, reasons: Bytes,
    reasons_indptr: Int64s,
) -> None:  # fmt: skip
    """Write one record for each of ``events``.

    ``parts`` are numbered as above (``ID`` to ``NO_SCORE``); ``reasons`` are one JSON string per label.
    """
    at = 0
    for k in range(len(events)):
        event = events[k]
        if id_presence[event] != _MISSING:
            at = copy_bytes(out, at, parts, parts_indptr[ID], parts_indptr[ID + 1])
            at = copy_bytes(out, at, buffer, id_start[event], id_stop[event])
            out[at] = 44
        else:
            out[at] = 123
        at = copy_bytes(out, at + 1, parts, parts_indptr[RANKING], parts_indptr[RANKING + 1])
        start, stop = row_indptr[event], row_indptr[event + 1]
        for place in range(start, stop):
            row = order[place]
            at = copy_bytes(out, at, parts, parts_indptr[ROW], parts_indptr[ROW + 1])
            if row_presence[row] == _PRESENT:
                at = copy_bytes(out, at, buffer, row_start[row], row_stop[row])
            else:
                at = write_digits(out, at, row - start)
            if labels[row] == 0:
                at = copy_bytes(out, at, parts, parts_indptr[SCORE], parts_indptr[SCORE + 1])
                at = write_score(out, at, scores[row, 0])
            else:
                label = labels[row]
                at = copy_bytes(out, at, parts, parts_indptr[NO_SCORE], parts_indptr[NO_SCORE + 1])
                at = copy_bytes(out, at, reasons, reasons_indptr[label], reasons_indptr[label + 1])
            part = NEXT if place + 1 < stop else END
            at = copy_bytes(out, at, parts, parts_indptr[part], parts_indptr[part + 1])
        at = copy_bytes(out, at, parts, parts_indptr[TAIL], parts_indptr[TAIL + 1])
        indptr[k + 1] = at


def render_rankings_reference(
    records: RecordBlock,
    ids: RawColumn | None,
    decisions: RankingBlock,
    *,
    row_indptr: Int64s,
    heads: tuple[str, ...],
    labels: tuple[str, ...],
    model: str,
) -> RenderedValues:
    """Plain form of :func:`render_rankings`: one event after another."""
    events = np.flatnonzero(decisions.status == 0).astype(np.int64)
    ids, row_ids = ids or _no_ids(len(records)), decisions.ids or _no_ids(len(decisions.labels))
    written = [_ranking_reference(records, ids, row_ids, decisions, row_indptr, labels, model, int(e)) for e in events]
    return joined_values(events, written)


@stage(reference=render_rankings_reference)
def render_rankings(
    records: RecordBlock,
    ids: RawColumn | None,
    decisions: RankingBlock,
    *,
    row_indptr: Int64s,
    heads: tuple[str, ...],
    labels: tuple[str, ...],
    model: str,
) -> RenderedValues:
    """Write a ranking for each event with status OK.

    ``{"id":<as it came>,"ranking":[{"id":"d7","score":0.9123},...,{"id":"d2","score":null,"reason":"missing_field"}],
    "model":"m@1a2b3c4d"}``, on one line. The event's ``id`` is left out where it is missing; a candidate whose id is
    missing or null has its place in the event, from 0 on, instead. ``heads`` is not used: a ranking has one score.
    """
    events = np.flatnonzero(decisions.status == 0).astype(np.int64)
    ids = ids or _no_ids(len(records))
    row_ids = decisions.ids or _no_ids(len(decisions.labels))
    parts, parts_indptr = join([*_PARTS[:TAIL], f"{_PARTS[TAIL]}{json.dumps(model)}}}", *_PARTS[NO_SCORE:]])
    reasons, reasons_indptr = join([json.dumps(label) for label in labels])
    rows = np.diff(row_indptr)[events]
    a_row = len("".join(_PARTS[ROW:NEXT])) + len(_PARTS[NO_SCORE]) + _INDEX_BYTES + _SCORE_BYTES + len(reasons)
    ids_bytes = int((ids.stop[events] - ids.start[events]).sum() + (row_ids.stop - row_ids.start).sum())
    out = np.empty(ids_bytes + int(rows.sum()) * a_row + len(events) * (len(parts) + 4) + AHEAD_BYTES, np.uint8)
    indptr = np.zeros(len(events) + 1, np.int64)
    write_rankings(
        out, indptr, events, row_indptr, decisions.order, records.buffer, ids.presence, ids.start, ids.stop,
        row_ids.presence, row_ids.start, row_ids.stop, decisions.scores, decisions.labels,
        parts, parts_indptr, reasons, reasons_indptr,
    )  # fmt: skip
    return RenderedValues(events, out[: indptr[-1]], indptr)


def _ranking_reference(
    records: RecordBlock, ids: RawColumn, row_ids: RawColumn, decisions: RankingBlock, row_indptr: Int64s,
    labels: tuple[str, ...], model: str, event: int,
) -> bytes:  # fmt: skip
    """Plain form of one event's ranking."""

    def token(column: RawColumn, slot: int) -> bytes:
        return records.buffer[column.start[slot] : column.stop[slot]].tobytes()

    start, stop = int(row_indptr[event]), int(row_indptr[event + 1])
    candidates = []
    for row in decisions.order[start:stop]:
        name = token(row_ids, row) if row_ids.presence[row] == _PRESENT else str(row - start).encode()
        value = b'null,"reason":' + json.dumps(labels[decisions.labels[row]]).encode()
        if decisions.labels[row] == 0:
            score = np.zeros(_SCORE_BYTES, np.uint8)
            value = score[: write_score_reference(score, 0, decisions.scores[row, 0])].tobytes()
        candidates.append(b'{"id":' + name + b',"score":' + value + b"}")
    head = b'"id":' + token(ids, event) + b"," if ids.presence[event] != _MISSING else b""
    return b"{" + head + b'"ranking":[' + b",".join(candidates) + b'],"model":' + json.dumps(model).encode() + b"}"


def _no_ids(n: int) -> RawColumn:
    nothing = np.full(n, -1, np.int64)
    return RawColumn(np.full(n, _MISSING, np.uint8), nothing, nothing)
