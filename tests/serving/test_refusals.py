"""Events that an output topic or the model refuses, on Apache Kafka: they become dead letters, and the others go on."""

import asyncio
import json
import math
import time

import pytest
from aiokafka.admin import NewTopic
from aiokafka.protocol.admin import AlterConfigsRequest, CreateAclsRequest, DeleteAclsRequest

from farthing.errors import ScoreError, StartError
from farthing.kafka import BatchProducer
from farthing.kafka.client import leader_of
from farthing.kafka.settings import KafkaSettings
from farthing.kafka.sink_limits import describe
from farthing.local.broker import ApacheKafka
from farthing.serving import pipeline as pipeline_module
from farthing.serving.route import Route, RouteTopics
from tests.wire.test_dead import digest

from .acls import ask
from .looping import looping, make_route
from .running import offset_of, scorer
from .strange import make_topics, ours, plain, records_batch, send_records

pytestmark = pytest.mark.kafka
HOUR_MS = 3_600_000


async def change(service, topic, **configs):
    """Change a topic's settings; those that are not named go back to their defaults."""
    resource = (2, topic, [(name.replace("_", "."), value) for name, value in configs.items()])
    response = await ask(service, AlterConfigsRequest([resource], False))
    assert response.resources[0][0] == 0, response
    settings = KafkaSettings(bootstrap_servers=(service.servers,))
    wanted = {name.replace("_", "."): value for name, value in configs.items()}
    deadline = time.monotonic() + 30
    while not wanted.items() <= (await describe(settings, [topic]))[topic].items():
        assert time.monotonic() < deadline


async def refused_now(service, topic, record):
    """Wait until a changed topic refuses a record. It is sent to partition 1, which is for this alone."""
    producer = BatchProducer(KafkaSettings(bootstrap_servers=(service.servers,)))
    await producer.start()
    await producer.send([records_batch(topic, 1, [plain(0)])])
    leader, code = leader_of(producer._client, (topic, 1)), 0
    async with asyncio.timeout(30):
        while not code:
            response = await producer._frames.produce(leader, [records_batch(topic, 1, [record])], 1_000)
            ((_, ((_, code, *_),)),) = response.topics
    await producer.close(5)


async def results(service, scored, dead):
    """Read what was written; gives scores by source offset, in their order, and letters by source offset."""
    scores = [record for record in await service.read(service.sink, scored) if record.partition == 0]
    letters = [record for record in await service.read(service.dead, dead) if record.partition == 0]
    places = [offset_of(record) for record in scores]
    assert places == sorted(set(places)), "in order, and each once"
    found = {int(ours(record)["offset"]): record for record in letters}
    assert (len(scores), len(letters), len(found)) == (scored, dead, dead)
    return dict(zip(places, scores, strict=True)), found


def size_of(record):
    """The bytes of a record in a batch of its own, as the writer counts them."""
    one = records_batch("t", 0, [(record.value, record.key, list(record.headers), record.timestamp)])
    return len(one.data)


async def test_sizes_around_every_limit(apache_kafka, make_service):
    """A score that just fits is written; one that does not is a letter, and every letter fits."""
    service = make_service(apache_kafka, partitions=1)
    sink_limit, dead_limit = 3_000, 2_000
    await make_topics(service, sink={"max.message.bytes": str(sink_limit)}, dead={"max.message.bytes": str(dead_limit)})
    records = []
    for size in [*range(2_500, 3_100, 7), 1_048_430]:
        records += [plain("i" * size), plain("good")]
    bad = b'{"text":5}'
    records += [
        (bad, b"k" * 1_000_000, [], None), plain("good"),
        (bad, b"k", [("h", b"x" * 1_000_000)], None), plain("good"),
        (bad, b"k", [(f"h{n}", None) for n in range(100_000)], None), plain("good"),
        (b'{"text":' + b" " * 1_048_000, b"k" * 1_900, [("h", b"x" * 1_900)], None), plain("good"),
        (b"x" * 5_000_000, None, [], None), plain("good", key=b"k" * 2_000), plain("good", key=b"k" * 3_000),
        plain("good", headers=[("trace", b"x" * 3_500)]), (bad, None, [("", None), ("n", b"")], None), (None, b"", [], None),
    ]  # fmt: skip
    await send_records(service, records)
    async with looping(service) as loop:
        await loop.commits_all(service)
        assert loop.health.ready
        used = loop.pipeline._limits.of(service.sink).max_message_bytes
        assert used == sink_limit
    loop.task.result()
    scores = await service.read(service.sink, 1)
    letters = {int(ours(record)["offset"]): record for record in await service.read(service.dead, 1)}
    places = [offset_of(record) for record in scores]
    assert places == sorted(set(places)) and not set(places) & set(letters)
    assert set(places) | set(letters) == set(range(len(records)))
    assert all(size_of(record) <= sink_limit for record in scores)
    assert all(size_of(record) <= dead_limit for record in letters.values())
    reasons = {offset: ours(record)["reason"] for offset, record in letters.items()}
    for offset, (value, key, headers, _) in enumerate(records):
        if offset in letters:
            told, letter = ours(letters[offset]), letters[offset]
            for name, whole, kept in (("value", value, letter.value), ("key", key, letter.key)):
                assert kept == whole or (
                    whole.startswith(kept) and (told[f"{name}_bytes"], told[f"{name}_sha256"])
                    == (b"%d" % len(whole), digest(whole))
                )  # fmt: skip
            theirs = [pair for pair in letter.headers if not pair[0].startswith("farthing.")]
            assert theirs == headers or told["headers_count"] == b"%d" % len(headers)
    ids = [len(json.loads(record[0])["id"]) for record in records[: 2 * 87 : 2]]
    fits = {size: 2 * k in places for k, size in enumerate(ids)}
    longest = max(size for size in fits if fits[size])
    assert all(fits[size] == (size <= longest) for size in fits) and 2_600 < longest < 2_950
    assert {reasons[2 * k] for k, size in enumerate(ids) if not fits[size]} == {b"score_too_large"}
    assert reasons[len(records) - 4] == b"score_too_large" and len(records) - 5 in places  # keys
    assert len(records) - 3 in places  # its own headers do not count
    assert reasons[len(records) - 1] == b"null_value"


async def test_timestamps_that_a_topic_refuses(apache_kafka, make_service):
    service = make_service(apache_kafka, partitions=1)
    bounds = {"message.timestamp.before.max.ms": str(24 * HOUR_MS)}
    await make_topics(service, sink=bounds, dead=bounds)
    now = time.time_ns() // 1_000_000
    stamps = [now, now + 2 * HOUR_MS, now + 10**12, now - 48 * HOUR_MS, 0, -1, now + HOUR_MS // 2, now - 20 * HOUR_MS]
    records = [plain(k, stamp=stamp) for k, stamp in enumerate(stamps)]
    records += [(b"no JSON", b"k", [], stamp) for stamp in stamps]
    await send_records(service, records)
    async with looping(service) as loop:
        await loop.commits_all(service)
    loop.task.result()
    scores, letters = await results(service, len(stamps), len(stamps))
    for offset, record in (scores | letters).items():
        stamp = stamps[offset % len(stamps)]
        stated = dict(record.headers).get("farthing.timestamp_ms") or ours(record).get("timestamp_ms")
        if offset % len(stamps) in (1, 2, 3, 4):
            assert stated == b"%d" % stamp
            assert now - 25 * HOUR_MS < record.timestamp < now + 2 * HOUR_MS
        else:
            assert (record.timestamp, stated) == (stamp, None)


async def test_topics_that_are_compacted_or_have_times_of_their_own(apache_kafka, make_service):
    service = make_service(apache_kafka, partitions=1)
    await make_topics(service, sink={"cleanup.policy": "compact"},
                      dead={"cleanup.policy": "compact,delete", "message.timestamp.type": "LogAppendTime"})  # fmt: skip
    records = [plain(k, key=None if k in (3, 5) else b"k%d" % k, stamp=1_700_000_000_000 + k) for k in range(20)]
    records[7] = (b"{", None, [], 1_700_000_000_000)
    await send_records(service, records)
    async with looping(service) as loop:
        await loop.commits_all(service)
        assert loop.health.ready
    loop.task.result()
    _, letters = await results(service, 17, 3)
    assert {offset: ours(record)["reason"] for offset, record in letters.items()} == {
        3: b"null_key", 5: b"null_key", 7: b"syntax",
    }  # fmt: skip
    assert {record.key for record in letters.values()} == {f"{service.source}-0-{n}".encode() for n in (3, 5, 7)}
    assert ours(letters[3])["timestamp_ms"] == b"1700000000003"


CHANGES = {
    "smaller": (
        {"max_message_bytes": "1000"},
        lambda k: plain(k, key=b"k" * (1_500 if k % 10 == 3 else 5)),
        b"score_too_large",
    ),
    "compacted": ({"cleanup_policy": "compact"}, lambda k: plain(k, key=None if k % 10 == 3 else b"k"), b"null_key"),
    "bounds": (
        {"message_timestamp_before_max_ms": str(HOUR_MS)},
        lambda k: plain(k, stamp=5 if k % 10 == 3 else None),
        None,
    ),
}


@pytest.mark.parametrize("case", CHANGES)
async def test_limits_that_change_under_way_are_found_by_the_refusals(apache_kafka, make_service, case, monkeypatch):
    """The broker refuses batches: each bad record is found, each good one is written once, in order."""
    configs, make, reason = CHANGES[case]
    service = make_service(apache_kafka, partitions=2)
    await make_topics(service)
    async with looping(service) as loop:
        await send_records(service, [plain(k) for k in range(50)])
        await loop.commits_all(service)
        monkeypatch.setattr(loop.pipeline._limits, "read_after_refusal", lambda: _nothing())
        await change(service, service.sink, **configs)
        await refused_now(service, service.sink, make(3))
        await send_records(service, [make(k) for k in range(100)], batch_records=1_000)
        await loop.commits_all(service)
        assert loop.health.ready
        dead = 0 if reason is None else 10
        assert loop.sample("farthing_events_total", route=service.source, outcome="scored") == 150 - dead
        if reason:
            assert loop.sample("farthing_dead_events_total", route=service.source, reason=reason.decode()) == dead
    loop.task.result()
    scores, letters = await results(service, 150 - dead, dead)
    assert [ours(record)["reason"] for record in letters.values()] == [reason] * dead
    if reason is None:
        assert all(scores[50 + k].timestamp == -1 for k in range(3, 100, 10))
        assert {dict(scores[50 + k].headers)["farthing.timestamp_ms"] for k in range(3, 100, 10)} == {b"5"}
    else:
        assert all(json.loads(letter.value)["id"] % 10 == 3 for letter in letters.values())


async def _nothing():
    return None


async def test_a_dead_letter_topic_that_shrinks_gets_shorter_letters(apache_kafka, make_service):
    service = make_service(apache_kafka, partitions=2)
    await make_topics(service)
    async with looping(service) as loop:
        await send_records(service, [plain(0)])
        await loop.commits_all(service)
        await change(service, service.dead, max_message_bytes="1500")
        await refused_now(service, service.dead, (b"x" * 1_500, None, [], None))
        await send_records(service, [(b"x" * 5_000, b"k", [], None), plain(2)])
        await loop.commits_all(service)
        await change(service, service.dead, max_message_bytes="400")
        await refused_now(service, service.dead, (b"x" * 400, None, [], None))
        loop.pipeline._limits._last = math.inf  # not read again
        await send_records(service, [(b"x" * 5_000, b"k", [], None), plain(4)])
        await loop.commits_all(service)
    loop.task.result()
    letters = {int(ours(r)["offset"]): r for r in await service.read(service.dead, 2) if r.partition == 0}
    assert ours(letters[1])["value_bytes"] == b"5000" and len(letters[1].value) > 500
    assert (letters[3].value, set(ours(letters[3]))) == (b"", {"reason", "offset"})


async def stalled(loop, *words):
    await loop.until(lambda: loop.health.state == "stalled" and all(word in loop.health.reason for word in words))


async def test_a_sink_that_refuses_everything_is_waited_for(apache_kafka, make_service, monkeypatch):
    """All events are without keys, and the sink is compacted: held, said, and no letter; put right, it goes on."""
    monkeypatch.setattr(pipeline_module, "HELD_AGAIN_S", 0.3)
    service = make_service(apache_kafka, partitions=1)
    await make_topics(service, sink={"cleanup.policy": "compact"})
    await send_records(service, [plain(k, key=None) for k in range(200)])
    async with looping(service) as loop:
        await stalled(loop, "null_key", f"{service.sink} is compacted; set its cleanup.policy to delete")
        await change(service, service.sink, cleanup_policy="delete")
        await loop.pipeline._limits.read()
        await loop.until(lambda: loop.health.ready)
        await loop.commits_all(service)
    loop.task.result()
    await results(service, 200, 0)


class Broken(Route):
    """A route whose model fails while ``broken``."""

    broken = True

    def _work(self, records, clock):
        if self.broken:
            raise ScoreError("ONNX Runtime failed")
        return super()._work(records, clock)


async def test_a_model_that_fails_on_everything_is_waited_for_and_other_routes_go_on(
    apache_kafka, make_service, monkeypatch
):
    monkeypatch.setattr(pipeline_module, "HELD_AGAIN_S", 0.3)
    service, other = make_service(apache_kafka, partitions=1), make_service(apache_kafka, partitions=1)
    other.group = service.group
    for each in (service, other):
        await make_topics(each)
        await send_records(each, [plain(k) for k in range(300)])
    topics = RouteTopics(service.source, service.sink, service.dead)
    route = Broken(topics, scorer().stages)
    async with looping(service, route, make_route(other)) as loop:
        await stalled(loop, "nearly all events", "ONNX Runtime failed")
        await loop.commits_all(other)
        assert loop.health.state == "stalled" and loop.sample("farthing_halted_partitions") == 1
        route.broken = False
        await loop.until(lambda: loop.health.ready)
        await loop.commits_all(service)
    loop.task.result()
    await results(service, 300, 0)


async def test_a_deleted_sink_holds_its_route_until_it_is_back(apache_kafka, make_service, monkeypatch):
    monkeypatch.setattr(pipeline_module, "HELD_AGAIN_S", 0.3)
    service, other = make_service(apache_kafka, partitions=1), make_service(apache_kafka, partitions=1)
    other.group = service.group
    for each in (service, other):
        await make_topics(each)
    async with looping(service, make_route(service), make_route(other), kafka={"delivery_timeout_ms": 1_000}) as loop:
        await send_records(service, [plain(0)])
        await loop.commits_all(service)
        async with service.admin() as admin:
            await admin.delete_topics([service.sink])
        await send_records(service, [plain(1)])
        await stalled(loop, service.sink)
        assert "create it again" in loop.health.reason or "no leader" in loop.health.reason
        await send_records(other, [plain(0)])
        await loop.commits_all(other)
        async with service.admin() as admin:
            await admin.create_topics([NewTopic(service.sink, 1, 1)])
        await loop.until(lambda: loop.health.ready)
        await loop.commits_all(service)
    loop.task.result()
    await results(service, 1, 0)


@pytest.fixture(scope="module")
def strict_kafka():
    """A broker with an authorizer, which allows what no rule is about."""
    try:
        broker = ApacheKafka(properties={
            "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
            "allow.everyone.if.no.acl.found": "true",
        })  # fmt: skip
    except StartError as error:
        pytest.skip(str(error))
    with broker:
        yield broker


@pytest.mark.parametrize(
    ("which", "delivery"), [("sink", "at_least_once"), ("sink", "exactly_once"), ("dead", "exactly_once")]
)
async def test_a_right_that_is_withdrawn_holds_and_resumes_by_itself(
    strict_kafka, make_service, monkeypatch, which, delivery
):
    monkeypatch.setattr(pipeline_module, "HELD_AGAIN_S", 0.3)
    service = make_service(strict_kafka, partitions=1)
    await make_topics(service)
    topic = getattr(service, which)
    acl = (2, topic, 3, "User:ANONYMOUS", "*", 4, 2)  # topic, its literal name, write, deny
    options = {"transactional_id": f"{service.group}.one"} if delivery == "exactly_once" else {}
    async with looping(service, kafka={"delivery": delivery}, **options) as loop:
        await send_records(service, [plain(0)])
        await loop.commits_all(service)
        response = await ask(service, CreateAclsRequest(*acl))
        assert response.creation_responses[0][0] == 0, response
        await send_records(service, [plain(1), (b"{", b"k", [], None)])
        await stalled(loop, topic, "TOPIC_AUTHORIZATION_FAILED", "grant this client the right to write to the topic")
        assert not loop.task.done()
        await ask(service, DeleteAclsRequest(*acl))
        await loop.until(lambda: loop.health.ready)
        await loop.commits_all(service)
    loop.task.result()
    letters = {int(ours(record)["offset"]) for record in await service.read(service.dead, 1)}
    assert letters == {2}
    assert {offset_of(record) for record in await service.read(service.sink, 2)} == {0, 1}
