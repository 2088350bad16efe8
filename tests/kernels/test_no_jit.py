"""Without compilation: the same tests pass on the references alone, and no kernel's body runs as Python."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from farthing.kernels.jit import NO_JIT, kernel, stage

ROOT = Path(__file__).resolve().parents[2]
SAME_TESTS = ("wire", "payload", "features", "scoring", "tasks", "model/test_scorer.py")
compiled = pytest.mark.skipif(NO_JIT, reason="FARTHING_NO_JIT is set for the whole run")


def without_jit(*arguments):
    environment = {**os.environ, "FARTHING_NO_JIT": "1", "NUMBA_DISABLE_JIT": "0"}
    return subprocess.run(
        [sys.executable, *arguments], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300
    )


@compiled
def test_the_references_pass_the_tests_of_the_kernels():
    """With fewer examples: the profile ``references`` in conftest.py."""
    places = [str(ROOT / "tests" / name) for name in SAME_TESTS]
    done = without_jit("-m", "pytest", "-q", "-x", "-n0", "-p", "no:cacheprovider", *places)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
    passed = int(done.stdout.rpartition(" passed")[0].split()[-1])
    assert passed > 300


@compiled
def test_no_kernel_is_compiled():
    script = "import sys; import farthing.model.scorer, farthing.wire; print('numba' in sys.modules)"
    done = without_jit("-c", script)
    assert done.stdout.split() == ["False"], done.stderr


@compiled
def test_a_kernel_without_a_reference_refuses_to_run_uncompiled():
    done = without_jit("-c", "from farthing.payload.strings import scan_string; scan_string(b'', 0, 0)")
    assert "RuntimeError: farthing.payload.strings.scan_string has no reference" in done.stderr


def twice_reference(data):
    """Twice each number, as the definition says."""
    data[:] = [2 * int(number) for number in data]


@kernel(reference=twice_reference)
def twice(data):
    """Twice each number."""
    for i in range(len(data)):
        data[i] += data[i]


def total_reference(data):
    """Twice the sum."""
    return 2 * sum(data.tolist())


@stage(reference=total_reference)
def total(data):
    """Twice the sum."""
    twice(data)
    return int(data.sum())


def test_references_stand_beside_what_they_are_for():
    data = np.arange(5)
    assert total(data.copy()) == total_reference(data) == 20
    if NO_JIT:
        assert (twice, total) == (twice_reference, total_reference)
    else:
        assert (twice.reference, total.reference) == (twice_reference, total_reference)
