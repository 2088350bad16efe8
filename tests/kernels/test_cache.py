"""Compiled kernels on disk: damaged, unfinished and foreign files are compiled anew, and what cannot be written is said."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import farthing
from farthing.kernels.jit import NO_JIT

pytestmark = pytest.mark.skipif(NO_JIT, reason="nothing is compiled")

SCRIPT = """
import warnings
import numpy as np
from farthing.kernels.jit import watch_compilation
from farthing.features.tabular import combine_hashes
compiled = []
with watch_compilation(compiled.append), warnings.catch_warnings(record=True) as seen:
    warnings.simplefilter("always")
    hashes = np.full(1, 3, np.uint64)
    combine_hashes(hashes, hashes.copy())
print(int(hashes[0]), len(compiled), "|".join(str(one.message) for one in seen))
"""


def run(cache, **more):
    """Run a kernel: its result, how many kernels were compiled, warnings."""
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(cache), **more}
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT], env=environment, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    number, compiled, *warned = done.stdout.rstrip("\n").split(" ", 2)
    return int(number), int(compiled), "".join(warned)


@pytest.fixture(scope="module")
def filled_once(tmp_path_factory):
    """A folder that the first run has filled, and the kernel's result."""
    folder = tmp_path_factory.mktemp("kernels")
    number, compiled, warned = run(folder)
    assert compiled > 0
    assert warned == ""
    assert len(list((folder / f"farthing-{farthing.__version__}").iterdir())) == compiled
    return folder, number


@pytest.fixture
def filled(filled_once, tmp_path):
    """A filled folder of the test's own: its files, and the kernel's result."""
    folder, number = filled_once
    shutil.copytree(folder, tmp_path, dirs_exist_ok=True)
    files = list((tmp_path / f"farthing-{farthing.__version__}").iterdir())
    assert {file.suffix for file in files} == {".nbc"}
    return files, number


def test_a_damaged_file_is_compiled_again_and_replaced(filled, tmp_path):
    files, number = filled
    for damage in ("empty", "cut", "flipped", "foreign"):
        # The run before has replaced what was damaged: it is a whole file that is damaged next.
        for file in files:
            data = file.read_bytes()
            assert len(data) > 500, damage
            flipped = data[:-100] + bytes([data[-100] ^ 1]) + data[-99:]
            file.write_bytes({"empty": b"", "cut": data[:-7], "flipped": flipped, "foreign": b"\x80" * 500}[damage])
        assert run(tmp_path) == (number, len(files), ""), damage
    assert run(tmp_path) == (number, 0, "")


def test_a_file_that_somebody_left_unfinished_is_no_hindrance(filled, tmp_path):
    files, number = filled
    files[0].with_name(f"{files[0].name}.0123456789abcdef").write_bytes(b"half")
    assert run(tmp_path) == (number, 0, "")


def test_kernels_of_another_processor_lie_beside_those_of_this_one(filled, tmp_path):
    files, number = filled
    assert run(tmp_path, NUMBA_CPU_NAME="generic", NUMBA_CPU_FEATURES="") == (number, len(files), "")
    assert len(list(files[0].parent.iterdir())) == 2 * len(files)
    assert run(tmp_path) == (number, 0, "")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="/dev/full is Linux")
def test_a_disk_that_is_full_is_warned_of_once(filled, tmp_path):
    """Files are first written under another name; here that name leads to a full disk."""
    files, number = filled
    for file in files:
        file.unlink()
    script = "import uuid\nuuid.uuid4 = lambda: uuid.UUID(int=0)\n" + SCRIPT
    run_names = [file.with_name(f"{file.name}.{'0' * 16}") for file in files]
    for name in run_names:
        name.symlink_to("/dev/full")
    done = subprocess.run(
        [sys.executable, "-c", script], env={**os.environ, "NUMBA_CACHE_DIR": str(tmp_path)},
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"{number} ")
    assert done.stdout.count("compiled kernels are not kept") == 1
    assert "No space left on device" in done.stdout
