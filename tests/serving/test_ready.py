"""What /ready says while brokers are frozen, topics are gone and commits fail, on real Apache Kafka."""

import asyncio
import contextlib
import os
import signal

import pytest
from aiokafka.admin import NewTopic
from aiokafka.errors import KafkaConnectionError

from farthing.errors import StartError
from farthing.local.broker import ApacheKafka
from farthing.serving import readiness

from .looping import looping
from .running import event

pytestmark = pytest.mark.kafka

SILENT_S = 3.0
IN_TIME_S = 30  # on a machine that does much else


@pytest.fixture(autouse=True)
def impatient(monkeypatch):
    """The limit itself is tested without brokers, in test_readiness."""
    monkeypatch.setattr(readiness, "SILENT_S", SILENT_S)


class SecondNode(ApacheKafka):
    """Another broker of a node's cluster, without a vote."""

    def __init__(self, first):
        super().__init__(properties={"process.roles": "broker", "node.id": "2"})
        address = self.bootstrap_servers
        self._first = first
        self._properties |= {
            "listeners": f"PLAINTEXT://{address}",
            "controller.quorum.voters": first._properties["controller.quorum.voters"],
        }
        self._write_files()

    def _run(self, main, *arguments):
        """The storage is formatted for the first node's cluster."""
        if main.endswith("StorageTool"):
            lines = (self._first.folder / "data" / "meta.properties").read_text().splitlines()
            cluster = dict(line.split("=", 1) for line in lines if "=" in line)["cluster.id"]
            arguments = tuple(
                cluster if before == "-t" else a for before, a in zip(("", *arguments), arguments, strict=False)
            )
        return super()._run(main, *arguments)


@pytest.fixture(scope="module")
def two_nodes():
    """Two brokers, to be frozen."""
    try:
        first = ApacheKafka()
    except StartError as error:
        if os.environ.get("FARTHING_REQUIRE_KAFKA", "") not in ("", "0"):
            pytest.fail(f"FARTHING_REQUIRE_KAFKA is set, but: {error}")
        pytest.skip(str(error))
    with first, SecondNode(first) as second:
        yield first, second


@contextlib.contextmanager
def frozen(*brokers):
    for broker in brokers:
        os.kill(broker.process.pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for broker in brokers:
            os.kill(broker.process.pid, signal.SIGCONT)


def scored(loop, service):
    return loop.sample("farthing_events_total", route=service.source, outcome="scored")


async def test_a_frozen_broker_is_named_whether_others_answer_or_not(two_nodes, make_service):
    first, second = two_nodes
    service = make_service(first, partitions=3)
    async with service.admin() as admin:
        for topic, leaders in ((service.source, (1, 2, 1)), (service.sink, (1, 1, 1)), (service.dead, (1, 1, 1))):
            places = {number: [leader] for number, leader in enumerate(leaders)}
            await admin.create_topics([NewTopic(topic, -1, -1, replica_assignments=places)])
    async with looping(service, kafka={"metadata_max_age_ms": 30_000, "session_timeout_ms": 30_000}) as loop:
        await service.send([event(n, f"text {n}") for n in range(60)], batch_records=10)
        await loop.until(lambda: scored(loop, service) == 60)
        with frozen(second):
            await loop.until(lambda: loop.health.state == "stalled", IN_TIME_S)
            assert f"broker 2 ({second.bootstrap_servers})" in loop.health.reason  # as leader or as coordinator
            assert "has not answered for" in loop.health.reason
        await loop.until(lambda: loop.health.ready, 60)
        with frozen(first, second):
            await loop.until(lambda: loop.health.state == "stalled", IN_TIME_S)
            assert any(broker.bootstrap_servers in loop.health.reason for broker in two_nodes)
            assert "has not answered for" in loop.health.reason
        await loop.until(lambda: loop.health.ready, 60)
        await service.send([event(n, f"more {n}") for n in range(30)], batch_records=10)
        await loop.commits_all(service)
    loop.task.result()
    assert (await service.check_delivery())[0] == 90


async def test_a_topic_that_is_gone_is_named_and_found_again(apache_kafka, make_service):
    service = make_service(apache_kafka, partitions=2)
    await service.create_topics()
    async with looping(service, kafka={"metadata_max_age_ms": 300_000}) as loop:
        await service.send([event(n, f"text {n}") for n in range(20)], batch_records=10)
        await loop.until(lambda: scored(loop, service) == 20)
        async with service.admin() as admin:
            await admin.delete_topics([service.source])
            await loop.until(lambda: loop.health.state == "stalled", IN_TIME_S)
            assert f"{service.source} has had no partitions for" in loop.health.reason
            await admin.create_topics([NewTopic(service.source, 2, 1)])
        await loop.until(lambda: loop.health.ready, 60)
        await service.send([event(n, f"more {n}") for n in range(10)], batch_records=5)
        await loop.until(lambda: scored(loop, service) == 30, 60)
    loop.task.result()


async def test_commits_that_fail_and_a_coordinator_that_is_silent(apache_kafka, make_service, monkeypatch):
    service = make_service(apache_kafka, partitions=1)
    await service.create_topics()
    async with looping(service, stall_timeout_s=2.0) as loop:
        commit = loop.consumer.commit
        watch = loop.pipeline._progress._watch

        async def not_ours(*_):
            return False

        async def silent():
            raise KafkaConnectionError("no route")

        monkeypatch.setattr(loop.consumer, "commit", not_ours)
        await service.send([event(1, "never committed")])
        await loop.until(lambda: "no offset was committed for" in loop.health.reason)
        assert loop.health.state == "stalled"
        assert scored(loop, service) == 1
        monkeypatch.setattr(loop.consumer, "commit", commit)
        await loop.until(lambda: loop.health.ready)
        ask = watch._ask_coordinator
        monkeypatch.setattr(watch, "_ask_coordinator", silent)
        await loop.until(lambda: loop.health.state == "stalled", IN_TIME_S)
        assert f"of the group {service.group} has not answered for" in loop.health.reason
        assert "no route" in loop.health.reason
        monkeypatch.setattr(watch, "_ask_coordinator", ask)
        await loop.until(lambda: loop.health.ready)
    loop.task.result()


async def test_a_worker_without_a_partition_stands_by(apache_kafka, make_service):
    service = make_service(apache_kafka, partitions=1)
    await service.create_topics()
    async with looping(service) as one, looping(service) as other:
        # A member that has not joined has no partition either, and may be given the other's: only this one has settled.
        def standing_by():
            return [loop for loop in (one, other) if loop.health.now == ("running", "nothing assigned, standing by")]

        await one.until(standing_by)
        (spare,) = standing_by()
        await asyncio.sleep(SILENT_S + 2)  # nobody asks it for anything, and it says nothing else
        assert spare.health.now == ("running", "nothing assigned, standing by")
    one.task.result()
