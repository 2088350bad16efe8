"""Prepares what all students of a recipe share: rows, texts, features and the teachers' logits."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from farthing.blocks import FeatureBlock, FieldColumns, RecordBlock, Status, TextColumn
from farthing.distill.show import Progress, Say
from farthing.distill.texts.augment import perturb
from farthing.distill.texts.committee import COPIES, ELSEWHERE, TRAIN, Parts, TeacherLogits, ask_local, mix
from farthing.distill.texts.recipe import TextRecipe
from farthing.distill.texts.rows import Rows
from farthing.distill.texts.splits import SPLITS, Splits, read_splits, truth
from farthing.distill.texts.train import Examples, Truths
from farthing.errors import DataError
from farthing.features import FeatureSpec, Featurizer, featurize_texts
from farthing.limits import MAX_EVENT_BYTES
from farthing.payload import FieldPlan, parse

Floats = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Prepared:
    """Rows and teachers' logits, before any features."""

    recipe: TextRecipe
    splits: Splits
    texts: dict[str, tuple[str, ...]]  # split -> text of each row; empty if the recipe has no text feature
    copies: tuple[str, ...]  # perturbed texts
    answers: TeacherLogits  # teacher -> part -> calibrated logits; parts: the splits, copies, elsewhere:NAME
    elsewhere: dict[str, tuple[tuple[str, ...], Floats]]  # name -> texts and labels
    teacher_cpu_seconds: float

    def examples(self, spec: FeatureSpec) -> dict[str, Examples]:
        """Return train (copies included), dev and test with the features of a spec."""
        examples = {}
        for split in SPLITS:
            rows: Rows = getattr(self.splits, split)
            features = featurize_events(self.recipe.plan(), spec, rows.events)
            examples[split] = Examples(features, rows.gold, self.taught(split))
        if self.copies:
            assert self.recipe.text_field is not None
            extra = featurize_texts(spec, self.copies, self.recipe.text_field)
            train, taught = examples[TRAIN], mix(self.recipe, self.answers, COPIES)
            examples[TRAIN] = Examples(
                FeatureBlock(
                    np.concatenate([train.features.indptr, train.features.indptr[-1] + extra.indptr[1:]]),
                    np.concatenate([train.features.indices, extra.indices]),
                ),
                np.concatenate([train.gold, np.full_like(taught, np.nan)]),
                np.concatenate([train.taught, taught]),
            )
        return examples

    def taught(self, part: str) -> Floats:
        """Return the teachers' mixed logits of a part; all NaN without teachers."""
        if not self.recipe.teacher:
            return np.full((len(getattr(self.splits, part)), len(self.recipe.heads)), np.nan, np.float32)
        return mix(self.recipe, self.answers, part)

    def truths(self, split: str) -> Truths:
        """Return for each head which rows of a split can be judged, and their labels."""
        return [truth(getattr(self.splits, split), k) for k in range(len(self.recipe.heads))]


def prepare(
    recipe: TextRecipe,
    data: Path,
    elsewhere: dict[str, tuple[tuple[str, ...], Floats]],
    *,
    work: Path,
    threads: int,
    progress: Progress,
    say: Say,
) -> Prepared:
    """Read the data, check that every event can be scored, and ask the teachers."""
    splits = read_splits(recipe, data, say)
    plan, field = recipe.plan(), recipe.text_field
    texts = {split: _texts(plan, field, getattr(splits, split)) for split in SPLITS}
    copies = tuple(perturb(texts[TRAIN], recipe.augment, recipe.training.seed)) if recipe.augment.copies else ()
    answers: TeacherLogits = {
        name: {split: getattr(splits, split).given[name] for split in SPLITS} for name in splits.train.given
    }
    cpu_seconds = 0.0
    if recipe.local_teachers:
        asked_texts = dict(texts)
        if copies:
            asked_texts[COPIES] = copies
        asked_texts |= {ELSEWHERE + name: elsewhere_texts for name, (elsewhere_texts, _) in elsewhere.items()}
        gold = {split: getattr(splits, split).gold for split in (TRAIN, "dev")}
        parts = Parts(asked_texts, gold, {split: getattr(splits, split).source for split in SPLITS})
        asked = ask_local(recipe, parts, work=work, threads=threads, progress=progress)
        answers |= asked.answers
        cpu_seconds = asked.cpu_seconds
    return Prepared(recipe, splits, texts, copies, answers, elsewhere, cpu_seconds)


def featurize_events(plan: FieldPlan, spec: FeatureSpec, events: Sequence[bytes]) -> FeatureBlock:
    """Return the features of events, parsed and hashed as in serving."""
    records = RecordBlock.of_values(events)
    return Featurizer(spec)(parse(records, plan, max_event_bytes=MAX_EVENT_BYTES), records.buffer)


def _texts(plan: FieldPlan, field: str | None, rows: Rows) -> tuple[str, ...]:
    columns: FieldColumns = parse(RecordBlock.of_values(rows.events), plan, max_event_bytes=MAX_EVENT_BYTES)
    for k in np.flatnonzero(columns.status != Status.OK)[:1]:
        raise DataError(
            f"{rows.places[k]}: the event would be refused when served ({Status(columns.status[k]).name}); fix the "
            "row, or the recipe's [[field]]"
        )
    if field is None:
        return ()
    column = columns.columns[field]
    assert isinstance(column, TextColumn)
    data, bounds = column.data.tobytes(), column.indptr.tolist()
    return tuple(data[a:b].decode("utf-8", "replace") for a, b in itertools.pairwise(bounds))
