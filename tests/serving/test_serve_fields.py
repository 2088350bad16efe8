"""A service whose events have their fields elsewhere, and headers of their own."""

import json

import pytest
from aiokafka import AIOKafkaProducer

from farthing import Scorer

from .running import offset_of

pytestmark = pytest.mark.kafka

HEADERS = [
    ("traceparent", b"00-1"),
    ("", None),
    ("traceparent", b"00-2"),
    ("farthing.offset", b"99"),
    ("big", b"x" * 90),
]
ROUTE = 'tenant = "comment.user"\nmax_header_bytes = 64\n[route.fields]\ntext = "comment.text"\nid = \'comment\\.id\'\n'


async def test_mapped_events_are_scored_and_their_headers_travel(apache_kafka, make_service):
    service = make_service(apache_kafka, partitions=1, route=ROUTE)
    await service.create_topics()
    events = [
        json.dumps({"comment": {"text": f"comment {n}", "user": f"u{n % 3}"}, "comment.id": n}).encode()
        for n in range(20)
    ] + [b'{"text":"a nice day"}']
    async with AIOKafkaProducer(bootstrap_servers=apache_kafka.bootstrap_servers) as producer:
        for n, value in enumerate(events):
            await producer.send_and_wait(service.source, value, headers=HEADERS if n % 2 == 0 else None)
    service.start()
    await service.ready()
    scores = await service.read(service.sink, 20)
    (dead,) = await service.read(service.dead, 1)
    plain = [json.dumps({"id": n, "text": f"comment {n}"}).encode() for n in range(20)]
    assert [record.value for record in scores] == list(
        Scorer.load("moderation", verify=False).score_events(plain).values
    )
    assert [offset_of(record) for record in scores] == list(range(20))
    for n, record in enumerate(scores):
        assert list(record.headers[:-1]) == (HEADERS[:3] if n % 2 == 0 else [])
    assert list(dead.headers[:4]) == [*HEADERS[:3], HEADERS[4]]
    assert dict(dead.headers)["farthing.error.reason"] == b"missing_field"
    assert service.metric("farthing_dropped_headers_total", reason="reserved") == 11
    assert service.metric("farthing_dropped_headers_total", reason="over_limit") == 10
    (loaded,) = service.events("loaded")
    assert loaded["fields"] == {"text": "comment.text", "id": r"comment\.id"}
