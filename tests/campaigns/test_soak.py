"""Twenty minutes at half of the peak rate: memory, descriptors, threads, tasks and the p99 stay as they are.

``pytest --campaign tests/campaigns/test_soak.py``; FARTHING_SOAK_MINUTES makes it shorter or longer.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
pytestmark = [pytest.mark.kafka, pytest.mark.campaign]


def test_a_soak(apache_kafka):
    minutes = os.environ.get("FARTHING_SOAK_MINUTES", "20")
    done = subprocess.run(
        [sys.executable, "loadtest/soak.py", "--minutes", minutes, "--json"],
        cwd=ROOT, env={**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"},
        capture_output=True, text=True, timeout=float(minutes) * 60 + 1_200, check=False,
    )  # fmt: skip
    report = json.loads(done.stdout.splitlines()[-1]) if done.stdout else {}
    assert report.get("wrong") == [], done.stderr[-3000:]
    assert report["answered"] == report["sent"]
