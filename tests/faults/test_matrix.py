"""The fault matrix on Apache Kafka: faults x delivery modes x workers, each cell judged by the oracle.

Four cells of 20,000 ids run with the suite. All of them, with 100,000: ``pytest -n0 --campaign -m faults tests/faults``.
Results go to ``FARTHING_FAULTS_RESULTS``, one line a cell; cells that are there already are not run again, so an
interrupted campaign goes on where it was. A cell's seed is in its name and replays it.
"""

import json
import os
from pathlib import Path

import pytest

from farthing.errors import StartError

from .cells import FAULTS, MODES, Cell, proxy_of, run_cell
from .proxy import ProxiedKafka

SHORT_IDS = 20_000
IDS = int(os.environ.get("FARTHING_FAULTS_IDS", "100000"))
SHORT = (("worker killed", 3), ("stopped past its session", 1), ("broker killed", 1), ("members come and go", 1))


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


@pytest.fixture(scope="module")
def hurt_kafka():
    """A node to be hurt, with a proxy in front of its second listener."""
    try:
        broker = ProxiedKafka()
    except StartError as error:
        if os.environ.get("FARTHING_REQUIRE_KAFKA", "") not in ("", "0"):
            pytest.fail(f"FARTHING_REQUIRE_KAFKA is set, but: {error}")
        pytest.skip(str(error))
    with broker:
        yield broker


async def check(cell, broker, folder):
    if cell.mode == "exactly-once":
        pytest.skip("there is no exactly-once delivery yet")
    if finished(cell):
        pytest.skip("its result is there already")
    if broker.process is None:
        broker.start()
    async with proxy_of(broker) as proxy:
        result = await run_cell(cell, broker, proxy, folder)
    print(result.line())
    if results_file() is not None:
        with results_file().open("a") as lines:
            lines.write(result.line() + "\n")
    assert not result.wrong, f"{cell}: {result.wrong}"
    assert result.events >= cell.ids


@pytest.mark.kafka
@pytest.mark.parametrize(("fault", "workers"), SHORT)
async def test_the_short_matrix(fault, workers, hurt_kafka, tmp_path):
    await check(Cell(fault, "at-least-once", workers, SHORT_IDS, seed=1), hurt_kafka, tmp_path)


@pytest.mark.kafka
@pytest.mark.faults
@pytest.mark.parametrize("workers", [1, 3])
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("fault", FAULTS)
async def test_the_whole_matrix(fault, mode, workers, hurt_kafka, tmp_path):
    seed = 100 + list(FAULTS).index(fault) * 10 + workers
    await check(Cell(fault, mode, workers, IDS, seed), hurt_kafka, tmp_path)
