"""Sources written by transactions: what was aborted never comes out, what is open is waited for and told, lag reaches zero."""

import json

import pytest
from aiokafka import AIOKafkaProducer

from .looping import looping
from .running import event

pytestmark = pytest.mark.kafka


class Transactions:
    """A transactional producer, and the numbers of the events that it wrote."""

    numbers = iter(range(1_000_000))

    def __init__(self, service, name):
        self._topic = service.source
        self._producer = AIOKafkaProducer(
            bootstrap_servers=service.servers, transactional_id=f"{name}-{service.name}", linger_ms=0
        )

    async def __aenter__(self):
        await self._producer.start()
        return self

    async def __aexit__(self, *_):
        await self._producer.stop()

    async def begin(self):
        """Begin a transaction and write two record batches to each of two partitions; gives the events' numbers."""
        await self._producer.begin_transaction()
        written = []
        for _ in range(2):
            for partition in (0, 1):
                for _ in range(5):
                    number = next(self.numbers)
                    written.append(number)
                    await self._producer.send(self._topic, event(number, f"comment {number}"), partition=partition)
            await self._producer.flush()
        return written

    async def commit(self):
        written = await self.begin()
        await self._producer.commit_transaction()
        return written

    async def abort(self):
        await self.begin()
        await self._producer.abort_transaction()
        return []


async def test_only_committed_events_come_out_and_lag_reaches_zero(apache_kafka, make_service):
    service = make_service(apache_kafka, partitions=2)
    await service.create_topics()
    async with Transactions(service, "steady") as steady, Transactions(service, "slow") as slow:
        readable = []
        for turn in range(8):
            readable += await (steady.abort() if turn % 3 == 1 else steady.commit())
        waiting = await slow.begin()  # what follows lies behind it: nobody may read it yet
        waiting += await steady.abort() + await steady.commit()

        async with looping(service, stall_timeout_s=3.0) as loop:

            def sample(name):
                return loop.sample(f"farthing_{name}", route=service.source)

            def scored():
                return loop.sample("farthing_events_total", route=service.source, outcome="scored")

            await loop.until(lambda: scored() == len(readable))
            await loop.until(lambda: loop.health.state == "stalled")  # open for longer than a stall may take
            assert "a producer's transaction has been open for" in loop.health.reason
            assert f"{service.source}[" in loop.health.reason and "cannot be read yet" in loop.health.reason
            hidden = sum((await service.ends(service.source, "read_uncommitted")).values())
            hidden -= sum((await service.ends(service.source)).values())
            assert sample("lag_events") == sample("lag_unreadable_events") == hidden > len(waiting)
            await slow._producer.commit_transaction()
            assert await slow.abort() == await steady.abort() == []  # control batches end both logs
            await loop.until(lambda: scored() == len(readable + waiting))
            await loop.commits_all(service)
            await loop.until(lambda: sample("lag_events") == sample("lag_unreadable_events") == 0)
            await loop.until(lambda: loop.health.ready)
        loop.task.result()
    scores = await service.read(service.sink, len(readable + waiting))
    assert sorted(json.loads(record.value)["id"] for record in scores) == sorted(readable + waiting)
    assert await service.read(service.dead, 0, timeout_s=1) == []
