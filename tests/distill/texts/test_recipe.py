"""What a recipe may say, and how wrong ones are refused."""

import pytest

from farthing.cli import app
from farthing.distill.texts.recipe import read_recipe
from farthing.errors import ConfigError
from tests.distill.texts.cases import RECIPE


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('name = "toy"', "", "name"),
        ("[training]", "colour = 1\n[training]", "colour"),
        ('name = "toy"', "name = [", "TOML"),
        ("epochs = 6", "epochs = -1", "epochs"),
        ("epochs = 6", "epochs = 0\nstart = 'random'", "not a model"),
        ('gold = { rude = "label" }\n', 'gold = { rude = "label" }\nweight = 3\n', "weight"),
        ("big = {", "small = {", "small"),
        ("n_buckets = 4096", "n_buckets = 4097", "power of two"),
        ('kind = "text"', 'kind = "texts"', "texts"),
        ("[training]", '[cuts]\ndeciding = ["kind"]\n[training]', "kind"),
        ("[training]", '[cuts]\nreview = "recall"\n[training]', "goal"),
        ("[training]", "[augment]\ncopies = 1\n[training]", "local teacher"),
        ('[[teacher]]\nkind = "given"', '[[teacher]]\nkind = "oracle"', "oracle"),
    ],
)
def test_errors_name_the_key(tmp_path, old, new, said):
    path = tmp_path / "r.toml"
    assert old in RECIPE
    path.write_text(RECIPE.replace(old, new, 1))
    with pytest.raises(ConfigError, match=said) as caught:
        read_recipe(path)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("kind", ['kind = "categorical"', 'kind = "numeric"\nintervals = 4', 'kind = "text"'])
def test_a_feature_of_a_field_that_is_not_there_is_named_beside_those_that_are(tmp_path, kind):
    path = tmp_path / "r.toml"
    fields = "".join(f'[[field]]\nname = "{name}"\npath = "{name}"\n' for name in ("id", "text", "channel"))
    feature = f'[[features.features]]\n{kind}\nfield = "chanel"\n\n[training]'
    path.write_text(RECIPE.replace("[[source]]", fields + "[[source]]", 1).replace("[training]", feature))
    with pytest.raises(ConfigError, match=r"feature chanel: no such \[\[field\]\]; there are id, text, channel$"):
        read_recipe(path)
    number = '"channel"\nkind = "number"\n[[source]]' if "numeric" in kind else '"channel"\n[[source]]'
    path.write_text(path.read_text().replace("chanel", "channel").replace('"channel"\n[[source]]', number))
    read_recipe(path)


def test_a_recipe_without_labels_or_teachers_is_refused(tmp_path):
    path = tmp_path / "r.toml"
    head, rest = RECIPE.split("gold =")
    path.write_text(head + rest.split("\n", 1)[1].replace('big = { rude = "answers.big" }', ""))
    with pytest.raises(ConfigError, match="head"):
        read_recipe(path)


def test_heads_come_in_the_order_in_which_sources_name_them(tmp_path):
    path = tmp_path / "r.toml"
    path.write_text(RECIPE.replace('gold = { rude = "label" }', 'gold = { cruel = "cruel", rude = "label" }'))
    recipe, _ = read_recipe(path)
    assert recipe.heads == ("cruel", "rude")
    assert recipe.text_field == "text"


def test_shipped_recipes_are_valid():
    from pathlib import Path

    recipes = sorted((Path(__file__).parents[3] / "models" / "recipes").glob("moderation*.toml"))
    assert recipes
    for path in recipes:
        read_recipe(path)


def test_the_command_names_the_tasks_there_are(tmp_path):
    path = tmp_path / "r.toml"
    path.write_text('task = "guess"\n')
    with pytest.raises(ConfigError, match="task is 'guess', expected one of moderation, classify, rerank, bidding"):
        app(["distill", str(path)], result_action="return_value")
    path.write_text('task = "classify"\n')
    with pytest.raises(ConfigError, match="name: Field required"):
        app(["distill", str(path)], result_action="return_value")
