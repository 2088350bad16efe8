"""A group's coordinator is waited for before anyone joins, so that a new broker is not taken for a broken one."""

import logging

import pytest
from aiokafka.errors import GroupAuthorizationFailedError, GroupCoordinatorNotAvailableError

from farthing.errors import BrokerError
from farthing.kafka import KafkaSettings, RecordConsumer, coordinator, create_topics, wait_for_coordinator
from farthing.kafka.topics import RouteTopicNames

SETTINGS = KafkaSettings(bootstrap_servers=("127.0.0.1:1",), group_id="g", request_timeout_ms=1_000)


class Admin:
    """Stands in for aiokafka's: the coordinator is there at the last of some answers."""

    def __init__(self, answers):
        self.answers, self.asked, self.closed = answers, 0, False

    def __call__(self, **_):
        return self

    async def start(self):
        pass

    async def close(self):
        self.closed = True

    async def find_coordinator(self, _group):
        answer = self.answers[min(self.asked, len(self.answers) - 1)]
        self.asked += 1
        if answer is not None:
            raise answer
        return 1


@pytest.fixture
def admin(monkeypatch):
    """Make an admin with these answers, and a server that can be reached."""

    async def reached(_):
        pass

    def make(answers):
        one = Admin(answers)
        monkeypatch.setattr(coordinator, "AIOKafkaAdminClient", one)
        monkeypatch.setattr(coordinator, "reach", reached)
        return one

    return make


async def test_it_asks_until_there_is_one(admin):
    one = admin([GroupCoordinatorNotAvailableError()] * 2 + [None])
    await wait_for_coordinator(SETTINGS.model_copy(update={"request_timeout_ms": 30_000}), "g")
    assert (one.asked, one.closed) == (3, True)


async def test_a_broker_that_never_has_one_is_said(admin):
    one = admin([GroupCoordinatorNotAvailableError()])
    with pytest.raises(BrokerError, match=r"no coordinator for the group g .*offsets\.topic\.replication\.factor"):
        await wait_for_coordinator(SETTINGS, "g")
    assert one.asked > 1 and one.closed


async def test_what_it_is_refused_for_is_said(admin):
    one = admin([GroupAuthorizationFailedError("not for you")])
    with pytest.raises(BrokerError, match="may not use the consumer group"):
        await wait_for_coordinator(SETTINGS, "g")
    assert one.asked == 1 and one.closed


@pytest.mark.kafka
async def test_the_first_group_of_a_broker_joins_without_an_error(own_kafka, caplog):
    settings = KafkaSettings(bootstrap_servers=(own_kafka.bootstrap_servers,), group_id="the-first")
    await create_topics(settings, [RouteTopicNames("a", "b", "c")], partitions=1, replication_factor=1)

    async def revoked(_):
        pass

    consumer = RecordConsumer(settings, ["a"], on_revoked=revoked, on_position=lambda *_: None)
    with caplog.at_level(logging.WARNING, "aiokafka"):
        await consumer.start()
    try:
        assert consumer.assignment
    finally:
        await consumer.close(5)
    assert [record.getMessage() for record in caplog.records if record.levelno >= logging.ERROR] == []
