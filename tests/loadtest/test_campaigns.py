"""Long runs on Apache Kafka; their report is under loadtest/reports."""

import asyncio
import importlib.util
import json
import os
import shutil
import subprocess
import sys

import pytest
from aiokafka.admin import NewTopic

from .running import ROOT, Run
from .stand import agree, standing, statement

pytestmark = [
    pytest.mark.campaign,
    pytest.mark.kafka,
    pytest.mark.skipif(
        importlib.util.find_spec("locust") is None, reason="Locust is not installed: pip install -e '.[loadtest]'"
    ),
]


PRIORITY = -15  # where we may: a core is one's own only when nobody else's work is on it


def pin(pid, core):
    """Bind every thread of a process to one core, before others (Linux)."""
    for thread in os.listdir(f"/proc/{pid}/task"):
        os.sched_setaffinity(int(thread), {core})
        if os.geteuid() == 0:
            os.setpriority(os.PRIO_PROCESS, int(thread), PRIORITY)


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
        pin(service.process.pid, second)
    # Waiting for a core that others hold makes batches late; what is asked here is the rate, and the CPU that it takes.
    options = (
        "-u",
        4,
        "--events-per-second",
        27_500,
        "--batch-events",
        1_000,
        "-t",
        "20s",
        "--late-ms",
        15_000,
        *(() if scores else ("--no-scores",)),
        "ModerationUser",
    )
    run = Run(service, tmp_path, *options)
    nice = ["nice", "-n", str(PRIORITY)] if os.geteuid() == 0 else []
    run.command = [*nice, "taskset", "-c", str(first), *run.command]
    code = await run()
    summary = run.summary
    with capsys.disabled():
        print(json.dumps(summary))
    assert code == 0, run.said()
    assert summary["events_per_second"] >= 100_000
    assert summary["events_per_second"] * summary["generator_cpu_us_per_event"] < 1e6


def recount(servers, topic, partitions, header):
    """Count a topic's records, and the source offsets in their headers, with another client than the service's."""
    from confluent_kafka import Consumer, TopicPartition

    consumer = Consumer({"bootstrap.servers": servers, "group.id": "recount", "enable.partition.eof": True})
    consumer.assign([TopicPartition(topic, number, 0) for number in range(partitions)])
    records, places, ended = 0, set(), set()
    try:
        while len(ended) < partitions:
            messages = consumer.consume(10_000, timeout=30)
            assert messages, f"{topic} could not be read to its end"
            for message in messages:
                if message.error() is not None:
                    ended.add(message.partition())
                    continue
                records += 1
                places.add((message.partition(), int(dict(message.headers())[header])))
    finally:
        consumer.close()
    return records, places


async def test_a_minute_by_locust_is_counted_alike_by_everybody(own_kafka, make_service, tmp_path, capsys):
    """Locust, the worker, the ledger, a real Prometheus and a recount of the topics: the same numbers."""
    async with standing(own_kafka, make_service, tmp_path) as (service, ledger, prometheus):
        run = Run(
            service, tmp_path, "-u", 4, "-t", "60s", "--events-per-second", 5_000, "--malformed-share", 0.01,
            "--late-ms", 1_000, "--ledger", f"http://127.0.0.1:{ledger.port}", "--worker-metrics",
            f"http://127.0.0.1:{service.port}/metrics", "ModerationUser",
        )  # fmt: skip
        code = await run(180)
        assert code == 0, run.said()
        summary, rows = run.summary, run.rows()
        told = summary["routes"][service.source]
        counts = await agree(service, ledger, prometheus, told)
        picture = tmp_path / "savings.png"
        drawn = await asyncio.to_thread(
            subprocess.run,
            [sys.executable, str(ROOT / "deploy" / "grafana" / "picture.py"), "savings", str(picture),
             "--prometheus", prometheus.url, "--minutes", "1.7", "--rate-interval", "10s"],
            capture_output=True, text=True, timeout=120,
        )  # fmt: skip
        scores, scored_places = await asyncio.to_thread(
            recount, service.servers, service.sink, service.partitions, "farthing.offset"
        )
        letters, dead_places = await asyncio.to_thread(
            recount, service.servers, service.dead, service.partitions, "farthing.error.offset"
        )
        ends = await service.ends(service.source)
        said = statement(ledger)
    assert drawn.returncode == 0, drawn.stderr
    kept = os.environ.get("FARTHING_KEEP_PICTURE")
    if kept:
        shutil.copy(picture, kept)
    with capsys.disabled():
        print(json.dumps({"summary": summary, "counts": counts, "recount": [scores, letters]}, indent=1))
        print({"saved_usd": said["saved_usd"], "events": said["events"]})
        print(run.said())
    assert (scores, letters) == (told["scored"], told["dead"]) == tuple(counts["ledger"])
    assert scored_places | dead_places == {(p, offset) for p, end in ends.items() for offset in range(end)}
    assert len(scored_places) + len(dead_places) == scores + letters == told["sent"] == told["acked"]
    assert int(rows["score", service.sink]["Request Count"]) == scores
    assert int(rows["dead", service.dead]["Request Count"]) == letters
    assert told["sent"] > 1_000_000


async def test_users_of_all_three_tasks_at_once(own_kafka, make_service, tmp_path, capsys):
    """One service with three routes; each task's events go to its own topic and are all answered."""
    more = {task: [f"{kind}.{task}" for kind in ("events", "scores", "dead")] for task in ("bidding", "rerank")}
    routes = "".join(
        f'[[route]]\nbundle = "{task}"\nsource = "{source}"\nsink = "{sink}"\ndead_letters = "{dead}"\n'
        for task, (source, sink, dead) in more.items()
    )
    service = make_service(own_kafka, extra=routes)
    await service.create_topics()
    async with service.admin() as admin:
        await admin.create_topics([NewTopic(topic, 4, 1) for topics in more.values() for topic in topics])
    service.start()
    await service.ready()
    run = Run(service, tmp_path, "-u", 6, "-t", "20s", "--malformed-share", 0.02, "--late-ms", 1_000)
    code = await run()
    with capsys.disabled():
        print(json.dumps(run.summary))
    assert code == 0, run.said()
    for source, sink, dead in ((service.source, service.sink, service.dead), *more.values()):
        told = run.summary["routes"][source]
        assert told["sent"] == told["scored"] + told["dead"] and told["dead"] > 0 == told["repeated"]
        assert sum((await service.ends(source)).values()) == told["sent"]
        assert sum((await service.ends(sink)).values()) == told["scored"]
        assert sum((await service.ends(dead)).values()) == told["dead"]
