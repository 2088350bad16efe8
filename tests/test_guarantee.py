"""Each sentence of service/GUARANTEE.md names a test that there is, and the page stays a page."""

import ast
import re
from pathlib import Path

import pytest

PAGE = Path(__file__).parents[1] / "service" / "GUARANTEE.md"
TEXT = PAGE.read_text()
SENTENCES = re.findall(r"^- (.+?)(?=^- |^#|\Z)", TEXT, re.M | re.S)


def functions(path):
    tree = ast.parse(path.read_text())
    return {n.name for n in tree.body if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef)}


@pytest.mark.parametrize("sentence", SENTENCES, ids=lambda text: " ".join(text.split()[:6]))
def test_each_sentence_names_tests_that_there_are(sentence):
    links = re.findall(r"\[(test_\w+)\]\(([^)]+)\)", sentence)
    assert links
    for name, path in links:
        assert name in functions(PAGE.parent / path), f"{path}: {name}"


def test_it_is_one_page():
    assert len(SENTENCES) > 20 and len(TEXT.splitlines()) < 120
