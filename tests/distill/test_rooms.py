"""What all kinds of recipes share is written once, and stands above their rooms."""

import ast
import importlib.util
import re
from pathlib import Path

import pytest

import farthing.distill

ROOT = Path(farthing.distill.__file__).parent
MODELS = Path(__file__).parents[2] / "models"
ROOMS = ("texts", "clicks", "ranking")
SOURCES = {path.relative_to(ROOT).as_posix(): path.read_text() for path in sorted(ROOT.rglob("*.py"))}


@pytest.mark.parametrize(
    ("what", "where"),
    [
        (r"nn\.EmbeddingBag\(", "student.py"),
        (r"MAX_LOSS_POINTS\b.*=", "gate.py"),
        (r'extra="forbid"', "recipe_file.py"),
        (r"\bclass Recipe\b", "recipe_file.py"),
        (r"\bwrite_bundle\(", "draft.py"),
        (r"\bManifest\(", "draft.py"),
        (r'"static int8"', "draft.py"),
        (r"use_deterministic_algorithms", "pytorch.py"),
        (r"Progress = ", "show.py"),
        (r"core_hour_usd: ", "recipe_file.py"),
    ],
)
def test_it_is_written_once(what, where):
    assert [name for name, text in SOURCES.items() for _ in re.findall(what, text)] == [where]


def test_rooms_know_what_they_share_and_not_each_other():
    wrong = []
    for name, text in SOURCES.items():
        room = name.split("/")[0]
        for node in ast.walk(ast.parse(text)):
            if not isinstance(node, ast.ImportFrom) or not (node.module or "").startswith("farthing.distill."):
                continue
            other = node.module.split(".")[2]
            if other in ROOMS and other != room and name != "command.py":
                wrong.append(f"{name} imports {node.module}")
    assert not wrong


def test_commands_that_recipes_and_reports_name_are_there():
    """A recipe's digest is in its bundle, and reports are dated: what they say cannot be changed."""
    texts = [path.read_text() for kind in ("recipes/*.toml", "reports/*.md") for path in MODELS.glob(kind)]
    named = {module for text in texts for module in re.findall(r"python -m (farthing[\w.]*)", text)}
    assert named >= {"farthing.distill", "farthing.distill.ranking"}
    for module in named:
        assert importlib.util.find_spec(f"{module}.__main__") or not (ROOT.parent / module.split(".")[-1]).is_dir(), (
            module
        )
