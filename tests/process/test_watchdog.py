"""A process in which something hangs ends, with a sentence and its exit code; one that only takes long goes on."""

import subprocess
import sys
import time

import pytest

PROGRAM = """
import time
from farthing.process.watchdog import Watchdog
watchdog = Watchdog({limit}, 4, "it hangs")
for seconds in {blocks}:
    with watchdog:
        time.sleep(seconds)
watchdog.close()
print("went on")
"""


def run(limit, *blocks):
    program = PROGRAM.format(limit=limit, blocks=blocks)
    return subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)


def test_what_hangs_ends_the_process():
    began = time.monotonic()
    ended = run(0.4, 0.0, 30.0)
    assert (ended.returncode, ended.stderr, ended.stdout) == (4, "farthing: it hangs\n", "")
    assert time.monotonic() - began < 20


def test_it_ends_though_nobody_listens():
    program = "import sys; sys.stderr.close()\n" + PROGRAM.format(limit=0.4, blocks=(30.0,))
    assert subprocess.run([sys.executable, "-c", program], timeout=60, check=False).returncode == 4


@pytest.mark.parametrize("blocks", [(0.0,) * 100, (0.7,) * 3])
def test_each_block_has_its_own_time(blocks):
    ended = run(2.0, *blocks)
    assert (ended.returncode, ended.stderr, ended.stdout) == (0, "", "went on\n")
