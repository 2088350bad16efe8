"""Builds a bundle from a bidding recipe and its click log: teach, train, quantize, fit the market, evaluate, write."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from farthing.blocks import FeatureBlock, RecordBlock
from farthing.distill.clicks.card import click_card
from farthing.distill.clicks.log import ClickLog, golden_events, read_clicks
from farthing.distill.clicks.recipe import ClickRecipe, Market
from farthing.distill.clicks.teacher import Teacher
from farthing.distill.clicks.train import train
from farthing.distill.draft import Draft
from farthing.distill.gate import RoundingLoss
from farthing.distill.measure import auc, measure_clicks, sigmoid
from farthing.distill.quantize import quantize
from farthing.distill.show import Say
from farthing.distill.unsaid import unsaid
from farthing.errors import ConfigError, DataError
from farthing.evaluate.measures.bidding import PriceModel, solve_lambda
from farthing.evaluate.prices import read_histogram
from farthing.features import Featurizer
from farthing.model.scorer import Scorer
from farthing.payload import parse
from farthing.scoring.manifest import Manifest
from farthing.scoring.tensors import QuantizedTensors
from farthing.tasks.bidding import LABELS

HEAD = "click"
GOLDEN_ROWS = 256

Floats = NDArray[np.float32]


def build_clicks(recipe: ClickRecipe, recipe_sha256: str, data: Path, out: Path, say: Say) -> Manifest:
    """Rebuild the bundle of a recipe into the folder ``out``.

    Raises
    ------
    ConfigError
        Data is missing or not as stated, or PyTorch or LightGBM is not installed.
    BundleError
        int8 loses too much: :mod:`farthing.distill.gate`.
    """
    began = time.process_time()
    logs = _read(recipe, data, say)
    parser = _Parser(recipe)
    features = {part: parser(log.events) for part, log in logs.items()}
    fold = logs["train"].folds % recipe.training.folds
    teacher = None
    if recipe.teacher is not None:
        teacher = Teacher(recipe.teacher, logs["train"], fold, seed=recipe.training.seed)
        say(f"teacher: out-of-fold AUC {auc(logs['train'].clicks, teacher.out_of_fold(None)):.4f}")
    taught = None if teacher is None else teacher.out_of_fold
    trained = train(recipe, features["train"], logs["train"].clicks, taught, fold, say)
    tensors = quantize(trained.student, features["train"])
    out_of_fold = sigmoid(trained.out_of_fold)
    draft = _draft(recipe, tensors, logs["train"], _settled(recipe, data, out_of_fold, say))
    int8 = draft.stages.score(features["test"]).scores[:, 0]
    float32 = sigmoid(trained.student.forward(features["test"])[:, 0])
    measured = _measured(logs["test"], int8, float32, teacher, say)
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
    draft = draft.finished(evaluation)
    if warning := unsaid(Scorer(draft.stages), (log.events for log in logs.values()), ("bid",)):
        say(warning)
    golden = list(golden_events(logs["train"], GOLDEN_ROWS))
    draft.write(out, golden=golden, card=lambda manifest: click_card(recipe, manifest))
    say(f"wrote {out}")
    return draft.manifest


def _read(recipe: ClickRecipe, data: Path, say: Say) -> dict[str, ClickLog]:
    """Read train and test, which must not share a row."""
    source = recipe.source
    logs = {part: read_clicks(data / name, recipe) for part, name in (("train", source.train), ("test", source.test))}
    for part, log in logs.items():
        say(f"{part}: {len(log)} impressions, {int(log.clicks.sum())} clicks")
    in_train = set(logs["train"].ids)
    shared = [(row, name) for row, name in enumerate(logs["test"].ids, 2) if name in in_train]
    if shared:
        row, name = shared[0]
        raise DataError(
            f"{data / source.test}:{row}: {source.id} {name!r} is in {data / source.train} too, as are "
            f"{len(shared) - 1} more; a row in two splits makes the evaluation too good: split the log anew"
        )
    return logs


def _draft(recipe: ClickRecipe, tensors: QuantizedTensors, train_log: ClickLog, campaign: dict[str, Any]) -> Draft:
    return Draft.of(
        recipe,
        tensors,
        plan=recipe.plan(),
        spec=recipe.spec(),
        heads=(HEAD,),
        labels=LABELS,
        training_data=[
            {
                "name": recipe.source.name,
                "licence": recipe.source.licence,
                "rows": len(train_log),
                "sha256": train_log.sha256,
                **recipe.requests().to_manifest(),
            }
        ],
        settings=campaign,
    )


def _measured(log: ClickLog, int8: Floats, float32: Floats, teacher: Teacher | None, say: Say) -> dict[str, Any]:
    """Measure student and teacher on test, once; a student that loses too much by int8 is refused."""
    measured = {"fp32": measure_clicks(log.clicks, float32), "int8": measure_clicks(log.clicks, int8)}
    if teacher is not None:
        measured["teacher"] = measure_clicks(log.clicks, teacher.predict(log))
    loss = RoundingLoss("AUC", 100 * (measured["fp32"]["auc"]["value"] - measured["int8"]["auc"]["value"]), "test")
    say(f"test {json.dumps(measured)}; {loss}")
    loss.check()
    return measured


class _Parser:
    """Compute features of events by the recipe's plan and spec, with the stages of serving."""

    def __init__(self, recipe: ClickRecipe) -> None:
        self._plan, self._featurize = recipe.plan(), Featurizer(recipe.spec())

    def __call__(self, events: tuple[bytes, ...]) -> FeatureBlock:
        records = RecordBlock.of_values(events)
        columns = parse(records, self._plan)
        refused = np.flatnonzero(columns.status)
        if len(refused):
            raise ConfigError(
                f"row {refused[0] + 2} of a log is refused by the plan (status {columns.status[refused[0]]}): "
                f"{events[refused[0]][:200]!r}; fix the recipe's [[column]] and [[constant]]"
            )
        return self._featurize(columns, records.buffer)


def _settled(recipe: ClickRecipe, data: Path, probabilities: Floats, say: Say) -> dict[str, Any]:
    """Return the campaign, with c and lambda if the strategy needs them."""
    campaign = dict(recipe.campaign)
    if recipe.market is not None:
        campaign |= fit_market(recipe.market, read_histogram(data / recipe.market.histogram), campaign, probabilities)
        say(f"market: c {campaign['c']:.6g}, lambda {campaign['lambda']:.6g}")
    return campaign


def fit_market(
    market: Market, histogram: NDArray[np.float64], campaign: dict[str, Any], probabilities: Floats
) -> dict[str, float]:
    """Fit c (units of currency per thousand) to market prices, and solve lambda (a pure number) for the budget."""
    prices = PriceModel(histogram)
    c = prices.fit_c() * market.step
    values = np.asarray(probabilities, np.float64) * float(campaign["value_per_click"]) * 1000
    spend = prices.mean * market.step * market.budget_factor
    solved = solve_lambda(values, prices, spend=spend, strategy="ortb", c=c, scale=market.step)
    return {"c": float(f"{c:.6g}"), "lambda": float(f"{solved:.6g}")}


def measure_slices(log: ClickLog, scores: Floats, field: str) -> dict[str, dict[str, float]]:
    """Measure each value of a field separately, with the AUC if there are both clicks and others."""
    values = np.array([str(value) for value in log.cells[field]])
    measured: dict[str, dict[str, float]] = {}
    for value in np.unique(values).tolist():
        rows = values == value
        area = auc(log.clicks[rows], scores[rows])
        measured[value] = {
            "rows": int(rows.sum()),
            "clicks": int(log.clicks[rows].sum()),
            "click_share": round(float(log.clicks[rows].mean()), 5),
            "mean_probability": round(float(scores[rows].mean()), 5),
            **({"auc": round(area, 4)} if np.isfinite(area) else {}),
        }
    return measured
