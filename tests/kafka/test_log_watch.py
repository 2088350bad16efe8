"""What makes a log a suspect, and what the check finds, against answers that are made up here."""

import numpy as np
import pytest
from aiokafka import errors as kafka_errors

from farthing.blocks import FetchedPartition
from farthing.errors import BrokerError
from farthing.kafka import KafkaSettings
from farthing.kafka.fetching import PartitionResponse
from farthing.kafka.incarnation import Incarnation
from farthing.kafka.log_watch import LogWatch, NewLog
from farthing.kafka.protocol import METADATA, NO_TOPIC_ID, OFFSET_FOR_LEADER_EPOCH
from farthing.kafka.recovery import Moved, Recovery
from farthing.wire import encode_records, last_head

PLACE = ("t", 0)
ID, OTHER = b"a" * 16, b"b" * 16


def batch(base_offset, count, epoch=0, value=0):
    values = np.full(count, value, np.uint8)
    out = encode_records("t", 0, values, np.arange(count + 1), np.full(count, 5)).data
    out[:8] = np.frombuffer(base_offset.to_bytes(8, "big"), np.uint8)
    out[12:16] = np.frombuffer(epoch.to_bytes(4, "big"), np.uint8)
    return out.tobytes()


class Broker:
    """Answers questions about one partition."""

    def __init__(self):
        self.topic_id, self.epoch, self.end_of_epoch = ID, 0, -1
        self.there = True
        self.records, self.error, self.log_start, self.end = b"", None, 0, 100
        self.asked = []

    async def request(self, node, api, body, timeout_s, **_):
        self.asked.append(api.name)
        if api is METADATA:
            code = 0 if self.there else 3
            rows = [{"partition_index": 0, "leader_epoch": self.epoch}] if self.there else []
            return {"topics": [{"name": "t", "error_code": code, "topic_id": self.topic_id, "partitions": rows}]}
        assert api is OFFSET_FOR_LEADER_EPOCH
        assert body["topics"][0]["partitions"][0]["current_leader_epoch"] == self.epoch
        assert body["replica_id"] == -1
        if self.end_of_epoch is None:
            raise kafka_errors.IncompatibleBrokerVersion("too old")
        return {"topics": [{"topic": "t", "partitions": [{"error_code": 0, "end_offset": self.end_of_epoch}]}]}

    async def ask(self, node, positions, *, most_bytes):
        self.asked.append("Fetch")
        part = FetchedPartition("t", 0, positions[PLACE], self.end, self.records)
        return [PartitionResponse(part, self.end, -1, self.error)]

    async def bounds(self, partitions, *, end):
        return dict.fromkeys(partitions, self.end if end else self.log_start)


class Clock:
    now = 1_000.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def broker():
    return Broker()


@pytest.fixture
def watch(broker, clock):
    one = LogWatch(lambda _: 7, broker.bounds, clock, timeout_s=5)
    one.connect(broker, broker)
    return one


def fetched(data, offset):
    return FetchedPartition("t", 0, offset, 100, data)


def advance(watch, data, offset):
    watch.advanced(fetched(data, offset), last_head(data))


async def settle(watch, log=None, position=0):
    watch.take_over(PLACE, log)
    assert await watch.check({PLACE: position}) == {}


async def test_a_topic_with_another_id_is_a_new_log(watch, broker):
    await settle(watch)
    assert watch.name(PLACE).topic_id == ID
    broker.topic_id = OTHER
    (new,) = (await watch.check({PLACE: 5})).values()
    assert "created again" in new.why
    assert watch.name(PLACE).topic_id == ID  # until somebody goes on in it
    assert not watch.begin_new(PLACE, 2)
    assert watch.begin_new(PLACE, 1)
    assert not watch.begin_new(PLACE, 1)  # not twice
    assert watch.name(PLACE) == type(watch.name(PLACE))(OTHER, 0, 1)
    assert await watch.check({PLACE: 5}) == {}


async def test_the_commit_remembers_the_id_and_the_batch_before_its_offset(watch, broker):
    await settle(watch)
    advance(watch, batch(0, 10), 0)
    advance(watch, batch(10, 10), 10)
    text = watch.text(PLACE, 15, "")
    assert Incarnation.read(text) == Incarnation(0, ID, last_head(batch(0, 10)))
    advance(watch, batch(10, 5), 10)  # we went back, and fetched less
    assert Incarnation.read(watch.text(PLACE, 15, "")) == Incarnation(0, ID, last_head(batch(10, 5)))
    assert watch.text(("u", 0), 15, "x") == "x"


async def test_only_what_is_in_doubt_is_checked(watch, broker, clock):
    watch.take_over(PLACE, None)
    assert watch.suspects([PLACE, ("u", 0)]) == [PLACE]
    await watch.check({PLACE: 0})
    assert watch.suspects([PLACE]) == []
    clock.now += 1.5  # nothing was heard
    assert watch.suspects([PLACE]) == [PLACE]
    watch.answered([PLACE])
    assert watch.suspects([PLACE]) == []
    watch.suspect([PLACE])
    assert watch.suspects([PLACE]) == [PLACE]
    broker.there = False
    assert await watch.check({PLACE: 0}) == {}
    assert watch.suspects([PLACE]) == [PLACE]  # its topic is not there


async def test_a_log_that_an_election_has_cut_goes_on_where_it_parts(watch, broker):
    await settle(watch)
    advance(watch, batch(0, 30), 0)
    broker.epoch, broker.end_of_epoch = 1, 30
    assert await watch.check({PLACE: 30}) == {}
    broker.end_of_epoch = 20
    assert await watch.check({PLACE: 30}) == {
        PLACE: NewLog("a new leader's log has other events from offset 20 on", 20)
    }
    assert (await Recovery(KafkaSettings(), watch, broker.bounds, None, None).new_log(
        PLACE, 30, NewLog("cut", 20)
    )) == Moved(20, 1, "new_log")  # fmt: skip
    broker.end_of_epoch = None  # a broker that does not know the request
    assert await watch.check({PLACE: 30}) == {}


async def test_without_ids_the_last_batch_is_compared(watch, broker):
    broker.topic_id = NO_TOPIC_ID
    await settle(watch)
    assert "Fetch" not in broker.asked  # nothing is known yet
    advance(watch, batch(0, 30), 0)
    broker.records = batch(0, 30)
    assert await watch.check({PLACE: 30}) == {}
    broker.records = batch(0, 30, value=1)
    (new,) = (await watch.check({PLACE: 30})).values()
    assert "checksum" in new.why
    broker.records, broker.error, broker.log_start = b"", kafka_errors.OffsetOutOfRangeError, 30
    assert await watch.check({PLACE: 30}) == {}  # retention
    broker.log_start, broker.end = 0, 0
    (new,) = (await watch.check({PLACE: 30})).values()
    assert "ends before" in new.why
    broker.error = kafka_errors.NotLeaderForPartitionError
    with pytest.raises(BrokerError, match="NotLeader") as raised:
        await watch.check({PLACE: 30})
    assert raised.value.retriable


async def test_a_hole_makes_a_suspect_where_there_are_no_ids(watch, broker):
    for topic_id, suspects in ((ID, []), (NO_TOPIC_ID, [PLACE])):
        broker.topic_id = topic_id
        await settle(watch)
        advance(watch, batch(5, 5), 3)
        assert watch.suspects([PLACE]) == suspects


async def test_what_was_known_survives_an_assignment_without_a_commit(watch, broker):
    await settle(watch)
    advance(watch, batch(0, 30), 0)
    watch.clear()
    assert watch.suspects([PLACE]) == []  # not ours now
    known = watch.remembered(PLACE)
    assert known == Incarnation(0, ID, last_head(batch(0, 30)))
    broker.topic_id = OTHER
    watch.take_over(PLACE, known)
    assert PLACE in await watch.check({PLACE: 0})


def test_a_reconnect_is_another_connection(watch):
    one, two = object(), object()
    assert [watch.reconnected(1, c) for c in (one, one, two, two)] == [False, False, True, False]


@pytest.mark.parametrize(
    ("reset", "begin", "end", "position", "expected"),
    [
        ("earliest", 30, 40, 10, Moved(30, 0, "retention", 20, 10)),
        ("latest", 30, 40, 10, Moved(40, 0, "retention", 30, 10)),
        ("earliest", 0, 5, 10, Moved(0, 1, "new_log")),
    ],
)
async def test_out_of_range(watch, broker, reset, begin, end, position, expected):
    await settle(watch)
    broker.log_start, broker.end = begin, end
    recovery = Recovery(KafkaSettings(auto_offset_reset=reset), watch, broker.bounds, None, None)
    assert await recovery.out_of_range(PLACE, position) == expected


async def test_out_of_range_with_nothing_to_choose(watch, broker):
    await settle(watch)
    broker.log_start, broker.end = 30, 40
    for settings, position, said in (
        (KafkaSettings(auto_offset_reset="none"), 10, "auto_offset_reset = 'none'"),
        (KafkaSettings(), 35, "the broker refuses offset 35"),  # though it is in the log
    ):
        with pytest.raises(BrokerError, match=said):
            await Recovery(settings, watch, broker.bounds, None, None).out_of_range(PLACE, position)
    halting = Recovery(KafkaSettings(on_new_log="halt"), watch, broker.bounds, None, None)
    assert "kafka.on_new_log" in await halting.out_of_range(PLACE, 50)
