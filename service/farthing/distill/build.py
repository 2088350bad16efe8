"""A recipe and its data to a bundle: train, quantize, choose cuts on dev, evaluate on test once, write."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from farthing.distill.card import card
from farthing.distill.data import Labelled, hold_out, key_of, read_labelled, without
from farthing.distill.measure import Floats, macro_f1, measure
from farthing.distill.quantize import quantize
from farthing.distill.recipe import Recipe, Source
from farthing.distill.train import Examples, forward, sigmoid, train
from farthing.errors import BundleError
from farthing.features import FeatureSpec, featurize_texts
from farthing.golden import make_golden
from farthing.payload import Field, FieldPlan
from farthing.scorer import Scorer
from farthing.scoring.bundle import Manifest, write_bundle
from farthing.scoring.graph import build_model

MAX_LOSS_POINTS = 0.2
"""A bundle whose int8 form loses more than this many points of macro-F1 to float32 on test is refused."""

LABELS = ("allow", "review", "block")
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


@dataclass(frozen=True, slots=True)
class _Splits:
    source: Source
    train: Labelled
    dev: Labelled
    test: Labelled


def build(recipe: Recipe, recipe_sha256: str, data: Path, out: Path, say: Callable[[str], None]) -> None:
    """Rebuild the bundle of a recipe into the folder ``out``.

    Raises
    ------
    ConfigError
        Data are missing or not as stated, or PyTorch is not installed.
    BundleError
        int8 loses more than MAX_LOSS_POINTS.
    """
    began = time.process_time()
    spec = FeatureSpec.from_manifest(recipe.features)
    splits = _read(recipe, data, say)
    parts = {part: _examples(recipe, spec, splits, part) for part in ("train", "dev", "test")}
    student = train(recipe, spec.n_buckets, parts["train"], parts["dev"], say)
    tensors = quantize(student, parts["train"].features)
    plan = FieldPlan((Field("id", "id", "raw"), Field("text", "text", "text", required=True)))
    manifest = Manifest(
        name=recipe.name,
        task=recipe.task,
        field_plan=plan.to_manifest(),
        feature_spec=spec.to_manifest(),
        feature_fingerprint=spec.fingerprint(),
        heads=recipe.heads,
        labels=LABELS,
        thresholds={head: {"review": 0.5, "block": None} for head in recipe.heads},
        quantization={"kind": "static int8", "dense_weight_bits": 7, "table_bits": 8},
        training_data=tuple(
            {
                "name": s.source.name,
                "head": s.source.head,
                "licence": s.source.licence,
                "rows": len(s.train),
                "sha256": s.train.sha256,
            }
            for s in splits
        ),
    )
    model = build_model(tensors, {"task": manifest.task, "feature_fingerprint": manifest.feature_fingerprint})
    scorer = Scorer(manifest, model, model_id="unsaved", max_event_bytes=1 << 20, threads=1)
    scores = {part: scorer.score(examples.features).scores for part, examples in parts.items() if part != "train"}
    float32 = {part: sigmoid(forward(student, parts[part].features)) for part in scores}
    thresholds = {h: _cuts(recipe, parts["dev"], scores["dev"], k) for k, h in enumerate(recipe.heads)}
    evaluation: dict[str, Any] = {"recipe_sha256": recipe_sha256, "test": {}, "fp32": {}, "dev": {}}
    for k, head in enumerate(recipe.heads):
        cut = thresholds[head]["review"] or 0.5
        for name, part, values in (("test", "test", scores), ("fp32", "test", float32), ("dev", "dev", scores)):
            chosen = parts[part].head == k
            evaluation[name][head] = measure(parts[part].label[chosen], values[part][chosen, k], cut)
        lost = evaluation["fp32"][head]["macro_f1"]["value"] - evaluation["test"][head]["macro_f1"]["value"]
        say(f"{head}: test {json.dumps(evaluation['test'][head])}; int8 loses {100 * lost:.2f} points")
        if 100 * lost > MAX_LOSS_POINTS:
            raise BundleError(
                f"{head}: int8 loses {100 * lost:.2f} points of macro-F1 to float32, at most {MAX_LOSS_POINTS} are "
                "allowed; train with a smaller weight range or another seed"
            )
    evaluation["worst_score_difference"] = round(float(np.abs(scores["test"] - float32["test"]).max()), 5)
    evaluation["training_cpu_seconds"] = round(time.process_time() - began)
    manifest = replace(manifest, thresholds=thresholds, evaluation=evaluation)
    model = build_model(tensors, {"task": manifest.task, "feature_fingerprint": manifest.feature_fingerprint})
    final = Scorer(manifest, model, model_id="unsaved", max_event_bytes=1 << 20, threads=1)
    texts = [*GOLDEN_TEXTS, *splits[0].train.texts[:128], *splits[1].train.texts[:128]]
    events = [json.dumps({"id": k, "text": text}).encode() for k, text in enumerate(texts)] + list(GOLDEN_REFUSED)
    golden = make_golden(final, events)
    write_bundle(out, manifest=manifest, model=model, golden=golden, card=card(recipe, manifest))
    say(f"wrote {out}")


def _read(recipe: Recipe, data: Path, say: Callable[[str], None]) -> list[_Splits]:
    """Read all sources; what is in any test split is in no other, what is in dev not in train."""
    tests = [read_labelled(data / source.test) for source in recipe.source]
    held = {key_of(text) for test in tests for text in test.texts}
    splits = []
    for source, test in zip(recipe.source, tests, strict=True):
        whole = read_labelled(data / source.train)
        clean = without(whole, held)
        if source.dev is None:
            train_part, dev = hold_out(clean)
        else:
            dev = without(read_labelled(data / source.dev), held)
            train_part = without(clean, {key_of(text) for text in dev.texts})
        left_out = len(whole) - len(clean)
        say(f"{source.name}: train {len(train_part)} (left out {left_out}), dev {len(dev)}, test {len(test)}")
        splits.append(_Splits(source, train_part, dev, test))
    return splits


def _examples(recipe: Recipe, spec: FeatureSpec, splits: list[_Splits], part: str) -> Examples:
    chosen = [(recipe.heads.index(s.source.head), getattr(s, part)) for s in splits]
    texts = [text for _, labelled in chosen for text in labelled.texts]
    return Examples(
        features=featurize_texts(spec, texts),
        head=np.concatenate([np.full(len(labelled), head) for head, labelled in chosen]),
        label=np.concatenate([labelled.labels for _, labelled in chosen]),
    )


def _cuts(recipe: Recipe, dev: Examples, scores: Floats, head: int) -> dict[str, float | None]:
    """Choose a head's cuts on dev: review at the best macro-F1, block where precision reaches the goal above it."""
    if recipe.cuts.deciding and recipe.heads[head] not in recipe.cuts.deciding:
        return {"review": None, "block": None}
    chosen = dev.head == head
    y, s = dev.label[chosen], scores[chosen, head]
    steps = np.round(np.arange(0.05, 0.96, 0.01), 2)
    review = float(max(steps, key=lambda cut: macro_f1(y, s, cut)))
    for cut in steps[steps >= review]:
        above = s >= cut
        if above.sum() >= 20 and float((y[above] >= 0.5).mean()) >= recipe.cuts.block_precision:
            return {"review": review, "block": float(cut)}
    return {"review": review, "block": None}
