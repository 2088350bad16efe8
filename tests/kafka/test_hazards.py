"""What can go wrong between a Kafka client and its broker, and where it is tried or why it cannot happen here.

Numbers are ours; the first column is the hazard, the second names tests (``module::function``) or the reason.

====  ============================================================  ====================================================
A1    a batch that cannot be read loses what was fetched with it    serving.test_corrupt_batches::
                                                                    test_a_corrupt_batch_halts_its_partition_alone_and_can_be_skipped_exactly
A1b   a good batch before a corrupt one is never delivered          serving.test_corrupt_batches::
                                                                    test_a_corrupt_batch_halts_its_partition_alone_and_can_be_skipped_exactly
A1c   a deserializer raises inside the client                       kafka.test_hazards::test_the_client_is_used_as_we_say
A2    sequences go wrong after 2**31 records of a partition         kafka.test_hazards::test_sequences_wrap_and_the_broker_agrees
A3    a hung scorer keeps its partitions                            serving.test_faults::test_a_model_that_hangs_is_noticed_and_ends_the_worker
                                                                    serving.test_faults::test_a_worker_in_which_a_block_hangs_still_exits
A4    defaults that lose events                                     kafka.test_contract::test_effective_options_lose_nothing_and_show_no_secret
                                                                    kafka.test_hazards::test_writes_wait_for_all_replicas
A5    commit and stop without a limit                               serving.test_faults::test_sigterm_with_the_broker_dead_ends_in_time
                                                                    kafka.test_hazards::test_every_wait_ends_when_the_broker_does_not_answer
A6    a listener's error is swallowed; the loop is blocked          kafka.test_hazards::test_a_listener_that_fails_ends_the_worker
                                                                    serving.test_faults::test_a_model_that_hangs_is_noticed_and_ends_the_worker
A7    memory grows while the broker is gone                         serving.test_faults::test_a_broker_that_is_gone_for_a_while_loses_nothing
A8    a stalled worker commits after others took over               serving.test_rebalance::
                                                                    test_a_worker_that_stalls_past_its_session_commits_nothing_when_it_wakes
                                                                    kafka.test_hazards::test_nobody_commits_as_no_member
A9    assignors that share state, JoinGroup once for each           kafka.test_hazards::test_there_is_one_assignor
A10   two workers with one instance id                              serving.test_rebalance::
                                                                    test_static_members_restart_without_a_rebalance_and_a_duplicate_is_named
                                                                    kafka.test_hazards::test_errors_of_the_group_are_looked_for
                                                                    kafka.test_hazards::
                                                                    test_a_member_put_out_while_it_joins_names_its_instance_id
A11   the broker drops connections that do not authenticate anew    serving.test_security::test_a_connection_cut_at_its_sessions_end_is_made_again
A12   error codes that the client does not know, stale metadata     serving.test_partition_trouble::
                                                                    test_a_partition_that_cannot_be_fetched_is_held_and_tried_again
A13   a producer that is out of sequence never recovers             kafka.test_hazards::test_a_producer_out_of_sequence_begins_anew
A14   positions outside the log                                     serving.test_partition_trouble::
                                                                    test_a_position_before_the_log_begins_goes_on_at_its_beginning
                                                                    kafka.test_hazards::test_a_topic_made_anew_is_read_from_its_beginning
                                                                    serving.test_new_log::
                                                                    test_a_topic_made_anew_and_refilled_while_the_worker_slept
                                                                    kafka.test_log_watch::
                                                                    test_a_log_that_an_election_has_cut_goes_on_where_it_parts
A15   leaks of ``async for``; a send without a start hangs          kafka.test_hazards::test_the_client_is_used_as_we_say
                                                                    kafka.test_hazards::test_every_wait_ends_when_the_broker_does_not_answer
A16   private names move                                            kafka.test_contract::test_the_version_is_the_one_that_was_read
                                                                    kafka.test_contract::test_private_names_are_where_they_were
A17   checksums switched off for speed                              wire.test_decode::test_every_flipped_bit_is_found_and_other_partitions_are_untouched
A18   a member that never polls is dropped; events buffered twice   kafka.test_hazards::test_a_member_that_never_polls_stays_one_and_buffers_nothing
====  ============================================================  ====================================================
"""

import ast
import asyncio
import contextlib
import re
import socket
import time
from pathlib import Path

import numpy as np
import pytest
from aiokafka import AIOKafkaConsumer
from aiokafka.admin import NewTopic
from aiokafka.coordinator.assignors.range import RangePartitionAssignor
from aiokafka.errors import GroupAuthorizationFailedError, KafkaError, UnknownError

import farthing
from farthing.errors import BrokerError
from farthing.kafka import BatchProducer, KafkaSettings, RecordConsumer
from farthing.kafka.frames import ACKS_ALL
from farthing.kafka.producer import SEQUENCE_MASK
from farthing.wire import encode_records
from tests.serving.looping import looping
from tests.serving.running import event

TESTS = Path(__file__).parents[1]
PACKAGE = Path(farthing.__file__).parent


def table():
    """Hazard -> the tests that the table names."""
    hazards, current = {}, None
    for line in __doc__.splitlines():
        if match := re.match(r"(A\d+[a-c]?)\s", line):
            current = hazards.setdefault(match[1], [])
        if current is not None:
            current += re.findall(r"[\w.]+::|test_\w+$|test_\w+(?=\s)", line.replace("::", ":: "))
    found = {}
    for hazard, words in hazards.items():
        module, tests = None, []
        for word in words:
            if word.endswith("::"):
                module = word.removesuffix("::")
            else:
                tests.append((module, word))
        found[hazard] = tests
    return found


def test_the_table_is_whole_and_every_test_in_it_exists():
    hazards = table()
    assert set(hazards) == {f"A{n}" for n in range(1, 19)} | {"A1b", "A1c"}
    missing = []
    for hazard, tests in hazards.items():
        assert tests, hazard
        for module, name in tests:
            path = TESTS.joinpath(*module.split(".")).with_suffix(".py")
            tree = ast.parse(path.read_text()) if path.exists() else ast.parse("")
            functions = {n.name for n in tree.body if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef)}
            if name not in functions:
                missing.append(f"{hazard}: {module}::{name}")
    assert not missing


def test_the_client_is_used_as_we_say():
    """No deserializers, no iteration over a consumer, no polling, no instrumentation, no commit without offsets."""
    for path in PACKAGE.rglob("*.py"):
        if path.relative_to(PACKAGE).parts[0] == "ledger":
            continue  # a Faust application, which has its own ways
        # One compacted topic, assigned by hand: no group, no offsets.
        single = path.name in ("pacing.py", "tail.py")
        text = path.read_text()
        assert "deserializer" not in text, path
        assert "opentelemetry" not in text, path
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.AsyncFor):
                assert "consumer" not in ast.unparse(node.iter).lower(), f"{path}:{node.lineno}"
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
                called = ast.unparse(node.func)
                assert single or not called.endswith((".getmany", ".getone")), f"{path}:{node.lineno}"
                if called.endswith("onsumer.commit"):
                    assert node.args, f"{path}:{node.lineno}"


def test_writes_wait_for_all_replicas():
    assert ACKS_ALL == -1


@contextlib.contextmanager
def silent_server():
    """A server that takes connections and never answers."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen(16)
        yield f"127.0.0.1:{server.getsockname()[1]}"


@pytest.mark.parametrize("silent", [True, False])
async def test_every_wait_ends_when_the_broker_does_not_answer(silent):
    with silent_server() as address:
        if not silent:
            with socket.socket() as free:
                free.bind(("127.0.0.1", 0))
                address = f"127.0.0.1:{free.getsockname()[1]}"
        settings = KafkaSettings(bootstrap_servers=(address,), request_timeout_ms=1_000, delivery_timeout_ms=1_000)
        began = time.monotonic()
        producer = BatchProducer(settings)
        with pytest.raises(BrokerError, match=r"kafka\.bootstrap_servers = 127\.0\.0\.1"):
            await producer.start()
        with pytest.raises(BrokerError, match="produce"):  # though the start has failed
            await producer.send([one_batch("t", 1)])
        await producer.close(1.0)

        async def nothing(_):
            return None

        consumer = RecordConsumer(settings, ["t"], on_revoked=nothing, on_position=lambda *_: None)
        with pytest.raises(BrokerError, match=r"kafka\.bootstrap_servers = 127\.0\.0\.1"):
            await consumer.start()
        await consumer.close(1.0)
        assert time.monotonic() - began < 15


def one_batch(topic, count, partition=0):
    values = [event(n, f"text {n}") for n in range(count)]
    data, indptr = np.frombuffer(b"".join(values), np.uint8), np.cumsum([0, *map(len, values)])
    return encode_records(topic, partition, data, indptr, np.full(count, time.time_ns() // 1_000_000))


@contextlib.asynccontextmanager
async def producing(broker):
    producer = BatchProducer(KafkaSettings(bootstrap_servers=(broker.bootstrap_servers,)))
    await producer.start()
    try:
        yield producer
    finally:
        await producer.close(5)


@pytest.mark.kafka
async def test_sequences_wrap_and_the_broker_agrees(apache_kafka, make_service):
    service = make_service(apache_kafka, partitions=1)
    await service.create_topics()
    async with producing(apache_kafka) as producer:
        partition = (service.source, 0)
        assert producer.idempotent
        producer._sequences[partition] = SEQUENCE_MASK - 12  # a broker takes any first sequence of a producer
        identity = producer._identity
        for count in (5, 8, 10, 7):  # the second ends at the last sequence that there is; then it begins at 0
            await producer.send([one_batch(service.source, count)])
        assert producer._identity is identity  # no error has made it begin anew
        assert producer._sequences[partition] == 17
    async with producing(apache_kafka) as producer:
        producer._sequences[partition] = SEQUENCE_MASK - 4
        identity = producer._identity
        for count in (10, 10):  # the first one lies across the end
            await producer.send([one_batch(service.source, count)])
        assert producer._identity is identity
        assert producer._sequences[partition] == 15
    assert await service.ends(service.source) == {0: 50}


@pytest.mark.kafka
async def test_a_producer_out_of_sequence_begins_anew(apache_kafka, make_service):
    service = make_service(apache_kafka, partitions=1)
    await service.create_topics()
    async with producing(apache_kafka) as producer:
        await producer.send([one_batch(service.source, 3)])
        identity = producer._identity
        producer._sequences[service.source, 0] += 5
        with pytest.raises(BrokerError, match="OutOfOrderSequenceNumber") as raised:
            await producer.send([one_batch(service.source, 4)])
        assert raised.value.retriable
        await producer.send([one_batch(service.source, 4)])
        assert producer._identity != identity
    assert await service.ends(service.source) == {0: 7}
    # The same inside the loop: what was in flight is scored again and written by the new producer.
    async with looping(service) as loop:
        await loop.commits_all(service)
        loop.pipeline._producer._sequences[service.sink, 0] += 5
        await service.send([event(n, f"more {n}") for n in range(10)])
        await loop.commits_all(service)
        assert loop.sample("farthing_broker_errors_total", stage="fetch") == 1
    assert await service.check_delivery() == (17, 0)


@pytest.mark.kafka
async def test_a_listener_that_fails_ends_the_worker(apache_kafka, make_service):
    """aiokafka logs what a listener raises and goes on: partitions would be given up with their commit lost, unseen."""
    service = make_service(apache_kafka, partitions=2)
    await service.create_topics()
    async with looping(service) as loop:

        async def fail(_):
            raise RuntimeError("a bug")

        loop.consumer._on_revoked = fail
        loop.coordinator.request_rejoin()
        error = await loop.fails()
        assert isinstance(error, BrokerError)
        assert not error.retriable
        assert "RuntimeError('a bug')" in str(error)


@pytest.mark.kafka
async def test_nobody_commits_as_no_member(apache_kafka, make_service):
    """A client that was put out commits with no generation, which a broker takes from anyone while a group is empty."""
    service = make_service(apache_kafka, partitions=1)
    await service.create_topics()
    await service.send([event(n, f"text {n}") for n in range(20)])
    async with looping(service) as loop:
        await loop.commits_all(service)
        assert await loop.consumer.commit({(service.source, 0): 20}, 5.0) is True
        membership, coordinator = loop.consumer._membership, loop.coordinator
        generation, member_id = coordinator.generation, coordinator.member_id
        coordinator.generation, coordinator.member_id = -1, ""  # as after an expulsion, before it joins again
        assert await membership.commit({(service.source, 0): 7}, 5.0) is False
        coordinator.generation, coordinator.member_id = generation + 1, member_id  # as after the next rebalance
        assert await membership.commit({(service.source, 0): 8}, 5.0) is False
        coordinator.generation = generation
        assert await service.committed() == {0: 20}
    loop.task.result()
    assert await service.committed() == {0: 20}


@pytest.mark.kafka
async def test_there_is_one_assignor(apache_kafka, make_service):
    service = make_service(apache_kafka, partitions=1)
    await service.create_topics()
    async with looping(service) as loop:
        assert loop.coordinator._assignors == (RangePartitionAssignor,)
        assert loop.coordinator._enable_auto_commit is False


@pytest.mark.kafka
async def test_errors_of_the_group_are_looked_for(apache_kafka, make_service):
    """aiokafka keeps them for whoever polls, sends no heartbeat meanwhile, and we do not poll."""
    service = make_service(apache_kafka, partitions=1)
    await service.create_topics()
    async with looping(service) as loop:
        heartbeat, beats = loop.coordinator._do_heartbeat, 0

        async def fails_once():
            nonlocal beats
            beats += 1
            if beats == 1:
                raise KafkaError("injected")
            return await heartbeat()

        loop.coordinator._do_heartbeat = fails_once
        await loop.until(lambda: beats >= 4)  # they have begun again
        await service.send([event(n, f"text {n}") for n in range(20)])
        await loop.commits_all(service)
        await loop.until(lambda: loop.health.ready)
        assert loop.sample("farthing_broker_errors_total", stage="fetch") >= 1

        async def refused():
            raise GroupAuthorizationFailedError(service.group)

        loop.coordinator._do_heartbeat = refused
        error = await loop.fails()
        assert isinstance(error, BrokerError)
        assert not error.retriable
        assert service.group in str(error)
        assert "GroupAuthorizationFailedError" in str(error)


@pytest.mark.parametrize(("instance", "named"), [("worker-0", True), (None, False)])
async def test_a_member_put_out_while_it_joins_names_its_instance_id(instance, named, monkeypatch):
    """The broker answers FENCED_INSTANCE_ID, which aiokafka knows as UnknownError only."""

    async def put_out(_):
        raise KafkaError(repr(UnknownError()))

    async def there(*_):
        return None

    monkeypatch.setattr(AIOKafkaConsumer, "start", put_out)
    monkeypatch.setattr("farthing.kafka.membership.wait_for_coordinator", there)

    async def nothing(_):
        return None

    settings = KafkaSettings(group_instance_id=instance)
    consumer = RecordConsumer(settings, ["t"], on_revoked=nothing, on_position=lambda *_: None)
    with pytest.raises(BrokerError, match="UnknownError") as raised:
        await consumer.start()
    assert ("kafka.group_instance_id = 'worker-0'" in str(raised.value)) is named
    assert raised.value.retriable is not named
    await consumer.close(1.0)


@pytest.mark.kafka
async def test_a_member_that_never_polls_stays_one_and_buffers_nothing(apache_kafka, make_service):
    service = make_service(apache_kafka, partitions=2)
    await service.create_topics()
    async with looping(service) as loop:
        inside = loop.consumer._membership._consumer
        inside._subscription._last_fetch_ended -= 10 * 365 * 86_400  # ten years without a poll
        heartbeat, beats = loop.coordinator._do_heartbeat, 0

        async def counted():
            nonlocal beats
            beats += 1
            return await heartbeat()

        loop.coordinator._do_heartbeat = counted
        await service.send([event(n, f"text {n}") for n in range(100)], batch_records=10)
        await loop.until(lambda: beats >= 3)
        await loop.commits_all(service)
        assert loop.coordinator.generation > 0
        assert loop.sample("farthing_assigned_partitions") == 2
        assert loop.sample("farthing_rebalances_total") == 1
        assert not inside._fetcher._records  # its partitions are paused
        assert all(inside._subscription.is_assigned(tp) for tp in inside.assignment())
        assert inside.paused() == inside.assignment() != set()


@pytest.mark.kafka
async def test_a_topic_made_anew_is_read_from_its_beginning(apache_kafka, make_service):
    service = make_service(apache_kafka, partitions=1)
    await service.create_topics()
    async with looping(service) as loop:
        await service.send([event(n, f"text {n}") for n in range(30)])
        await loop.commits_all(service)
        async with service.admin() as admin:
            await admin.delete_topics([service.source])
        await loop.until(lambda: loop.sample("farthing_broker_errors_total", stage="fetch"))  # it is gone
        deadline = time.monotonic() + 30
        while True:  # a deletion takes a moment to be done
            async with service.admin() as admin:
                answer = await admin.create_topics([NewTopic(service.source, 1, 1)])
            if not answer.topic_errors[0][1]:
                break
            assert time.monotonic() < deadline
            await asyncio.sleep(0.2)
        await service.send([event(100 + n, f"anew {n}") for n in range(10)])
        await loop.until(lambda: loop.sample("farthing_events_total", route=service.source, outcome="scored") == 40, 60)
        await loop.until(lambda: loop.health.ready)
