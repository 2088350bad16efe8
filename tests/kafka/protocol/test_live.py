"""Every version of every API, said to Apache Kafka; and what a broker of 4.1 said once, kept as bytes."""

import uuid
from pathlib import Path

import pytest
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from farthing.kafka.protocol import decode, encode
from tests.kafka.protocol.messages import APIS, joined
from tests.kafka.protocol.talking import say_everything, talking

CAPTURED = Path(__file__).with_name("captured.txt")


async def new_topic(servers):
    name = f"t-{uuid.uuid4().hex[:8]}"
    admin = AIOKafkaAdminClient(bootstrap_servers=servers)
    await admin.start()
    await admin.create_topics([NewTopic(name, 1, 1)])
    await admin.close()
    return name


@pytest.mark.kafka
async def test_a_broker_understands_every_version_and_is_understood(apache_kafka):
    topic = await new_topic(apache_kafka.bootstrap_servers)
    async with talking(apache_kafka.bootstrap_servers) as talk:
        await say_everything(talk, topic)
    said = {(api.key, version) for api, version, _, _ in talk.frames}
    assert said >= {(api.key, version) for api in APIS for version in talk.versions(api) if version >= 3 or api.key}
    for api, version, request, response in talk.frames:
        _check_same(api, version, "request", request)
        _check_same(api, version, "response", response)


def _check_same(api, version, kind, frame):
    """What is read, written again, is the same bytes."""
    body = decode(api, version, memoryview(frame), kind=kind)
    known = {f.name for f in (api.request if kind == "request" else api.response) if version in f.versions}
    body = {name: value for name, value in body.items() if name in known}
    at = 4 if kind == "request" else 0
    correlation_id = int.from_bytes(frame[at : at + 4], "big")
    again = encode(api, version, body, correlation_id=correlation_id, client_id="talk", kind=kind)
    assert joined(again) == frame, (api, version, kind)


def captured():
    for line in CAPTURED.read_text().splitlines():
        if line and not line.startswith("#"):
            name, version, kind, data = line.split()
            yield name, int(version), kind, bytes.fromhex(data)


def test_bytes_that_a_broker_sent_are_read_and_written_alike():
    by_name = {api.name: api for api in APIS}
    found = list(captured())
    assert {name for name, *_ in found} == set(by_name)
    for name, version, kind, frame in found:
        _check_same(by_name[name], version, kind, frame)


def test_what_the_captured_bytes_say():
    by_name = {api.name: api for api in APIS}
    said = {(n, v): decode(by_name[n], v, memoryview(f)) for n, v, kind, f in captured() if kind == "response"}
    metadata = said["Metadata", 12]
    (topic,) = metadata["topics"]
    assert len(topic["topic_id"]) == 16
    assert topic["topic_id"] != bytes(16)
    assert topic["partitions"][0]["leader_epoch"] == 0
    (fetched,) = said["Fetch", 13]["responses"]
    assert fetched["topic_id"] == topic["topic_id"]
    assert len(fetched["partitions"][0]["records"]) > 60
    (committed,) = said["OffsetFetch", 8]["groups"][0]["topics"][0]["partitions"]
    assert committed["metadata"] == f"v{committed['committed_offset']}"
