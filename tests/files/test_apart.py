"""No command writes over what it reads, by whatever name it is called; and no two outputs are one file."""

import os
import subprocess
import sys

import pytest

from farthing.__main__ import main
from farthing.errors import ConfigError
from farthing.files import keep_apart

CONTENT = '{"text":"a"}\n{"text":"b"}\n'


@pytest.fixture
def source(tmp_path):
    path = tmp_path / "in.jsonl"
    path.write_text(CONTENT)
    (tmp_path / "symbolic").symlink_to(path)
    os.link(path, tmp_path / "hard")
    return path


@pytest.mark.parametrize("name", ["in.jsonl", "symbolic", "hard", "../{folder}/in.jsonl"])
@pytest.mark.parametrize("flag", ["-o", "--dead"])
def test_score_does_not_empty_its_input(source, name, flag, capsys):
    output = source.parent / name.format(folder=source.parent.name)
    with pytest.raises(SystemExit) as ended:
        main(["score", "moderation", str(source), flag, str(output)])
    assert ended.value.code == 2
    assert "is the same file as the input" in capsys.readouterr().err
    assert source.read_text() == CONTENT


@pytest.mark.parametrize("file", ["-", "/dev/stdin"])
def test_score_knows_standard_input_and_output_by_what_they_are(source, file):
    command = [sys.executable, "-m", "farthing", "score", "moderation", file]
    with source.open("rb") as stdin:
        done = subprocess.run([*command, "-o", str(source)], stdin=stdin, capture_output=True, timeout=120)
    assert (done.returncode, source.read_text()) == (2, CONTENT)
    with source.open("rb") as stdin, source.open("ab") as stdout:
        done = subprocess.run(command, stdin=stdin, stdout=stdout, stderr=subprocess.PIPE, timeout=120)
    assert (done.returncode, source.read_text()) == (2, CONTENT)
    assert b"standard output" in done.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        ["evaluate", "moderation", "in.jsonl", "--plots", "in.jsonl"],
        ["evaluate", "moderation", "lift.png", "--plots", "."],
        ["breakeven", "--sample", "in.jsonl", "--plot", "hard"],
        ["breakeven", "--usage-export", "in.jsonl", "--plot", "symbolic"],
        ["distill", "recipe.toml", "--report", "recipe.toml"],
        ["distill", "recipe.toml", "--report", "in.jsonl"],
        ["distill", "recipe.toml", "--out", "x", "--work", "x"],
        ["score", "moderation", "in.jsonl", "-o", "new", "--dead", "new"],
    ],
)
def test_every_command_keeps_its_inputs(source, arguments, monkeypatch, capsys):
    monkeypatch.chdir(source.parent)
    (source.parent / "lift.png").write_text(CONTENT)
    (source.parent / "x").mkdir()
    (source.parent / "recipe.toml").write_text('task = "moderation"\n[[source]]\ntrain = "in.jsonl"\n')
    before = {path.name: path.read_bytes() for path in source.parent.iterdir() if path.is_file()}
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 2
    assert "is the same file as" in capsys.readouterr().err
    assert {path.name: path.read_bytes() for path in source.parent.iterdir() if path.is_file()} == before


def test_files_that_are_not_there_yet_are_compared_by_their_place(tmp_path):
    (tmp_path / "link").symlink_to(tmp_path / "new")
    with pytest.raises(ConfigError, match=r"--dead .*new: is the same file as --output .*link"):
        keep_apart([], [("--output", tmp_path / "link"), ("--dead", tmp_path / "new")])
    keep_apart([("FILE", tmp_path / "a")], [("--output", tmp_path / "b"), ("--dead", None)])


def test_terminals_and_the_null_device_may_be_several_things():
    keep_apart([("FILE", os.devnull)], [("--output", os.devnull), ("--dead", os.devnull)])
