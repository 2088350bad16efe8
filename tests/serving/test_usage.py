"""Usage totals: exact through a clean stop, a kill in the middle and a second owner, and kept beside the offsets."""

import asyncio
import re
import shutil
import socket
import subprocess
import uuid
from collections import Counter

import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition
from prometheus_client.parser import text_string_to_metric_families

from farthing.commands.metrics_table import rows
from farthing.local.comments import comment_events
from farthing.meter.records import OTHER, Heartbeat, UsageRecord

from .running import SESSION_TIMEOUT_MS, Service, event

pytestmark = pytest.mark.kafka
SOON_LEFT = {"session_timeout_ms": SESSION_TIMEOUT_MS, "heartbeat_interval_ms": 1_000}


async def read_all(servers, topic):
    """Every record of a topic's one partition, as it is now."""
    consumer = AIOKafkaConsumer(bootstrap_servers=servers, auto_offset_reset="earliest")
    await consumer.start()
    try:
        partition = TopicPartition(topic, 0)
        consumer.assign([partition])
        end = (await consumer.end_offsets([partition]))[partition]
        found = []
        while await consumer.position(partition) < end:
            got = await consumer.getmany(partition, timeout_ms=500)
            found += [record.value for records in got.values() for record in records]
        return found
    finally:
        await consumer.stop()


async def totals(service):
    """The furthest total of each count of the service's source topic."""
    furthest = {}
    for value in await read_all(service.servers, "farthing.usage"):
        record = UsageRecord.decode(value)
        if record.topic == service.source:
            known = furthest.get(record.key)
            if known is None or record.next_offset > known.next_offset:
                furthest[record.key] = record
    return list(furthest.values())


async def test_totals_are_exact_through_a_kill_and_a_restart(apache_kafka, tmp_path):
    service = Service(apache_kafka, tmp_path, partitions=3, kafka=SOON_LEFT, route={"tenant": "account.id"})
    await service.create_topics()
    bad = [b"{", b'{"id":1}', b'{"text":5}']
    values = [
        *(value[:-1] + f',"account":{{"id":"t{n % 7}"}}}}'.encode() for n, value in enumerate(comment_events(6_000))),
        *bad,
    ]
    service.start()
    try:
        await service.ready()
        sent = await service.send(values[:3_000], batch_records=100)
        await service.read(service.sink, len(sent))
        service.process.kill()  # what was acknowledged and not committed is scored again, and counted once
        service.process.wait(60)
        sent += await service.send(values[3_000:], batch_records=100)
        service.start()
        await service.ready(120)
        scored = await service.read(service.sink, len(sent) - len(bad))
        await service.read(service.dead, len(bad))
        assert service.stop() == 0
    finally:
        service.stop()
    assert len({(r.partition, dict(r.headers)["farthing.offset"]) for r in scored}) == len(sent) - len(bad)
    counts = await totals(service)
    assert {count.partition for count in counts} == {0, 1, 2}
    assert sum(count.totals.scored for count in counts) == len(sent) - len(bad)
    assert sum(count.totals.dead for count in counts) == len(bad)
    assert sum(count.totals.payload_bytes for count in counts) == sum(len(value) for _, value in sent)
    for count in counts:
        assert count.next_offset == sum(1 for partition, _ in sent if partition == count.partition)
        assert sum(calls for calls, _ in count.totals.calls.values()) == count.totals.scored
    tenants = Counter()
    for count in counts:
        for name, (scored_, dead, _) in count.tenants.items():
            tenants[name] += scored_ + dead
    assert tenants == Counter({OTHER: len(bad)} | {f"t{k}": len(range(k, 6_000, 7)) for k in range(7)})


def assert_every_metric_is_in_the_table(text):
    """A live scrape has the names, types and labels that the table tells, and promtool finds nothing."""
    if shutil.which("promtool"):
        subprocess.run(["promtool", "check", "metrics"], input=text.encode(), check=True, timeout=30)
    told = {row.name: row for row in rows() if row.by == "worker"}
    for family in text_string_to_metric_families(text):
        if family.name.endswith("_created"):
            continue  # the library's own, one for each counter and histogram
        for sample in family.samples:
            row = told[re.sub(r"_(bucket|count|sum)$", "", sample.name)]
            assert set(sample.labels) - {"le"} == set(row.labels), sample
            assert family.type == row.type, sample


async def test_heartbeats_say_who_lives(apache_kafka, tmp_path):
    topic = f"beats.{uuid.uuid4().hex}"  # another test may leave one with a plainer name
    service = Service(apache_kafka, tmp_path, partitions=1, extra=f"[meter]\nheartbeat_topic = '{topic}'\n")
    await service.create_topics()
    service.start()
    try:
        await service.ready()
        await service.send([event(n, "some text of an event") for n in range(50)])
        await service.read(service.sink, 50)
        beats, counted = [], False
        async with asyncio.timeout(90):
            while not counted or beats[-1].lag != {service.source: 0}:  # the lag is asked for now and then
                await asyncio.sleep(0.5)
                beats = [Heartbeat.decode(value) for value in await read_all(service.servers, topic)]
                counted = any(sum(beat.latency.get(service.source, ())) == 50 for beat in beats)
        assert_every_metric_is_in_the_table(service.get("/metrics")[1])
        last = beats[-1]
        assert last.worker == f"{socket.gethostname()}:{service.port}/0"  # another service of this host has another
        assert last.state == "running"
        assert last.cores == 1
        assert last.cpu_ns > 0
        assert last.reserved_core_ms > 0
        assert last.lag == {service.source: 0}
        assert sum(last.latency[service.source]) == sum(last.ages[service.source].values()) == 50
        assert sum(last.events_by_age[service.source].values()) == 50
        assert any(sample[0] >= 1 for beat in beats for sample in beat.sample.values())  # texts sampled
    finally:
        assert service.stop() == 0
    said = [Heartbeat.decode(value).state for value in await read_all(service.servers, topic)]
    assert said[-1] == "stopped"
    assert said.count("stopped") == 1
