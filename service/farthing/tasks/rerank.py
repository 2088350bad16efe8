"""The task rerank: an event is a query with candidates, each candidate is a row; the result is the candidates in order.

Candidates are ordered by score (the first head's), the highest first; equal scores stay in the order they came in. A
candidate without a text cannot be scored: it comes last, with the reason as its label. An event becomes a dead letter
when its query is missing (its parsed status says so) or when none of its candidates can be scored; in that case the
reason is the first candidate's.

A score may depend on the other candidates of its own event, because some features compare them, but not on those that
cannot be scored, and never on another event.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from farthing.blocks import (
    Bytes,
    DecisionInputs,
    FieldColumns,
    Int64s,
    Presence,
    RankingBlock,
    RawColumn,
    ScoreBlock,
    Status,
    TextColumn,
)
from farthing.errors import BundleError, ConfigError
from farthing.kernels.jit import kernel

REASONS = (Status.OK, Status.MISSING_FIELD, Status.NULL_FIELD, Status.NON_FINITE)
LABELS = ("ranked", *(reason.name.lower() for reason in REASONS[1:]))
"""A row's label: ``ranked``, or the reason why it is not."""

TEXT_FIELD = "text"
ROW_ID_FIELD = "candidate_id"

Float32s = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Rerank:
    """Puts candidates in order. It has no settings."""

    @classmethod
    def from_manifest(cls, heads: Sequence[str], labels: Sequence[str], thresholds: Mapping[str, Any]) -> Rerank:
        """Check that a manifest asks for nothing that this task cannot do.

        Raises
        ------
        BundleError
            Other labels, more than one head, or thresholds.
        """
        if tuple(labels) != LABELS:
            raise BundleError(f"labels are {list(labels)}, the task rerank has {list(LABELS)}")
        if len(heads) != 1:
            raise BundleError(f"heads are {list(heads)}, the task rerank orders by one")
        if thresholds:
            raise BundleError(f"thresholds are {dict(thresholds)}, the task rerank has none")
        return cls()

    def decide(self, columns: FieldColumns, scores: ScoreBlock, _: DecisionInputs | None = None) -> RankingBlock:
        """Put each event's rows in order.

        Parameters
        ----------
        columns:
            The parsed events, with the row field ``text`` and, perhaps, ``candidate_id``.
        scores:
            The scores of the same rows.

        Raises
        ------
        ConfigError
            There is no row field ``text``, or ``candidate_id`` is not raw.
        """
        text, ids = columns.columns.get(TEXT_FIELD), columns.columns.get(ROW_ID_FIELD)
        n_rows = int(columns.row_indptr[-1])
        if not isinstance(text, TextColumn) or len(text.presence) != n_rows:
            raise ConfigError(f"the task rerank needs the field {TEXT_FIELD} of kind text inside the plan's array")
        if ids is not None and (not isinstance(ids, RawColumn) or len(ids.presence) != n_rows):
            raise ConfigError(f"the field {ROW_ID_FIELD} must be of kind raw and inside the plan's array")
        if len(scores) != n_rows:
            raise ValueError(f"{len(scores)} rows of scores, the events have {n_rows} rows")
        status, labels, order = rank(columns.status, columns.row_indptr, text.presence, scores.scores)
        return RankingBlock(
            status=status,
            scores=scores.scores,
            labels=labels,
            order=order,
            ids=ids if isinstance(ids, RawColumn) else None,
        )


def rank_reference(status: Bytes, row_indptr: Int64s, presence: Bytes, scores: Float32s) -> tuple[Bytes, Bytes, Int64s]:
    """Order one event after another with Python's stable sort."""
    final, labels = status.copy(), np.zeros(len(scores), np.uint8)
    order = np.arange(len(scores), dtype=np.int64)
    for event in range(len(status)):
        rows = range(row_indptr[event], row_indptr[event + 1])
        for row in rows:
            if presence[row] != Presence.PRESENT:
                labels[row] = 2 if presence[row] == Presence.NULL else 1  # another type counts as missing
            elif not np.isfinite(scores[row]).all():
                labels[row] = 3
        key = {row: (labels[row] > 0, 0.0 if labels[row] else -float(scores[row, 0])) for row in rows}
        order[rows.start : rows.stop] = sorted(rows, key=lambda row: key[row])
        if final[event] == Status.OK and all(labels[row] for row in rows):
            final[event] = REASONS[labels[rows.start]] if len(rows) else Status.NO_ROWS
    return final, labels, order


@kernel(reference=rank_reference, allocates=True)
def rank(status: Bytes, row_indptr: Int64s, presence: Bytes, scores: Float32s) -> tuple[Bytes, Bytes, Int64s]:
    """Order the rows of each event.

    Parameters
    ----------
    status:
        uint8 (n,): Status of the parsed events.
    row_indptr:
        int64 (n+1,): events -> rows.
    presence:
        uint8 (n_rows,): Presence of the rows' texts.
    scores:
        float32 (n_rows, n_heads); the first head counts.

    Returns
    -------
    The final status, uint8 (n,); labels, uint8 (n_rows,); order, int64 (n_rows,).
    """
    final = status.copy()
    labels = np.zeros(len(scores), np.uint8)
    order = np.empty(len(scores), np.int64)
    for event in range(len(status)):
        start, stop = row_indptr[event], row_indptr[event + 1]
        keys = np.empty(stop - start, np.float32)
        scored = 0
        for row in range(start, stop):
            finite = True
            for head in range(scores.shape[1]):
                finite = finite and np.isfinite(scores[row, head])
            if presence[row] != _PRESENT:
                labels[row] = 2 if presence[row] == _NULL else 1
            elif not finite:
                labels[row] = 3
            keys[row - start] = np.float32(np.inf) if labels[row] else -scores[row, 0]
            scored += 0 if labels[row] else 1
        places = np.argsort(keys, kind="mergesort")  # stable
        for k in range(stop - start):
            order[start + k] = start + places[k]
        if final[event] == _OK and scored == 0:
            final[event] = _REASONS[labels[start]] if stop > start else _NO_ROWS
    return final, labels, order


_OK = np.uint8(Status.OK)
_NO_ROWS = np.uint8(Status.NO_ROWS)
_PRESENT = int(Presence.PRESENT)
_NULL = int(Presence.NULL)
_REASONS = np.array(REASONS, np.uint8)
