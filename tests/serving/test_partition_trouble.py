"""What is wrong with one partition stays with it: it is held and named, the others go on, and it is tried again."""

import numpy as np
import pytest
from aiokafka import TopicPartition
from aiokafka.admin import RecordsToDelete

from farthing.kafka import consumer as consumer_module
from farthing.kafka.protocol import FETCH

from .looping import looping
from .running import event, offset_of

pytestmark = pytest.mark.kafka


def error_code(code):
    return lambda row: row | {"error_code": code, "high_watermark": -1, "last_stable_offset": -1, "records": b""}


def cut(row):
    """Leave the last byte of the first batch out: as if its length were wrong."""
    return row | {"records": bytes(row["records"])[:-1]} if row["records"] else row


def beyond_the_end(row):
    """Give the first batch a base offset that the log does not reach; its checksum does not cover that."""
    records = row["records"]
    return row | {"records": (1 << 40).to_bytes(8, "big") + bytes(records)[8:]} if records else row


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (error_code(2), "CorruptRecordException"),
        (error_code(-1), "UnknownError"),
        (error_code(77), "UnknownError"),  # a code that aiokafka does not know
        (cut, "no whole batch"),
        (beyond_the_end, "beyond the log's end"),
    ],
)
async def test_a_partition_that_cannot_be_fetched_is_held_and_tried_again(
    spoil, said, apache_kafka, make_service, monkeypatch
):
    monkeypatch.setattr(consumer_module, "REFUSED_AGAIN_S", 0.5)
    service = make_service(apache_kafka, partitions=2)
    await service.create_topics()
    async with looping(service) as loop:
        frames = loop.consumer._frames
        request = frames.request
        spoiling, calls = True, 0

        async def spoiled(node, api, *arguments, **options):
            nonlocal calls
            answer = await request(node, api, *arguments, **options)
            if api is FETCH:
                calls += 1
                for topic in answer["responses"]:
                    rows = topic["partitions"]
                    rows[:] = [spoil(row) if spoiling and row["partition_index"] == 0 else row for row in rows]
            return answer

        monkeypatch.setattr(frames, "request", spoiled)
        await loop.until(lambda: calls)  # the request that was on its way is answered
        await service.send([event(n, f"text {n}") for n in range(40)], batch_records=20)
        await loop.until(lambda: loop.health.state == "stalled")
        assert f"{service.source}[0] is held" in loop.health.reason
        assert said in loop.health.reason
        await loop.until(lambda: loop.sample("farthing_events_total", route=service.source, outcome="scored") == 20)
        await service.send([event(n, f"more {n}") for n in range(20)], batch_records=20, partition=1)
        await loop.until(lambda: loop.sample("farthing_events_total", route=service.source, outcome="scored") == 40)
        assert loop.sample("farthing_halted_partitions") == 1
        spoiling = False
        await loop.until(lambda: loop.health.ready)
        await loop.until(lambda: loop.sample("farthing_events_total", route=service.source, outcome="scored") == 60)
    loop.task.result()
    assert await service.check_delivery() == (60, 0)
    await service.all_committed()


async def test_partitions_added_while_serving_are_picked_up(apache_kafka, make_service):
    service = make_service(apache_kafka, partitions=2)
    await service.create_topics()
    async with looping(service) as loop:
        await service.send([event(n, f"text {n}") for n in range(20)], batch_records=10)
        for topic in (service.sink, service.dead, service.source):  # the sinks first
            await service.widen(topic, 5)
        service.partitions = 5
        await service.send([event(n, f"more {n}") for n in range(50)], batch_records=10)
        await loop.until(lambda: loop.sample("farthing_assigned_partitions") == 5)
        await service.check_delivery()
        await loop.commits_all(service)
    loop.task.result()


async def test_a_source_widened_before_its_sink_holds_only_what_has_no_place(apache_kafka, make_service):
    service = make_service(apache_kafka, partitions=2)
    await service.create_topics()
    async with looping(service) as loop:
        await service.widen(service.source, 4)
        service.partitions = 4
        await loop.until(lambda: loop.sample("farthing_assigned_partitions") == 4)
        await service.send([event(n, f"text {n}") for n in range(40)], batch_records=10)
        await loop.until(lambda: loop.health.state == "stalled")
        assert f"{service.source}[2] is held" in loop.health.reason
        assert f"{service.sink} has 2 partitions" in loop.health.reason
        assert "add partitions" in loop.health.reason
        await loop.until(lambda: loop.sample("farthing_events_total", route=service.source, outcome="scored") == 20)
        await service.send([event(n, f"more {n}") for n in range(20)], batch_records=10, partition=1)
        await loop.until(lambda: loop.sample("farthing_events_total", route=service.source, outcome="scored") == 40)
        await service.widen(service.sink, 4)
        await service.widen(service.dead, 4)
        await loop.until(lambda: loop.health.ready)
        assert await service.check_delivery() == (60, 0)
        await loop.commits_all(service)
    loop.task.result()


async def test_a_position_before_the_log_begins_goes_on_at_its_beginning(apache_kafka, make_service):
    """Retention went past what the group has committed: those events are gone, the rest is scored."""
    service = make_service(apache_kafka, partitions=1)
    await service.create_topics()
    async with looping(service) as loop:
        await service.send([event(n, f"text {n}") for n in range(10)], batch_records=5)
        await loop.commits_all(service)
    await service.send([event(n, f"more {n}") for n in range(30)], batch_records=10)
    async with service.admin() as admin:
        await admin.delete_records({TopicPartition(service.source, 0): RecordsToDelete(before_offset=30)})
    async with looping(service) as loop:
        await loop.commits_all(service)
        assert loop.health.ready
    scores = await service.read(service.sink, 20)
    assert [offset_of(r) for r in scores] == [*range(10), *range(30, 40)]


async def test_partitions_take_turns_when_all_have_more_than_a_fetch_holds(apache_kafka, make_service):
    """A broker fills a response in the request's order: those that come last in it would wait for the others' ends."""
    service = make_service(apache_kafka, partitions=4)
    await service.create_topics()
    text = "x" * 1_000
    for partition in range(4):
        await service.send([event(n, text) for n in range(600)], batch_records=50, partition=partition)
    small = {"max_partition_fetch_bytes": 1 << 16, "fetch_max_bytes": 1 << 16}
    async with looping(service, kafka=small) as loop:
        offsets = loop.pipeline._offsets

        def done():
            return [offsets.next_unacknowledged((service.source, p)) or 0 for p in range(4)]

        await loop.until(lambda: max(done()) >= 300)  # half of one
        assert min(done()) > 0
        await loop.commits_all(service)
    loop.task.result()


def test_spoiling_is_what_it_says():
    row = {"partition_index": 0, "error_code": 0, "records": bytes(np.arange(100, dtype=np.uint8))}
    assert cut(row)["records"] == row["records"][:99]
    assert beyond_the_end(row)["records"][8:] == row["records"][8:]
    assert error_code(2)(row)["error_code"] == 2
