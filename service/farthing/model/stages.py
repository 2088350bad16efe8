"""Runs the pure stages of one model, in order: parse, featurize, score, decide, render.

::

    net = HashedNet(manifest, model)
    stages = Stages.of(manifest, net, model_id="moderation@1a2b3c4d")
    columns = stages.parse(records)
    scores = stages.score(stages.featurize(columns, records))
    decisions = stages.decide(columns, scores, inputs)
    values = stages.render(records, columns, decisions)

Blocks in, blocks out (:mod:`farthing.blocks`). A ``Stages`` never changes and keeps nothing between calls, so calls
from several threads are independent; for other settings or another field there is a method that returns another one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from farthing.blocks import (
    DecisionInputs,
    FieldColumns,
    Int64s,
    RecordBlock,
    RenderedValues,
    ScoreBlock,
    Status,
)
from farthing.errors import BundleError, ConfigError
from farthing.limits import MAX_EVENT_BYTES
from farthing.model import prompt_fields
from farthing.model.nets import Features, HashedNet, Net
from farthing.model.task_table import SPARE_FIELDS, TASKS, Decisions, SettledTask
from farthing.payload import Field, FieldPlan, parse, parse_path
from farthing.scoring.manifest import Manifest


@dataclass(frozen=True, slots=True, eq=False)
class Stages:
    """One model's stages. Most callers want :meth:`of`, which checks that the parts belong together."""

    model_id: str  # scores carry it
    manifest: Manifest = field(repr=False)
    field_plan: FieldPlan  # the manifest's, changed by the map of fields if there is one
    net: Net = field(repr=False)
    settled: SettledTask = field(repr=False)
    max_event_bytes: int = MAX_EVENT_BYTES  # longer values are refused as TOO_LARGE

    @classmethod
    def of(
        cls,
        manifest: Manifest,
        net: Net,
        *,
        model_id: str,
        max_event_bytes: int = MAX_EVENT_BYTES,
        fields: Mapping[str, str] | None = None,
    ) -> Stages:
        """Put the stages together.

        Parameters
        ----------
        manifest, net:
            The description of the model, and the model ready to run.
        model_id:
            The id that scores carry.
        max_event_bytes:
            Longer values are refused as TOO_LARGE.
        fields:
            Paths of fields that are elsewhere in the events than the manifest says: ``{"text": "comment.text"}``.

        Raises
        ------
        BundleError
            The manifest's task is unknown, or the field plan lacks what the model or the task reads.
        ConfigError
            ``fields`` names a field that the model does not read, or has an invalid path.
        """
        if manifest.task not in TASKS:
            raise BundleError(f"task is {manifest.task!r}, this Farthing knows {', '.join(TASKS)}; update Farthing")
        try:
            plan = FieldPlan.from_manifest(manifest.field_plan)
        except ConfigError as error:
            raise BundleError(f"the manifest's field plan: {error}; build the bundle again") from error
        stages = cls(model_id, manifest, plan, net, TASKS[manifest.task].from_manifest(manifest), max_event_bytes)
        try:  # an event without rows: this fails if the plan lacks what the model or the task reads, for rows or events
            nothing = RecordBlock.of_values([b""])
            stages.featurize(stages.parse(nothing), nothing)
            stages._decide_nothing()
        except ConfigError as error:
            raise BundleError(f"the manifest's field plan and feature spec: {error}; build the bundle again") from error
        return replace(stages, field_plan=plan.mapped(fields or {}, spare=SPARE_FIELDS))

    @property
    def task(self) -> str:
        """The kind of decision: ``moderation``, ``classify``, ``rerank`` or ``bidding``."""
        return self.manifest.task

    @property
    def heads(self) -> tuple[str, ...]:
        """Names of the scores; the first is ``score`` in a score record."""
        return self.manifest.heads

    @property
    def labels(self) -> tuple[str, ...]:
        """Names of the labels, by number."""
        return self.manifest.labels

    @property
    def hashed(self) -> HashedNet:
        """The net of a model with hashed features.

        Raises
        ------
        BundleError
            The model reads number columns, not hashed features.
        """
        if not isinstance(self.net, HashedNet):
            raise BundleError(f"{self.model_id} reads number columns: it has no hashed features, table or integers")
        return self.net

    def parse(self, records: RecordBlock) -> FieldColumns:
        """Read the plan's fields of each event."""
        columns = parse(records, self.field_plan, max_event_bytes=self.max_event_bytes)
        for cut in records.cut:
            columns.status[cut.row] = Status.RECORD_TOO_LARGE  # it was parsed as null
        return columns

    def featurize(self, columns: FieldColumns, records: RecordBlock | None = None) -> Features:
        """Make each row's features: hashed ids, or numbers.

        ``records`` are those that were parsed; only features of raw fields need them, because raw columns are views.
        """
        return self.net.featurize(columns, None if records is None else records.buffer)

    def prepare(self, columns: FieldColumns, records: RecordBlock | None = None) -> Features | FieldColumns:
        """Make what :meth:`score` needs: features, or, where hashing is a part of scoring, just the columns."""
        fused = isinstance(self.net, HashedNet) and self.net.is_fused
        return columns if fused else self.featurize(columns, records)

    def score(self, features: Features | FieldColumns) -> ScoreBlock:
        """Compute each row's scores from what :meth:`featurize` or :meth:`prepare` made."""
        if isinstance(features, FieldColumns):
            return self.hashed.score_columns(features)
        return self.net.score(features)

    def decide(self, columns: FieldColumns, scores: ScoreBlock, inputs: DecisionInputs) -> Decisions:
        """Give each event its label and its final status; a task may also read ``inputs`` (the time, pacing)."""
        return self.settled.decide(columns, scores, inputs)

    def render(self, records: RecordBlock, columns: FieldColumns, decisions: Decisions) -> RenderedValues:
        """Write the score records of the events with status OK."""
        return TASKS[self.task].render(self, records, columns, decisions)

    def prompt_bytes(self, columns: FieldColumns) -> Int64s:
        """Count the bytes of the fields that the model reads, which an API would be sent: int64 (n,)."""
        return prompt_fields.count_bytes(columns, self.field_plan, self.net.read)

    def prompt_text(self, columns: FieldColumns, records: RecordBlock, event: int) -> str:
        """Return the parts of one event that the model reads, field after field."""
        return prompt_fields.text_of(columns, self.field_plan, self.net.read, records.buffer, event)

    def with_settings(self, settings: Mapping[str, Any]) -> Stages:
        """Return the same model with other settings of its task, such as another campaign.

        Golden vectors are for the bundle's own settings, and not for these.

        Raises
        ------
        BundleError
            The task does not accept these settings.
        """
        manifest = replace(self.manifest, settings=settings)
        stages = replace(self, manifest=manifest, settled=TASKS[self.task].from_manifest(manifest))
        stages._decide_nothing()
        return stages

    def reading_also(self, path: str) -> tuple[Stages, Field]:
        """Return stages that also read the field at ``path``, of any JSON type, and that field.

        Neither the model nor its task uses it. If the plan already reads that path, it is the plan's own field.

        Raises
        ------
        ConfigError
            The path is malformed, goes through an array, or lies above or below a field of the plan.
        """
        parsed = parse_path(path)
        own = next((planned for planned in self.field_plan.fields if planned.parsed == parsed), None)
        also = own or Field("_also", path, "raw")
        if also.in_array or also.kind == "number":
            raise ConfigError(f"field path {path!r} has numbers or one entry per row; name a field with one value")
        if own is not None:
            return self, own
        return replace(self, field_plan=replace(self.field_plan, fields=(*self.field_plan.fields, also))), also

    def _decide_nothing(self) -> None:
        """Decide on a refused event: raises BundleError if the field plan lacks what the task reads."""
        records = RecordBlock.of_values([b""])
        no_scores = ScoreBlock(np.zeros((0, len(self.heads)), np.int32), np.zeros((0, len(self.heads)), np.float32))
        self.decide(self.parse(records), no_scores, DecisionInputs(records.buffer, records.timestamps_ms))
