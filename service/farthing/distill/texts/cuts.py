"""Chooses cut-offs on dev for a stated goal."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from farthing.distill.measure import macro_f1
from farthing.distill.texts.recipe import Cuts, TextRecipe

Floats = NDArray[np.float32]
STEPS = np.round(np.arange(0.02, 0.99, 0.01), 2)
FEWEST_CALLED = 20
"""A precision over fewer rows than this means nothing, so no cut is chosen by it."""


def choose_cuts(cuts: Cuts, head: str, labels: Floats, scores: Floats) -> dict[str, float | None]:
    """Choose where a head calls for review and for block.

    Parameters
    ----------
    cuts:
        The goals: review at the best macro-F1, or at the lowest cut that reaches a precision, or at the highest that
        reaches a recall; block at the lowest cut, not below review's, that reaches its precision.
    head:
        The head's name: a head that does not decide the label gets no cuts.
    labels, scores:
        Those of dev, (n,).

    Returns
    -------
    ``review`` and ``block``; None where the goal is out of reach.
    """
    if cuts.deciding and head not in cuts.deciding:
        return {"review": None, "block": None}
    review = _review(cuts, labels, scores)
    block = None if review is None else _lowest(labels, scores, cuts.block_precision, STEPS[review <= STEPS])
    return {"review": review, "block": block}


def as_thresholds(recipe: TextRecipe, cuts: dict[str, float | None]) -> dict[str, float | None]:
    """Return a head's cuts in the form of the recipe's task: the one cut of classify is moderation's for review."""
    return cuts if recipe.task == "moderation" else {"cut": cuts["review"]}


def best_cut(labels: Floats, scores: Floats) -> float:
    """Return the cut with the best macro-F1: the middle of those close to it, as a peak on a small dev set is luck."""
    f1_by_cut = np.array([macro_f1(labels, scores, cut) for cut in STEPS])
    window = np.ones(5) / 5
    smooth = np.convolve(np.pad(f1_by_cut, 2, mode="edge"), window, mode="valid")
    return float(STEPS[int(smooth.argmax())])


def _review(cuts: Cuts, labels: Floats, scores: Floats) -> float | None:
    if cuts.review == "macro_f1":
        return best_cut(labels, scores)
    assert cuts.review_goal is not None
    if cuts.review == "precision":
        return _lowest(labels, scores, cuts.review_goal, STEPS)
    positives = scores[labels >= 0.5]
    reached = [float(cut) for cut in STEPS if float((positives >= cut).mean()) >= cuts.review_goal]
    return max(reached, default=None)


def _lowest(labels: Floats, scores: Floats, precision: float, steps: NDArray[np.float64]) -> float | None:
    for cut in steps:
        called = scores >= cut
        if called.sum() >= FEWEST_CALLED and float((labels[called] >= 0.5).mean()) >= precision:
            return float(cut)
    return None
