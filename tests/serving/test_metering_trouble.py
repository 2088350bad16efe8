"""Metering in trouble, on Apache Kafka: scoring and committing go on, and the books are whole in the end."""

import asyncio

import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.structs import OffsetAndMetadata

from farthing.meter.records import Heartbeat, UsageRecord

from .running import SESSION_TIMEOUT_MS, Service, event, eventually
from .test_usage import read_all

pytestmark = pytest.mark.kafka
SOON_LEFT = {"session_timeout_ms": SESSION_TIMEOUT_MS, "heartbeat_interval_ms": 1_000}
DAY_S = 86_400

# The clock that everybody in this process reads; how far it is put forward or back stands in a file.
STEPPED = """
import pathlib, sys, time
real_ns, file = time.time_ns, pathlib.Path(sys.argv.pop(1))
time.time_ns = lambda: real_ns() + int(file.read_text() or 0) * 1_000_000_000
time.time = lambda: time.time_ns() / 1e9
from farthing.__main__ import main
sys.exit(main())
"""


def topics(usage, heartbeats):
    return f"[meter]\nusage_topic = '{usage}'\nheartbeat_topic = '{heartbeats}'\n"


async def counted(service, topic):
    """Scored events by partition, of the furthest total in the usage topic."""
    found = {}
    for value in await read_all(service.servers, topic):
        record = UsageRecord.decode(value)
        if record.topic == service.source and record.next_offset > found.get(record.partition, (0, 0))[0]:
            found[record.partition] = record.next_offset, record.totals.scored
    return {partition: scored for partition, (_, scored) in found.items()}


async def until_counted(service, topic, expected, timeout_s=90):
    async with asyncio.timeout(timeout_s):
        while await counted(service, topic) != expected:  # noqa: ASYNC110 - there is no event to wait for
            await asyncio.sleep(0.3)


async def test_without_its_topics_scoring_and_committing_go_on_and_nothing_is_repeated(apache_kafka, tmp_path):
    """It committed nothing for ever, and a restart scored all of it again."""
    service = Service(apache_kafka, tmp_path, partitions=2, kafka=SOON_LEFT, extra=topics("not/a topic", "nor/this"))
    await service.create_topics()
    stranger = AIOKafkaConsumer(bootstrap_servers=service.servers, group_id=service.group, enable_auto_commit=False)
    await stranger.start()
    try:
        stranger.assign([TopicPartition(service.source, p) for p in (0, 1)])
        deep = {TopicPartition(service.source, p): OffsetAndMetadata(0, "[" * 4_000) for p in (0, 1)}
        await stranger.commit(deep)
    finally:
        await stranger.stop()
    service.start()
    try:
        await service.ready()
        await service.send([event(n, "some text of an event") for n in range(2_000)])
        await service.all_committed()
        assert service.metric("farthing_refused_metadata_total", reason="nesting") == 2
        await eventually(lambda: "usage not published" in service.get("/ready")[1], 60, service.said)
        assert service.get("/ready")[0] == 200
        assert service.metric("farthing_usage_unpublished_seconds") > 0
        assert service.metric("farthing_report_errors_total", report="heartbeat") > 0
        service.process.kill()
        service.process.wait(60)
        await service.send([event(n, "some text of an event") for n in range(1_000)])
        usage = f"usage.{service.name}"
        service.config.write_text(service.config.read_text().replace("not/a topic", usage).replace("nor/this", "beats"))
        service.start()
        await service.ready()
        await service.all_committed()
        assert service.metric("farthing_refused_metadata_total", reason="nesting") == 0
        scores = await service.read(service.sink, 3_000)
        await until_counted(service, usage, {0: 1_500, 1: 1_500})
        assert service.stop() == 0
    finally:
        service.end()
    assert len(scores) == 3_000  # not one of them twice
    assert "Traceback" not in service.log.read_text()


async def test_a_clock_that_is_put_forward_and_back_and_a_topic_that_is_deleted(apache_kafka, tmp_path):
    """The broker refuses timestamps more than an hour ahead of its own clock."""
    usage, beats = (f"{kind}.{tmp_path.name}"[:200] for kind in ("usage", "beats"))
    service = Service(apache_kafka, tmp_path, partitions=1, kafka=SOON_LEFT, extra=topics(usage, beats))
    await service.create_topics()
    step = tmp_path / "step"
    step.write_text(str(30 * DAY_S))
    service.start("-c", STEPPED, str(step), "serve", "-c", str(service.config))
    try:
        await service.ready()
        total = 0
        for step_s in (30 * DAY_S, -30 * DAY_S, 73 * 365 * DAY_S, -60 * 365 * DAY_S):
            step.write_text(str(step_s))
            await service.send([event(n, "some text of an event") for n in range(500)])
            total += 500
            await service.all_committed()
            await until_counted(service, usage, {0: total})
            if step_s == -30 * DAY_S:
                async with service.admin() as admin:
                    await admin.delete_topics([usage])
        assert service.get("/ready") == (200, "running: scoring\n")
        assert service.metric("farthing_report_errors_total", report="heartbeat") == 0
        assert service.stop() == 0
    finally:
        service.end()
    said = [Heartbeat.decode(value) for value in await read_all(service.servers, beats)]
    assert said[-1].state == "stopped"
    assert said[-1].at_ms - said[-1].started_at_ms < 300_000  # the time that the cores were reserved
    assert len({beat.at_ms for beat in said}) == len(said)
