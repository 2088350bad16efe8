"""Builds a bundle from a recipe and its data: asks teachers, trains, quantizes, chooses cuts on dev, judges on test."""

from __future__ import annotations

import hashlib
import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from farthing.distill.draft import Draft
from farthing.distill.gate import RoundingLoss
from farthing.distill.measure import Floats, sigmoid
from farthing.distill.quantize import quantize
from farthing.distill.show import Say, Show
from farthing.distill.student import Student
from farthing.distill.texts.card import card
from farthing.distill.texts.collisions import count_collisions
from farthing.distill.texts.committee import ELSEWHERE
from farthing.distill.texts.cuts import as_thresholds, choose_cuts
from farthing.distill.texts.intervals import with_boundaries
from farthing.distill.texts.judge import (
    FLOAT32,
    INT8,
    UNSEEN,
    System,
    judge,
    judge_elsewhere,
    judge_slices,
    rounding_loss,
    teacher_systems,
    with_cuts,
)
from farthing.distill.texts.prepare import Prepared, prepare
from farthing.distill.texts.recipe import TextRecipe, read_recipe
from farthing.distill.texts.rows import read_rows
from farthing.distill.texts.train import Examples, train
from farthing.distill.unsaid import unsaid
from farthing.errors import DataError
from farthing.evaluate.labels import Labels
from farthing.features import FeatureSpec, featurize_texts
from farthing.model.scorer import Scorer
from farthing.model.stages import Stages
from farthing.process.output import writing
from farthing.scoring.manifest import Manifest

TRAINING_FORM = 2
"""Increased when training changes, so that checkpoints from before are not continued."""

GOLDEN_TEXTS = (
    "",
    "a",
    "Have a nice day!",
    "naïve café 🎈",
    "shut up you IDIOT!!!!!",
    "x" * 3000,
    "so " * 500,
    "\t\u0000 \\",
)
GOLDEN_REFUSED = (b"", b"{", b'{"id":1}', b'{"text":null}', b'{"text":5}', b"[1]", b'{"text":"\xff"}', b"\xff\xfe{}")
GOLDEN_ROWS = 256


@dataclass(frozen=True, slots=True)
class Options:
    """Folders and threads of a build."""

    data: Path  # the recipe's paths are relative to it
    out: Path  # folder of the bundle
    work: Path  # checkpoints and teachers' logits; may be removed afterwards
    threads: int = 1  # for the local teachers; the student is trained on one


@dataclass(frozen=True, slots=True)
class Built:
    """A finished bundle and the systems that it was compared with."""

    manifest: Manifest
    prepared: Prepared
    systems: dict[str, System]  # int8, fp32, teachers


def open_recipe(path: Path, options: Options, show: Show) -> tuple[Prepared, str]:
    """Read a recipe and prepare everything that its students share; returns the recipe's SHA-256 too."""
    recipe, sha256 = read_recipe(path)
    recipe = with_boundaries(recipe, options.data)
    elsewhere = {}
    for entry in recipe.elsewhere:
        if not (options.data / entry.file).exists():
            show.say(f"{entry.name}: {options.data / entry.file} is not there; left out, it is for measuring only")
            continue
        elsewhere[entry.name] = _read_elsewhere(options.data / entry.file, entry.label, entry.head, recipe)
    prepared = prepare(
        recipe,
        options.data,
        elsewhere,
        work=options.work,
        threads=options.threads,
        progress=show.progress,
        say=show.say,
    )
    return prepared, sha256


def build(recipe_path: Path, options: Options, show: Show) -> Built:
    """Make the bundle of a recipe and write it to ``options.out``.

    Raises
    ------
    ConfigError
        The recipe is invalid, a file is missing, or a library of the extra ``distill`` is not installed.
    DataError
        Rows are not as the recipe states.
    BundleError
        int8 loses too much: :mod:`farthing.distill.gate`.
    """
    began = time.process_time()
    prepared, recipe_sha256 = open_recipe(recipe_path, options, show)
    recipe, spec = prepared.recipe, prepared.recipe.spec()
    asked = time.process_time()
    show.say(f"features: {count_collisions(recipe.plan(), spec, prepared.splits.train.events).sentence()}")
    examples = prepared.examples(spec)
    with writing(f"--work {options.work}"):
        options.work.mkdir(parents=True, exist_ok=True)
    student = train(
        recipe, spec.n_buckets, examples["train"], examples["dev"], prepared.truths("dev"),
        checkpoint=options.work / f"student-{student_digest(recipe, examples['train'])}.pt",
        progress=show.progress, say=show.say,
    )  # fmt: skip
    draft = assemble(prepared, spec, student, examples["train"])
    systems = _systems(prepared, student, draft.stages, examples)
    evaluation = _evaluate(prepared, systems, recipe_sha256)
    evaluation["int8_loss"] = rounding_loss(prepared, systems[INT8], systems[FLOAT32])
    _gate(recipe, evaluation, show.say)
    evaluation["collisions"] = count_collisions(recipe.plan(), spec, prepared.splits.train.events).sentence()
    evaluation["cpu_seconds"] = {
        "teachers": round(prepared.teacher_cpu_seconds),
        "student_and_evaluation": round(time.process_time() - (asked if recipe.local_teachers else began)),
    }
    draft = draft.finished(evaluation, _thresholds(prepared, systems[INT8]))
    splits = (getattr(prepared.splits, name).events for name in ("train", "dev", "test"))
    if warning := unsaid(Scorer(draft.stages), splits, recipe.labels[1:]):
        show.say(warning)
    draft.write(options.out, golden=_golden_events(prepared), card=lambda manifest: card(recipe, manifest))
    show.say(f"wrote {options.out}; look at it with: farthing model show {options.out}")
    return Built(draft.manifest, prepared, systems)


def assemble(prepared: Prepared, spec: FeatureSpec, student: Student, calibration: Examples) -> Draft:
    """Quantize a student; there are no cuts yet."""
    recipe = prepared.recipe
    return Draft.of(
        recipe,
        quantize(student, calibration.features),
        plan=recipe.plan(),
        spec=spec,
        heads=recipe.heads,
        labels=recipe.labels,
        thresholds={head: as_thresholds(recipe, {"review": 0.5, "block": None}) for head in recipe.heads},
        training_data=[
            {
                "name": source.name,
                "heads": sorted({*source.gold, *(h for columns in source.teacher.values() for h in columns)}),
                "licence": source.licence,
                "rows": int((prepared.splits.train.source == k).sum()),
                "sha256": prepared.splits.sha256[k],
            }
            for k, source in enumerate(recipe.source)
        ],
    )


def student_digest(recipe: TextRecipe, examples: Examples) -> str:
    """Return a digest of everything that a student's training depends on."""
    settings = recipe.model_dump_json(include={"student", "loss", "training"})
    h = hashlib.sha256(f"{TRAINING_FORM} {settings} {recipe.spec().fingerprint()}".encode())
    for values in (examples.features.indptr, examples.features.indices, examples.gold, examples.taught):
        h.update(np.ascontiguousarray(values).tobytes())
    return h.hexdigest()[:16]


def _thresholds(prepared: Prepared, int8: System) -> dict[str, Any]:
    """Choose each head's cuts on dev."""
    recipe = prepared.recipe
    thresholds = {}
    for k, (judged, labels) in enumerate(prepared.truths("dev")):
        head = recipe.heads[k]
        cuts = choose_cuts(recipe.cuts, head, labels, int8.scores["dev"][judged, k])
        thresholds[head] = as_thresholds(recipe, cuts)
    return thresholds


def _systems(prepared: Prepared, student: Student, stages: Stages, examples: dict[str, Examples]) -> dict[str, System]:
    features = {part: examples[part].features for part in UNSEEN}
    field = prepared.recipe.text_field
    for name, (texts, _) in prepared.elsewhere.items():
        assert field is not None
        features[ELSEWHERE + name] = featurize_texts(prepared.recipe.spec(), texts, field)
    truths = prepared.truths("dev")
    systems = {INT8: with_cuts({part: stages.score(f).scores for part, f in features.items()}, truths)}
    floats: dict[str, Floats] = {part: sigmoid(student.forward(f)) for part, f in features.items()}
    # With the same cuts, because the question is what quantization does to decisions.
    systems[FLOAT32] = System(floats, systems[INT8].cuts)
    return systems | teacher_systems(prepared)


def _evaluate(prepared: Prepared, systems: dict[str, System], recipe_sha256: str) -> dict[str, Any]:
    int8, fp32 = systems[INT8], systems[FLOAT32]
    evaluation: dict[str, Any] = {
        "recipe_sha256": recipe_sha256,
        "dev": judge(prepared, int8, "dev"),
        "dev_fp32": judge(prepared, fp32, "dev"),
        "test": judge(prepared, int8, "test"),
        "fp32": judge(prepared, fp32, "test"),
        "teachers": {
            name: {"dev": judge(prepared, system, "dev"), "test": judge(prepared, system, "test")}
            for name, system in systems.items()
            if name not in (INT8, FLOAT32)
        },
        "elsewhere": judge_elsewhere(prepared, int8),
        "slices": judge_slices(prepared, int8) if prepared.recipe.slice else {},
        "worst_score_difference": round(float(np.abs(int8.scores["test"] - fp32.scores["test"]).max()), 5),
    }
    return evaluation


def _gate(recipe: TextRecipe, evaluation: dict[str, Any], say: Say) -> None:
    """Refuse a bundle that loses too much of any head's macro-F1 by int8."""
    for head in recipe.heads:
        lost = {
            part: 100 * (evaluation[exact][head]["macro_f1"]["value"] - evaluation[part][head]["macro_f1"]["value"])
            for part, exact in (("dev", "dev_fp32"), ("test", "fp32"))
        }
        value = evaluation["test"][head]["macro_f1"]
        both = evaluation["int8_loss"][head]
        loss = RoundingLoss("macro-F1", both["points"], "dev and test", (both["low"], both["high"]))
        say(
            f"{head}: test macro-F1 {value['value']:.4f} ({value['low']:.4f} to {value['high']:.4f}); {loss} on dev "
            f"and test together, {lost['dev']:.2f} on dev, {lost['test']:.2f} on test"
        )
        loss.check("set training.quantization_aware_epochs to 2 or more, or train with another seed", of=head)


def _golden_events(prepared: Prepared) -> list[bytes]:
    rows = prepared.splits.train
    picked = np.linspace(0, len(rows) - 1, min(GOLDEN_ROWS, len(rows))).astype(int)
    events = [rows.events[k] for k in picked]
    path = next((f.path for f in prepared.recipe.field if f.name == prepared.recipe.text_field), None)
    if path is not None and "." not in path:
        events = [json.dumps({"id": k, path: text}).encode() for k, text in enumerate(GOLDEN_TEXTS)] + events
    return events + list(GOLDEN_REFUSED)


def _read_elsewhere(path: Path, label: str, head: str, recipe: TextRecipe) -> tuple[tuple[str, ...], Floats]:
    name = next(f.path for f in recipe.field if f.name == recipe.text_field)
    texts, labels = [], Labels(label, {}, head=head, mend="write 0 and 1")
    for line, row in read_rows(path, set()):
        text = row.get(name)
        if not isinstance(text, str):
            raise DataError(f"{path}:{line}: expected {name} as text; fix the row or the recipe")
        texts.append(text)
        labels.add(row)
    return tuple(texts), np.array(labels.numbers(), np.float32)
