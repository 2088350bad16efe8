"""A campaign may take longer than the suite lets one of its tests take."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
TESTS = """
import pytest

LONG = 300  # the suite's own limit

@pytest.fixture
def limit(request):
    marked = request.node.get_closest_marker("timeout")
    return marked.args[0] if marked else float(request.config.option.timeout or LONG)

@pytest.mark.campaign
def test_a_long_one(limit):
    assert limit > 40 * 60 if {long} else limit == 20

def test_another(limit):
    assert limit == (LONG if {long} else 20)

@pytest.mark.campaign
@pytest.mark.timeout(7)
def test_one_with_a_limit_of_its_own(limit):
    assert limit == 7
"""


@pytest.mark.parametrize("options", [[], ["--timeout", "20"]], ids=["as usual", "with a limit given"])
def test_a_campaign_is_not_ended_as_a_test_is(options, tmp_path):
    file = tmp_path / "test_long.py"
    file.write_text(TESTS.format(long=not options))
    command = ["-m", "pytest", "-q", "-n0", "-c", ROOT / "pyproject.toml", "-p", "tests.conftest", "--campaign"]
    done = subprocess.run(
        [sys.executable, *command, *options, file], cwd=ROOT, capture_output=True, text=True, timeout=120, check=False,
        env={**os.environ, "PYTHONPATH": os.pathsep.join((str(ROOT / "service"), str(ROOT)))},
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-2000:]
