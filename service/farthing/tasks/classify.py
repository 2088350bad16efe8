"""The task classify: each head is a class with a score of its own, and each event gets one label.

The label is the head with the highest score among those that reach their cut (the first of them where scores are
equal), and ``none`` if no head does. A head without a cut only adds its score to the record::

    "heads": ["refund", "delivery"], "labels": ["none", "refund", "delivery"],
    "thresholds": {"refund": {"cut": 0.4}, "delivery": {"cut": 0.55}}

Scores are compared as the float32 they are published as, cuts as the nearest float32.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from farthing.blocks import Bytes, DecisionBlock, DecisionInputs, FieldColumns, Int64s, ScoreBlock, Status
from farthing.errors import BundleError
from farthing.kernels.jit import kernel

NONE: Final = "none"

Float32s = NDArray[np.float32]


def labels_of(heads: Sequence[str]) -> tuple[str, ...]:
    """Return the labels of these heads."""
    return (NONE, *heads)


@dataclass(frozen=True, slots=True)
class Classify:
    """The cuts of a classifier, ready to decide."""

    cuts: Float32s  # (n_heads,); infinity where a head has none

    @classmethod
    def from_manifest(cls, heads: Sequence[str], labels: Sequence[str], thresholds: Mapping[str, Any]) -> Classify:
        """Read the cuts of a manifest.

        Raises
        ------
        BundleError
            Other labels, an unknown head, or a cut that is not more than 0 and at most 1.
        """
        if tuple(labels) != labels_of(heads):
            raise BundleError(f"labels are {list(labels)}, the task classify has {list(labels_of(heads))}")
        if NONE in heads:
            raise BundleError(f"a head is called {NONE!r}, which is the label of events without a class; rename it")
        unknown = sorted(thresholds.keys() - set(heads))
        if unknown:
            raise BundleError(f"thresholds name the heads {unknown}, the bundle has {list(heads)}")
        return cls(np.array([_cut(head, thresholds.get(head)) for head in heads], np.float32))

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
        status, labels = decide(columns.status, columns.row_indptr, scores.scores, self.cuts)
        return DecisionBlock(status=status, scores=scores.scores, labels=labels)


def _cut(head: str, stated: object) -> float:
    if stated is None:
        return float("inf")
    if not isinstance(stated, Mapping) or stated.keys() != {"cut"}:
        raise BundleError(f"thresholds of head {head} are {stated!r}, expected an object with cut")
    value = stated["cut"]
    if value is None:
        return float("inf")
    if not isinstance(value, int | float) or isinstance(value, bool) or not 0.0 < value <= 1.0:
        raise BundleError(f"cut of head {head} is {value!r}, expected a number over 0 and at most 1")
    return float(value)


def decide_reference(status: Bytes, row_indptr: Int64s, scores: Float32s, cuts: Float32s) -> tuple[Bytes, Bytes]:
    """Decide one row after another."""
    final, labels = status.copy(), np.zeros(len(scores), np.uint8)
    for event in range(len(status)):
        for row in range(row_indptr[event], row_indptr[event + 1]):
            reached = [head for head in range(len(cuts)) if scores[row, head] >= cuts[head]]
            if reached:
                labels[row] = 1 + max(reached, key=lambda head: (float(scores[row, head]), -head))
            if final[event] == Status.OK and not np.isfinite(scores[row]).all():
                final[event] = Status.NON_FINITE
    return final, labels


@kernel(reference=decide_reference, allocates=True)
def decide(status: Bytes, row_indptr: Int64s, scores: Float32s, cuts: Float32s) -> tuple[Bytes, Bytes]:
    """Compare scores with cuts.

    Parameters
    ----------
    status:
        uint8 (n,): Status of the parsed events.
    row_indptr:
        int64 (n+1,): events -> rows.
    scores:
        float32 (n_rows, n_heads).
    cuts:
        float32 (n_heads,).

    Returns
    -------
    The final status, uint8 (n,), and the labels, uint8 (n_rows,): 0 is none, k is head k - 1.
    """
    final = status.copy()
    labels = np.zeros(len(scores), np.uint8)
    for event in range(len(status)):
        for row in range(row_indptr[event], row_indptr[event + 1]):
            best = np.float32(-np.inf)
            for head in range(scores.shape[1]):
                score = scores[row, head]
                if score >= cuts[head] and score > best:
                    best = score
                    labels[row] = head + 1
                if final[event] == _OK and not np.isfinite(score):
                    final[event] = _NON_FINITE
    return final, labels


_OK = np.uint8(Status.OK)
_NON_FINITE = np.uint8(Status.NON_FINITE)
