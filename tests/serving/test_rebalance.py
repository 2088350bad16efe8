"""Workers that come, go, die, stall and share a name, under load: nothing lost, order kept, repeats byte for byte."""

import asyncio
import os
import signal
import time

import pytest

from .running import SESSION_TIMEOUT_MS, eventually

pytestmark = pytest.mark.kafka

SHORT = {"session_timeout_ms": SESSION_TIMEOUT_MS, "heartbeat_interval_ms": 500}


async def assigned(service, partitions, timeout_s=60):
    """Wait until the service has so many partitions."""
    await eventually(lambda: service.metric("farthing_assigned_partitions") == partitions, timeout_s, service.said)


async def scored(service, more, timeout_s=60):
    """Wait until the service has scored so many events more."""
    begin = service.metric("farthing_events_total", outcome="scored") or 0
    await eventually(
        lambda: (service.metric("farthing_events_total", outcome="scored") or 0) >= begin + more,
        timeout_s, service.said,
    )  # fmt: skip


class Commits:
    """Watches the group's committed offsets: none may go back."""

    def __init__(self, service):
        self._service = service
        self._highest = {}

    async def __aenter__(self):
        self._task = asyncio.create_task(self._watch())
        return self

    async def __aexit__(self, *_):
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    async def check(self):
        assert not self._task.done(), self._task.exception()
        await self._look(await self._service.committed())

    async def _watch(self):
        async with self._service.admin() as admin:
            while True:
                found = await admin.list_consumer_group_offsets(self._service.group)
                await self._look({tp.partition: meta.offset for tp, meta in found.items()})
                await asyncio.sleep(0.1)

    async def _look(self, found):
        for partition, offset in found.items():
            assert offset >= self._highest.get(partition, 0), f"[{partition}] went back to {offset}: {self._highest}"
            self._highest[partition] = offset


async def test_a_second_worker_joins_and_leaves_under_load(apache_kafka, make_service):
    first = make_service(apache_kafka)
    await first.create_topics()
    second = first.twin()
    first.start()
    await first.ready()
    async with first.load() as sent, Commits(first) as commits:
        await scored(first, 500)
        second.start()
        await second.ready()
        await assigned(second, 2)
        await assigned(first, 2)
        await scored(first, 200)
        await scored(second, 200)
        assert second.stop() == 0
        await assigned(first, 4)
        await scored(first, 200)
        await commits.check()
    assert sent[0] > 20
    events, repeats = await first.check_delivery()
    await first.all_committed()
    assert first.stop() == 0
    assert repeats < events / 10, (events, repeats)  # what was in flight is finished before partitions are given up


async def test_a_worker_killed_under_load_is_started_again(apache_kafka, make_service):
    service = make_service(apache_kafka, workers=2, kafka=SHORT)
    await service.create_topics()
    service.start()
    await service.ready()
    async with service.load(), Commits(service) as commits:
        await scored(service, 500)
        before = service.worker_pids()
        os.kill(before[0], signal.SIGKILL)
        await eventually(lambda: service.worker_pids()[0] != before[0], 30, service.said)
        await service.ready()
        await eventually(lambda: service.metric("farthing_assigned_partitions") == 4, 60, service.said)
        await scored(service, 500)
        await commits.check()
    assert service.metric("farthing_worker_restarts_total", worker="0") == 1
    assert service.metric("farthing_worker_restarts_total", worker="1") == 0
    await service.check_delivery()
    began = time.monotonic()
    assert service.stop() == 0
    assert time.monotonic() - began < 25


async def test_a_worker_that_stalls_past_its_session_commits_nothing_when_it_wakes(apache_kafka, make_service):
    """The worst case: while it slept another worker did its work and left, so the group is empty when it wakes.

    An empty group takes commits of anyone who claims no generation, which is what a client that was put out would send.
    """
    sleeper = make_service(apache_kafka, kafka=SHORT, worker={"commit_interval_ms": 60_000})  # it always owes a commit
    await sleeper.create_topics()
    heir = sleeper.twin(kafka=SHORT)
    sleeper.start()
    await sleeper.ready()
    async with sleeper.load(), Commits(sleeper) as commits:
        await scored(sleeper, 500)
        sleeper.process.send_signal(signal.SIGSTOP)
        heir.start()
        await assigned(heir, 4)  # the session timeout has freed them
        await scored(heir, 500)
        assert heir.stop() == 0
        await commits.check()
        sleeper.process.send_signal(signal.SIGCONT)
        await eventually(lambda: (sleeper.metric("farthing_rebalances_total") or 0) >= 2, 30, sleeper.said)
        await assigned(sleeper, 4)
        await scored(sleeper, 500)
        await commits.check()
    await sleeper.check_delivery()
    assert sleeper.stop() == 0
    await sleeper.all_committed()


async def test_static_members_restart_without_a_rebalance_and_a_duplicate_is_named(apache_kafka, make_service):
    static = {"session_timeout_ms": 60_000, "heartbeat_interval_ms": 300}
    first = make_service(apache_kafka, kafka={**static, "group_instance_id": "one"})
    await first.create_topics()
    second = first.twin(kafka={**static, "group_instance_id": "two"})
    first.start()
    await first.ready()
    second.start()
    await second.ready()
    await assigned(first, 2)
    rebalances = first.metric("farthing_rebalances_total")
    async with first.load():
        await scored(second, 100)
        assert second.stop() == 0
        second.start()
        await second.ready()
        await scored(second, 100)
        assert first.metric("farthing_rebalances_total") == rebalances
        assert first.metric("farthing_assigned_partitions") == 2

        third = first.twin(kafka={**static, "group_instance_id": "two"})
        third.start()  # the two put each other out, in turns, until one has had enough; perhaps the other too
        twins = second, third
        await eventually(lambda: any(twin.process.poll() is not None for twin in twins), 60, third.said)
        loser = next(twin for twin in twins if twin.process.poll() is not None)
        assert await loser.waiting() == 3
        assert "kafka.group_instance_id = 'two'" in loser.said()
        third.end()
        second.end()
        second.start()
        await second.ready()
        await scored(second, 100)
    await first.check_delivery()
    assert second.stop() == 0
    assert first.stop() == 0
