"""Places at which a test can kill the worker: armed by a variable, counted, and free of any effect without it."""

import inspect
import os
import re
import signal
import subprocess
import sys

import pytest

from farthing.errors import ConfigError
from farthing.serving import commits, delivery, failpoints, intake, pipeline

PROGRAM = """
import os
from farthing.serving import failpoints
failpoints.arm(os.environ)
for n in range(1, 6):
    for name in failpoints.FAILPOINTS:
        failpoints.failpoint(name)
    print(n, flush=True)
"""


def passes(value):
    environment = {name: text for name, text in os.environ.items() if name != failpoints.VARIABLE}
    if value is not None:
        environment[failpoints.VARIABLE] = value
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], capture_output=True, text=True, env=environment, timeout=60, check=False
    )
    return done.returncode, [line for line in done.stdout.split("\n") if line.isdigit()]


def test_the_process_dies_at_the_pass_that_is_named_and_not_before():
    assert passes("after_produce:3") == (-signal.SIGKILL, ["1", "2"])
    assert passes("in_revoke:1") == (-signal.SIGKILL, [])
    assert passes("after_fetch:6") == (0, ["1", "2", "3", "4", "5"])
    assert passes(None) == passes("") == (0, ["1", "2", "3", "4", "5"])


@pytest.mark.parametrize("value", ["after_lunch:1", "after_fetch", "after_fetch:", "after_fetch:0", "after_fetch:-1",
                                   "after_fetch:x", ":3", "after_fetch:³"])  # fmt: skip
def test_a_value_that_cannot_be_read_is_refused_in_a_sentence(value):
    with pytest.raises(ConfigError, match=r"FARTHING_FAILPOINT.*one of after_fetch, .*unset it"):
        failpoints.arm({failpoints.VARIABLE: value})


def test_the_loop_passes_every_place():
    source = "".join(inspect.getsource(module) for module in (pipeline, intake, commits, delivery))
    assert set(re.findall(r'failpoint\("(\w+)"\)', source)) == set(failpoints.FAILPOINTS)
