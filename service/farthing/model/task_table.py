"""The two stages that differ from task to task: what each makes of scores, and how its decisions are written."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Protocol

from farthing.blocks import (
    BidBlock,
    DecisionBlock,
    DecisionInputs,
    FieldColumns,
    RawColumn,
    RecordBlock,
    RenderedValues,
    ScoreBlock,
)
from farthing.payload import Field, render_rankings, render_scores
from farthing.payload.render_bids import BidTerms, render_bids
from farthing.scoring.manifest import Manifest
from farthing.tasks.bidding import Bidding
from farthing.tasks.classify import Classify
from farthing.tasks.moderation import Moderation
from farthing.tasks.rerank import Rerank

ID_FIELD: Final = "id"
"""The raw field of a plan whose value is echoed in the score record."""

SPARE_FIELDS: Final = (Field(ID_FIELD, ID_FIELD, "raw"),)
"""Fields that a plan may lack; they are still read if a map of fields gives them a path."""


Decisions = DecisionBlock | BidBlock  # a RankingBlock is a DecisionBlock


class SettledTask(Protocol):
    """A task with the settings of a manifest: its thresholds or its campaign."""

    def decide(self, columns: FieldColumns, scores: ScoreBlock, inputs: DecisionInputs, /) -> Decisions:
        """Give each event its label and its final status."""


class Signature(Protocol):
    """What a model writes into its score records besides decisions."""

    @property
    def model_id(self) -> str:
        """The model id that scores carry."""

    @property
    def heads(self) -> tuple[str, ...]:
        """Names of the scores."""

    @property
    def labels(self) -> tuple[str, ...]:
        """Names of the labels, by number."""

    @property
    def settled(self) -> SettledTask:
        """What made the decisions."""


@dataclass(frozen=True, slots=True)
class Task:
    """One task: ``from_manifest`` returns the decider, ``render`` writes its decisions as score records."""

    from_manifest: Callable[[Manifest], SettledTask]
    render: Callable[[Signature, RecordBlock, FieldColumns, Decisions], RenderedValues]


def _labelled(
    write: Callable[..., RenderedValues],
) -> Callable[[Signature, RecordBlock, FieldColumns, Decisions], RenderedValues]:
    """Make a task's ``render`` from a writer that names heads and labels."""

    def render(
        signature: Signature, records: RecordBlock, columns: FieldColumns, decisions: Decisions
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
    signature: Signature, records: RecordBlock, columns: FieldColumns, decisions: Decisions
) -> RenderedValues:
    ids, imp_ids = columns.columns[ID_FIELD], columns.columns["imp_id"]
    assert isinstance(ids, RawColumn) and isinstance(imp_ids, RawColumn)
    assert isinstance(decisions, BidBlock) and isinstance(signature.settled, Bidding)
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
