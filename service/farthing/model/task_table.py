"""What each task makes of scores, and how it is written: the two stages that differ from task to task."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, Protocol

from farthing.blocks import (
    BidBlock,
    DecisionBlock,
    FieldColumns,
    RankingBlock,
    RawColumn,
    RecordBlock,
    RenderedValues,
)
from farthing.payload import BidTerms, Field, render_bids, render_rankings, render_scores
from farthing.scoring.bundle import Manifest
from farthing.tasks.bidding import Bidding
from farthing.tasks.classify import Classify
from farthing.tasks.moderation import Moderation
from farthing.tasks.rerank import Rerank

ID_FIELD: Final = "id"
"""The raw field of a plan that is echoed in the score record."""

SPARE_FIELDS: Final = (Field(ID_FIELD, ID_FIELD, "raw"),)
"""What a plan need not have, and is read all the same where someone says where it lies."""


class Signature(Protocol):
    """What of a scorer goes into its answers."""

    model_id: str
    heads: tuple[str, ...]
    labels: tuple[str, ...]
    settled: Any  # what ``Task.from_manifest`` gave


@dataclass(frozen=True, slots=True)
class Task:
    """One task.

    ``from_manifest`` gives an object whose ``decide(columns, scores, inputs)`` makes the decisions that
    ``render(signature, records, columns, decisions)`` writes.
    """

    from_manifest: Callable[[Manifest], Any]
    render: Callable[[Signature, RecordBlock, FieldColumns, Any], RenderedValues]


def _labelled(write: Callable[..., RenderedValues]) -> Callable[..., RenderedValues]:
    """Give a task's ``render`` of a writer that names heads and labels."""

    def render(
        signature: Signature, records: RecordBlock, columns: FieldColumns, decisions: DecisionBlock | RankingBlock
    ) -> RenderedValues:
        return write(
            records,
            _ids(columns),
            decisions,
            row_indptr=columns.row_indptr,
            heads=signature.heads,
            labels=signature.labels,
            model=signature.model_id,
        )

    return render


def _render_bids(
    signature: Signature, records: RecordBlock, columns: FieldColumns, decisions: BidBlock
) -> RenderedValues:
    ids, imp_ids = columns.columns[ID_FIELD], columns.columns["imp_id"]
    assert isinstance(ids, RawColumn) and isinstance(imp_ids, RawColumn)
    c = signature.settled.campaign
    return render_bids(
        records,
        ids,
        imp_ids,
        decisions,
        row_indptr=columns.row_indptr,
        terms=BidTerms(c.name, c.strategy, c.currency, c.crid, c.adomain, c.seat),
        model=signature.model_id,
    )


def _ids(columns: FieldColumns) -> RawColumn | None:
    ids = columns.columns.get(ID_FIELD)
    return ids if isinstance(ids, RawColumn) else None


TASKS: Final = {
    "moderation": Task(lambda m: Moderation.from_manifest(m.heads, m.labels, m.thresholds), _labelled(render_scores)),
    "classify": Task(lambda m: Classify.from_manifest(m.heads, m.labels, m.thresholds), _labelled(render_scores)),
    "rerank": Task(lambda m: Rerank.from_manifest(m.heads, m.labels, m.thresholds), _labelled(render_rankings)),
    "bidding": Task(lambda m: Bidding.from_manifest(m.labels, m.settings), _render_bids),
}
