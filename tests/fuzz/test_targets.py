"""Each target on its seeds, on what fuzzing kept, and on some mutations from a seed."""

import time
from pathlib import Path

import numpy as np
import pytest

from farthing.kernels.jit import NO_JIT
from tests.fuzz.mutate import mutated
from tests.fuzz.targets import TARGETS

CORPUS = Path(__file__).parent / "corpus"
MUTATIONS = 20 if NO_JIT else 150
SLOWEST_S = 20  # for one input, on a machine that does something else as well


@pytest.mark.parametrize("name", TARGETS)
def test_a_target(name):
    target = TARGETS[name]
    kept = [file.read_bytes() for file in sorted((CORPUS / name).glob("*"))]
    seeds = [*target.seeds(), *kept]
    rng = np.random.default_rng(list(name.encode()))
    inputs = [b"", *seeds, *(mutated(rng, seeds[int(rng.integers(0, len(seeds)))], seeds) for _ in range(MUTATIONS))]
    for data in inputs:
        began = time.monotonic()
        try:
            target.check(data[: target.longest] if data not in kept else data)
        except BaseException as error:
            raise AssertionError(f"{name} on {data!r}: {type(error).__name__}: {error}") from error
        assert time.monotonic() - began < SLOWEST_S, data


def test_what_is_kept_belongs_to_a_target_and_is_small():
    for folder in CORPUS.iterdir():
        assert folder.name in TARGETS
    assert sum(file.stat().st_size for file in CORPUS.rglob("*") if file.is_file()) < 300_000
