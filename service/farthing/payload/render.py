"""Renders score records: one kernel writes decisions as JSON.

A score is written with up to seven decimals: the float32 is multiplied by 10**7 as a double and rounded half to even,
and trailing zeros are left out. Equal scores are therefore equal text everywhere.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Sequence
from functools import lru_cache
from typing import Final

import numpy as np
from numpy.typing import NDArray

from farthing.blocks import Bytes, DecisionBlock, Int64s, Presence, RawColumn, RecordBlock, RenderedValues
from farthing.kernels.digits import AHEAD_BYTES, EIGHT, ZEROS, eight_digits, write_digits
from farthing.kernels.extent import extent
from farthing.kernels.jit import kernel
from farthing.kernels.machine import SHORT_BYTES, copy_short, leading_zeros, load_u64, store_u64

DECIMALS: Final = 7
_UNIT: Final = 10**DECIMALS
_NUMBER_BYTES: Final = 32  # sign, digits of 2**63 / _UNIT, point, DECIMALS
_FIRST_DECIMAL: Final = np.uint64(1 << 8)  # in its byte of the eight digits
_MISSING: Final = int(Presence.MISSING)


@kernel(inline=True)
def write_point(out: Bytes, at: int, digits: np.uint64) -> int:
    """Put the point at ``out[at]``, before the seven decimals of ``digits``; returns the position after the decimals.

    Trailing zeros do not count, but the first decimal always does.
    """
    out[at] = 46
    return at + DECIMALS + 1 - (leading_zeros(digits | _FIRST_DECIMAL) >> 3)


def write_score_reference(out: Bytes, at: int, score: float) -> int:
    """Plain form of :func:`write_score`."""
    units = round(float(score) * _UNIT)
    digits = f"{abs(units):0{DECIMALS + 1}d}"
    text = f"{'-' if units < 0 else ''}{digits[:-DECIMALS]}.{digits[-DECIMALS:].rstrip('0') or '0'}".encode()
    out[at : at + len(text)] = np.frombuffer(text, np.uint8)
    return at + len(text)


@kernel(reference=write_score_reference)
def write_score(out: Bytes, at: int, score: float) -> int:
    """Write a finite number below 10**11 with up to seven decimals and at least one; returns the position after it."""
    units = np.int64(np.rint(np.float64(score) * _UNIT))
    if units < 0:
        out[at] = 45
        at += 1
        units = -units
    if units < EIGHT:  # one digit, the point, seven decimals
        digits = eight_digits(units)
        store_u64(out, at + 1, digits | ZEROS)
        out[at] = out[at + 1]
        at += 1
    else:
        whole = np.int64(np.uint64(units) // np.uint64(_UNIT))
        digits = eight_digits(units - whole * _UNIT)
        at = write_digits(out, at, whole)
        store_u64(out, at, digits | ZEROS)
    return write_point(out, at, digits)


@kernel(inline=True)
def repeat_score(out: Bytes, at: int, first: int, last: int) -> int:
    """Copy the number at ``out[first:last]`` to ``at``; returns the position after it."""
    # Three words hold any number (a sign, twelve digits, a point and seven decimals). All are read before the first is
    # written, because the copy may begin fewer than 24 bytes further on.
    one, two, three = load_u64(out, first), load_u64(out, first + 8), load_u64(out, first + 16)
    store_u64(out, at, one)
    store_u64(out, at + 8, two)
    store_u64(out, at + 16, three)
    return at + last - first


def write_scores_reference(
    out: Bytes, indptr: Int64s, events: Int64s, first_row: Int64s, buffer: Bytes,
    id_presence: Bytes, id_start: Int64s, id_stop: Int64s, scores: NDArray[np.float32], labels: Bytes,
    parts: Bytes, parts_indptr: Int64s, label_parts: Bytes, label_indptr: Int64s,
) -> None:  # fmt: skip
    """Plain form of :func:`write_scores`."""
    at = 0

    def write(text: Bytes) -> None:
        nonlocal at
        out[at : at + len(text)] = text
        at += len(text)

    opener, named, *heads = [parts[a:b] for a, b in itertools.pairwise(parts_indptr)]
    tails = [label_parts[a:b] for a, b in itertools.pairwise(label_indptr)]
    comma, brace, close = (np.frombuffer(byte, np.uint8) for byte in (b",", b"{", b"}"))
    for k, event in enumerate(events):
        row = first_row[event]
        if id_presence[event] == _MISSING:
            write(brace)
        else:
            write(opener)
            write(buffer[id_start[event] : id_stop[event]])
            write(comma)
        write(named)
        at = write_score_reference(out, at, scores[row, 0])
        if len(heads) > 1:
            for name, score in zip(heads, scores[row], strict=True):
                write(name)
                at = write_score_reference(out, at, score)
            write(close)
        write(tails[labels[row]])
        indptr[k + 1] = at


@kernel(reference=write_scores_reference)
def write_scores(
    out: Bytes, indptr: Int64s, events: Int64s, first_row: Int64s, buffer: Bytes,
    id_presence: Bytes, id_start: Int64s, id_stop: Int64s, scores: NDArray[np.float32], labels: Bytes,
    parts: Bytes, parts_indptr: Int64s, label_parts: Bytes, label_indptr: Int64s,
) -> None:  # fmt: skip
    """Write one record for each of ``events``.

    ``parts`` are ``{"id":``, ``"score":`` and what goes before each head's score; ``label_parts`` the records' ends.
    """
    n_heads = scores.shape[1]
    at = 0
    for k in range(len(events)):
        event = events[k]
        row = first_row[event]
        if id_presence[event] != _MISSING:
            at = copy_short(out, at, parts, parts_indptr[0], parts_indptr[1])
            at = copy_short(out, at, buffer, id_start[event], id_stop[event])
            out[at] = 44
        else:
            out[at] = 123
        at = copy_short(out, at + 1, parts, parts_indptr[1], parts_indptr[2])
        first = at
        at = write_score(out, at, scores[row, 0])
        if n_heads > 1:
            last = at
            at = copy_short(out, at, parts, parts_indptr[2], parts_indptr[3])
            at = repeat_score(out, at, first, last)
            for head in range(1, n_heads):
                at = copy_short(out, at, parts, parts_indptr[2 + head], parts_indptr[3 + head])
                at = write_score(out, at, scores[row, head])
            out[at] = 125
            at += 1
        label = labels[row]
        at = copy_short(out, at, label_parts, label_indptr[label], label_indptr[label + 1])
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
    """Write a score record for each event with status OK, which has one row.

    ``{"id":<as it came>,"score":0.0123,"scores":{"offensive":0.0123,...},"label":"allow","model":"m@1a2b3c4d"}``
    ``id`` is left out where it is missing, ``scores`` where there is one head.
    """
    answered = decisions.status == 0
    events = np.flatnonzero(answered).astype(np.int64, copy=False)
    n = len(records)
    if row_indptr is None:
        row_indptr = np.zeros(n + 1, np.int64)
        np.cumsum(answered, out=row_indptr[1:])
    if ids is None:
        nothing = np.full(n, -1, np.int64)
        ids = RawColumn(np.full(n, _MISSING, np.uint8), nothing, nothing)
    parts, parts_indptr, tails, tails_indptr, fixed = _constant_text(heads, labels, model)
    ids_bytes, _ = extent(ids.start, ids.stop)  # includes refused events: an upper bound
    out = np.empty(ids_bytes + fixed * len(events) + max(SHORT_BYTES, AHEAD_BYTES), np.uint8)
    indptr = np.zeros(len(events) + 1, np.int64)
    write_scores(
        out, indptr, events, row_indptr, records.buffer, ids.presence, ids.start, ids.stop,
        decisions.scores, decisions.labels, parts, parts_indptr, tails, tails_indptr,
    )  # fmt: skip
    return RenderedValues(events, out[: indptr[-1]], indptr)


@lru_cache(maxsize=16)  # a process has few models; uncached, this would cost a small block more than its scores
def _constant_text(
    heads: tuple[str, ...], labels: tuple[str, ...], model: str
) -> tuple[Bytes, Int64s, Bytes, Int64s, int]:
    """Return the text between the values, the end of a record for each label, and the most bytes beside the id.

    Callers must not write to them.
    """
    openers = [(',"scores":{' if h == 0 else ",") + json.dumps(name) + ":" for h, name in enumerate(heads)]
    tails = [f',"label":{json.dumps(label)},"model":{json.dumps(model)}}}' for label in labels]
    parts, parts_indptr = join(['{"id":', '"score":', *openers])
    most = int(parts_indptr[-1]) + max(len(tail.encode()) for tail in tails) + _NUMBER_BYTES * (len(heads) + 1) + 4
    return (parts, parts_indptr, *join(tails), most)


def joined_values(events: Int64s, values: Sequence[bytes]) -> RenderedValues:
    """Lay written values out one after another: the result of a reference."""
    indptr = np.cumsum([0, *map(len, values)], dtype=np.int64)
    return RenderedValues(events, np.frombuffer(b"".join(values), np.uint8), indptr)


def join(texts: list[str]) -> tuple[Bytes, Int64s]:
    """Lay texts out one after another, with padding after the last that the kernel may read."""
    pieces = [text.encode() for text in texts]
    indptr = np.concatenate([[0], np.cumsum([len(piece) for piece in pieces])]).astype(np.int64)
    return np.frombuffer(bytearray(b"".join(pieces) + bytes(SHORT_BYTES)), np.uint8), indptr
