"""The demo on a machine that is busy with other things: slower, and whole all the same."""

import json
import os
import subprocess
import sys

import pytest

from farthing.errors import StartError
from farthing.local.broker import BOOTSTRAP_VARIABLE, Tansu

SPIN = "while True: pass"
RUNS = int(os.environ.get("FARTHING_DEMO_RUNS", "20"))
TIMEOUT_S = 1_800

pytestmark = pytest.mark.campaign


@pytest.fixture(autouse=True)
def busy():
    """Two spinning processes for each core."""
    try:
        Tansu().__exit__()
    except StartError as error:
        pytest.skip(str(error))
    spinning = [subprocess.Popen([sys.executable, "-c", SPIN]) for _ in range(2 * (os.cpu_count() or 1))]
    yield
    for process in spinning:
        process.kill()
        process.wait(10)


def demo(*before, **environment):
    kept = {name: value for name, value in os.environ.items() if name != BOOTSTRAP_VARIABLE}
    done = subprocess.run(
        [*before, sys.executable, "-m", "farthing", "demo", "--seconds", "10", "--json"],
        env={**kept, **environment}, capture_output=True, text=True, timeout=TIMEOUT_S, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    result = json.loads(done.stdout.splitlines()[-1])
    assert result["events_scored"] == result["events_produced"] > 0
    assert result["lost"] == 0


@pytest.mark.parametrize("run", range(RUNS))
def test_it_runs_again_and_again(run):
    demo()


@pytest.mark.skipif(os.name != "posix", reason="nice is of POSIX")
def test_a_first_start_with_little_of_the_processor(tmp_path):
    """About a seventh of one core, beside the spinning processes: a first start takes minutes, and is waited for."""
    demo("nice", "-n", "5", NUMBA_CACHE_DIR=str(tmp_path))
