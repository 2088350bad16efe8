"""A log that was replaced or cut is noticed, and events that were deleted before they were scored are counted."""

import asyncio
import contextlib
import json
import os
import signal
import threading
import time

import pytest
from aiokafka import TopicPartition
from aiokafka.admin import NewTopic, RecordsToDelete

from farthing.kafka import metadata as metadata_module
from farthing.kafka.protocol import OFFSET_COMMIT
from farthing.serving.route import Route
from tests.audit.test_command import audit
from tests.kafka.protocol.talking import talking
from tests.ledger.running import RunningLedger

from .looping import looping, make_route
from .running import Service, event, offset_of

pytestmark = pytest.mark.kafka


@pytest.fixture(params=["ids", "batches"])
def known_by(request, monkeypatch):
    """How a log is recognized: by its topic's id, or (brokers without ids) by the last batch."""
    if request.param == "batches":
        monkeypatch.setattr(metadata_module, "AT_MOST", 9)
    return request.param


async def recreate(service, topic, configs=None):
    """Delete a topic and create it again."""
    async with service.admin() as admin:
        await admin.delete_topics([topic])
        deadline = time.monotonic() + 30
        while True:  # a deletion takes a moment to be done
            answer = await admin.create_topics([NewTopic(topic, service.partitions, 1, topic_configs=configs or {})])
            if not answer.topic_errors[0][1]:
                return
            assert time.monotonic() < deadline
            await asyncio.sleep(0.1)


@contextlib.asynccontextmanager
async def keeping_the_commit(service):
    """Commit again what was committed: Kafka deletes a group's offsets with their topic, and not every broker does."""
    async with service.admin() as admin:
        found = await admin.list_consumer_group_offsets(service.group)
    yield
    rows = [
        {"partition_index": tp.partition, "committed_offset": meta.offset, "committed_metadata": meta.metadata}
        for tp, meta in found.items()
    ]
    async with talking(service.servers) as talk:
        topics = [{"name": service.source, "partitions": rows}]
        await talk.settled(OFFSET_COMMIT, 5, group_id=service.group, topics=topics)


def events(n, text="text"):
    return [event(k, f"{text} {k}") for k in range(n)]


async def offsets_scored(service, count):
    return [offset_of(record) for record in await service.read(service.sink, count)]


async def test_a_topic_made_anew_and_refilled_while_the_worker_slept(apache_kafka, tmp_path):
    """The position is in the new log too: without a check the first 300 new events would never be scored."""
    service = Service(apache_kafka, tmp_path, partitions=1)
    await service.create_topics()
    service.start()
    try:
        await service.ready()
        await service.send(events(300))
        await service.all_committed()
        os.kill(service.process.pid, signal.SIGSTOP)
        try:
            await recreate(service, service.source)
            await service.send(events(500, "anew"))
            await asyncio.sleep(2)  # that is the fault: a worker paused for two seconds
        finally:
            os.kill(service.process.pid, signal.SIGCONT)
        await service.all_committed()
        assert sorted(await offsets_scored(service, 800)) == sorted([*range(300), *range(500)])
        (said,) = service.events("new_log")
        assert (said["topic"], said["partition"], said["offset"], said["continues_at"]) == (service.source, 0, 300, 0)
        assert service.metric("farthing_new_logs_total", route=service.source, partition="0") == 1
    finally:
        service.end()


def answered(ledger):
    """Events in the books, of all counts."""
    status, text = ledger.get("/api/accounts")
    return sum(count["scored"] + count["dead"] for count in json.loads(text)) if status == 200 else 0


async def test_books_and_audit_count_a_new_log_apart(apache_kafka, tmp_path):
    """While it was seen by a running worker, while none ran, and with what retention deleted meanwhile."""
    ledger = RunningLedger(apache_kafka, tmp_path)
    extra = f'[meter]\nusage_topic = "{ledger.usage}"\nheartbeat_topic = "{ledger.heartbeats}"\n'
    service = Service(apache_kafka, tmp_path, partitions=1, extra=extra)
    await ledger.create_topics()
    await service.create_topics()
    try:
        ledger.start()
        service.start()
        await service.ready()
        await service.send(events(300))
        await service.all_committed()
        assert service.stop() == 0
        await recreate(service, service.source)  # while no worker runs
        await service.send([*events(200, "anew"), b"{"])
        service.start()
        await service.ready()
        await service.all_committed()
        await recreate(service, service.source)  # while one runs
        await service.send(events(100, "once more"))
        await service.all_committed()
        assert service.stop() == 0
        await service.send(events(50, "more"), batch_records=10)
        async with service.admin() as admin:
            await admin.delete_records({TopicPartition(service.source, 0): RecordsToDelete(before_offset=130)})
        service.start()
        await service.ready()
        await service.all_committed()
        assert service.stop() == 0
        await ledger.ready()
        await ledger.wait_for(lambda: answered(ledger) == 300 + 201 + 120, 60)
        done, said = await asyncio.to_thread(audit, service, ledger)
    finally:
        service.end()
        ledger.stop()
    assert [(p["log"], p["scored"], p["dead"], p["lost"], p["repeats"]) for p in said["partitions"]] == [
        (0, 300, 0, 0, 0), (1, 200, 1, 0, 0), (2, 120, 0, 30, 0),
    ]  # fmt: skip
    assert not any(p["findings"] for p in said["partitions"])
    assert (said["agrees"], said["lost"], done.returncode) == (False, 30, 1)
    assert "30 events were deleted by retention before they were scored" in " ".join(done.stderr.split())
    assert "620 events scored and 1 dead in 1 partition" in " ".join(done.stderr.split())


@pytest.mark.parametrize(("policy", "expected"), [("earliest", range(50)), ("latest", range(50, 55))])
async def test_a_topic_made_anew_while_no_worker_ran(apache_kafka, make_service, known_by, policy, expected):
    service = make_service(apache_kafka, partitions=1)
    await service.create_topics()
    await service.send(events(30))
    async with looping(service) as loop:
        await loop.commits_all(service)
    async with keeping_the_commit(service):
        await recreate(service, service.source)
    await service.send(events(50, "anew"))
    async with looping(service, kafka={"on_new_log": policy}) as loop:
        await loop.until(lambda: loop.sample("farthing_new_logs_total", route=service.source, partition="0"))
        if policy == "latest":
            await service.send(events(5, "later"))
        await loop.commits_all(service)
        assert loop.consumer._watch.number((service.source, 0)) == 1
    loop.task.result()
    assert await offsets_scored(service, 30 + len(expected)) == [*range(30), *expected]
    async with looping(service, kafka={"on_new_log": policy}) as loop:  # the commit says which log it belongs to
        await service.send(events(5, "still later"))
        await loop.commits_all(service)
        assert loop.consumer._watch.number((service.source, 0)) == 1
        assert not loop.sample("farthing_new_logs_total", route=service.source, partition="0")
    loop.task.result()
    assert len(await service.read(service.sink, 35 + len(expected))) == 35 + len(expected)


async def test_a_new_log_can_halt_its_partition(apache_kafka, make_service, known_by):
    service = make_service(apache_kafka, partitions=1)
    await service.create_topics()
    await service.send(events(30))
    async with looping(service, kafka={"on_new_log": "halt"}) as loop:
        await loop.commits_all(service)
        await recreate(service, service.source)
        await service.send(events(50, "anew"))
        await loop.until(lambda: f"{service.source}[0] is held" in loop.health.reason)
        assert "kafka.on_new_log" in loop.health.reason
    loop.task.result()
    assert await offsets_scored(service, 30) == [*range(30)]
    async with looping(service) as loop:  # the operator has decided
        await loop.commits_all(service)
    assert await offsets_scored(service, 80) == [*range(30), *range(50)]


async def test_other_partitions_lose_nothing_when_one_log_is_new(apache_kafka, make_service, known_by):
    first, second = (make_service(apache_kafka, partitions=1) for _ in range(2))
    second.group = first.group
    for service in (first, second):
        await service.create_topics()
    async with looping(first, make_route(first), make_route(second)) as loop:
        await first.send(events(40))
        await loop.commits_all(first)
        sending = asyncio.create_task(second.send(events(2_000), batch_records=50))
        await recreate(first, first.source)
        await first.send(events(60, "anew"))
        await sending
        await loop.commits_all(first, second)
    loop.task.result()
    assert await offsets_scored(first, 100) == [*range(40), *range(60)]
    assert set(await offsets_scored(second, 2_000)) == set(range(2_000))


async def test_compaction_and_retention_are_no_new_log(apache_kafka, make_service, known_by):
    """The last batch before the position may be gone: it was deleted, and the log is the same."""
    service = make_service(apache_kafka, partitions=1)
    await service.create_topics()
    await service.send(events(30), batch_records=10)
    async with looping(service) as loop:
        await loop.commits_all(service)
    async with service.admin() as admin:
        await admin.delete_records({TopicPartition(service.source, 0): RecordsToDelete(before_offset=30)})
    await service.send(events(20, "more"), batch_records=10)
    async with looping(service) as loop:
        await loop.commits_all(service)
        assert not loop.sample("farthing_new_logs_total", route=service.source, partition="0")
        lost = loop.sample("farthing_events_lost_total", route=service.source, partition="0", reason="retention")
        assert not lost
    loop.task.result()
    assert await offsets_scored(service, 50) == [*range(50)]


async def test_events_that_retention_took_are_counted(apache_kafka, make_service):
    service = make_service(apache_kafka, partitions=1)
    await service.create_topics()
    await service.send(events(10))
    async with looping(service) as loop:
        await loop.commits_all(service)
    await service.send(events(30, "more"), batch_records=10)
    async with service.admin() as admin:
        await admin.delete_records({TopicPartition(service.source, 0): RecordsToDelete(before_offset=30)})
    async with looping(service) as loop:
        await loop.commits_all(service)
        lost = loop.sample("farthing_events_lost_total", route=service.source, partition="0", reason="retention")
        assert lost == 20
        assert not loop.sample("farthing_new_logs_total", route=service.source, partition="0")
    loop.task.result()
    assert await offsets_scored(service, 20) == [*range(10), *range(30, 40)]


async def test_a_shorter_log_is_a_new_one(apache_kafka, make_service, known_by):
    service = make_service(apache_kafka, partitions=1)
    await service.create_topics()
    await service.send(events(30))
    async with looping(service) as loop:
        await loop.commits_all(service)
        await recreate(service, service.source)
        await service.send(events(10, "anew"))
        await loop.until(lambda: loop.sample("farthing_new_logs_total", route=service.source, partition="0") == 1)
        await loop.commits_all(service)
    loop.task.result()
    assert await offsets_scored(service, 40) == [*range(30), *range(10)]


class SlowRoute(Route):
    """Answers a block when it is told to."""

    def __init__(self, *arguments, **more):
        super().__init__(*arguments, **more)
        self.gate, self.waiting = threading.Event(), threading.Event()
        self.gate.set()

    def answer(self, fetched):
        self.waiting.set()
        assert self.gate.wait(60)
        return super().answer(fetched)


async def test_what_was_fetched_before_retention_came_is_scored_and_the_rest_is_counted(apache_kafka, make_service):
    """Those blocks were void: their events were lost as well, and were not among the lost."""
    service = make_service(apache_kafka, partitions=1)
    await service.create_topics()
    await service.send(events(400, "a text of some length " * 50), batch_records=10)
    route = make_route(service, route_class=SlowRoute)
    route.gate.clear()
    route.waiting.clear()
    small = {"max_partition_fetch_bytes": 1 << 16, "fetch_max_bytes": 1 << 16}
    try:
        async with looping(service, route, kafka=small) as loop:
            place = (service.source, 0)
            await loop.until(route.waiting.is_set)
            begun = loop.consumer._positions[place]
            await loop.until(lambda: loop.consumer._positions[place] > begun or not loop.consumer._requests.tasks)
            async with service.admin() as admin:
                await admin.delete_records({TopicPartition(service.source, 0): RecordsToDelete(before_offset=370)})
            route.gate.set()
            await loop.commits_all(service)
            lost = loop.sample("farthing_events_lost_total", route=service.source, partition="0", reason="retention")
        loop.task.result()
    finally:
        route.gate.set()
    found = await offsets_scored(service, 400 - int(lost))
    assert found == [*range(370 - int(lost)), *range(370, 400)]
    assert 0 < lost < 360
