"""A worker that joins: /ready says what it waits for, and a signal ends it soon, out of the group."""

import asyncio
import time

import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.coordinator.assignors.range import RangePartitionAssignor

from farthing.kafka import KafkaSettings
from farthing.process.probes import Health
from farthing.serving import joining as joining_module
from farthing.serving.joining import CONNECTING, JOINING, Joining, what_it_waits_for

from .running import eventually

SETTINGS = KafkaSettings(bootstrap_servers=("one:9092", "two:9092"), group_id="g")


def test_it_says_the_step_and_later_why_it_takes_long():
    assert what_it_waits_for(CONNECTING, 3, SETTINGS, "no route") == "connecting to the brokers"
    said = what_it_waits_for(CONNECTING, 12.3, SETTINGS, "OSError: no route")
    assert said.startswith("connecting to the brokers for 12 s: no broker of kafka.bootstrap_servers = one:9092, two:")
    assert said.endswith("the client says: OSError: no route")
    said = what_it_waits_for(JOINING, 40, SETTINGS, "")
    assert "the coordinator of the group g has not let this worker in" in said
    assert "kafka.rebalance_timeout_ms" in said


async def test_the_probe_is_kept_up_to_date(monkeypatch):
    monkeypatch.setattr(joining_module, "SILENT_S", 0.0)
    monkeypatch.setattr(joining_module, "SAY_EVERY_S", 0.01)
    health = Health()
    async with Joining(SETTINGS, health) as joining:
        joining.begin(JOINING)
        await eventually(lambda: "g has not let this worker in" in health.reason, 30)
    assert health.state == "joining"


class Stubborn(AIOKafkaConsumer):
    """A member of the group that does not come back when the group rebalances."""

    async def get_in(self, topic):
        self.subscribe([topic])
        await self.start()
        self._coordinator._heartbeat_task.cancel()


@pytest.mark.kafka
@pytest.mark.parametrize("instance", [None, pytest.param("w0", marks=pytest.mark.campaign)])
async def test_a_signal_while_the_group_waits_for_another_member(apache_kafka, make_service, instance):
    service = make_service(apache_kafka, partitions=1, kafka={"group_instance_id": instance} if instance else None)
    await service.create_topics()
    other = Stubborn(
        bootstrap_servers=service.servers, group_id=service.group, session_timeout_ms=60_000,
        rebalance_timeout_ms=300_000, heartbeat_interval_ms=60_000,
        partition_assignment_strategy=(RangePartitionAssignor,),
    )  # fmt: skip
    try:
        await other.get_in(service.source)
        assert other.assignment() == {TopicPartition(service.source, 0)}
        service.start()
        await eventually(lambda: "joining the consumer group" in service.get("/ready")[1], 120, service.said)
        await eventually(lambda: "has not let this worker in" in service.get("/ready")[1], 60, service.said)
        async with service.admin() as admin:  # it has sent its JoinGroup

            async def members():
                (answer,) = await admin.describe_consumer_groups([service.group])
                return len(answer.groups[0][5])

            assert await members() == 2
            began = time.monotonic()
            assert service.stop(timeout_s=26) == 0
            assert time.monotonic() - began < 12
            assert service.events("stopped_while_joining")
            if instance is None:
                assert await members() == 1  # nobody waits for it
                assert not service.events("group_not_left")
    finally:
        await asyncio.wait_for(other.stop(), 30)
