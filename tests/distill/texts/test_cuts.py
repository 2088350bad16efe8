"""Cut-offs reach the goals that a recipe states, or are none."""

import numpy as np
import pytest

from farthing.distill.texts.cuts import best_cut, choose_cuts
from farthing.distill.texts.recipe import Cuts


@pytest.fixture
def scored():
    rng = np.random.default_rng(1)
    s = rng.random(4000).astype(np.float32)
    return (rng.random(4000) < s).astype(np.float32), s  # calibrated: precision above a cut c is (1 + c) / 2


def test_cuts_reach_their_goals(scored):
    y, s = scored
    cuts = choose_cuts(Cuts(block_precision=0.9), "a", y, s)
    assert cuts["review"] == best_cut(y, s) == pytest.approx(0.5, abs=0.06)
    assert cuts["block"] == pytest.approx(0.8, abs=0.06)
    assert y[s >= cuts["block"]].mean() >= 0.9
    cuts = choose_cuts(Cuts(review="precision", review_goal=0.8, block_precision=0.95), "a", y, s)
    assert cuts["review"] == pytest.approx(0.6, abs=0.06)
    cuts = choose_cuts(Cuts(review="recall", review_goal=0.9), "a", y, s)
    assert (s[y == 1] >= cuts["review"]).mean() >= 0.9
    assert (s[y == 1] >= cuts["review"] + 0.01).mean() < 0.9


def test_cuts_out_of_reach_are_none_and_silent_heads_have_none(scored):
    y, s = scored
    assert choose_cuts(Cuts(block_precision=1.0), "a", 1 - y, s)["block"] is None
    assert choose_cuts(Cuts(deciding=("b",)), "a", y, s) == {"review": None, "block": None}
