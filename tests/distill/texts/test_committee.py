"""Which texts a local teacher is asked about, once, and what is made of the answers. It is a stand-in: no PyTorch."""

import numpy as np
import pytest

from farthing.distill.texts import committee
from farthing.distill.texts.committee import Parts, ask_local, mix, platt, subset
from farthing.distill.texts.recipe import GivenTeacher, read_recipe
from farthing.errors import ConfigError
from tests.distill.texts.cases import RECIPE

TWO_SOURCES = RECIPE.replace('[source.teacher]\nbig = { rude = "answers.big" }\n', "").replace(
    '[[teacher]]\nkind = "given"\nname = "big"\n',
    '[[source]]\nname = "other"\ntrain = "other.jsonl"\ngold = { rude = "label" }\nlicence = "CC0-1.0"\n'
    '[[teacher]]\nkind = "minilm"\nsources = ["made"]\nlabel_copies = false\nlabel_elsewhere = false\n',
)


@pytest.fixture
def recipe(tmp_path):
    path = tmp_path / "r.toml"
    path.write_text(TWO_SOURCES)
    return read_recipe(path)[0]


@pytest.fixture
def asked(monkeypatch):
    """Texts that the stand-in was fitted to and asked about; it calls long texts rude."""
    calls = {"fitted": [], "labelled": []}

    def fine_tune(texts, gold, settings, **rest):
        calls["fitted"].append(list(texts))
        return "network"

    def predict(network, texts, max_tokens, **rest):
        assert network == "network"
        calls["labelled"].append(list(texts))
        return np.array([[10.0 * len(text) - 35] for text in texts], np.float32)

    monkeypatch.setattr(committee.minilm, "fine_tune", fine_tune)
    monkeypatch.setattr(committee.minilm, "predict", predict)
    return calls


def make_parts():
    texts = {
        "train": ("a", "bbbbbb", "cc", "dddddd"),
        "dev": ("e", "ff", "ggggg", "hhhhhh"),
        "copies": ("i",),
        "elsewhere:far": ("j",),
    }
    gold = {"train": np.array([[0], [1], [0], [1]], np.float32), "dev": np.array([[0], [0], [1], [1]], np.float32)}
    return Parts(texts, gold, {"train": np.array([0, 0, 1, 1]), "dev": np.array([0, 1, 0, 1])})


def test_only_the_sources_it_names_are_labelled_and_answers_are_remembered(recipe, asked, tmp_path):
    def ask():
        return ask_local(recipe, make_parts(), work=tmp_path / "w", threads=1, progress=lambda *a: None).answers[
            "minilm"
        ]

    answers = ask()
    assert asked["fitted"] == [["a", "bbbbbb", "cc", "dddddd"]]  # gold of all sources
    assert asked["labelled"] == [["a", "bbbbbb"], ["e", "ggggg"]]
    assert set(answers) == {"train", "dev"}
    assert np.isnan(answers["train"][:, 0]).tolist() == [False, False, True, True]
    assert np.abs(np.nan_to_num(answers["train"])).max() <= committee.LOGIT_LIMIT
    again = ask()
    assert len(asked["labelled"]) == 2
    assert all(np.array_equal(answers[part], again[part], equal_nan=True) for part in answers)


def test_strange_sources_are_refused(tmp_path):
    path = tmp_path / "r.toml"
    path.write_text(TWO_SOURCES.replace('sources = ["made"]', 'sources = ["maid"]'))
    with pytest.raises(ConfigError, match="maid"):
        read_recipe(path)


def test_platt_finds_scale_and_shift():
    rng = np.random.default_rng(2)
    z = rng.normal(0, 2, 20_000)
    y = rng.random(20_000) < 1 / (1 + np.exp(-(0.5 * z - 1)))
    scale, shift = platt(z, y)
    assert scale == pytest.approx(0.5, abs=0.03)
    assert shift == pytest.approx(-1, abs=0.05)
    assert np.isfinite(platt(np.array([-1.0, 1.0]), np.array([False, True]))).all()  # separable


def test_the_mix_weights_those_who_answered(recipe):
    two = recipe.model_copy(
        update={"teacher": (GivenTeacher(kind="given", name="a", weight=3), GivenTeacher(kind="given", name="b"))}
    )
    nan = np.nan
    answers = {
        "a": {"train": np.array([[1.0], [nan], [nan]], np.float32)},
        "b": {"train": np.array([[-1.0], [2.0], [nan]], np.float32)},
    }
    found = mix(two, answers, "train")
    assert found[:2].tolist() == [[0.5], [2.0]]
    assert np.isnan(found[2, 0])


def test_subset_is_of_rows_with_gold_and_within_its_limits():
    source = np.repeat([0, 1], 50)
    gold = np.full((100, 2), np.nan, np.float32)
    gold[::2, 0] = 1
    rows = subset(["a", "b"], source, gold, {"b": 7})
    assert (rows[:25] == np.arange(0, 50, 2)).all()
    assert len(rows) == 32 and (rows[25:] >= 50).all() and (rows % 2 == 0).all()
    assert (np.diff(rows) > 0).all()
