"""Pacing multipliers: what a record may say, what stands when it says something else, and how the topic is followed."""

import asyncio
import json
import time
import uuid

import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import KafkaConnectionError
from hypothesis import given
from hypothesis import strategies as st

from farthing.errors import BrokerError, StartError
from farthing.kafka import KafkaSettings, PacingReader
from farthing.kafka.pacing import MAX_VALUE_BYTES, UNPACED, PacingTable, read_multiplier
from farthing.local.process import free_port


@pytest.mark.parametrize(
    "value",
    [
        b"", b"{", b"null", b"0.5", b"[0.5]", b'{"multiplier":0}', b'{"multiplier":-0.1}', b'{"multiplier":1.0001}',
        b'{"multiplier":"0.5"}', b'{"multiplier":true}', b'{"multiplier":null}', b'{"multiplier":NaN}', b"{}",
        b'{"multiplier":1e999}', b"\xff", b"[" * 100_000, b" " * MAX_VALUE_BYTES + b'{"multiplier":0.5}',
    ],
)  # fmt: skip
def test_values_that_are_refused(value):
    table = PacingTable(["a"])
    assert table.apply(b"a", b'{"multiplier":0.25}') == "applied"
    assert read_multiplier(value) is None
    assert table.apply(b"a", value) == "invalid"
    assert table.multiplier("a") == 0.25  # the last good one stands


@given(st.floats(0, 1, exclude_min=True))
def test_values_that_are_taken(multiplier):
    assert read_multiplier(json.dumps({"multiplier": multiplier, "by": "someone"}).encode()) == multiplier


def test_the_latest_value_of_a_campaign_counts_and_a_tombstone_takes_it_back():
    table = PacingTable(["a", "b"])
    assert table.multiplier("a") == UNPACED
    table.apply(b"a", b'{"multiplier":0.5}')
    table.apply(b"a", b'{"multiplier":0.75}')
    table.apply(b"b", b'{"multiplier":1}')
    assert (table.multiplier("a"), table.multiplier("b")) == (0.75, 1.0)
    assert table.apply(b"a", None) == "applied"
    assert table.multiplier("a") == UNPACED


@pytest.mark.parametrize("key", [None, b"", b"other", b"\xff"])
def test_only_configured_campaigns_are_kept(key):
    table = PacingTable(["a"])
    assert table.apply(key, b'{"multiplier":0.5}') == "unknown_campaign"
    assert not table._values


@pytest.fixture
async def topic(apache_kafka):
    name = f"pacing.{uuid.uuid4().hex[:8]}"
    admin = AIOKafkaAdminClient(bootstrap_servers=apache_kafka.bootstrap_servers)
    await admin.start()
    await admin.create_topics([NewTopic(name, 3, 1, topic_configs={"cleanup.policy": "compact"})])
    await admin.close()
    producer = AIOKafkaProducer(bootstrap_servers=apache_kafka.bootstrap_servers, acks="all")
    await producer.start()

    async def send(campaign, multiplier):
        await producer.send_and_wait(name, json.dumps({"multiplier": multiplier}).encode(), key=campaign.encode())

    yield KafkaSettings(bootstrap_servers=(apache_kafka.bootstrap_servers,)), name, send
    await producer.stop()


async def until(condition):
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.05)


@pytest.mark.kafka
async def test_the_whole_topic_is_read_then_followed_and_read_anew_after_trouble(topic, monkeypatch):
    settings, name, send = topic
    campaigns = [f"c{k}" for k in range(20)]
    for round_ in (1, 2):
        for k, campaign in enumerate(campaigns):
            await send(campaign, round_ * (k + 1) / 100)
    updates = []
    reader = PacingReader(settings, name, campaigns, on_update=updates.append)
    await reader.start()
    assert [reader.table.multiplier(c) for c in campaigns] == [2 * (k + 1) / 100 for k in range(20)]
    assert updates == ["applied"] * 40
    await send("c3", 0.5)
    await until(lambda: reader.table.multiplier("c3") == 0.5)

    take, failed = reader._take, []

    async def fail_once():
        if not failed:
            failed.append(True)
            raise KafkaConnectionError("cut")
        await take()

    monkeypatch.setattr(reader, "_take", fail_once)
    await until(lambda: failed)
    assert reader.table.multiplier("c3") == 0.5  # the last values stand
    await send("c4", 0.75)
    await until(lambda: reader.table.multiplier("c4") == 0.75)
    assert len(updates) >= 40 + 1 + 42  # all of it was read again
    began = time.monotonic()
    await reader.close(2.0)
    assert time.monotonic() - began < 5


@pytest.mark.kafka
async def test_a_topic_that_is_not_there_and_a_broker_that_is_not(apache_kafka):
    settings = KafkaSettings(bootstrap_servers=(apache_kafka.bootstrap_servers,), request_timeout_ms=20_000)
    with pytest.raises(StartError, match="the pacing topic does not exist"):
        await PacingReader(settings, "pacing.none", ["a"], on_update=print).start()
    nobody = KafkaSettings(bootstrap_servers=(f"127.0.0.1:{free_port()}",), request_timeout_ms=5_000)
    with pytest.raises(BrokerError, match="check that a broker listens there"):
        await PacingReader(nobody, "pacing", ["a"], on_update=print).start()
