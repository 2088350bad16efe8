"""The command line as a whole: which settings file a command takes, what its help names, its completion."""

import io
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from rich.console import Console

from farthing import cli, config
from farthing.cli import app
from farthing.commands.context import found_settings
from farthing.errors import StartError

ROOT = Path(__file__).parents[1]
SETTINGS = '[[route]]\nbundle = "moderation"\nsource = "{}"\nsink = "out"\ndead_letters = "dead"\n'


def farthing(*arguments, cwd, **environment):
    left = {name: value for name, value in os.environ.items() if not name.startswith("FARTHING_")}
    return subprocess.run(
        [sys.executable, "-m", "farthing", *map(str, arguments)],
        capture_output=True, text=True, timeout=120, cwd=cwd, env={**left, **environment},
    )  # fmt: skip


@pytest.fixture
def folder(tmp_path):
    for name in ("farthing", "named", "given"):
        (tmp_path / f"{name}.toml").write_text(SETTINGS.format(name))
    return tmp_path


@pytest.mark.parametrize(
    ("arguments", "environment", "source", "said"),
    [
        ((), {}, "farthing", "settings: farthing.toml"),
        ((), {"FARTHING_CONFIG": "named.toml"}, "named", "settings: named.toml"),
        (("-c", "given.toml"), {"FARTHING_CONFIG": "named.toml"}, "given", None),
    ],
)
def test_which_settings_file_is_taken(arguments, environment, source, said, folder):
    done = farthing("config", "show", "--json", *arguments, cwd=folder, **environment)
    assert json.loads(done.stdout)["route.0.source"]["value"] == source
    assert done.stderr.splitlines() == ([] if said is None else [said])


@pytest.mark.parametrize("command", [["serve"], ["ledger"], ["audit"], ["topics", "create"], ["topics", "check"]])
def test_commands_that_find_the_file_say_so(command, tmp_path):
    (tmp_path / "farthing.toml").write_text("nonsense = 1\n")
    done = farthing(*command, cwd=tmp_path)
    assert done.returncode == 2
    assert "nonsense: is not a setting" in done.stderr and "[from farthing.toml]" in done.stderr
    said, *_ = done.stderr.splitlines()
    assert "settings: farthing.toml" in said or json.loads(said)["file"] == "farthing.toml"


@pytest.mark.parametrize("command", [["breakeven"], ["score", "moderation", os.devnull], ["evaluate", "nosuch", "x"]])
def test_commands_that_do_not_look_for_a_file(command, tmp_path):
    (tmp_path / "farthing.toml").write_text("nonsense = 1\n")
    assert "nonsense" not in farthing(*command, cwd=tmp_path).stderr


def test_an_error_names_the_command_with_the_file_that_was_given(folder, capsys):
    given = folder / "given.toml"
    with pytest.raises(StartError, match=re.escape(f"`farthing topics create -c {given}`")), found_settings(given):
        raise StartError("out: does not exist: run `farthing topics create`")


def test_workers_get_the_file_that_was_found_as_an_absolute_path(folder, monkeypatch):
    monkeypatch.chdir(folder)
    taken = []

    class Supervisor:
        def __init__(self, settings, arguments):
            taken.append(arguments)

        async def run(self):
            return 0

    monkeypatch.setattr("farthing.serving.supervisor.Supervisor", Supervisor)
    monkeypatch.delenv("FARTHING_CONFIG", raising=False)
    assert cli.serve(workers=2) == 0
    assert taken == [["serve", "-c", str(folder / "farthing.toml")]]


def commands(above=app, path=()):
    """Every command with its path."""
    yield path
    for name in above:
        if not name.startswith("-"):
            yield from commands(above[name], (*path, name))


def exists(words):
    at = app
    for word in words:
        if word.startswith("-") or not list(at):
            return True
        if word not in at:
            return False
        at = at[word]
    return True


NAMED = re.compile(r"(?<![/\w.])farthing ((?:config|topics|model) [a-z]+|[a-z]+)\b")


@pytest.mark.parametrize("path", list(commands()), ids=" ".join)
def test_help_names_only_commands_that_exist(path):
    shown = io.StringIO()
    app.help_print(list(path), console=Console(file=shown, width=200))
    named = NAMED.findall(shown.getvalue())
    assert [words for words in named if not exists(words.split())] == []


@pytest.mark.parametrize("group", ["config", "model", "topics"])
def test_a_groups_help_names_its_commands(group):
    words = set(re.findall(r"[a-z]+", app[group].help.lower()))
    assert {name for name in app[group] if not name.startswith("-")} <= words


def test_messages_name_only_commands_that_exist():
    for file in sorted((ROOT / "service" / "farthing").rglob("*.py")):
        for quoted in re.findall(r"`(farthing [^`{]*)", file.read_text()):
            for words in NAMED.findall(quoted):
                assert exists(words.split()), f"{file}: {words}"


def test_what_can_be_installed_is_said_as_it_works_before_a_release():
    """An extra of a package that is on no index: only a checkout has it."""
    pages = [
        ROOT / name for name in ("README.md", "models/README.md", "service/OPERATIONS.md", ".github/CONTRIBUTING.md")
    ]
    extras = set(re.findall(r"^(\w+) = \[", (ROOT / "pyproject.toml").read_text(), re.M))
    for file in [*pages, *sorted((ROOT / "service").rglob("*.py"))]:
        text = file.read_text()
        assert "pip install 'farthing" not in text and "pip install farthing" not in text, file
        for name in re.findall(r"extra\('(\w+)'\)|-e '\.\[(\w+)\]'", text):
            assert set(name) & extras, file


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_completion_script_is_one(shell, tmp_path, capsys):
    assert cli.completion(shell) == 0
    script = capsys.readouterr().out
    assert "breakeven" in script
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} is not installed")
    file = tmp_path / "completion"
    file.write_text(script)
    checked = subprocess.run([shell, "-n", file], capture_output=True, text=True, timeout=60)
    assert (checked.returncode, checked.stderr) == (0, "")


@pytest.mark.skipif(shutil.which("bash") is None, reason="bash is not installed")
def test_bash_completes_a_command(tmp_path, capsys):
    cli.completion("bash")
    (tmp_path / "completion").write_text(capsys.readouterr().out)
    script = f"""
        source {tmp_path / "completion"}
        COMP_WORDS=(farthing con); COMP_CWORD=1; COMP_LINE="farthing con"; COMP_POINT=12
        complete -p farthing | grep -o -- '-F [^ ]*' | cut -c4- > {tmp_path / "function"}
        $(cat {tmp_path / "function"}) farthing con farthing
        printf '%s\\n' "${{COMPREPLY[@]}}"
    """
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, timeout=60)
    assert "config" in done.stdout.split()


def test_the_example_of_settings_is_valid(tmp_path):
    (tmp_path / "farthing.toml").write_text(config.EXAMPLE)
    assert config.load(tmp_path / "farthing.toml").settings.route[0].bundle == "moderation"
