"""The task moderation: each head is one kind of harm (offensive, hateful, ...), and each event gets one label.

The labels, from mild to severe, are ``allow``, ``review`` and ``block``. Each head has its own two thresholds, because
the heads' scores are not on one scale of harm. A head calls for ``review`` or ``block`` when its score reaches the
threshold of that name, and the event gets the most severe label that any head calls for. A threshold that is left out
(or null) is never reached, so a head can have none and only add its score to the record::

    "labels": ["allow", "review", "block"],
    "thresholds": {"offensive": {"review": 0.5, "block": 0.9}, "hateful": {"review": 0.4}}

Scores are compared as the float32 they are published as, thresholds as the nearest float32.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from farthing.blocks import Bytes, DecisionBlock, DecisionInputs, FieldColumns, Int64s, ScoreBlock, Status
from farthing.errors import BundleError
from farthing.kernels.jit import kernel

LABELS = ("allow", "review", "block")

Float32s = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Moderation:
    """The thresholds of a moderation bundle, ready to decide."""

    thresholds: Float32s  # (n_heads, 2) review, block; infinity where a head does not call for the label

    @classmethod
    def from_manifest(cls, heads: Sequence[str], labels: Sequence[str], thresholds: Mapping[str, Any]) -> Moderation:
        """Read the thresholds of a manifest.

        Raises
        ------
        BundleError
            Other labels, an unknown head, or thresholds that are not 0 < review <= block <= 1.
        """
        if tuple(labels) != LABELS:
            raise BundleError(f"labels are {list(labels)}, the task moderation has {list(LABELS)}")
        unknown = sorted(thresholds.keys() - set(heads))
        if unknown:
            raise BundleError(f"thresholds name the heads {unknown}, the bundle has {list(heads)}")
        table = np.full((len(heads), 2), np.inf, np.float32)
        for row, head in enumerate(heads):
            table[row] = _head_thresholds(head, thresholds.get(head))
        return cls(table)

    def decide(self, columns: FieldColumns, scores: ScoreBlock, _: DecisionInputs | None = None) -> DecisionBlock:
        """Give each event its label.

        Parameters
        ----------
        columns:
            The parsed events; their ``status`` is kept. A refused event may have no row.
        scores:
            The scores of the same rows.

        Returns
        -------
        A block whose status is NON_FINITE where an event was OK but a score is NaN or infinite.
        """
        if len(scores) != columns.row_indptr[-1]:
            raise ValueError(f"{len(scores)} rows of scores, the events have {columns.row_indptr[-1]} rows")
        status, labels = decide(columns.status, columns.row_indptr, scores.scores, self.thresholds)
        return DecisionBlock(status=status, scores=scores.scores, labels=labels)


def _head_thresholds(head: str, stated: object) -> tuple[float, float]:
    if stated is None:
        stated = {}
    if not isinstance(stated, Mapping) or not stated.keys() <= {"review", "block"}:
        raise BundleError(f"thresholds of head {head} are {stated!r}, expected an object of review and block")
    cuts = []
    for name in ("review", "block"):
        value = stated.get(name)
        if value is None:
            cuts.append(math.inf)
        elif isinstance(value, int | float) and not isinstance(value, bool) and 0.0 < value <= 1.0:
            cuts.append(float(value))
        else:
            raise BundleError(f"threshold {name} of head {head} is {value!r}, expected a number over 0 and at most 1")
    review, block = cuts
    if math.isfinite(review) and review > block:
        raise BundleError(f"head {head}: review at {review} is above block at {block}; the milder label comes first")
    return review, block


def decide_reference(status: Bytes, row_indptr: Int64s, scores: Float32s, thresholds: Float32s) -> tuple[Bytes, Bytes]:
    """Decide one row after another."""
    final, labels = status.copy(), np.zeros(len(scores), np.uint8)
    for event in range(len(status)):
        for row in range(row_indptr[event], row_indptr[event + 1]):
            called = scores[row, :, np.newaxis] >= thresholds  # (n_heads, 2)
            labels[row] = 2 if called[:, 1].any() else int(called[:, 0].any())
            if final[event] == Status.OK and not np.isfinite(scores[row]).all():
                final[event] = Status.NON_FINITE
    return final, labels


@kernel(reference=decide_reference, allocates=True)
def decide(status: Bytes, row_indptr: Int64s, scores: Float32s, thresholds: Float32s) -> tuple[Bytes, Bytes]:
    """Compare scores with thresholds.

    Parameters
    ----------
    status:
        uint8 (n,): Status of the parsed events.
    row_indptr:
        int64 (n+1,): events -> rows.
    scores:
        float32 (n_rows, n_heads).
    thresholds:
        float32 (n_heads, 2): review, block.

    Returns
    -------
    The final status, uint8 (n,), and the labels, uint8 (n_rows,).
    """
    final = status.copy()
    labels = np.zeros(len(scores), np.uint8)
    for event in range(len(status)):
        for row in range(row_indptr[event], row_indptr[event + 1]):
            for head in range(scores.shape[1]):
                score = scores[row, head]
                if score >= thresholds[head, 1]:
                    labels[row] = 2
                elif score >= thresholds[head, 0]:
                    labels[row] = max(labels[row], 1)
                if final[event] == _OK and not np.isfinite(score):
                    final[event] = _NON_FINITE
    return final, labels


_OK = np.uint8(Status.OK)
_NON_FINITE = np.uint8(Status.NON_FINITE)
