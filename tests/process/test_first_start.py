"""How long a start is waited for, and what is said meanwhile."""

import io
import os
import sys

import pytest
from rich.console import Console

from farthing.kernels.jit import NO_JIT, kernel_count
from farthing.process import first_start
from farthing.process.first_start import COMPILING, Patience, compiling, cpu_ticks, starting


def test_patience_lasts_as_long_as_there_is_progress():
    now = [0.0]
    patience = Patience(10, 100, clock=lambda: now[0])
    for step in range(12):
        now[0] += 8
        assert not patience.ends(step)
    now[0] += 4.1
    assert patience.ends("whatever happens, a hundred seconds are enough")
    patience = Patience(10, 100, clock=lambda: now[0])
    assert not patience.ends("a")
    now[0] += 9
    assert not patience.ends("a")
    now[0] += 2
    assert patience.ends("a")
    assert str(patience) == "within 11 s, the last 11 s without progress"


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_cpu_time_is_seen():
    before = cpu_ticks(os.getpid())
    while cpu_ticks(os.getpid()) == before:
        sum(range(10_000))
    assert cpu_ticks(2**22 + 1) is None  # no such process


@pytest.mark.skipif(NO_JIT, reason="nothing is compiled")
def test_kernels_are_counted_in_words():
    import farthing.model.scorer  # noqa: F401

    assert kernel_count() > 50
    assert compiling(3) == f"{COMPILING}: 3 of at most {kernel_count()}"
    assert compiling(10_000) == f"{COMPILING}: 10000 of at most 10000"


def test_without_a_terminal_kernels_are_said_once_in_a_while(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(first_start.time, "monotonic", lambda: now[0])
    out = io.StringIO()
    with starting(Console(file=out, width=200), "loading it", kernels=False) as say:
        for number in range(1, 61):
            say(compiling(number))
            now[0] += 1
        say("joining the group")
    lines = out.getvalue().splitlines()
    assert [line.split(" of ")[0] for line in lines[:3]] == [f"loading it: {COMPILING}: {n}" for n in (1, 11, 21)]
    assert len(lines) == 7 and lines[-1] == "loading it: joining the group ..."
