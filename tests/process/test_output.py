"""Standard output and output files: a full disk, a reader that goes, closed streams, narrow encodings."""

import io
import json
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from farthing.errors import ConfigError, OutputError
from farthing.process import output

FULL = pytest.mark.skipif(not Path("/dev/full").exists(), reason="/dev/full is Linux")
POSIX = pytest.mark.skipif(sys.platform == "win32", reason="descriptors of POSIX")

EVENT = b'{"id":1,"text":"have a nice day"}\n'
BUNDLES = Path(__file__).parents[2] / "models" / "bundles"
SETTINGS = '[[route]]\nbundle = "moderation"\nsource = "in"\nsink = "out"\ndead_letters = "dead"\n'


def farthing(*arguments, environment=None, **more):
    """Run the command with standard error caught; standard output as the caller says."""
    more = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **more}
    variables = {**os.environ, **(environment or {})}
    command = [sys.executable, "-m", "farthing", *map(str, arguments)]
    return subprocess.run(command, timeout=300, env=variables, **more)


def shell(script, **more):
    """Run a shell script in which ``farthing`` is the command."""
    text = f'farthing() {{ "{sys.executable}" -m farthing "$@"; }}\n{script}'
    return subprocess.run(["bash", "-c", text], capture_output=True, timeout=300, **more)


@pytest.fixture
def settings(tmp_path):
    path = tmp_path / "farthing.toml"
    path.write_text(SETTINGS)
    return path


def commands(settings):
    return {
        "help": ["--help"],
        "version": ["--version"],
        "schema": ["config", "schema"],
        "show": ["config", "show", "-c", settings],
        "show json": ["config", "show", "-c", settings, "--json"],
        "completion": ["completion", "bash"],
        "model": ["model", "show", "moderation"],
        "model json": ["model", "show", "moderation", "--json"],
        "breakeven": ["breakeven"],
        "breakeven json": ["breakeven", "--json"],
        "score": ["score", "moderation"],
    }


def on_a_stream(kind, settings, names=None, **environment):
    """Run commands by name where nothing can be written to standard output: exit codes and what was said."""
    named = {name: [str(word) for word in words] for name, words in commands(settings).items()}
    given = json.dumps([{name: named[name] for name in names or named}, EVENT.decode()])
    done = subprocess.run(
        [sys.executable, "-m", "tests.process.streams", kind], input=given, capture_output=True, text=True, timeout=280,
        cwd=Path(__file__).parents[2], env={**os.environ, **environment},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@FULL
@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_a_full_disk_is_one_sentence(unbuffered, settings):
    names = ("help", "show", "score") if unbuffered else None  # the others write to the same stream
    for name, (code, said) in on_a_stream("full", settings, names, PYTHONUNBUFFERED=unbuffered).items():
        assert code == 4, name
        assert "standard output: the disk is full" in said and "Traceback" not in said, name
        assert "Exception ignored" not in said, name


@POSIX
def test_a_reader_who_goes_away_is_no_error(settings):
    """The pipe is closed before anything is written, so it is broken every time."""
    for name, (code, said) in on_a_stream("gone", settings).items():
        assert code == 0, name
        assert "Traceback" not in said and "Exception ignored" not in said, name


@FULL
def test_a_full_disk_is_said_by_a_process_that_nobody_forked(settings):
    with open("/dev/full", "wb") as full:
        done = farthing(*commands(settings)["show json"], stdout=full)
    assert done.returncode == 4
    assert b"standard output: the disk is full" in done.stderr and b"Exception ignored" not in done.stderr


@POSIX
def test_score_stops_when_its_reader_has_gone(tmp_path):
    """Standard input never ends here: only the reader's going ends the command."""
    process = subprocess.Popen(
        [sys.executable, "-m", "farthing", "score", "moderation"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    process.stdout.close()

    def feed():
        try:
            while True:
                process.stdin.write(EVENT * 1000)
        except OSError:
            pass

    feeding = threading.Thread(target=feed, daemon=True)
    feeding.start()
    said = process.stderr.read()
    assert process.wait(120) == 0
    assert b"Traceback" not in said
    feeding.join(60)
    process.stderr.close()
    try:
        process.stdin.close()
    except BrokenPipeError:
        pass


@POSIX
def test_a_check_that_fails_still_says_so_to_a_reader_who_goes(tmp_path):
    """The exit code is the command's own: a script that asks for it alone may close the pipe."""
    (tmp_path / "manifest.json").write_text("{}")
    done = shell(f"farthing model verify {tmp_path} --json | true; exit ${{PIPESTATUS[0]}}")
    assert done.returncode == 1


@POSIX
@pytest.mark.parametrize(
    ("arguments", "closed", "code"),
    [
        ("config schema", ">&-", 4),
        ("model show moderation --json", ">&-", 4),
        ("score moderation", ">&-", 4),
        ("score moderation", "<&-", 2),
        ("config schema", "2>&-", 0),
        ("config schema", "2>/dev/full", 0),
        ("config schema", "<&- 2>&-", 0),
        ("score moderation -o scores", "<events >&- 2>&-", 0),
        ("nosuchcommand", "2>&-", 1),
    ],
)
def test_streams_that_are_closed(arguments, closed, code, tmp_path):
    (tmp_path / "events").write_bytes(EVENT)
    feed = "" if "<" in closed else f" <<< '{EVENT.decode().strip()}'"
    done = shell(f"farthing {arguments}{feed} {closed}", cwd=tmp_path)
    assert done.returncode == code or (code == 1 and done.returncode == 2)
    assert b"Traceback" not in done.stderr and b"Exception ignored" not in done.stderr
    if code in (2, 4):
        assert b"is closed" in done.stderr
    if "-o" in arguments:
        (line,) = (tmp_path / "scores").read_bytes().splitlines()
        assert json.loads(line)["id"] == 1


@FULL
@pytest.mark.parametrize("flag", ["-o", "--dead"])
def test_output_files_on_a_full_disk(flag):
    done = farthing("score", "moderation", flag, "/dev/full", input=EVENT + b"{\n")
    assert done.returncode == 4
    assert b"/dev/full: the disk is full" in done.stderr and b"Traceback" not in done.stderr


@FULL
def test_a_plot_on_a_full_disk(tmp_path):
    pytest.importorskip("matplotlib")
    done = farthing("breakeven", "--plot", "/dev/full")
    assert done.returncode in (2, 4)
    assert b"/dev/full" in done.stderr and b"Traceback" not in done.stderr


@pytest.mark.parametrize(
    "environment",
    [
        {"PYTHONIOENCODING": "ascii"},
        {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"},
        {"LC_ALL": "nowhere", "PYTHONIOENCODING": "latin-1"},
    ],
    ids=["ascii", "C", "latin-1"],
)
def test_encodings_that_lack_letters(environment, tmp_path):
    events = tmp_path / "ereignisse-ä.jsonl"
    events.write_text('{"id":"ü→","text":"grüß dich 🙂"}\n{\n', encoding="utf-8")
    scored = farthing("score", "moderation", events, environment=environment)
    assert scored.returncode == 0
    assert json.loads(scored.stdout)["id"] == "ü→"
    assert farthing("breakeven", environment=environment).returncode == 0
    missing = farthing("score", "moderation", tmp_path / "ä\udcff", environment=environment)
    assert missing.returncode == 2 and b"Traceback" not in missing.stderr


def test_a_file_that_is_given_up_on_names_itself(tmp_path):
    with pytest.raises(ConfigError, match=r"--output .*nowhere.*cannot be written"):
        with output.created(tmp_path / "nowhere" / "file", "--output"):
            pass
    with output.created(tmp_path / "file", "--output") as file:
        file.write(b"a")
    assert (tmp_path / "file").read_bytes() == b"a"


@POSIX
def test_an_output_pipe_that_nobody_reads_any_more_is_an_error(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    reader = os.open(tmp_path / "pipe", os.O_RDONLY | os.O_NONBLOCK)
    with pytest.raises(OutputError, match="pipe: cannot be written"):
        with output.created(tmp_path / "pipe", "--output") as file:
            os.close(reader)
            file.write(b"a")


@FULL
def test_a_failed_write_is_raised_where_it_is_noticed():
    with pytest.raises(OutputError, match="--output /dev/full: the disk is full"):
        with output.created(Path("/dev/full"), "--output") as file:
            file.write(b"a")


def test_json_text_keeps_to_any_encoding(monkeypatch):
    narrow = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr(sys, "stdout", narrow)
    output.write_json_text('{"a": "ü 🙂", "b": 1.10}')
    assert narrow.buffer.getvalue() == b'{"a": "\\u00fc \\ud83d\\ude42", "b": 1.10}\n'
