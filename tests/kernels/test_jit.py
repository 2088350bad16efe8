"""Compiled kernels on disk: found again, and made anew when another file that is compiled into them changes."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import farthing

SCRIPT = """
import numpy as np
import farthing
from farthing.features.tabular import combine_hashes
hashes = np.full(1, 3, np.uint64)
combine_hashes(hashes, hashes.copy())
print(farthing.__file__, int(hashes[0]), sum(combine_hashes.stats.cache_hits.values()))
"""


def run(folder, cache):
    """Run the script on the package in ``folder``: (the hash, whether the kernel came from the cache)."""
    environment = {**os.environ, "PYTHONPATH": str(folder), "NUMBA_CACHE_DIR": str(cache), "FARTHING_NO_JIT": ""}
    done = subprocess.run(
        [sys.executable, "-B", "-c", SCRIPT], env=environment, capture_output=True, text=True, timeout=120, check=True
    )
    place, number, hits = done.stdout.split()
    assert Path(place).is_relative_to(folder)
    return int(number), int(hits) == 1


def test_a_cached_kernel_is_used_until_a_file_that_it_is_made_from_changes(tmp_path):
    shutil.copytree(Path(farthing.__file__).parent, tmp_path / "farthing", ignore=shutil.ignore_patterns("__pycache__"))
    cache = tmp_path / "cache"
    first, hit = run(tmp_path, cache)
    assert not hit
    assert run(tmp_path, cache) == (first, True)

    other = tmp_path / "farthing" / "features" / "hashing.py"  # not the kernel's own file
    before = other.stat()
    text = other.read_text()
    changed = text.replace("np.uint64(23)", "np.uint64(29)")
    assert changed != text
    other.write_text(changed)
    os.utime(other, ns=(before.st_atime_ns, before.st_mtime_ns))  # as from a wheel: every version has the same time
    assert (other.stat().st_size, other.stat().st_mtime_ns) == (before.st_size, before.st_mtime_ns)
    second, hit = run(tmp_path, cache)
    assert not hit
    assert second != first

    shipped = tmp_path / "farthing" / "cli.py"  # no kernel is made from this one
    shipped.write_text(shipped.read_text() + "\n# changed\n")
    assert run(tmp_path, cache) == (second, True)
