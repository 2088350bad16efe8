"""A bidding recipe and its click log to a bundle: teach, train, quantize, fit the market, evaluate once, write."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from farthing.blocks import FeatureBlock
from farthing.distill.clicks.card import click_card
from farthing.distill.clicks.log import ClickLog, golden_events, read_clicks
from farthing.distill.clicks.recipe import ClickRecipe, Market
from farthing.distill.clicks.teacher import Teacher
from farthing.distill.clicks.train import train
from farthing.distill.measure import auc, measure_clicks
from farthing.distill.quantize import quantize
from farthing.distill.texts.judge import sigmoid
from farthing.errors import BundleError, ConfigError, DataError
from farthing.evaluate.bidding import PriceModel, solve_lambda
from farthing.evaluate.prices import read_histogram
from farthing.features import Featurizer
from farthing.golden import make_golden
from farthing.payload import parse
from farthing.scorer import Scorer
from farthing.scoring.bundle import Manifest, write_bundle
from farthing.scoring.graph import build_model
from farthing.tasks.bidding import LABELS

MAX_LOSS_POINTS = 0.2
"""A bundle whose int8 form loses more than this many points of AUC to float32 on test is refused."""

HEAD = "click"
GOLDEN_ROWS = 256

Floats = NDArray[np.float32]


def build_clicks(
    recipe: ClickRecipe, recipe_sha256: str, data: Path, out: Path, say: Callable[[str], None]
) -> Manifest:
    """Rebuild the bundle of a recipe into the folder ``out``.

    Raises
    ------
    ConfigError
        Data are missing or not as stated, or PyTorch or LightGBM is not installed.
    BundleError
        int8 loses more than MAX_LOSS_POINTS.
    """
    began = time.process_time()
    logs = {part: read_clicks(data / name, recipe) for part, name in (("train", recipe.source.train),
                                                                      ("test", recipe.source.test))}  # fmt: skip
    for part, log in logs.items():
        say(f"{part}: {len(log)} impressions, {int(log.clicks.sum())} clicks")
    in_train = set(logs["train"].ids)
    shared = [(row, name) for row, name in enumerate(logs["test"].ids, 2) if name in in_train]
    if shared:
        row, name = shared[0]
        raise DataError(
            f"{data / recipe.source.test}:{row}: {recipe.source.id} {name!r} stands in {data / recipe.source.train} "
            f"too, as do {len(shared) - 1} more; a row in two splits makes the evaluation too good: split the log anew"
        )
    parser = _Parser(recipe)
    features = {part: parser(log.events) for part, log in logs.items()}
    settings = recipe.training
    fold = logs["train"].folds % settings.folds
    teacher = None
    if recipe.teacher is not None:
        teacher = Teacher(recipe.teacher, logs["train"], fold, seed=settings.seed)
        say(f"teacher: out-of-fold AUC {auc(logs['train'].clicks, teacher.out_of_fold(None)):.4f}")
    trained = train(
        recipe, features["train"], logs["train"].clicks, None if teacher is None else teacher.out_of_fold, fold, say
    )
    tensors = quantize(trained.student, features["train"])
    out_of_fold = sigmoid(trained.out_of_fold)
    spec = recipe.spec()
    manifest = Manifest(
        name=recipe.name,
        task=recipe.task,
        field_plan=recipe.plan().to_manifest(),
        feature_spec=spec.to_manifest(),
        feature_fingerprint=spec.fingerprint(),
        heads=(HEAD,),
        labels=LABELS,
        thresholds={},
        quantization={"kind": "static int8", "dense_weight_bits": 7, "table_bits": 8},
        training_data=(
            {
                "name": recipe.source.name,
                "licence": recipe.source.licence,
                "rows": len(logs["train"]),
                "sha256": logs["train"].sha256,
                **recipe.requests().to_manifest(),
            },
        ),
        settings=_settled(recipe, data, out_of_fold, say),
    )
    model = build_model(tensors, {"task": manifest.task, "feature_fingerprint": manifest.feature_fingerprint})
    scorer = Scorer(manifest, model, model_id="unsaved")
    int8 = scorer.score(features["test"]).scores[:, 0]
    float32 = sigmoid(trained.student.forward(features["test"])[:, 0])
    measured = {"fp32": measure_clicks(logs["test"].clicks, float32), "int8": measure_clicks(logs["test"].clicks, int8)}
    if teacher is not None:
        measured["teacher"] = measure_clicks(logs["test"].clicks, teacher.predict(logs["test"]))
    lost = 100 * (measured["fp32"]["auc"]["value"] - measured["int8"]["auc"]["value"])
    say(f"test {json.dumps(measured)}; int8 loses {lost:.2f} points of AUC")
    if lost > MAX_LOSS_POINTS:
        raise BundleError(
            f"int8 loses {lost:.2f} points of AUC to float32, at most {MAX_LOSS_POINTS} are allowed; train with "
            "another seed or a larger student"
        )
    evaluation: dict[str, Any] = {
        "recipe_sha256": recipe_sha256,
        "rows": {
            **{part: len(log) for part, log in logs.items()},
            **{f"{part}_clicks": int(log.clicks.sum()) for part, log in logs.items()},
        },
        "test": measured,
        "slices": {field: measure_slices(logs["test"], int8, field) for field in recipe.slices},
        "out_of_fold_auc": round(auc(logs["train"].clicks, out_of_fold), 4),
        "epochs": trained.epochs,
        "worst_score_difference": round(float(np.abs(int8 - float32).max()), 6),
        "training_cpu_seconds": round(time.process_time() - began),
    }
    manifest = replace(manifest, evaluation=evaluation)
    golden = make_golden(scorer, list(golden_events(logs["train"], GOLDEN_ROWS)))
    write_bundle(out, manifest=manifest, model=model, golden=golden, card=click_card(recipe, manifest))
    say(f"wrote {out}")
    return manifest


class _Parser:
    """Events to features by the recipe's plan and spec, through the stages that serving uses."""

    def __init__(self, recipe: ClickRecipe) -> None:
        self._plan, self._featurize = recipe.plan(), Featurizer(recipe.spec())

    def __call__(self, events: tuple[bytes, ...]) -> FeatureBlock:
        records = Scorer.records_of(events)
        columns = parse(records, self._plan)
        refused = np.flatnonzero(columns.status)
        if len(refused):
            raise ConfigError(
                f"row {refused[0] + 2} of a log is refused by the plan (status {columns.status[refused[0]]}): "
                f"{events[refused[0]][:200]!r}; mend the recipe's [[column]] and [[constant]]"
            )
        return self._featurize(columns, records.buffer)


def _settled(recipe: ClickRecipe, data: Path, probabilities: Floats, say: Callable[[str], None]) -> dict[str, Any]:
    """Give the campaign, with c and lambda where the strategy needs them."""
    campaign = dict(recipe.campaign)
    if recipe.market is not None:
        campaign |= fit_market(recipe.market, read_histogram(data / recipe.market.histogram), campaign, probabilities)
        say(f"market: c {campaign['c']:.6g}, lambda {campaign['lambda']:.6g}")
    return campaign


def fit_market(
    market: Market, histogram: NDArray[np.float64], campaign: dict[str, Any], probabilities: Floats
) -> dict[str, float]:
    """Fit c to market prices and solve lambda for the budget: units of currency per thousand, and a pure number."""
    prices = PriceModel(histogram)
    c = prices.fit_c() * market.step
    values = np.asarray(probabilities, np.float64) * float(campaign["value_per_click"]) * 1000
    spend = prices.mean * market.step * market.budget_factor
    solved = solve_lambda(values, prices, spend=spend, strategy="ortb", c=c, scale=market.step)
    return {"c": float(f"{c:.6g}"), "lambda": float(f"{solved:.6g}")}


def measure_slices(log: ClickLog, scores: Floats, field: str) -> dict[str, dict[str, float]]:
    """Measure each value of a field apart; AUC where there are clicks and others."""
    values = np.array([str(value) for value in log.cells[field]])
    found: dict[str, dict[str, float]] = {}
    for value in np.unique(values).tolist():
        rows = values == value
        area = auc(log.clicks[rows], scores[rows])
        found[value] = {
            "rows": int(rows.sum()),
            "clicks": int(log.clicks[rows].sum()),
            "click_share": round(float(log.clicks[rows].mean()), 5),
            "mean_probability": round(float(scores[rows].mean()), 5),
            **({"auc": round(area, 4)} if np.isfinite(area) else {}),
        }
    return found
