"""What the broker says of a user's rights, and what is missing then; the tables have their own tests."""

import pytest
from aiokafka.errors import IncompatibleBrokerVersion, KafkaConnectionError

from farthing.kafka import granted
from farthing.kafka.rights import NOT_TOLD, TopicState, rights_of
from farthing.kafka.settings import KafkaSettings

DESCRIBE, READ, WRITE = 1 << 8, 1 << 3, 1 << 4


def partition(number, leader=1, replicas=(1, 2), in_sync=(1, 2)):
    return {
        "error_code": 0, "partition_index": number, "leader_id": leader, "replica_nodes": list(replicas),
        "isr_nodes": list(in_sync),
    }  # fmt: skip


def topic(name, operations, error=0, partitions=()):
    return {
        "name": name, "error_code": error, "partitions": list(partitions), "topic_authorized_operations": operations,
    }  # fmt: skip


@pytest.fixture
def asked(monkeypatch):
    async def ask(said, wanted):
        class Asking:
            def __init__(self, _settings, _timeout_s):
                pass

            async def connect(self):
                pass

            async def close(self, _timeout_s):
                pass

            async def rights(self, topics):
                assert set(topics) == set(wanted)
                if isinstance(said, Exception):
                    raise said
                return {"topics": said}

        monkeypatch.setattr(granted, "Asking", Asking)
        return await granted.missing_rights(KafkaSettings(), wanted)

    return ask


async def test_what_is_missing_is_found(asked):
    said = [
        topic("a", DESCRIBE | READ), topic("b", DESCRIBE | READ), topic("c", DESCRIBE), topic("d", DESCRIBE | WRITE),
        topic("e", NOT_TOLD), topic("f", 0, error=29),
    ]  # fmt: skip
    wanted = {"a": "READ", "b": "WRITE", "c": "READ", "d": "WRITE", "e": "WRITE", "f": "READ"}
    assert await asked(said, wanted) == {"b": "WRITE", "c": "READ"}


@pytest.mark.parametrize("error", [IncompatibleBrokerVersion("too old"), KafkaConnectionError("closed")])
async def test_a_broker_that_cannot_say_is_believed(asked, error):
    assert await asked(error, {"a": "READ"}) == {}


def test_a_topic_as_it_is_described():
    rows = [partition(1, leader=-1, in_sync=()), partition(0), partition(2, replicas=(1, 2, 3))]
    found = TopicState.read(topic("t", READ | DESCRIBE, partitions=rows))
    assert found == TopicState("t", 0, 3, 2, (1,), (1, 2), frozenset({"READ", "DESCRIBE"}))
    assert rights_of(NOT_TOLD) is None
