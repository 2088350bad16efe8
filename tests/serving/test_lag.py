"""Lag at every moment: the end of the log minus what is acknowledged, whatever was fetched or is being scored."""

import asyncio
import math
import threading

import pytest

from farthing.kafka import Lag
from farthing.local.comments import comment_events
from farthing.serving.route import Route

from .looping import looping, make_route

pytestmark = pytest.mark.kafka


class SlowRoute(Route):
    """Answers a block when it is told to."""

    def __init__(self, *arguments, **more):
        super().__init__(*arguments, **more)
        self.gate, self.waiting = threading.Event(), threading.Event()
        self.gate.set()  # the first block is the one that warms kernels

    def answer(self, fetched):
        self.waiting.set()
        assert self.gate.wait(60)
        return super().answer(fetched)


def lag(loop, service):
    return loop.sample("farthing_lag_events", route=service.source)


async def test_a_worker_with_slow_scoring_shows_all_that_waits(apache_kafka, make_service):
    service = make_service(apache_kafka, partitions=2)
    await service.create_topics()
    await service.send(comment_events(6_000), batch_records=500)  # there before the worker is
    route = make_route(service, route_class=SlowRoute)
    route.gate.clear()
    route.waiting.clear()
    async with looping(
        service, route, kafka={"max_partition_fetch_bytes": 1 << 16, "fetch_max_bytes": 1 << 16}
    ) as loop:
        await loop.until(route.waiting.is_set)  # a block is fetched and being scored, the next one is fetched
        await loop.until(lambda: lag(loop, service) == 6_000)
        assert loop.pipeline.lag() == {service.source: Lag(6_000)}
        await service.send(comment_events(1_500, seed=2), batch_records=500)  # while no fetch can tell
        await loop.until(lambda: lag(loop, service) == 7_500)
        for _ in range(40):  # at no moment is it less than what waits, nor more than what was sent
            route.gate.set()
            before = loop.pipeline._offsets
            acknowledged = sum(before.next_unacknowledged((service.source, p)) for p in (0, 1))
            assert lag(loop, service) == 7_500 - acknowledged
            await asyncio.sleep(0.01)
        await loop.until(lambda: lag(loop, service) == 0)
        await loop.commits_all(service)
        consumer = loop.pipeline._consumer
        under_way = list(consumer._requests.tasks.values())
        consumer.hold((service.source, 0), "a hand")
        if under_way:  # these may still bring events of it; what is asked for from now on leaves it out
            _, unanswered = await asyncio.wait(under_way, timeout=60)
            assert not unanswered
        await service.send(comment_events(300, seed=3), batch_records=100, partition=0)
        await loop.until(lambda: lag(loop, service) == 300)  # nobody fetches what is held
        consumer._rebalance_began = 0.0
        assert math.isnan(lag(loop, service))  # no assignment, no lag
        consumer._rebalance_began = None
        assert lag(loop, service) == 300
    loop.task.result()


async def test_a_topic_that_is_made_anew_is_never_told_as_less_than_nothing(apache_kafka, make_service):
    service = make_service(apache_kafka, partitions=1)
    await service.create_topics()
    async with looping(service) as loop:
        await service.send(comment_events(2_000), batch_records=500)
        await loop.until(lambda: loop.sample("farthing_events_total", route=service.source, outcome="scored") == 2_000)
        async with service.admin() as admin:
            await admin.delete_topics([service.source])
        seen = set()

        def begun_anew():
            seen.add(lag(loop, service))
            return loop.sample("farthing_events_total", route=service.source, outcome="scored") == 2_100

        made = asyncio.create_task(make_anew(service))
        await loop.until(begun_anew, 60)
        await made
        await loop.until(lambda: lag(loop, service) == 0)
        assert all(math.isnan(one) or 0 <= one <= 100 for one in seen), seen


async def make_anew(service):
    from aiokafka.admin import NewTopic

    async with service.admin() as admin:
        while True:
            await admin.create_topics([NewTopic(service.source, 1, 1)])
            if service.source in await admin.list_topics():
                break
            await asyncio.sleep(0.2)
    await service.send(comment_events(100, seed=4), batch_records=100)
