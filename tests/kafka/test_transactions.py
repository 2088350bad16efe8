"""Transactions on Apache Kafka: visible together or not at all, and never by one whom another has followed."""

import asyncio
import uuid
from contextlib import asynccontextmanager

import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition
from loadtest.transactions import Writer

from farthing.errors import BrokerError
from farthing.kafka import KafkaSettings
from farthing.kafka.client import connect, disconnect, make_client
from farthing.kafka.membership import Member
from farthing.kafka.topics import RouteTopicNames, create_topics
from farthing.kafka.transactions import FencedError


@asynccontextmanager
async def writing(broker, *topics):
    """A client of its own: no two may use one's connections."""
    settings = KafkaSettings(bootstrap_servers=(broker.bootstrap_servers,))
    await create_topics(settings, [RouteTopicNames(*topics)], partitions=2, replication_factor=1)
    client = make_client(settings)
    await connect(client, topics)
    try:
        yield client
    finally:
        await disconnect(client, 5)


@asynccontextmanager
async def consuming(broker, topic, isolation):
    """A consumer of both partitions, and where each ends for it."""
    consumer = AIOKafkaConsumer(
        bootstrap_servers=broker.bootstrap_servers, isolation_level=isolation, auto_offset_reset="earliest"
    )
    await consumer.start()
    try:
        partitions = [TopicPartition(topic, n) for n in range(2)]
        consumer.assign(partitions)
        yield consumer, await consumer.end_offsets(partitions)
    finally:
        await consumer.stop()


async def read(broker, topic, isolation="read_committed"):
    async with consuming(broker, topic, isolation) as (consumer, ends):
        values = []
        for partition, end in ends.items():
            while await consumer.position(partition) < end:
                batches = await consumer.getmany(partition, timeout_ms=500)
                values += [record.value for record in batches.get(partition, ())]
        return values


async def read_ended(broker, topic):
    """Read what is committed, once every transaction has its marker: the broker answers EndTxn before it writes them."""
    while True:
        async with consuming(broker, topic, "read_uncommitted") as (_, ends):
            pass
        async with consuming(broker, topic, "read_committed") as (_, stable):
            if stable == ends:
                break
        await asyncio.sleep(0.1)
    return await read(broker, topic)


def names():
    unique = uuid.uuid4().hex[:8]
    return [f"{unique}.{part}" for part in ("events", "scores", "dead")]


def run(test):
    return asyncio.run(asyncio.wait_for(test, 120))


def test_what_is_committed_is_visible_and_what_is_aborted_never(apache_kafka):
    async def body():
        topics = names()
        async with writing(apache_kafka, *topics) as client:
            writer = Writer(client, f"id.{topics[0]}")
            await writer.begin()
            assert await writer.write(topics[1], 0, b"a", b"b") == 0
            assert await writer.write(topics[2], 1, b"dead") == 0
            assert await read(apache_kafka, topics[1]) == []
            assert await writer.transactions.commit({}, {}, None)
            assert await writer.write(topics[1], 0, b"c") == 0
            await writer.transactions.abort()
            assert await writer.write(topics[1], 1, b"d") == 0
            assert await writer.transactions.commit({}, {}, None)
            assert not writer.transactions.is_open
            assert sorted(await read_ended(apache_kafka, topics[1])) == [b"a", b"b", b"d"]
            assert await read_ended(apache_kafka, topics[2]) == [b"dead"]
            assert len(await read(apache_kafka, topics[1], "read_uncommitted")) == 4

    run(body())


def test_another_with_the_same_id_aborts_what_is_open_and_fences_it(apache_kafka):
    async def body():
        topics = names()
        async with writing(apache_kafka, *topics) as one, writing(apache_kafka, *topics) as other:
            old, new = Writer(one, f"id.{topics[0]}"), Writer(other, f"id.{topics[0]}")
            await old.begin()
            assert await old.write(topics[1], 0, b"old") == 0
            await new.begin()
            assert await old.write(topics[1], 0, b"older") == 47  # INVALID_PRODUCER_EPOCH
            with pytest.raises(FencedError, match="another worker uses the same id"):
                await old.transactions.commit({}, {}, None)
            assert await new.write(topics[1], 0, b"new") == 0
            assert await new.transactions.commit({}, {}, None)
            assert await read_ended(apache_kafka, topics[1]) == [b"new"]

    run(body())


def test_a_member_that_a_rebalance_has_passed_by_commits_nothing(apache_kafka):
    async def body():
        topics = names()
        group = f"group.{topics[0]}"
        async with writing(apache_kafka, *topics) as client:
            consumer = AIOKafkaConsumer(
                topics[0], bootstrap_servers=apache_kafka.bootstrap_servers, group_id=group, enable_auto_commit=False
            )
            await consumer.start()
            try:
                assert len(consumer.assignment()) == 2
                coordinator = consumer._coordinator
                member = Member(group, coordinator.generation, coordinator.member_id, None)
                writer = Writer(client, f"id.{topics[0]}")
                await writer.begin()
                place = (topics[0], 0)
                assert await writer.write(topics[1], 0, b"kept") == 0
                assert await writer.transactions.commit({place: 5}, {place: "five"}, member)
                for stale in (Member(group, member.generation - 1, member.member_id, None),
                              Member(group, member.generation, "somebody", None), None):  # fmt: skip
                    assert await writer.write(topics[1], 0, b"dropped") == 0
                    assert not await writer.transactions.commit({place: 9}, {place: "nine"}, stale)
                committed = await coordinator.fetch_committed_offsets([TopicPartition(*place)])
                assert committed[TopicPartition(*place)] == (5, "five")
                assert await read_ended(apache_kafka, topics[1]) == [b"kept"]
            finally:
                await consumer.stop()

    run(body())


def test_what_cannot_be_is_refused_at_the_start(apache_kafka):
    async def body():
        topics = names()
        async with writing(apache_kafka, *topics) as client:
            writer = Writer(client, f"id.{topics[0]}", timeout_ms=2_000_000_000)
            with pytest.raises(BrokerError, match=r"lower kafka\.transaction_timeout_ms") as caught:
                await writer.begin()
            assert not caught.value.retriable

    run(body())
