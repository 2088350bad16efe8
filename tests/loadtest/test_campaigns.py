"""Long runs on Apache Kafka; their report is under loadtest/reports."""

import importlib.util
import json
import os

import pytest

from .running import Run

pytestmark = [
    pytest.mark.campaign,
    pytest.mark.kafka,
    pytest.mark.skipif(
        importlib.util.find_spec("locust") is None, reason="Locust is not installed: pip install 'farthing[loadtest]'"
    ),
]


def pin(pid, core):
    """Bind every thread of a process to one core (Linux)."""
    for thread in os.listdir(f"/proc/{pid}/task"):
        os.sched_setaffinity(int(thread), {core})


@pytest.fixture
def one_core_each():
    """Two cores: the first for the generator and what it starts, the second for all else."""
    if not hasattr(os, "sched_setaffinity") or len(os.sched_getaffinity(0)) < 2:
        pytest.skip("needs Linux and two cores")
    before = os.sched_getaffinity(0)
    first, second = sorted(before)[:2]
    os.sched_setaffinity(0, {second})
    yield first, second
    os.sched_setaffinity(0, before)


@pytest.mark.parametrize("scores", [False, True], ids=["sending alone", "with the scores read"])
async def test_one_generator_on_one_core_sends_100_000_events_a_second(
    own_kafka, make_service, one_core_each, tmp_path, capsys, scores
):
    first, second = one_core_each
    pin(own_kafka.process.pid, second)
    service = make_service(own_kafka)
    await service.create_topics()
    if scores:
        service.start()
        await service.ready()
    options = ("-u", 11, "-t", "30s", "--late-ms", 1_000, *(() if scores else ("--no-scores",)), "ModerationUser")
    run = Run(service, tmp_path, *options)
    run.command = ["taskset", "-c", str(first), *run.command]
    code = await run()
    summary = run.summary
    with capsys.disabled():
        print(json.dumps(summary))
    assert code == 0, run.said()
    assert summary["events_per_second"] >= 100_000
