"""Writes the CARD.md of a bidding bundle."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from farthing.distill.card import cell, frame, source, table
from farthing.distill.clicks.recipe import ClickRecipe
from farthing.scoring.manifest import Manifest

_NAMES = {"teacher": "teacher (LightGBM)", "fp32": "student, float32", "int8": "student, int8"}
_METRICS = ("auc", "log_loss", "ece")


def click_card(recipe: ClickRecipe, manifest: Manifest) -> str:
    """Write the card."""
    evaluation = manifest.evaluation
    return frame(
        recipe.name,
        recipe.description,
        [
            (
                "",
                [
                    "Hashed categories, number intervals and crosses, a hidden layer, one logit; static int8. Per impression of an",
                    "OpenRTB 2.6 BidRequest it gives a click probability; the campaign makes it a price (CPM).",
                ],
            ),
            ("Intended use and limits", _limits(evaluation["rows"])),
            ("Data", _data(recipe)),
            ("Evaluation", _evaluation(recipe, evaluation)),
            ("Campaign", _campaign(manifest.settings)),
            ("Rebuild", _rebuild(recipe, evaluation)),
        ],
    )


def _limits(counts: Mapping[str, int]) -> list[str]:
    return [
        f"A demonstration of the task: it learned from {counts['train_clicks']} clicks in {counts['train']} impressions,",
        "of one publisher's log, and knows nothing of other traffic. Do not spend money on its bids: train on your own",
        "log. Probabilities are those of the log it was trained on; where negatives were thrown away, calibrate again.",
        "A categorical value is compared as JSON text, so a value that is written otherwise is another value. Clicks",
        "are not sales, and a model of clicks learns who clicks by mistake too. Whom it bids for is decided by the",
        "user features: check that they do not stand in for protected groups.",
    ]


def _data(recipe: ClickRecipe) -> list[str]:
    shipped = (
        "The weights are shipped: the licence above allows it."
        if recipe.shipped
        else "The licence above does not say that weights may be passed on: keep this bundle to yourself."
    )
    return [
        source(recipe.source.name, recipe.source.licence, recipe.source.note),
        "",
        shipped,
        "",
        "Where the log's columns lie in a BidRequest:",
        "",
        *(f"- `{c.column}` -> `{c.path}`" for c in recipe.column),
    ]


def _evaluation(recipe: ClickRecipe, evaluation: Mapping[str, Any]) -> list[str]:
    counts, measured = evaluation["rows"], evaluation["test"]
    rows = [
        [name, *(cell(measured[key][metric], 5) for metric in _METRICS)]
        for key, name in _NAMES.items()
        if key in measured
    ]
    return [
        f"{counts['test']} test impressions, {counts['test_clicks']} clicks. 95 % bootstrap intervals over impressions.",
        "With so few clicks the intervals are wide: an AUC near 0.5 cannot be told from chance.",
        "",
        *table(["model", "AUC", "log loss", "ECE"], rows),
        "",
        f"Largest difference of a probability between int8 and float32 on test: {evaluation['worst_score_difference']}.",
        f"The student was trained for {evaluation['epochs']} epochs, chosen by {recipe.training.folds}-fold",
        f"cross-validation on train (out-of-fold AUC {evaluation['out_of_fold_auc']}).",
        *_slices(evaluation.get("slices", {})),
    ]


def _slices(slices: Mapping[str, Mapping[str, Mapping[str, float]]]) -> list[str]:
    """Write the metrics of each value of a field: for whom the model is worse, and where it promises too much."""
    lines: list[str] = []
    for field, values in slices.items():
        rows = [
            [
                value,
                *(str(m[key]) for key in ("rows", "clicks", "click_share", "mean_probability")),
                str(m.get("auc", "")),
            ]
            for value, m in values.items()
        ]
        lines += [
            "",
            f"By `{field}`, on test (int8):",
            "",
            *table(["value", "impressions", "clicks", "share of clicks", "mean probability", "AUC"], rows),
        ]
    return lines


def _campaign(campaign: Mapping[str, Any]) -> list[str]:
    return [
        f"`{campaign['campaign']}`: {campaign['value_per_click']} {campaign['currency']} a click, strategy",
        f"`{campaign.get('strategy', 'linear')}`, creative `{campaign['crid']}`. It is an example: state your own in the",
        "route (`[route.campaign]`).",
    ]


def _rebuild(recipe: ClickRecipe, evaluation: Mapping[str, Any]) -> list[str]:
    seconds, rate = evaluation["training_cpu_seconds"], recipe.card.core_hour_usd
    return [
        f"Recipe `models/recipes/{recipe.name}.toml` (SHA-256 {evaluation['recipe_sha256'][:16]}...). Training took {seconds}",
        f"CPU seconds, evaluation included: ${seconds / 3600 * rate:.4f} at ${rate} a core-hour.",
    ]
