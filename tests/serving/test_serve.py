"""The whole way of an event, on Apache Kafka, with the shipped bundle."""

import time

import pytest

from farthing.local.comments import comment_events

pytestmark = pytest.mark.kafka


@pytest.mark.parametrize(("workers", "partitions"), [(2, 4), (1, 3)])
async def test_every_event_comes_out_in_order_and_bit_equal(workers, partitions, apache_kafka, make_service):
    service = make_service(apache_kafka, workers=workers, partitions=partitions)
    await service.create_topics()
    service.start()
    sent = await service.send(comment_events(20_000), batch_records=97)
    await service.ready()
    events, repeats = await service.check_delivery()
    assert events == len(sent)
    assert workers > 1 or not repeats  # only a rebalance repeats
    assert service.metric("farthing_events_total", outcome="scored") == events + repeats
    assert service.metric("farthing_event_latency_seconds_count") == events + repeats
    await service.all_committed()
    began = time.monotonic()
    assert service.stop() == 0
    assert time.monotonic() - began < 25
    assert await service.read(service.dead, 0, timeout_s=1) == []


async def test_a_restart_goes_on_where_it_stopped(apache_kafka, make_service):
    service = make_service(apache_kafka)
    await service.create_topics()
    service.start()
    first = await service.send(comment_events(3_000), batch_records=100)
    await service.ready()
    await service.read(service.sink, len(first))
    assert service.stop() == 0
    second = await service.send(comment_events(3_000, seed=2), batch_records=100)
    service.start()
    await service.ready()
    assert await service.check_delivery() == (len(first) + len(second), 0)  # a clean stop repeats nothing


async def test_a_missing_topic_is_said_and_ends_the_start(apache_kafka, make_service):
    service = make_service(apache_kafka)
    service.start()
    assert await service.waiting() == 3
    assert "farthing topics create" in service.log.read_text()
