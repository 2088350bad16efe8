"""A bug inside a service of Faust's ends the ledger as it would end any command: a sentence, a file, exit code 70."""

import os
import subprocess
import sys

import pytest

pytest.importorskip("faust")

CRASH = """
import asyncio
from types import SimpleNamespace
import mode
from farthing import __main__ as door
from farthing.process import logs
from farthing.ledger import run

class Broken(mode.Service):
    {where}

async def nothing(_):
    pass

ledger = SimpleNamespace(app=Broken(), ready=False, reached=SimpleNamespace(member_id=None), settings=None)
# mode's Worker is what Faust's adds an app to; without one, no broker is needed.
run.Worker, run._require, run.assemble = mode.Worker, nothing, lambda _: ledger
logs.configure()
door.run(lambda: run.run(None))
"""

PLACES = {
    "at the start": "async def on_start(self):\n        raise TypeError('a bug')",
    "later": "@mode.Service.task\n    async def work(self):\n        raise TypeError('a bug')",
}


@pytest.mark.parametrize("place", PLACES)
def test_a_crash_is_a_sentence_and_a_file(place, tmp_path):
    environment = {**os.environ, "XDG_STATE_HOME": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", CRASH.format(where=PLACES[place])],
        capture_output=True, text=True, timeout=120, env=environment,
    )  # fmt: skip
    assert done.returncode == 70, done.stderr
    assert "Traceback" not in done.stderr
    assert "farthing: something unexpected happened: TypeError: a bug" in done.stderr.splitlines()[-1]
    (file,) = (tmp_path / "farthing").iterdir()
    assert "TypeError: a bug" in file.read_text()
