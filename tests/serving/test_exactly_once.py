"""Exactly once: whatever dies, readers of committed data see each answer one time, and offsets that agree."""

import asyncio
import os
import signal

import pytest

from .looping import looping
from .running import SESSION_TIMEOUT_MS, event, eventually
from .test_new_log import events, offsets_scored, recreate

pytestmark = pytest.mark.kafka

KAFKA = {
    "delivery": "exactly_once", "transaction_timeout_ms": 3_000, "session_timeout_ms": SESSION_TIMEOUT_MS,
    "heartbeat_interval_ms": 500, "fetch_max_bytes": 1 << 16, "max_partition_fetch_bytes": 1 << 16,
}  # fmt: skip
EVENTS = 30_000


def backlog(events=EVENTS):
    return [event(n, "text " * (n % 20)) for n in range(events)]


async def seen(service, isolation):
    return sum((await service.ends(service.sink, isolation)).values())


async def answered_once(service, events=EVENTS):
    assert await service.check_delivery(120) == (events, 0)
    await service.all_committed()


async def test_a_worker_killed_anywhere_leaves_no_repeat(apache_kafka, make_service):
    # A static member is back at once, with the same transactional id: it aborts what it left open.
    service = make_service(apache_kafka, kafka=KAFKA | {"group_instance_id": "one"})
    await service.create_topics()
    await service.send(backlog(), batch_records=500)
    for place in ("after_produce:4", "before_commit:2", "after_commit:1", "after_score:3"):
        service.start(env={**os.environ, "FARTHING_FAILPOINT": place})
        assert await service.waiting(120) == -signal.SIGKILL
    service.start()
    await answered_once(service)
    assert service.stop() == 0
    records = await service.read(service.sink, EVENTS)
    assert len(records) == EVENTS
    assert await seen(service, "read_uncommitted") > EVENTS + len(service.family)  # markers, and what was aborted


async def test_a_worker_that_was_away_commits_nothing(apache_kafka, make_service):
    service = make_service(apache_kafka, kafka=KAFKA)
    other = service.twin(kafka=KAFKA)
    await service.create_topics()
    service.start()
    await service.ready()
    async with service.load() as sent:
        other.start()
        await eventually(lambda: (other.metric("farthing_events_total", outcome="scored") or 0) > 500, 120, other.said)
        os.kill(other.process.pid, signal.SIGSTOP)
        await eventually(lambda: service.metric("farthing_assigned_partitions") == service.partitions, 60, service.said)
        before = sent[0]
        await eventually(lambda: sent[0] > before + 50, 60)
        os.kill(other.process.pid, signal.SIGCONT)
        before = sent[0]
        await eventually(lambda: sent[0] > before + 100, 60)
    _, repeats = await service.check_delivery(120)
    assert repeats == 0
    await service.all_committed()
    assert (service.stop(), other.stop()) == (0, 0)


@pytest.mark.campaign  # the short matrix has a broker that is killed
async def test_a_broker_that_is_gone_for_a_while_leaves_no_repeat(mortal_kafka, make_service):
    impatient = {"delivery_timeout_ms": 2_000, "request_timeout_ms": 2_000}
    service = make_service(mortal_kafka, kafka=KAFKA | impatient)
    await service.create_topics()
    await service.send(backlog(), batch_records=500)
    service.start()
    await eventually(lambda: (service.metric("farthing_events_total", outcome="scored") or 0) > 500, 120, service.said)
    mortal_kafka.kill()
    await service.stalled()
    mortal_kafka.start()
    await service.ready()
    await answered_once(service)
    assert service.stop() == 0


async def test_events_of_both_logs_are_answered_once(apache_kafka, make_service):
    service = make_service(apache_kafka, partitions=1)
    await service.create_topics()
    async with looping(service, kafka=KAFKA, transactional_id=f"{service.group}.one") as loop:
        await service.send(events(300), batch_records=20)
        await loop.commits_all(service)
        await recreate(service, service.source)
        await service.send(events(500, "anew"), batch_records=20)
        await loop.commits_all(service)
        assert loop.sample("farthing_new_logs_total", route=service.source, partition="0") == 1
    loop.task.result()
    assert sorted(await offsets_scored(service, 800)) == sorted([*range(300), *range(500)])


@pytest.mark.parametrize("delivery", ["at_least_once", "exactly_once"])
async def test_what_is_scored_is_committed_though_no_fetch_is_answered(
    apache_kafka, make_service, monkeypatch, delivery
):
    """The source's leader may freeze just after a block was produced: its transaction would be aborted meanwhile."""
    service = make_service(apache_kafka, partitions=1)
    await service.create_topics()
    options = {"transactional_id": f"{service.group}.one"} if delivery == "exactly_once" else {}
    asked, frozen, goes_on = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def fetch_once():
        asked.set()
        if frozen.is_set():
            await goes_on.wait()
        fetched = await fetch()
        if fetched.partitions:
            frozen.set()
        return fetched

    async with looping(service, kafka={"delivery": delivery}, **options) as loop:
        fetch = loop.consumer.fetch
        monkeypatch.setattr(loop.consumer, "fetch", fetch_once)
        await asked.wait()
        await service.send([event(n, f"text {n}") for n in range(20)], batch_records=20)
        await loop.commits_all(service)
        assert frozen.is_set() and not goes_on.is_set()
        goes_on.set()
    loop.task.result()
