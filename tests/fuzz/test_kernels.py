"""The kernels on mutated bytes, each run in a process of its own: no signal, and what the references say.

A run of a million each is a campaign; the suite does a small part of it, and once with every index checked.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from farthing.kernels.jit import NO_JIT
from tests.fuzz.kernels import TARGETS

ROOT = Path(__file__).parents[2]
SOME = 10_000  # mutated inputs of each kernel
pytestmark = [
    pytest.mark.skipif(NO_JIT, reason="the kernels are what is fuzzed"),
    pytest.mark.skipif(sys.platform == "win32", reason="guards memory with mprotect"),
]


def fuzz(*arguments, timeout_s=300, **environment):
    done = subprocess.run(
        [sys.executable, "-m", "tests.fuzz.kernels", *map(str, arguments)], cwd=ROOT, env={**os.environ, **environment},
        capture_output=True, text=True, timeout=timeout_s, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    return [json.loads(line) for line in done.stdout.splitlines()]


def checked(folder):
    """Every index into an array is checked; such kernels are kept apart from the others."""
    return {"NUMBA_BOUNDSCHECK": "1", "NUMBA_CACHE_DIR": str(folder)}


@pytest.mark.parametrize(
    "bounds",
    [pytest.param(False, id="as shipped"), pytest.param(True, id="every index checked", marks=pytest.mark.campaign)],
)
def test_a_small_run(bounds, tmp_path):
    figures = fuzz("--runs", SOME, "--compared", 0.01, **(checked(tmp_path) if bounds else {}))
    assert [(one["target"], one["runs"], one["bounds"]) for one in figures] == [(t, SOME, bounds) for t in TARGETS]
    for one in figures:
        assert len(one["outcomes"]) >= 4, "the mutations reach the refusals as well"
        assert one["outcomes"]["0"] > 100, "and some are read"


def test_bounds_are_really_checked(tmp_path):
    script = (
        "import numpy as np\n"
        "from farthing.kernels.jit import kernel\n"
        "@kernel\n"
        "def beyond(data):\n"
        "    return data[len(data)]\n"
        "beyond(np.zeros(3))\n"
    )
    file = tmp_path / "beyond.py"
    file.write_text(script)
    done = subprocess.run(
        [sys.executable, file], env={**os.environ, **checked(tmp_path), "PYTHONPATH": str(ROOT / "service")},
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert "IndexError: index is out of bounds" in done.stderr


@pytest.mark.campaign
@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("bounds", [False, True], ids=["as shipped", "every index checked"])
def test_a_million(target, bounds, tmp_path):
    print(fuzz(target, "--runs", 1_000_000, timeout_s=1_800, **(checked(tmp_path) if bounds else {})))
