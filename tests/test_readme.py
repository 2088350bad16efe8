"""The README says what continuous integration runs, and its commands exist."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from farthing import Scorer
from farthing.cli import app

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()


def test_ci_runs_the_readmes_test_command():
    (command,) = re.findall(r"^python3 -m venv .*pytest$", README, re.M)
    assert command in (ROOT / ".ci" / "run").read_text()


def test_ci_runs_the_tests_with_pytorch_in_an_environment_of_their_own():
    ci = (ROOT / ".ci" / "run").read_text()
    assert "FARTHING_REQUIRE_DISTILL=1 .venv-distill/bin/pytest -n0 -m distill" in ci
    assert "pip install -q -e '.[test,distill]'" in ci


def test_the_first_command_is_the_demo():
    first = re.findall(r"^python3 -m venv .*$", README, re.M)[0]
    assert first.endswith(".venv/bin/pip install --no-compile -e '.[demo]' && .venv/bin/farthing demo")
    checked = re.search(r"&& \.venv/bin/python (\S+) &&", first)[1]  # before pip, which would blame a dependency
    assert subprocess.run([sys.executable, checked], cwd=ROOT, timeout=60).returncode == 0
    assert len(README[: README.index(first)].splitlines()) < 12


def test_the_readme_is_short():
    assert len(README.splitlines()) < 200


NAMED = re.compile(r"(?<![/\w])farthing ((?:config|topics|model) \w+|[a-z]+)(?= -| \w|`|$)", re.M)
PAGES = ("README.md", "models/README.md", "service/OPERATIONS.md", "service/CHANGELOG.md", ".github/CONTRIBUTING.md")


@pytest.mark.parametrize("page", PAGES)
def test_every_subcommand_that_is_named_exists(page):
    pieces = re.findall(r"```sh\n(.*?)```|`([^`\n]+)`", (ROOT / page).read_text(), re.S)
    commands = {words for block, inline in pieces for words in NAMED.findall(block or inline)} - {"import"}
    assert commands or page.startswith(".github")
    for words in commands:
        command = app
        for word in words.split():
            command = command[word]  # KeyError: there is no such command


@pytest.mark.parametrize("page", PAGES)
def test_every_file_that_is_linked_is_there(page):
    for target in re.findall(r"\]\(\s*([^)#\s]+)", (ROOT / page).read_text()):
        if not target.startswith("https://"):
            assert (ROOT / page).parent.joinpath(target).exists(), target


def test_what_breakeven_answers_is_what_the_readme_says():
    command, said = re.search(r"```sh\nfarthing (breakeven .*)\n```\n\n```\n(.*)\n```", README).groups()
    done = subprocess.run(
        [sys.executable, "-m", "farthing", *command.split()], capture_output=True, text=True, timeout=120
    )
    assert done.stdout.splitlines()[0] == said


def test_the_python_snippet_runs():
    (snippet,) = re.findall(r"```python\n(.*?)```", README, re.S)
    done = subprocess.run([sys.executable, "-c", snippet], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("line", re.findall(r"echo .*farthing score moderation", README))
def test_the_one_line_scores(line):
    event = re.search(r"echo '(.*?)'", line)[1]
    done = subprocess.run(
        [sys.executable, "-m", "farthing", "score", "moderation"],
        input=event,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert re.search(r'"id":1,.*"label":"(allow|review|block)","model":"moderation@', done.stdout)


def test_the_event_scores_as_the_readme_says():
    event, answer = re.search(r"```json\n(\{\"id\": \"c-17\".*?)\n```.*?```json\n(.*?)\n```", README, re.S).groups()
    (value,) = Scorer.load("moderation").score_events([event.encode()]).values
    assert value.decode() == answer
