"""Bad events, 1 in 20 among good ones, through Apache Kafka: the good are scored, the bad are kept, with the reason."""

import itertools
import json

import pytest
from aiokafka import AIOKafkaProducer

from farthing.blocks import Status
from tests.payload.corpus import CORPUS

from .running import event, offset_of, scorer

pytestmark = pytest.mark.kafka

# One of each row of what is accepted and refused; the corpus has many more of most.
TABLE = [
    (b'\xef\xbb\xbf{"text":"byte order mark"}', Status.BYTE_ORDER_MARK),
    ('{"text":"UTF-16"}'.encode("utf-16"), Status.BYTE_ORDER_MARK),
    ('{"text":"UTF-32"}'.encode("utf-32"), Status.BYTE_ORDER_MARK),
    (b'{"text":"invalid UTF-8: \xc3("}', Status.INVALID_UTF8),
    (b'{"text":"fine","elsewhere":"\xff"}', Status.INVALID_UTF8),
    (b'{"text":"lone surrogate \\ud83d"}', Status.LONE_SURROGATE),
    (b'{"text":"raw control character \x01"}', Status.CONTROL_CHARACTER),
    (b'{"text":"a","number":NaN}', Status.SYNTAX),
    (b'{"text":"a","number":Infinity}', Status.SYNTAX),
    (b'{"text":"a","number":-Infinity}', Status.SYNTAX),
    (b'{"text":"a","number":1e999}', Status.NUMBER_OVERFLOW),
    (b'{"text":"a"} trailing', Status.TRAILING_BYTES),
    (b'{"text":"a","deep":' + b"[" * 64 + b"]" * 64 + b"}", Status.TOO_DEEP),
    (b"not JSON", Status.SYNTAX),
    (b"<event/>", Status.SYNTAX),
    (b"[1, 2]", Status.NOT_AN_OBJECT),
    (b"null", Status.NOT_AN_OBJECT),
    (b"", Status.EMPTY_VALUE),
    (b"  \n", Status.EMPTY_VALUE),
    (None, Status.NULL_VALUE),
    (b'{"id":"no text"}', Status.MISSING_FIELD),
    (b'{"text":null}', Status.NULL_FIELD),
    (b'{"text":5}', Status.WRONG_TYPE),
    (b'{"text":["a"]}', Status.WRONG_TYPE),
    (b'{"text":"a","text":{"last":"wins"}}', Status.WRONG_TYPE),
]
WHOLE = max((value for value, status in CORPUS if value and status is None), key=len)
CUTS = [
    (value, None) for value, status in CORPUS if status is None and value not in (None, WHOLE)
]  # any reason will do
BAD = [*TABLE, *((v, s) for v, s in CORPUS if s not in (None, Status.OK)), *CUTS]
ODD = [  # to be scored all the same
    b'{"id":"empty","text":""}',
    b'{"text":"no id"}',
    b'{"id":null,"text":"null id"}',
    b'{"id":5,"text":"numeric id"}',
    b'{"id":-1.5e3,"text":"numeric id"}',
    b'{"id":{"a":[1]},"text":"structured id"}',
    b'{"id":"twice","text":5,"text":"the last one counts"}',
    b' {"unknown":[{"deep":null}],"text":"unknown fields"} ',
    *(value for value, status in CORPUS if status is Status.OK),
]
MEGABYTE = event("big", "a b c d " * 125_000)


async def produce(service, values):
    """Send values, with keys and headers of their own; gives (partition, offset) -> (value, key, headers)."""
    producer = AIOKafkaProducer(bootstrap_servers=service.servers, max_request_size=2 << 20)
    await producer.start()
    try:
        waiting = []
        for n, value in enumerate(values):
            key = None if n % 4 == 0 else b"key \xff %d" % n
            headers = [("trace", b"%d" % n), ("", b"\x00"), ("null", None)] if n % 3 else []
            sending = await producer.send(
                service.source, value, key=key, headers=headers, partition=n % service.partitions
            )
            waiting.append((sending, (value, key, headers)))
        await producer.flush()
        found = {}
        for sending, sent in waiting:
            done = await sending
            found[done.partition, done.offset] = sent
        return found
    finally:
        await producer.stop()


def added_headers(record):
    prefix = "farthing.error."
    return {name.removeprefix(prefix): value.decode() for name, value in record.headers if name.startswith(prefix)}


async def test_one_bad_event_in_twenty(apache_kafka, make_service):
    assert len(MEGABYTE) > 1_000_000
    service = make_service(apache_kafka)
    await service.create_topics(**{"max.message.bytes": "2000000"})
    good = itertools.chain(ODD, (event(n, f"comment {n} " * (n % 9)) for n in itertools.count()))
    values, expected = [], {}
    for value, status in BAD:
        values += [*itertools.islice(good, 19), value]
        expected.setdefault(value, set()).add(status)
    values.append(MEGABYTE)
    service.start()
    sent = await produce(service, values)
    await service.ready()
    await service.all_committed()
    scored = await service.read(service.sink, len(values) - len(BAD))
    dead = await service.read(service.dead, len(BAD))
    assert len(scored) == 19 * len(BAD) + 1
    assert len(dead) == len(BAD)

    places = {(record.partition, offset_of(record)): record for record in scored}
    values_of = [sent[place][0] for place in places]
    for record, value in zip(places.values(), scorer().score_events(values_of).values, strict=True):
        assert record.value == value
        assert json.loads(record.value)["label"] in ("allow", "review", "block")
    ids = {json.dumps(json.loads(record.value).get("id", "(missing)")) for record in scored}
    assert {'"empty"', '"(missing)"', "null", "5", "-1500.0", '{"a": [1]}', '"twice"', '"big"'} <= ids

    for record in dead:
        headers = added_headers(record)
        place = record.partition, int(headers["offset"])
        value, key, original = sent[place]
        assert (record.value, record.key) == (value, key)
        assert list(record.headers)[: len(original)] == original
        reason = Status[headers["reason"].upper()]
        assert reason in expected[value] or (expected[value] == {None} and reason is not Status.OK)
        assert headers["stage"] == ("decode" if value is None else "parse")
        assert (headers["topic"], headers["partition"]) == (service.source, str(record.partition))
        assert headers["model"] == scorer().model_id
        assert place not in places
    assert service.metric("farthing_events_total", outcome="dead") == len(BAD)
    assert service.metric("farthing_dead_events_total", reason="lone_surrogate") > 5
    assert service.stop() == 0


async def test_a_megabyte_is_refused_where_less_is_allowed(apache_kafka, make_service):
    service = make_service(apache_kafka, partitions=1, route={"max_event_bytes": 1_000_000})
    await service.create_topics()
    just = event("just", "x" * (1_000_000 - len(event("just", ""))))
    assert len(just) == 1_000_000
    service.start()
    sent = await produce(service, [event(1, "before"), MEGABYTE, just, event(2, "after")])
    await service.ready()
    await service.all_committed()
    scored = await service.read(service.sink, 3)
    assert [json.loads(record.value)["id"] for record in scored] == [1, "just", 2]
    (letter,) = await service.read(service.dead, 1)
    headers = added_headers(letter)
    assert headers["reason"] == "too_large"
    assert letter.value == MEGABYTE  # byte for byte, because the topic takes it
    assert "value_bytes" not in headers
    assert letter.key == sent[0, 1][1]
    assert service.stop() == 0
