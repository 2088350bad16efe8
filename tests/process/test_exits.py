"""Forced exits: in time, with their code and one sentence."""

import subprocess
import sys

from farthing.demo.child import STOP_TIMEOUT_S
from farthing.process.exits import EXIT_TIMEOUT_S, FORCED_EXIT_CODE
from farthing.serving.supervisor import KILL_AFTER_S

PROGRAM = """
import threading
from farthing.process.exits import exit_after
exit_after({seconds}, 7, "it hangs")
{then}
"""


def run(**parts):
    program = PROGRAM.format(**parts)
    return subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120, check=False)


def test_a_process_that_hangs_ends_with_its_code_and_a_sentence():
    done = run(seconds=0.2, then="threading.Event().wait()")
    assert (done.returncode, done.stderr, done.stdout) == (7, "farthing: it hangs\n", "")


def test_a_thread_that_hangs_does_not_keep_it_either():
    assert run(seconds=0.2, then="threading.Thread(target=threading.Event().wait).start()").returncode == 7


def test_a_process_that_ends_by_itself_is_not_kept():
    done = run(seconds=1_000, then="")
    assert (done.returncode, done.stderr) == (0, "")


def test_whoever_waits_for_a_worker_waits_longer_than_it_takes():
    assert EXIT_TIMEOUT_S < KILL_AFTER_S < STOP_TIMEOUT_S
    assert FORCED_EXIT_CODE == 3
