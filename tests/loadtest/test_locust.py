"""Real runs of the locustfile on Apache Kafka against ``farthing serve``: every count agrees with every other."""

import importlib.util

import pytest

from ..service.running import eventually
from .running import Run

pytestmark = [
    pytest.mark.kafka,
    pytest.mark.skipif(
        importlib.util.find_spec("locust") is None, reason="Locust is not installed: pip install 'farthing[loadtest]'"
    ),
]
LENIENT = ("--late-ms", 2_000)  # other work on the machine is not what these tests are about


@pytest.fixture
async def service(apache_kafka, make_service):
    one = make_service(apache_kafka)
    await one.create_topics()
    one.start()
    await one.ready()
    return one


async def recount(service):
    """Records of the score and the dead-letter topic, read by another client."""
    scores = sum((await service.ends(service.sink)).values())
    dead = sum((await service.ends(service.dead)).values())
    assert len(await service.read(service.sink, scores)) == scores
    assert len(await service.read(service.dead, dead)) == dead
    return scores, dead


async def test_all_counts_of_a_run_agree(service, tmp_path):
    options = ("-u", 4, "-t", "4s", "--events-per-second", 2_000, "--batch-events", 100, "--malformed-share", 0.05)
    run = Run(service, tmp_path, *options, *LENIENT, "ModerationUser")
    assert await run() == 0, run.said()
    summary, rows = run.summary, run.rows()
    print(summary)
    told = summary["routes"][service.source]
    assert summary["passed"] and told["failed"] == told["repeated"] == told["foreign"] == 0
    sent = told["sent"]
    assert 0.7 * 4 * 4 * 2_000 < sent <= 4 * 4.5 * 2_000
    assert sent == told["acked"] == told["scored"] + told["dead"] == sum((await service.ends(service.source)).values())
    assert abs(told["dead"] - sent * 0.05) < 100
    assert await recount(service) == (told["scored"], told["dead"])
    for outcome in ("scored", "dead"):
        await eventually(
            lambda o=outcome: service.metric("farthing_events_total", outcome=o) == told[o], 10, service.said
        )
    # Locust's own summary: one row for what was sent, two for what came back, with end-to-end latencies.
    assert int(rows["produce", service.source]["Request Count"]) == told["batches"] == sent // 100
    assert int(rows["score", service.sink]["Request Count"]) == told["scored"]
    assert int(rows["dead", service.dead]["Request Count"]) == told["dead"]
    assert int(rows["", "Aggregated"]["Request Count"]) == told["batches"]
    assert 0 < float(rows["score", service.sink]["99%"]) < 60_000
    assert 100 < float(rows["produce", service.source]["Average Content Size"]) / 100 < 300
    assert service.sink in (tmp_path / "run.html").read_text()
