"""``farthing dead`` on real brokers: counted, shown, and replayed once each, byte for byte and in order."""

import asyncio
import hashlib
import json
import time

import pytest
from aiokafka import AIOKafkaProducer, TopicPartition
from aiokafka.admin import RecordsToDelete
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType

from farthing.blocks import FetchedPartition
from farthing.dead import replay as replay_module
from farthing.dead.batches import Again, lay_out
from farthing.dead.replay import Replay
from farthing.dead.selection import Selection
from farthing.errors import BrokerError, CorruptBatchError
from farthing.kafka import BatchProducer, KafkaSettings, letter_of_batch
from farthing.sections import RouteSettings
from tests.inprocess import farthing
from tests.serving.looping import looping
from tests.serving.running import event, scorer

pytestmark = pytest.mark.kafka

OWN = [("trace", b"\x00\xff"), ("trace", b"")]


def command(service, *arguments, code=0):
    """Run ``farthing dead ...``; gives its output and what it said."""
    done = farthing("dead", *arguments, "-c", service.config)
    assert done.returncode == code, done.stderr + done.stdout
    return done.stdout, done.stderr


async def run(service, *arguments, code=0):
    out, _ = await asyncio.to_thread(command, service, *arguments, "--json", code=code)
    return [json.loads(line) for line in out.splitlines() if line.startswith("{")]


async def write(service, events):
    """Write (partition, key, value, headers, timestamp) to the source."""
    producer = AIOKafkaProducer(bootstrap_servers=service.servers, linger_ms=0, max_request_size=4 << 20)
    await producer.start()
    for partition, key, value, headers, time_ms in events:
        await producer.send_and_wait(
            service.source, value, key, partition=partition, headers=headers, timestamp_ms=time_ms
        )
    await producer.stop()


async def answered(service):
    async with looping(service) as loop:
        await loop.commits_all(service)
    loop.task.result()


def same(record):
    """What must not change on the way back."""
    own = [(name, value) for name, value in record.headers if not name.startswith("farthing.")]
    return record.key, record.value, own, record.timestamp


async def test_letters_are_counted_shown_and_replayed_once(apache_kafka, make_service):
    service = make_service(apache_kafka, partitions=2, route={"redact": ["user.email"]})
    await service.create_topics()
    now = time.time_ns() // 1_000_000
    bad = [
        (0, b"k", b'{"user":{"email":"c4nary"},"lang":"en"}', OWN, now - 5_000),
        (0, None, b'{"text":5,"lang":"de"}', [], now - 4_000),
        (1, b"", b"\xff not JSON c4nary", OWN, now - 3_000),
        (1, b"gone", None, [], now - 2_000),
        (0, b"k", b'{"text":null}', [("farthing.error.offset", b"9")], now - 1_000),
    ]
    await write(service, [(0, None, event(1, "good"), [], now), *bad, (1, None, event(2, "good"), [], now)])
    await answered(service)
    originals = await service.read(service.source, 7)

    (listed,) = await run(service, "list")
    assert listed["letters"] == 5
    assert {(group["partition"], group["reason"], group["letters"]) for group in listed["groups"]} == {
        (0, "missing_field", 1), (0, "wrong_type", 1), (0, "null_field", 1), (1, "syntax", 1),
        (1, "null_value", 1),
    }  # fmt: skip
    for flags, count in (
        (("--reason", "wrong_type"), 1), (("--partition", "1"), 2), (("--field", "lang=en"), 1),
        (("--until", "1h"), 0), (("--since", "1h"), 5), (("--reason", "wrong_type", "--partition", "1"), 0),
    ):  # fmt: skip
        assert (await run(service, "list", *flags))[0]["letters"] == count, flags

    (shown,) = await run(service, "show")
    assert (len(shown["letters"]), shown["more"]) == (5, False)
    (few,) = await run(service, "show", "--limit", "2")
    assert (few["letters"], few["more"]) == (shown["letters"][:2], True)
    out, _ = await asyncio.to_thread(command, service, "show")
    assert "c4nary" not in json.dumps(shown) + out  # redacted, and what is not JSON is not shown
    assert "missing_field" in out
    (one,) = (await run(service, "show", "0:2"))[0]["letters"]
    assert (one["reason"], one["offset"], one["value"]) == ("wrong_type", 2, '{"text": 5, "lang": "de"}')
    await run(service, "show", "0:99", code=1)

    before = await service.ends(service.source)
    (dry,) = await run(service, "replay", "--dry-run")
    assert dry["routes"][0]["replayed"] == 5
    assert await service.ends(service.source) == before
    (first,) = await run(service, "replay", "--reason", "wrong_type")
    assert first["routes"][0]["replayed"] == 1
    (rest,) = await run(service, "replay")
    assert (rest["routes"][0]["replayed"], rest["routes"][0]["already"]) == (4, 1)
    (again,) = await run(service, "replay")
    assert (again["routes"][0]["replayed"], again["routes"][0]["already"]) == (0, 5)

    records = await service.read(service.source, 12)
    new = [r for r in records if r.offset >= before[r.partition]]
    for partition, order in ((0, [2, 1, 3]), (1, [0, 1])):  # wrong_type went first
        mine = [record for record in new if record.partition == partition]
        assert [int(dict(record.headers)["farthing.replay"]) for record in mine] == order
        for record, offset in zip(mine, order, strict=True):
            (original,) = [o for o in originals if (o.partition, o.offset) == (partition, offset)]
            assert same(record) == same(original)


async def test_a_map_scores_letters_here_and_the_sink_has_each_once(apache_kafka, make_service):
    service = make_service(apache_kafka, partitions=2)
    await service.create_topics()
    texts = [f"message {n}" for n in range(40)]
    events = [(n % 2, b"k%d" % n, json.dumps({"id": n, "message": t}).encode(), [], None) for n, t in enumerate(texts)]
    await write(service, [*events, (0, None, b"{", [], None)])
    await answered(service)
    (said,) = await run(service, "replay", "--map", "text=message", code=1)
    assert said["routes"][0]["target"] == service.sink
    assert (said["routes"][0]["replayed"], said["routes"][0]["still_dead"]) == (40, {"syntax": 1})
    (again,) = await run(service, "replay", "--map", "text=message", "--reason", "missing_field")
    assert (again["routes"][0]["replayed"], again["routes"][0]["already"]) == (0, 40)
    scores = await service.read(service.sink, 40)
    expected = scorer().score_events([event(n, text) for n, text in enumerate(texts)]).values
    assert sorted(record.value for record in scores) == sorted(expected)
    for partition in range(2):
        offsets = [int(dict(r.headers)["farthing.offset"]) for r in scores if r.partition == partition]
        assert offsets == sorted(offsets)
    _, said = await asyncio.to_thread(command, service, "replay", "--bundle", "bidding", code=2)
    assert "replay to the source instead" in said


async def test_an_interrupted_replay_goes_on_where_it_was(apache_kafka, make_service, monkeypatch):
    service = make_service(apache_kafka, partitions=2)
    await service.create_topics()
    await write(service, [(n % 2, None, b"bad %d" % n, [], None) for n in range(60)])
    await answered(service)
    monkeypatch.setattr(replay_module, "BATCH_RECORDS", 4)
    sent = 0

    class Dying(BatchProducer):
        async def send(self, batches, on_refused):
            nonlocal sent
            await super().send(batches, on_refused)
            sent += 1
            if sent in (3, 7):
                raise BrokerError("the machine goes down", retriable=True)

    monkeypatch.setattr(replay_module, "BatchProducer", Dying)
    route = RouteSettings(bundle="moderation", source=service.source, sink=service.sink, dead_letters=service.dead)
    kafka = KafkaSettings(bootstrap_servers=(service.servers,))
    runs = 0
    while True:
        runs += 1
        job = Replay(kafka, route, Selection(), scorer=None, dry_run=False, per_second=None, tell=lambda _: None)
        try:
            summary = await job.run()
        except BrokerError:
            continue
        break
    assert runs == 3
    assert summary.replayed + summary.already == 60
    new = [r for r in await service.read(service.source, 120) if dict(r.headers).get("farthing.replay")]
    for partition in range(2):
        order = [int(dict(r.headers)["farthing.replay"]) for r in new if r.partition == partition]
        assert order == list(range(30))
        assert [r.value for r in new if r.partition == partition] == [b"bad %d" % n for n in range(partition, 60, 2)]


async def test_cut_letters_are_fetched_while_there_is_an_original_and_whole_batches_refused(apache_kafka, make_service):
    service = make_service(apache_kafka, partitions=1)
    await service.create_topics(**{"max.message.bytes": "3000000"})
    async with service.admin() as admin:
        limit = ConfigResource(ConfigResourceType.TOPIC, service.dead, {"max.message.bytes": "1000000"})
        await admin.alter_configs([limit])
    long = [b"[" + b"%d" % n * 1_900_000 for n in range(2)]
    now = time.time_ns() // 1_000_000  # older ones a broker may delete at any moment
    await write(service, [(0, b"k", long[0], OWN, now - 5_000), (0, b"k", long[1], [], now - 4_000)])
    await answered(service)
    letters = await service.read(service.dead, 2)
    assert all(len(letter.value) < 1_000_000 for letter in letters)
    fault = CorruptBatchError("crc", topic=service.source, partition=0, base_offset=50, next_offset=60)
    part = FetchedPartition(service.source, 0, 50, 60, b"")
    producer = BatchProducer(KafkaSettings(bootstrap_servers=(service.servers,)))
    await producer.start()
    await producer.send([letter_of_batch(part, fault, topic=service.dead, model="m")])
    await producer.close(2)
    (said,) = await run(service, "replay", "0:0")
    assert said["routes"][0]["replayed"] == 1
    original, _, again = await service.read(service.source, 3)
    assert same(again) == same(original)
    assert hashlib.sha256(again.value).digest() == hashlib.sha256(long[0]).digest()
    async with service.admin() as admin:
        await admin.delete_records({TopicPartition(service.source, 0): RecordsToDelete(before_offset=2)})
    out, said = await asyncio.to_thread(command, service, "replay", code=1)
    assert "0:1: the letter is cut, and" in out
    assert "is not in the source any more" in out
    assert "0:50: holds a whole record batch that cannot be read (CorruptBatchError)" in out
    assert "1 were there already" in out
    shown = (await run(service, "show"))[0]["letters"]
    assert [one["whole_batch"] for one in shown] == [False, False, True]
    assert shown[0]["cut"] == ["value"]


async def test_an_event_that_the_broker_refuses_keeps_no_other(apache_kafka, make_service):
    """With the header that says that it is a replay it is a few bytes too long for its topic."""
    service = make_service(apache_kafka, partitions=1)
    await service.create_topics()
    async with service.admin() as admin:
        limit = ConfigResource(ConfigResourceType.TOPIC, service.source, {"max.message.bytes": "2000"})
        await admin.alter_configs([limit])
    await write(
        service, [(0, None, b"bad", [], None), (0, None, b"[" * 1_920, [], None), (0, None, b"worse", [], None)]
    )
    await answered(service)
    (said,) = await run(service, "replay", code=1)
    assert (said["routes"][0]["replayed"], said["routes"][0]["refused"]) == (2, {"broker": 1})
    records = await service.read(service.source, 5)
    assert [record.value for record in records[3:]] == [b"bad", b"worse"]


async def test_the_demos_broker_will_do(tansu, make_service):
    service = make_service(tansu, partitions=1)
    await service.create_topics()
    said = {b"reason": b"syntax", b"topic": service.source.encode(), b"partition": b"0", b"offset": b"4"}
    letter = [(b"farthing.error." + name, value) for name, value in said.items()]
    producer = BatchProducer(KafkaSettings(bootstrap_servers=(service.servers,)))
    await producer.start()
    await producer.send([lay_out(service.dead, 0, [Again(1_000, b"k", b"{", (*letter, (b"own", b"1")))])])
    await producer.close(2)
    assert (await run(service, "list"))[0]["letters"] == 1
    assert (await run(service, "replay"))[0]["routes"][0]["replayed"] == 1
    assert (await run(service, "replay"))[0]["routes"][0]["already"] == 1
    (record,) = await service.read(service.source, 1)
    assert same(record) == (b"k", b"{", [("own", b"1")], 1_000)
    assert dict(record.headers)["farthing.replay"] == b"4"


def test_what_is_not_there_is_said(tmp_path, apache_kafka, make_service):
    service = make_service(apache_kafka, partitions=1)
    _, said = command(service, "list", code=3)
    assert f"{service.dead}: the topic does not exist" in said
    _, said = command(service, "list", "--route", "elsewhere", code=2)
    assert "--route elsewhere: no route reads it" in said
    _, said = command(service, "replay", "--since", "lunch", code=2)
    assert "--since lunch: write a time such as" in said
