"""What the producer does with batches that a broker refuses, against a broker in memory that checks sequences."""

import math
import time
from collections import defaultdict
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from farthing.errors import BrokerError
from farthing.kafka import BatchProducer, HeldError, KafkaSettings
from farthing.kafka import producer as module
from farthing.kafka.client import ProducerId
from farthing.kafka.sending import IN_A_ROW
from farthing.wire import encode_records, header_bytes, layout
from farthing.wire.split import batch_of, records_of, untimed

EXAMPLES = settings().max_examples
RECORD_CODES = (10, 18, 32, 43, 44, 87, 2, -1)


class Broker:
    """Appends batches like Kafka: in sequence, whole, or refused for a record. ``judge(value)`` gives an error code."""

    def __init__(self, judge, *, names=False):
        self.judge, self.names = judge, names
        self.logs = defaultdict(list)
        self.sequences = defaultdict(int)
        self.requests = 0
        self.answer = {}  # topic -> code: whatever is sent there
        self.producer = None

    async def produce(self, node, batches, timeout_ms, transactional_id):
        self.requests += 1
        topics = defaultdict(list)
        for batch in batches:
            topics[batch.topic].append((batch.partition, *self._append(batch)))
        return SimpleNamespace(topics=list(topics.items()))

    def _append(self, batch):
        place = batch.topic, batch.partition
        if self.answer.get(batch.topic):
            return self.answer[batch.topic], -1, -1, -1, [], None
        stamped = [int(layout.be64(batch.data, layout.PRODUCER_ID)), int(layout.be32(batch.data, layout.BASE_SEQUENCE))]
        assert stamped == [self.producer, self.sequences[place]], "OUT_OF_ORDER_SEQUENCE_NUMBER"
        records = records_of(batch)
        codes = [self.judge(record) for record in records] if batch.topic != "dead" else [0]
        if any(codes):
            code = next(code for code in codes if code)
            named = [(k, "no") for k, found in enumerate(codes) if found == code] if self.names else []
            return code, -1, -1, -1, named, "no"
        self.logs[place] += records
        self.sequences[place] += len(records)
        return 0, 0, -1, 0, [], None

    def identify(self):
        self.sequences.clear()
        self.producer = 1 if self.producer is None else self.producer + 1
        return ProducerId(self.producer, 0)

    def values(self, topic, partition=0):
        return [value_of(record) for record in self.logs[topic, partition]]


@pytest.fixture
def connect(monkeypatch):
    """A producer that sends to a broker in memory."""

    def make(broker, delivery_ms=1_000):
        async def ask(client):
            return broker.identify()

        monkeypatch.setattr(module, "ask_producer_id", ask)
        monkeypatch.setattr(module, "leader_of", lambda client, partition: 0)
        monkeypatch.setattr(module, "refresh_metadata", lambda client: None)
        monkeypatch.setattr(module, "RETRY_PAUSE_S", 0.001)
        producer = BatchProducer(KafkaSettings(delivery_timeout_ms=delivery_ms))
        producer._frames = broker
        return producer

    return make


def value_of(record):
    return record.key_and_value[-4:]


def batch(values, topic="s", partition=0, stamp=1_000):
    data = np.frombuffer(bytearray(b"".join(b"%04d" % v for v in values)), np.uint8)
    stamps = np.full(len(values), stamp, np.int64)
    return encode_records(topic, partition, data, np.arange(0, 4 * len(values) + 1, 4), stamps,
                          headers=header_bytes("farthing.offset", "7"), header_count=1)  # fmt: skip


async def letters(refused):
    (record,) = records_of(refused.batch)
    return [batch([int(value_of(record))], "dead", refused.batch.partition)]


@settings(max_examples=EXAMPLES)
@given(data=st.data())
async def test_good_records_are_written_once_in_order_and_bad_ones_become_letters(data):
    sizes = data.draw(st.lists(st.integers(1, 40), min_size=1, max_size=4))
    values = list(range(sum(sizes)))
    bad = data.draw(st.sets(st.sampled_from(values), max_size=min(IN_A_ROW - 1, len(values))))
    code = data.draw(st.sampled_from([code for code in RECORD_CODES if code != 32]))
    broker = Broker(lambda record: code if int(value_of(record)) in bad else 0, names=data.draw(st.booleans()))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "RETRY_PAUSE_S", 0.0)
        patch.setattr(module, "ask_producer_id", lambda client: _ready(broker.identify()))
        patch.setattr(module, "leader_of", lambda client, partition: 0)
        patch.setattr(module, "refresh_metadata", lambda client: None)
        producer = BatchProducer(KafkaSettings())
        producer._frames = broker
        parts = np.split(values, np.cumsum(sizes)[:-1])
        await producer.send([batch(part.tolist()) for part in parts], letters)
    assert broker.values("s") == [b"%04d" % v for v in values if v not in bad]
    assert sorted(broker.values("dead")) == [b"%04d" % v for v in sorted(bad)]
    if code not in (2, -1):
        most = 1 if broker.names else 2 * math.ceil(math.log2(max(sizes))) + 1
        assert broker.requests <= len(sizes) + len(bad) * (most + 2)


async def _ready(value):
    return value


@pytest.mark.parametrize("names", [True, False])
async def test_a_refused_timestamp_is_left_out_and_stated(connect, names):
    broker = Broker(lambda record: 32 if record.timestamp_ms > 5_000 else 0, names=names)
    producer = connect(broker)
    late = batch([3], stamp=9_000)
    mixed = batch_of([*records_of(batch([1])), *records_of(late), *records_of(batch([4]))], late)
    await producer.send([mixed, batch([5])], letters)
    assert broker.values("s") == [b"0001", b"0003", b"0004", b"0005"]
    stamps = [record.timestamp_ms for record in broker.logs["s", 0]]
    assert stamps == ([1_000, -1, 1_000, 1_000] if names else [-1, -1, -1, 1_000])
    assert broker.logs["s", 0][1].header(b"farthing.timestamp_ms") == b"9000"
    assert not broker.logs["dead", 0]
    assert untimed(batch([1], stamp=-1), []) is None


async def test_where_everything_is_refused_it_is_the_topic_and_no_letter_is_written(connect):
    broker = Broker(lambda record: 44)
    producer = connect(broker)
    with pytest.raises(HeldError, match=r"s\[0\]: POLICY_VIOLATION"):
        await producer.send([batch(range(500))], letters)
    assert not broker.logs["dead", 0]
    broker.judge = lambda record: 44 if value_of(record) == b"0003" else 0  # put right: one bad record is left
    await producer.send([batch(range(10))], letters)
    assert (len(broker.logs["s", 0]), broker.values("dead")) == (9, [b"0003"])


async def test_few_records_at_a_time_do_not_hide_that_everything_is_refused(connect):
    broker = Broker(lambda record: 44)
    producer = connect(broker)
    sent = 0
    with pytest.raises(HeldError):
        for number in range(100):
            await producer.send([batch([number])], letters)
            sent += 1
    assert sent == IN_A_ROW - 1 == len(broker.logs["dead", 0])


@pytest.mark.parametrize("code, remedy", [
    (29, "TOPIC_AUTHORIZATION_FAILED: grant this client the right to write"), (31, "CLUSTER_AUTHORIZATION_FAILED"),
    (17, "INVALID_TOPIC_EXCEPTION"), (76, "set another kafka.compression"), (9_999, "look at the broker's log"),
    (3, "gone; create it again"), (19, "min.insync.replicas"), (56, "is it full?"), (89, "quota"),
])  # fmt: skip
async def test_a_topic_that_takes_nothing_holds_its_partitions_and_no_others(connect, code, remedy):
    broker = Broker(lambda record: 0)
    producer = connect(broker, delivery_ms=1_000)
    broker.answer["s"] = code
    with pytest.raises(HeldError) as raised:
        await producer.send([batch([1], "s", 0), batch([2], "s", 1), batch([3], "t", 0)], letters)
    assert raised.value.retriable
    assert set(raised.value.reasons) == {("s", 0), ("s", 1)}
    assert remedy in raised.value.reasons["s", 0]
    assert broker.values("t") == [b"0003"]
    broker.answer.clear()
    await producer.send([batch([1], "s", 0)], letters)
    assert broker.values("s") == [b"0001"]


async def test_a_place_that_was_given_up_is_not_waited_for_again(connect, monkeypatch):
    broker = Broker(lambda record: 0)
    producer = connect(broker, delivery_ms=2_000)
    monkeypatch.setattr(module, "FAILING_S", 0.01)
    broker.answer["s"] = 19
    for limit in (60.0, 1.0):
        began = time.monotonic()
        with pytest.raises(HeldError):
            await producer.send([batch([1], "s")], letters)
        assert time.monotonic() - began < limit


@pytest.mark.parametrize("code", [45, 47, 49, 59])
async def test_a_lost_identity_is_an_error_of_the_whole_send(connect, code):
    broker = Broker(lambda record: 0)
    producer = connect(broker)
    broker.answer["s"] = code
    with pytest.raises(BrokerError, match="a new producer id") as raised:
        await producer.send([batch([1])], letters)
    assert not isinstance(raised.value, HeldError)
    broker.answer.clear()
    await producer.send([batch([1])], letters)
    assert broker.values("s") == [b"0001"]


async def test_a_record_is_refused_only_if_the_network_is_not_the_cause(connect):
    answers = iter([2, 0])
    broker = Broker(lambda record: next(answers, 0))
    await connect(broker).send([batch([1])], letters)
    assert broker.values("s") == [b"0001"] and not broker.logs["dead", 0]


async def test_without_anyone_to_ask_a_refused_record_holds_its_place(connect):
    with pytest.raises(HeldError, match=r"MESSAGE_TOO_LARGE: raise the topic's max\.message\.bytes"):
        await connect(Broker(lambda record: 10)).send([batch([1])])


async def test_many_strange_records_among_many_good_ones_hold_nothing(connect):
    broker = Broker(lambda record: 87 if int(value_of(record)) % 20 == 0 else 0, names=True)
    await connect(broker).send([batch(range(2_000))], letters)  # a hundred of them, all named in one answer
    assert broker.values("s") == [b"%04d" % v for v in range(2_000) if v % 20]
    assert broker.values("dead") == [b"%04d" % v for v in range(0, 2_000, 20)]


async def test_records_that_are_named_one_by_one_hold_their_place_once_all_are_refused(connect):
    class One(Broker):
        def _append(self, batch):
            code, *fields = super()._append(batch)
            return code, *fields[:3], fields[3][:1], fields[4]

    broker = One(lambda record: 87, names=True)
    with pytest.raises(HeldError):
        await connect(broker).send([batch(range(2 * IN_A_ROW))], letters)
    assert not broker.logs["dead", 0]
    broker.judge = lambda record: 87 if int(value_of(record)) < 2 * IN_A_ROW else 0
    await connect(broker).send([batch(range(4 * IN_A_ROW))], letters)
    assert len(broker.logs["s", 0]) == len(broker.logs["dead", 0]) == 2 * IN_A_ROW


@pytest.mark.parametrize("names", [True, False])
async def test_a_record_that_replaces_another_in_its_partition_takes_its_place(connect, names):
    async def shorter(refused):
        (record,) = records_of(refused.batch)
        return [batch([int(value_of(record))], "letters", stamp=2_000)]

    strange = {0, 3, 4, 9, *range(20, 60)}
    broker = Broker(
        lambda record: 10 if record.timestamp_ms == 1_000 and int(value_of(record)) in strange else 0, names=names
    )
    await connect(broker).send([batch(range(70), "letters"), batch(range(70, 80), "letters")], shorter)
    assert broker.values("letters") == [b"%04d" % v for v in range(80)]
