"""What rounding loses over dev and test together, and which loss is refused."""

from types import SimpleNamespace

import numpy as np
import pytest
from sklearn.metrics import f1_score

from farthing.distill.texts.build import _gate
from farthing.distill.texts.judge import System, rounding_loss
from farthing.distill.texts.recipe import read_recipe
from farthing.errors import BundleError
from tests.distill.texts.cases import RECIPE


@pytest.fixture
def recipe(tmp_path):
    path = tmp_path / "r.toml"
    path.write_text(RECIPE)
    return read_recipe(path)[0]


@pytest.mark.parametrize(
    ("points", "low", "refused"),
    [(-20.0, -30.0, False), (0.0, -0.1, False), (0.19, 0.1, False), (0.21, 0.1, True), (20.0, 10.0, True),
     (0.4, 0.0, False), (0.4, -0.2, False)],
)  # fmt: skip
def test_the_gate_refuses_a_sure_loss_of_more_than_a_fifth_of_a_point(recipe, points, low, refused):
    metric = {"rude": {"macro_f1": {"value": 0.7, "low": 0.6, "high": 0.8}}}
    evaluation = {name: metric for name in ("dev", "dev_fp32", "test", "fp32")}
    evaluation["int8_loss"] = {"rude": {"points": points, "low": low, "high": points + 1, "rows": 900}}
    said = []
    if refused:
        with pytest.raises(BundleError, match=r"rude: int8 loses .* at most 0\.2 are allowed"):
            _gate(recipe, evaluation, said.append)
    else:
        _gate(recipe, evaluation, said.append)
    assert len(said) == 1


def test_what_rounding_loses_is_taken_over_dev_and_test_together():
    """Two rows of dev go wrong and one of test comes right: one of twelve, and rows without a label have no say."""
    labels = {"dev": np.array([1, 1, 1, 0, 0, 0], np.float32), "test": np.array([1, 1, 1, 0, 0, 0], np.float32)}
    known = np.array([True] * 6 + [False])
    exact = {s: np.array([[0.9, 0.9, 0.9, 0.1, 0.1, 0.1, 0.9]], np.float32).T for s in labels}
    rounded = {s: v.copy() for s, v in exact.items()}
    rounded["dev"][:2] = 0.1
    exact["test"][5] = 0.9
    prepared = SimpleNamespace(recipe=SimpleNamespace(heads=("rude",)), truths=lambda split: [(known, labels[split])])
    found = rounding_loss(prepared, System(rounded, (0.5,)), System(exact, (0.5,)))
    y = np.concatenate([labels["dev"], labels["test"]])
    before, after = y.copy(), y.copy()
    before[11], after[:2] = 1, 0
    expected = 100 * (f1_score(y, before, average="macro") - f1_score(y, after, average="macro"))
    assert found["rude"]["points"] == pytest.approx(expected, abs=1e-3) and found["rude"]["rows"] == 12
    assert found["rude"]["low"] < expected < found["rude"]["high"]  # three rows of twelve may be chance


def test_one_row_on_the_other_side_of_the_cut_is_no_sure_loss():
    labels = np.tile(np.array([1, 0], np.float32), 150)
    exact = labels[:, np.newaxis].copy()
    prepared = SimpleNamespace(recipe=SimpleNamespace(heads=("rude",)), truths=lambda _: [(labels >= 0, labels)])

    def lost(n):
        rounded = exact.copy()
        rounded[: 2 * n : 2] = 0
        systems = [System({"dev": scores, "test": scores}, (0.5,)) for scores in (rounded, exact)]
        return rounding_loss(prepared, *systems)["rude"]

    assert lost(1)["points"] > 0.2 and lost(1)["low"] == 0
    assert lost(9)["low"] > 0
