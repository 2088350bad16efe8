"""What the output topics take, as brokers say it."""

import asyncio

import pytest
import structlog
from aiokafka.admin import NewTopic

from farthing.errors import BrokerError
from farthing.kafka import KafkaSettings, RouteTopicNames, SinkLimits, create_topics
from farthing.kafka import sink_limits as module
from farthing.kafka.sink_limits import describe, limits_of
from farthing.kafka.topics import LETTER_ROOM_BYTES
from farthing.wire import DEFAULT_LIMITS, TopicLimits

LONG = 2**63 - 1


@pytest.mark.parametrize("configs, expected", [
    ({}, DEFAULT_LIMITS),
    ({"max.message.bytes": "2000", "segment.bytes": "1000"}, TopicLimits(1_000)),
    ({"max.message.bytes": "2000", "segment.bytes": "1073741824"}, TopicLimits(2_000)),
    ({"cleanup.policy": "compact"}, TopicLimits(compacted=True)),
    ({"cleanup.policy": "delete,compact"}, TopicLimits(compacted=True)),
    ({"cleanup.policy": "delete"}, TopicLimits()),
    ({"message.timestamp.type": "LogAppendTime"}, TopicLimits(log_append_time=True)),
    ({"message.timestamp.before.max.ms": "5", "message.timestamp.after.max.ms": "6"}, TopicLimits(before_max_ms=5, after_max_ms=6)),
    ({"message.timestamp.difference.max.ms": "7"}, TopicLimits(before_max_ms=7, after_max_ms=7)),  # before Kafka 3.6
    ({"message.timestamp.difference.max.ms": "7", "message.timestamp.after.max.ms": "9"}, TopicLimits(after_max_ms=9)),
    ({"max.message.bytes": "many", "message.timestamp.after.max.ms": "-1"}, DEFAULT_LIMITS),
])  # fmt: skip
def test_a_topics_settings_as_limits(configs, expected):
    assert limits_of(configs) == expected


def test_times_are_within_64_bits():
    assert TopicLimits().times(1_700_000_000_000) == (1_700_000_000_000 - LONG, 1_700_003_600_000)
    assert TopicLimits(before_max_ms=LONG, after_max_ms=LONG).times(-5) == (-LONG, LONG - 5)
    assert TopicLimits(log_append_time=True, after_max_ms=1).times(1_700_000_000_000) == (-LONG, LONG)


async def known(settings, topic):
    """Wait until the broker knows a topic that was just created."""
    async with asyncio.timeout(30):
        while topic not in (await described(settings, topic)):  # noqa: ASYNC110 - the broker tells nobody
            await asyncio.sleep(0.02)


async def described(settings, topic):
    try:
        return await describe(settings, [topic])
    except BrokerError:
        return {}


@pytest.mark.kafka
async def test_they_are_read_and_read_again(apache_kafka, make_service):
    service = make_service(apache_kafka, partitions=1)
    settings = KafkaSettings(bootstrap_servers=(service.servers,))
    configs = {"max.message.bytes": "5000", "cleanup.policy": "compact", "message.timestamp.before.max.ms": "60000"}
    async with service.admin() as admin:
        await admin.create_topics([NewTopic(service.sink, 1, 1, topic_configs=configs)])
    await known(settings, service.sink)
    limits = SinkLimits(settings, [service.sink, service.dead, service.sink])
    assert limits.of(service.sink) == DEFAULT_LIMITS
    await limits.read()
    assert limits.of(service.sink) == TopicLimits(5_000, compacted=True, before_max_ms=60_000)
    assert limits.of(service.dead) == DEFAULT_LIMITS  # there is no such topic
    async with service.admin() as admin:
        await admin.create_topics([NewTopic(service.dead, 1, 1, topic_configs={"max.message.bytes": "7000"})])
    await known(settings, service.dead)
    limits._next = 0.0
    limits.read_when_due()
    await limits._reading
    assert limits.of(service.dead).max_message_bytes == 7_000
    await limits.close()


@pytest.mark.kafka
async def test_a_broker_that_does_not_say_has_kafkas_defaults(monkeypatch):
    monkeypatch.setattr(module, "LIMIT_S", 0.5)
    limits = SinkLimits(KafkaSettings(bootstrap_servers=("127.0.0.1:1",)), ["s"])
    with structlog.testing.capture_logs() as said:
        for _ in range(3):
            await limits.read()
    assert limits.of("s") == DEFAULT_LIMITS
    assert [line["event"] for line in said].count("topic_limits_unknown") == 1  # said once


async def test_a_secret_that_cannot_be_read_for_a_moment_is_no_reason_to_stop(tmp_path):
    limits = SinkLimits(
        KafkaSettings(
            security_protocol="SASL_SSL", sasl_mechanism="PLAIN", sasl_plain_username="bob",
            sasl_plain_password_file=tmp_path / "being-written",
        ),
        ["s"],
    )  # fmt: skip
    with structlog.testing.capture_logs() as said:
        await limits.read()
    assert limits.of("s") == DEFAULT_LIMITS
    assert "being-written" in said[0]["error"]


async def test_a_topic_that_is_not_described_is_named_once(monkeypatch):
    answers = [{"s": {}, "d": {}}, {"s": {}}, {"s": {}}, {"s": {}, "d": {"max.message.bytes": "70"}}, {"s": {}}]

    async def describe(settings, topics):
        return answers.pop(0)

    monkeypatch.setattr(module, "describe", describe)
    limits = SinkLimits(KafkaSettings(), ["s", "d"])
    with structlog.testing.capture_logs() as said:
        for _ in range(5):
            await limits.read()
    (line,) = [line for line in said if line["event"] == "topic_limits_unknown"]
    assert line["topics"] == ["d"]
    assert limits.of("d").max_message_bytes == 70


@pytest.mark.kafka
async def test_dead_letter_topics_are_made_to_take_more_than_their_source(apache_kafka, make_service):
    service = make_service(apache_kafka, partitions=1)
    settings = KafkaSettings(bootstrap_servers=(service.servers,))
    async with service.admin() as admin:
        await admin.create_topics([NewTopic(service.source, 2, 1, topic_configs={"max.message.bytes": "3000000"})])
    await known(settings, service.source)
    names = RouteTopicNames(service.source, service.sink, service.dead)
    assert await create_topics(settings, [names], partitions=None, replication_factor=1) == [service.sink, service.dead]
    await known(settings, service.dead)
    found = await describe(settings, [service.sink, service.dead])
    assert limits_of(found[service.dead]).max_message_bytes == 3_000_000 + LETTER_ROOM_BYTES
    assert limits_of(found[service.sink]) == DEFAULT_LIMITS
