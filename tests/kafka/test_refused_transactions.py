"""What a transaction does when the broker refuses some of its partitions: they are held, and the others go on."""

import numpy as np
import pytest
from aiokafka.errors import NodeNotReadyError

from farthing.errors import RightError
from farthing.kafka import BatchProducer, HeldError, KafkaSettings
from farthing.kafka import producer as module
from farthing.kafka.error_codes import error_of
from farthing.kafka.membership import Member
from farthing.kafka.protocol import ADD_OFFSETS_TO_TXN, ADD_PARTITIONS_TO_TXN, INIT_PRODUCER_ID, TXN_OFFSET_COMMIT
from farthing.kafka.transactions import Transactions
from farthing.wire import encode_records

from .test_sending import Broker

GOOD, BAD = ("scores", 0), ("dead", 1)
MEMBER = Member("group", 1, "member", None)


class Coordinator:
    """Answers like Apache Kafka: if it refuses one partition of a request, it attempts none of the others."""

    def __init__(self):
        self.codes = {}  # partition -> code
        self.code = 0  # of everything else
        self.refused = 0  # answers with an error

    async def request(self, _node, api, body, _limit_s, *, at_most):
        if api is ADD_PARTITIONS_TO_TXN:
            asked = {(t["name"], n) for t in body["v3_and_below_topics"] for n in t["partitions"]}
            bad = {p: self.codes[p] for p in asked if p in self.codes}
            self.refused += bool(bad)
            rows = {p: bad.get(p, 55 if bad else 0) for p in sorted(asked)}
            topics = [
                {"name": t, "results_by_partition": [{"partition_index": n, "partition_error_code": code}]}
                for (t, n), code in rows.items()
            ]
            return {"results_by_topic_v3_and_below": topics}
        if api is TXN_OFFSET_COMMIT:
            asked = [(t["name"], row["partition_index"]) for t in body["topics"] for row in t["partitions"]]
            return {
                "topics": [
                    {"name": t, "partitions": [{"partition_index": n, "error_code": self.codes.get((t, n), 0)}]}
                    for t, n in asked
                ]
            }
        assert api is INIT_PRODUCER_ID or api is ADD_OFFSETS_TO_TXN or not self.code
        return {"error_code": self.code, "producer_id": 7, "producer_epoch": 0}


@pytest.fixture
def coordinator():
    return Coordinator()


@pytest.fixture
def transactions(coordinator):
    one = Transactions(None, "id", transaction_timeout_ms=10_000, timeout_s=2.0)
    one._frames = coordinator

    async def anywhere(_key):
        return 0

    one._coordinator = anywhere
    return one


@pytest.fixture
async def producer(transactions, monkeypatch):
    broker = Broker(lambda _: 0)
    broker.producer = 7
    monkeypatch.setattr(module, "leader_of", lambda *_: 0)
    monkeypatch.setattr(module, "refresh_metadata", lambda *_: None)
    monkeypatch.setattr(module, "RETRY_PAUSE_S", 0.01)
    one = BatchProducer(KafkaSettings(delivery_timeout_ms=1_000), "id")
    one._transactions, one._frames, one.broker = transactions, broker, broker
    await one.recover()
    return one


def batch(partition):
    data, indptr = np.frombuffer(b"value", np.uint8), np.array([0, 5])
    return encode_records(*partition, data, indptr, np.full(1, 1_700_000_000_000, np.int64))


@pytest.mark.parametrize(("code", "says"), [(29, "grant this client the right to write"), (3, "create it again")])
async def test_a_refused_partition_is_held_and_the_others_are_written(producer, coordinator, code, says):
    coordinator.codes[BAD] = code
    with pytest.raises(HeldError, match=says) as caught:
        await producer.send([batch(GOOD), batch(BAD)])
    assert set(caught.value.reasons) == {BAD}
    assert len(producer.broker.logs[GOOD]) == 1 and not producer.broker.logs[BAD]
    assert coordinator.refused >= 1
    coordinator.codes.clear()
    await producer.recover()
    producer.broker.sequences.clear()
    await producer.send([batch(GOOD), batch(BAD)])
    assert len(producer.broker.logs[BAD]) == 1


async def test_a_topic_that_comes_back_in_time_is_written(producer, coordinator):
    coordinator.codes[BAD] = 3
    add = producer._transactions.add

    async def once(partitions):
        refused = await add(partitions)
        coordinator.codes.clear()
        return refused

    producer._transactions.add = once
    await producer.send([batch(GOOD), batch(BAD)])
    assert [len(producer.broker.logs[p]) for p in (GOOD, BAD)] == [1, 1]


@pytest.mark.parametrize("code", [29, 3])
async def test_add_says_which(transactions, coordinator, code):
    coordinator.codes[BAD] = code
    assert await transactions.add([GOOD, BAD, ("scores", 3)]) == {BAD: code}
    assert transactions._added == {GOOD, ("scores", 3)}


async def test_a_source_that_may_not_be_read_is_held_by_the_commit(transactions, coordinator):
    coordinator.codes["events", 1] = 29
    with pytest.raises(HeldError, match=r"events\[1\].*grant this client the right to read the topic") as caught:
        await transactions.commit({("events", 0): 5, ("events", 1): 6}, {}, MEMBER)
    assert set(caught.value.reasons) == {("events", 1)}


@pytest.mark.parametrize(("code", "right"), [(53, "write with the transactional id"), (30, "read the group")])
async def test_other_rights_are_named(transactions, coordinator, code, right):
    coordinator.code = code
    with pytest.raises(RightError, match=right) as caught:
        await transactions.commit({("events", 0): 5}, {}, MEMBER)
    assert not caught.value.retriable  # a start ends


@pytest.mark.parametrize(("code", "right"), [(53, "write with the transactional id"), (30, "read the group")])
async def test_a_right_that_is_missing_for_finding_the_coordinator_is_named(transactions, code, right):
    """Not tried until the time is over, as if no broker had answered."""

    async def refused(_key):
        raise error_of(code)

    transactions._coordinator = refused
    with pytest.raises(RightError, match=right):
        await transactions.begin()


@pytest.mark.parametrize("error", [NodeNotReadyError("away"), OSError(53, "another 53"), TimeoutError()])
async def test_a_coordinator_that_is_away_is_asked_again(transactions, error):
    """Not every error of aiokafka's has a code, and the codes of an OSError are the system's."""
    asked, anywhere = [], transactions._coordinator

    async def away(key):
        asked.append(key)
        if len(asked) == 1:
            raise error
        return await anywhere(key)

    transactions._coordinator = away
    await transactions.begin()
    assert len(asked) == 2
