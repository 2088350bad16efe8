"""Whatever ends a command ends it with a sentence, an exit code and, for a bug, a file: never with a traceback."""

import os
import signal
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from farthing.process import failure
from farthing.process.python import NEWEST, OLDEST, wrong_python

ROOT = Path(__file__).parents[2]
FULL = pytest.mark.skipif(not Path("/dev/full").exists(), reason="/dev/full is Linux")


def run(code, tmp_path, *, environment=None, **more):
    """Run a program whose last lines are behind the door."""
    text = f"from farthing.__main__ import run\n{code}\nrun(command)\n"
    variables = {**os.environ, "XDG_STATE_HOME": str(tmp_path / "state"), **(environment or {})}
    more = {"stdout": subprocess.PIPE, **more}
    return subprocess.run([sys.executable, "-c", text], stderr=subprocess.PIPE, timeout=120, env=variables, **more)


def test_a_bug_is_one_sentence_a_private_file_and_exit_code_70(tmp_path):
    done = run("def command(): raise TypeError('first line\\nsecond')", tmp_path)
    (file,) = (tmp_path / "state" / "farthing").iterdir()
    (line,) = done.stderr.decode().splitlines()
    assert done.returncode == 70
    assert "TypeError: first line second" in line and str(file) in line and "Traceback" not in line
    assert "Traceback" in file.read_text() and "in command" in file.read_text()
    assert file.stat().st_mode & 0o077 == 0


def test_where_no_file_can_be_written_the_sentence_has_the_place(tmp_path):
    blocked = {"XDG_STATE_HOME": "/dev/null", "TMPDIR": "/dev/null", "TEMP": "/dev/null", "TMP": "/dev/null"}
    code = "import tempfile\ntempfile.tempdir = '/dev/null'\ndef command(): raise TypeError('odd')"
    done = run(code, tmp_path, environment=blocked)
    assert done.returncode == 70
    assert b"no file could be written" in done.stderr and b"in command" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_files_of_earlier_failures_are_forgotten(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    for n in range(failure.KEPT_FILES + 5):
        failure.report(ValueError(n))
    assert len(list((tmp_path / "farthing").iterdir())) == failure.KEPT_FILES


def test_an_interrupt_is_seen_behind_the_error_that_it_became(tmp_path):
    code = """
def command():
    try:
        raise KeyboardInterrupt
    except KeyboardInterrupt as error:
        raise ImportError("half of a module") from error
"""
    done = run(code, tmp_path)
    assert (done.returncode, done.stderr) == (130, b"")


@pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")
@pytest.mark.parametrize("where", ["farthing.cli", "farthing.commands.score", "numba"])
def test_ctrl_c_during_the_imports(tmp_path, where):
    """The interrupt comes while ``where`` is looked for: every import may be cut short so."""
    code = f"""
import os, signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)  # a background job of a shell ignores it
class Interrupt:
    def find_spec(self, name, *_):
        if name == {where!r}:
            os.kill(os.getpid(), signal.SIGINT)
sys.meta_path.insert(0, Interrupt())
from farthing.__main__ import main
def command():
    main(["score", "moderation", os.devnull])
"""
    done = run(code, tmp_path)
    assert (done.returncode, done.stderr) == (130, b"")


def test_threads_and_finalizers_say_a_sentence_too(tmp_path):
    code = """
import threading
class Broken:
    def __del__(self):
        raise ValueError("at the end")
def command():
    thread = threading.Thread(target=lambda: 1 / 0)
    thread.start()
    thread.join()
    Broken()
"""
    done = run(code, tmp_path)
    said = done.stderr.decode()
    assert done.returncode == 0 and "Traceback" not in said
    assert "ZeroDivisionError" in said and "at the end" in said
    assert len(list((tmp_path / "state" / "farthing").iterdir())) == 2


def test_what_asyncio_logs_has_no_traceback(tmp_path):
    code = """
import asyncio, logging
from farthing.process import logs
async def lost():
    raise ValueError("nobody waits")
async def main():
    task = asyncio.create_task(lost())
    await asyncio.wait({task})
def command():
    logs.configure()
    asyncio.run(main())
"""
    done = run(code, tmp_path)
    assert b"never retrieved (ValueError: nobody waits)" in done.stderr
    assert b"Traceback" not in done.stderr
    assert len(list((tmp_path / "state" / "farthing").iterdir())) == 1


@FULL
def test_a_disk_that_is_full_anywhere_is_no_bug(tmp_path):
    code = "def command():\n    with open('/dev/full', 'w') as file:\n        file.write('x')"
    done = run(code, tmp_path)
    assert done.returncode == 4
    assert b"the disk is full" in done.stderr and b"Traceback" not in done.stderr


def test_without_a_folder_for_temporary_files(tmp_path):
    code = """
import tempfile
tempfile._candidate_tempdir_list = lambda: ["/dev/null"]
def command():
    tempfile.mkdtemp()
"""
    done = run(code, tmp_path)
    assert done.returncode == 3 and b"TMPDIR" in done.stderr


@pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")
def test_the_second_ctrl_c_ends_a_slow_exit_without_a_word(tmp_path):
    code = """
import atexit, os, signal, time
signal.signal(signal.SIGINT, signal.default_int_handler)
atexit.register(lambda: (os.kill(os.getpid(), signal.SIGINT), time.sleep(60)))
def command():
    raise KeyboardInterrupt
"""
    done = run(code, tmp_path)
    assert (done.returncode, done.stderr) == (-signal.SIGINT, b"")


def test_the_range_of_pythons_is_the_packages():
    stated = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert stated["requires-python"] == ">={}.{},<{}.{}".format(*OLDEST, NEWEST[0], NEWEST[1] + 1)
    said = "Python {}.{} to {}.{}".format(*OLDEST, *NEWEST)
    assert (ROOT / "README.md").read_text().count(said) == 1
    versions = [c.rpartition(" ")[2] for c in stated["classifiers"] if "Python :: 3." in c]
    assert versions == [f"3.{minor}" for minor in range(OLDEST[1], NEWEST[1] + 1)]


def test_another_python_is_refused_in_one_sentence(tmp_path):
    for minor in range(OLDEST[1], NEWEST[1] + 1):
        assert wrong_python((3, minor)) is None
    assert "is 3.9" in wrong_python((3, 9, 18)) and "is 3.14" in wrong_python((3, 14))
    code = "import sys\nsys.version_info = (3, 14, 0)\ncommand = None"
    done = run(code, tmp_path)
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1 and b"Farthing needs Python" in done.stderr
    imported = "import sys\nsys.version_info = (3, 14, 0)\nfrom farthing import Scorer"
    refused = subprocess.run([sys.executable, "-c", imported], capture_output=True, timeout=120)
    assert refused.stderr.splitlines()[-1].startswith(b"ImportError: Farthing needs Python")


def old_pythons():
    return [*sorted(Path.home().glob(".pyenv/versions/3.[7-9].*/bin/python")), Path("/usr/bin/python3.9")]


@pytest.mark.parametrize("start", [["service/farthing/process/python.py"], ["-m", "farthing", "demo"]])
def test_an_old_python_can_read_the_sentence(start):
    old = next((path for path in old_pythons() if path.exists()), None)
    if old is None:
        pytest.skip("no old Python is installed")
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "service")}
    done = subprocess.run([old, *start], cwd=ROOT, env=environment, capture_output=True, timeout=60)
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1 and b"Farthing needs Python" in done.stderr
