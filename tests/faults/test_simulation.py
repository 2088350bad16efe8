"""The loop's state machine under a thousand schedules: a broker in memory, virtual time, everything from a seed.

A failing seed is replayed to the letter by ``python -m tests.faults.simulation.run SEED``.
"""

import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
import structlog

from .simulation import mutants
from .simulation.clock import Deadlock
from .simulation.run import Run
from .simulation.world import Violation

SEEDS = 1_000
# The first are where the five rarest mistakes show soon.
MUTANT_SEEDS = (1_035, 1_089, 1_592, 2_024, *range(405, 415), *range(460, 470), *range(530, 800))
ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def quiet():
    """What thousands of broken loops log is of no use."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(50))
    yield
    structlog.reset_defaults()


def test_a_thousand_schedules_lose_nothing_and_commit_nothing_too_early():
    happened, wrong, events = Counter(), {}, 0
    for seed in range(SEEDS):
        run = Run(seed)
        try:
            run.run()
        except (AssertionError, Deadlock) as error:
            wrong[seed] = str(error)
            continue
        events += len(run.world.due)
        happened.update(line[1] for line in run.trace)
        happened.update(line[3] for line in run.trace if line[1] == "trouble" and len(line) > 3)
        happened.update(run.verdict.counts)
    assert not wrong, f"{len(wrong)} of {SEEDS} seeds, replay with python -m tests.faults.simulation.run SEED: {wrong}"
    assert events >= 1_000_000
    # Otherwise it has shown nothing.
    for name in (
        "kill", "suspend", "drain", "join", "freeze", "put out", "refused", "duplicated",
        "fetch", "produce that does not arrive", "produce whose answer does not arrive", "commit that does not arrive",
        "commit whose answer does not arrive", "reading committed offsets", "publishing usage",
    ):  # fmt: skip
        assert happened[name] >= 30, (name, happened)


def test_a_seed_replays_to_the_letter():
    traces = []
    for salt in ("1", "2"):
        done = subprocess.run(
            [sys.executable, "-m", "tests.faults.simulation.run", "11"], capture_output=True, text=True, check=True,
            timeout=120, cwd=ROOT, env={**os.environ, "PYTHONHASHSEED": salt},
        )  # fmt: skip
        traces.append([line for line in done.stdout.splitlines() if line[:1].isdigit()])
    assert traces[0] == traces[1]
    assert len(traces[0]) > 50


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("mutant", mutants.MUTANTS, ids=lambda mutant: mutant.__name__)
def test_a_loop_with_a_mistake_is_caught(mutant):
    for seed in MUTANT_SEEDS:
        try:
            mutants.mutated(mutant, seed)
        except Violation:
            return
    raise AssertionError(f"{mutant.__name__} passes {len(MUTANT_SEEDS)} schedules")
