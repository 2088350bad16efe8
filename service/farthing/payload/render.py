"""Score records: from decisions to JSON bytes, by one kernel.

A score is written with up to seven decimals: the float32 is multiplied by 10**7 as a double, rounded half to even, and
its trailing zeros are left out, so equal scores are equal text everywhere.
"""

from __future__ import annotations

import json
from typing import Final

import numpy as np
from numpy.typing import NDArray

from farthing.blocks import Bytes, DecisionBlock, Int64s, Presence, RawColumn, RecordBlock, RenderedValues
from farthing.jit import copy_bytes, kernel

DECIMALS: Final = 7
_UNIT: Final = 10**DECIMALS
_NUMBER_BYTES: Final = 32  # sign, digits of 2**63 / _UNIT, point, DECIMALS
_MISSING: Final = int(Presence.MISSING)


@kernel
def write_score(out: Bytes, at: int, score: float) -> int:
    """Write a finite number below 10**11 with up to seven decimals and at least one; returns the position after it."""
    units = np.int64(np.rint(np.float64(score) * _UNIT))
    if units < 0:
        out[at] = 45
        at += 1
        units = -units
    whole, part = units // _UNIT, units % _UNIT
    digits = 1
    left = whole // 10
    while left > 0:
        digits += 1
        left //= 10
    for i in range(digits):
        out[at + digits - 1 - i] = 48 + whole % 10
        whole //= 10
    at += digits
    out[at] = 46
    for i in range(DECIMALS):
        out[at + DECIMALS - i] = 48 + part % 10
        part //= 10
    at += DECIMALS + 1
    while out[at - 1] == 48 and out[at - 2] != 46:
        at -= 1
    return at


@kernel
def write_scores(
    out: Bytes, indptr: Int64s, events: Int64s, first_row: Int64s, buffer: Bytes,
    id_presence: Bytes, id_start: Int64s, id_stop: Int64s, scores: NDArray[np.float32], labels: Bytes,
    parts: Bytes, parts_indptr: Int64s, label_parts: Bytes, label_indptr: Int64s,
) -> None:  # fmt: skip
    """Write one record an answered event. ``parts``: ``{"id":``, ``"score":``, each head's opener, ``}``, the tail."""
    n_heads = scores.shape[1]
    at = 0
    for k in range(len(events)):
        event = events[k]
        row = first_row[event]
        if id_presence[event] != _MISSING:
            at = copy_bytes(out, at, parts, parts_indptr[0], parts_indptr[1])
            at = copy_bytes(out, at, buffer, id_start[event], id_stop[event])
            out[at] = 44
        else:
            out[at] = 123
        at = copy_bytes(out, at + 1, parts, parts_indptr[1], parts_indptr[2])
        at = write_score(out, at, scores[row, 0])
        if n_heads > 1:
            for head in range(n_heads):
                at = copy_bytes(out, at, parts, parts_indptr[2 + head], parts_indptr[3 + head])
                at = write_score(out, at, scores[row, head])
            out[at] = 125
            at += 1
        label = labels[row]
        at = copy_bytes(out, at, label_parts, label_indptr[label], label_indptr[label + 1])
        indptr[k + 1] = at


def render_scores(
    records: RecordBlock,
    ids: RawColumn | None,
    decisions: DecisionBlock,
    *,
    row_indptr: Int64s | None = None,
    heads: tuple[str, ...],
    labels: tuple[str, ...],
    model: str,
) -> RenderedValues:
    """Write a score record for each event with status OK: one row an event.

    ``{"id":<as it came>,"score":0.0123,"scores":{"offensive":0.0123,...},"label":"allow","model":"m@1a2b3c4d"}``
    ``id`` is left out where it is missing, ``scores`` where there is one head.
    """
    events = np.flatnonzero(decisions.status == 0).astype(np.int64)
    n = len(records)
    if row_indptr is None:
        row_indptr = np.zeros(n + 1, np.int64)
        np.cumsum(decisions.status == 0, out=row_indptr[1:])
    if ids is None:
        nothing = np.full(n, -1, np.int64)
        ids = RawColumn(np.full(n, _MISSING, np.uint8), nothing, nothing)
    openers = [(',"scores":{' if h == 0 else ",") + json.dumps(name) + ":" for h, name in enumerate(heads)]
    parts, parts_indptr = join(['{"id":', '"score":', *openers])
    tails, tails_indptr = join([f',"label":{json.dumps(label)},"model":{json.dumps(model)}}}' for label in labels])
    ids_bytes = int((ids.stop[events] - ids.start[events]).sum())
    fixed = len(parts) + int(np.diff(tails_indptr).max()) + _NUMBER_BYTES * (len(heads) + 1) + 4
    out = np.empty(ids_bytes + fixed * len(events), np.uint8)
    indptr = np.zeros(len(events) + 1, np.int64)
    write_scores(
        out, indptr, events, row_indptr, records.buffer, ids.presence, ids.start, ids.stop,
        decisions.scores, decisions.labels, parts, parts_indptr, tails, tails_indptr,
    )  # fmt: skip
    return RenderedValues(events, out[: indptr[-1]], indptr)


def join(texts: list[str]) -> tuple[Bytes, Int64s]:
    """Lay texts out one after the other: their bytes, and where each begins."""
    pieces = [text.encode() for text in texts]
    indptr = np.concatenate([[0], np.cumsum([len(piece) for piece in pieces])]).astype(np.int64)
    return np.frombuffer(b"".join(pieces), np.uint8), indptr
