"""The whole way of an event, on Apache Kafka, with the shipped bundle."""

import json
import re
import time

import pytest

from farthing import Scorer
from farthing.comments import comment_events

from .running import Service, event, eventually

pytestmark = pytest.mark.kafka


@pytest.fixture
async def service(apache_kafka, tmp_path, request):
    made = Service(apache_kafka, tmp_path, **getattr(request, "param", {}))
    await made.create_topics()
    yield made
    made.stop()


def offset_of(record):
    return int(dict(record.headers)["farthing.offset"])


@pytest.mark.parametrize("service", [{"workers": 2}, {"workers": 1, "partitions": 3}], indirect=True)
async def test_every_event_comes_out_in_order_and_bit_equal(service):
    service.start()
    sent = await service.send(comment_events(20_000), batch_records=97)
    await service.ready()
    found = await service.read(service.sink, len(sent))
    expected = [value for value in Scorer.load("moderation").score_events([v for _, v in sent]).values]
    by_partition = {
        p: [e for (q, _), e in zip(sent, expected, strict=True) if q == p] for p in range(service.partitions)
    }
    for partition in range(service.partitions):
        records = [r for r in found if r.partition == partition]
        seen = {offset_of(r): r.value for r in records}
        assert [seen[o] for o in range(len(by_partition[partition]))] == by_partition[partition]
        assert len(seen) == len(by_partition[partition])  # none foreign
        offsets = [offset_of(r) for r in records]
        assert len(records) == len(seen) or offsets != sorted(offsets)  # repeats only after a rebalance
    status, text = service.get("/metrics")
    assert status == 200
    scored = sum(float(v) for v in re.findall(r'farthing_events_total\{[^}]*outcome="scored"[^}]*\} (\S+)', text))
    assert scored >= len(sent)
    began = time.monotonic()
    assert service.stop() == 0
    assert time.monotonic() - began < 25


async def test_bad_events_are_dead_letters_and_nothing_stalls(service):
    from tests.payload.corpus import CORPUS

    bad = [value for value, status in CORPUS if value and status is not None and status != 0]
    good = [event(n, f"comment {n}") for n in range(19 * len(bad))]
    mixed = []
    for k, value in enumerate(bad):
        mixed += [*good[19 * k : 19 * k + 19], value]
    mixed += [
        b'{"text":""}',
        b'{"id":null,"text":"a"}',
        b'{"text":"no id"}',
        b'{"id":5,"text":"x"}',
        event("big", "x " * 450_000),
    ]
    service.start()
    sent = await service.send(mixed, batch_records=50)
    await service.ready()
    scored = await service.read(service.sink, len(good) + 5)
    dead = await service.read(service.dead, len(bad))
    assert len(scored) == len(good) + 5
    assert sorted(r.value for r in dead) == sorted(bad)
    position = dict.fromkeys(range(service.partitions), -1)
    origin = {}
    for partition, value in sent:
        position[partition] += 1
        origin[partition, position[partition]] = value
    expected = {value: status.name.lower() for value, status in CORPUS if value and status is not None}
    for record in dead:
        headers = {name: value.decode() for name, value in record.headers}
        assert headers["farthing.error.reason"] == expected[record.value]
        assert origin[record.partition, int(headers["farthing.error.offset"])] == record.value
        assert headers["farthing.error.topic"] == service.source
    assert all(json.loads(r.value)["label"] in ("allow", "review", "block") for r in scored)


async def test_a_restart_goes_on_where_it_stopped(service):
    service.start()
    first = await service.send(comment_events(3_000), batch_records=100)
    await service.ready()
    await service.read(service.sink, len(first))
    assert service.stop() == 0
    second = await service.send(comment_events(3_000, seed=2), batch_records=100)
    service.start()
    await service.ready()
    found = await service.read(service.sink, len(first) + len(second))
    assert len(found) == len(first) + len(second)  # a clean stop repeats nothing


async def test_a_missing_topic_is_said_and_ends_the_start(apache_kafka, tmp_path):
    service = Service(apache_kafka, tmp_path)
    service.start()
    assert service.process.wait(60) == 3
    assert "farthing topics create" in service.log.read_text()


async def test_sigterm_with_the_broker_dead_ends_in_time(own_kafka, tmp_path):
    service = Service(own_kafka, tmp_path, partitions=1)
    await service.create_topics()
    service.start()
    await service.ready()
    await service.send(comment_events(200), batch_records=100)
    own_kafka.kill()
    await eventually(lambda: service.get("/ready")[0] == 503, 60, lambda: service.log.read_text()[-2000:])
    assert service.get("/live")[0] == 200
    began = time.monotonic()
    service.stop()
    assert time.monotonic() - began < 25


async def test_a_broker_that_comes_back_loses_nothing(own_kafka, tmp_path):
    service = Service(own_kafka, tmp_path, partitions=2)
    await service.create_topics()
    service.start()
    await service.ready()
    first = await service.send(comment_events(5_000), batch_records=100)
    await service.read(service.sink, len(first))
    own_kafka.kill()
    await eventually(lambda: service.get("/ready")[0] == 503, 60)
    own_kafka.start()
    second = await service.send(comment_events(5_000, seed=2), batch_records=100)
    found = await service.read(service.sink, len(first) + len(second), timeout_s=90)
    places = {(r.partition, offset_of(r)): r.value for r in found}
    assert len(places) == len(first) + len(second)
    service.stop()
