"""The fault matrix on Apache Kafka: faults x delivery modes x workers, each cell judged by the oracle.

Four cells of 20,000 ids run with the suite. All of them, with 100,000: ``pytest -n0 --campaign -m faults tests/faults``.
Results go to ``FARTHING_FAULTS_RESULTS``, one line a cell; cells that are there already are not run again, so an
interrupted campaign goes on where it was. A cell's seed is in its name and replays it.
"""

import contextlib
import json
import os
from pathlib import Path

import pytest

from farthing.errors import StartError

from .brokers import KINDS, SmallDisk
from .cells import MODES, Cell, proxy_of, run_cell
from .faults import FAULTS

SHORT_IDS = 20_000
IDS = int(os.environ.get("FARTHING_FAULTS_IDS", "100000"))
SHORT = (
    ("worker killed", "at-least-once", 3),
    ("broker killed", "exactly-once", 1),
    ("members come and go", "exactly-once", 1),
)


def results_file():
    name = os.environ.get("FARTHING_FAULTS_RESULTS")
    return Path(name) if name else None


def finished(cell):
    path = results_file()
    if path is None or not path.exists():
        return False
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    keys = ("fault", "mode", "workers", "ids", "seed")
    return any(all(line[key] == getattr(cell, key) for key in keys) and not line["wrong"] for line in lines)


@contextlib.contextmanager
def needed(kind):
    """A broker that CI must have, where it is one that takes no root."""
    with contextlib.ExitStack() as stack:
        try:
            broker = stack.enter_context(kind())
        except StartError as error:
            if os.environ.get("FARTHING_REQUIRE_KAFKA", "") not in ("", "0") and kind is not SmallDisk:
                pytest.fail(f"FARTHING_REQUIRE_KAFKA is set, but: {error}")
            pytest.skip(str(error))
        yield broker


@pytest.fixture(scope="module")
def brokers():
    """Brokers to be hurt, by kind, each started when its first cell asks for it."""
    started = {}
    with contextlib.ExitStack() as stack:

        def of(kind):
            for other, broker in started.items():
                if other != kind:  # two at once would leave nothing of the machine
                    broker.stop()
            if kind not in started:
                started[kind] = stack.enter_context(needed(KINDS[kind]))
            started[kind].up()
            return started[kind]

        yield of


async def check(cell, brokers, folder):
    if finished(cell):
        pytest.skip("its result is there already")
    broker = brokers(FAULTS[cell.fault].broker)
    async with proxy_of(broker) as proxy:
        result = await run_cell(cell, broker, proxy, folder)
    print(result.line())
    if results_file() is not None:
        with results_file().open("a") as lines:
            lines.write(result.line() + "\n")
    assert not result.wrong, f"{cell}: {result.wrong}"
    assert result.events >= cell.ids


@pytest.mark.kafka
@pytest.mark.parametrize(("fault", "mode", "workers"), SHORT)
async def test_the_short_matrix(fault, mode, workers, brokers, tmp_path):
    await check(Cell(fault, mode, workers, SHORT_IDS, seed=1), brokers, tmp_path)


@pytest.mark.kafka
@pytest.mark.faults
@pytest.mark.parametrize("workers", [1, 3])
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("fault", FAULTS)
async def test_the_whole_matrix(fault, mode, workers, brokers, tmp_path):
    seed = 100 + list(FAULTS).index(fault) * 10 + workers
    await check(Cell(fault, mode, workers, IDS, seed), brokers, tmp_path)
