"""Running totals beside offsets: taken over, begun anew, published before they are committed."""

import asyncio
import time

import numpy as np
import pytest
from structlog.testing import capture_logs

from farthing.blocks import TextColumn
from farthing.errors import BrokerError
from farthing.meter.count import CALLS, N_COUNTS, PAYLOAD, ROWS, SCORED, SIZES
from farthing.meter.records import OTHER, Heartbeat
from farthing.meter.tenants import TenantNames
from farthing.meter.usage import METADATA_LIMIT_BYTES
from farthing.serving import accounting
from farthing.serving.accounting import Accounting, Reporter, Scored

PARTITION = ("e", 0)


class Clock:
    """``time`` of the module under test."""

    def __init__(self):
        self.now_s = 1_000.0

    def monotonic(self):
        return self.now_s

    def time_ns(self):
        return int(self.now_s * 1e9)


@pytest.fixture
def clock(monkeypatch):
    one = Clock()
    monkeypatch.setattr(accounting, "time", one)
    return one


def make():
    return Accounting({"e": Scored("m@1", "moderation")}, most_tenants=200)


def counts(n, size=10):
    row = np.zeros(N_COUNTS, np.int64)
    row[SCORED] = row[ROWS] = n
    row[PAYLOAD] = n * (size + 5)
    row[CALLS + size], row[SIZES + size] = n, n * size
    return row


def publish(one, *, everything=False):
    records = one.due([PARTITION], everything=everything)
    one.published(records)
    return records


def test_the_next_owner_goes_on_from_what_was_committed(clock):
    one = make()
    one.assign(PARTITION, 100, "")
    one.add(PARTITION, 107, counts(7))
    text = one.metadata([PARTITION])[PARTITION]
    other = make()
    other.assign(PARTITION, 107, text)
    other.add(PARTITION, 110, counts(3))
    (record,) = publish(other)
    assert (record.base_offset, record.next_offset, record.totals.scored, record.incarnation) == (100, 110, 10, 0)
    assert record.totals.prompt_bytes == 100


@pytest.mark.parametrize(
    "text",
    ["", "{", '{"model":"m@2","base_offset":0,"log":0,"totals":{}}', '{"model":"m@1","base_offset":-1,"log":0}', "x"],
)
def test_what_is_no_total_of_ours_begins_a_new_count(clock, text):
    one = make()
    one.assign(PARTITION, 50, text)
    one.add(PARTITION, 52, counts(2))
    (record,) = publish(one)
    assert (record.base_offset, record.totals.scored) == (50, 2)


def test_once_a_second_and_what_is_left_follows(clock):
    one = make()
    one.assign(PARTITION, 0, "")
    assert publish(one) == []  # nothing is counted
    one.add(PARTITION, 5, counts(5))
    assert len(publish(one)) == 1
    one.add(PARTITION, 6, counts(1))
    clock.now_s += 0.5
    assert publish(one) == []
    clock.now_s += 0.5
    (record,) = publish(one)
    assert record.totals.scored == 6
    clock.now_s += 5
    assert publish(one, everything=True) == []


def test_a_total_that_was_taken_over_is_published_again(clock):
    one = make()
    one.assign(PARTITION, 0, "")
    one.add(PARTITION, 5, counts(5))
    other = make()
    other.assign(PARTITION, 5, one.metadata([PARTITION])[PARTITION])
    assert [r.totals.scored for r in publish(other)] == [5]  # its last record may have been lost


def test_a_log_that_begins_anew_is_another_count_and_the_old_ones_last_total_is_kept(clock):
    one = make()
    one.assign(PARTITION, 0, "")
    one.add(PARTITION, 5, counts(5))
    publish(one)
    one.add(PARTITION, 9, counts(4))
    one.assign(PARTITION, 0, "")  # the topic was deleted and created again
    one.add(PARTITION, 2, counts(2))
    records = publish(one)
    clock.now_s += 2
    assert publish(one) == []
    assert [(r.incarnation, r.next_offset, r.totals.scored) for r in records] == [(0, 9, 9), (1, 2, 2)]
    assert len({r.key for r in records}) == 2
    other = make()
    other.assign(PARTITION, 2, one.metadata([PARTITION])[PARTITION])
    other.add(PARTITION, 3, counts(1))
    assert [(r.incarnation, r.totals.scored) for r in publish(other)] == [(1, 3)]


def tenants_of(names, *texts):
    """Rows of one part: an event of 10 bytes for each text."""
    data = [text.encode() for text in texts]
    indptr = np.cumsum([0, *map(len, data)], dtype=np.int64)
    column = TextColumn(np.full(len(data), 2, np.uint8), np.frombuffer(b"".join(data), np.uint8), indptr)
    n = len(data)
    bounds = np.array([0, n])
    found = names.count(bounds, np.zeros(n, np.uint8), np.full(n, 10, np.int64), column, np.zeros(0, np.uint8))
    return names, found.of_part(0)


def test_tenants_are_told_and_a_new_owner_changes_no_figure(clock):
    names, one = TenantNames(tokens=False), make()
    one.assign(PARTITION, 0, "")
    one.add(PARTITION, 4, counts(4), tenants_of(names, "a", "b", "a", ""))
    (record,) = publish(one)
    assert record.tenants == {"a": (2, 0, 20), "b": (1, 0, 10), OTHER: (1, 0, 10)}
    other = make()
    other.assign(PARTITION, 4, one.metadata([PARTITION])[PARTITION])
    (again,) = publish(other)
    assert again.tenants == record.tenants
    clock.now_s += 1
    other.add(PARTITION, 6, counts(2), tenants_of(TenantNames(tokens=False), "c", "b"))
    (record,) = publish(other)
    assert record.tenants == {"a": (2, 0, 20), "b": (2, 0, 20), "c": (1, 0, 10), OTHER: (1, 0, 10)}


def test_many_tenants_fit_the_metadata_and_all_events_are_in_them(clock):
    names, one = TenantNames(tokens=False), make()
    one.assign(PARTITION, 0, "")
    texts = [f"{n * 7919 % 100_003:x}" * 6 for n in range(3_000)]
    one.add(PARTITION, 3_000, counts(3_000), tenants_of(names, *texts))
    text = one.metadata([PARTITION])[PARTITION]
    assert len(text) <= METADATA_LIMIT_BYTES
    assert text.isascii()
    (record,) = publish(one)
    assert 50 < len(record.tenants) <= 201
    assert sum(count.scored for count in record.tenants.values()) == 3_000
    other = make()
    other.assign(PARTITION, 3_000, text)
    assert publish(other)[0].tenants == record.tenants


def test_without_any_tenant_nothing_is_told_of_them(clock):
    one = make()
    one.assign(PARTITION, 0, "")
    one.add(PARTITION, 2, counts(2), tenants_of(TenantNames(tokens=False), "", ""))
    assert publish(one)[0].tenants == {}


def test_what_is_no_longer_ours_is_not_counted(clock):
    one = make()
    one.assign(PARTITION, 0, "")
    one.revoke([PARTITION])
    one.add(PARTITION, 5, counts(5))
    assert publish(one, everything=True) == []
    assert one.metadata([PARTITION]) == {}


# --- The end of a reporter.


class Producer:
    """Stands for the reporter's producer: what it was given, in order, and "closed"."""

    def __init__(self, _):
        self.done, self.closing_s = [], None
        self.trouble = None

    async def start(self):
        pass

    async def send(self, batches):
        if self.trouble is TimeoutError:
            await asyncio.sleep(60)
        if self.trouble is not None:
            raise self.trouble
        self.done += [bytes(batch.data) for batch in batches]

    async def close(self, timeout_s):
        self.done.append("closed")
        self.closing_s = timeout_s


@pytest.fixture
def reporter(monkeypatch):
    """Makes a reporter that has sent one heartbeat, and its producer."""
    monkeypatch.setattr(accounting, "BatchProducer", Producer)

    async def begin(*, stopping):
        def heartbeat():
            return Heartbeat("host/0", 1, 1_000, "draining", 1, 0)

        one = Reporter(
            None, make(), heartbeat, usage_topic="u", heartbeat_topic="h", stopping=lambda: stopping
        )  # fmt: skip
        await one.start()
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert len(one._producer.done) == 1
        return one, one._producer

    return begin


async def test_the_last_heartbeat_says_that_the_worker_stops(reporter):
    one, producer = await reporter(stopping=True)
    await one.close(1.0)
    first, last, closed = producer.done
    assert closed == "closed"
    assert b'"state":"draining"' in first
    assert b'"at_ms":1000,' in first
    assert b'"state":"stopped"' in last
    assert b'"at_ms":1001,' in last  # or the ledger would keep the one before


async def test_a_worker_that_failed_does_not_say_that_it_stopped(reporter):
    one, producer = await reporter(stopping=False)
    await one.close(1.0)
    assert len(producer.done) == 2


@pytest.mark.parametrize("trouble", [TimeoutError, BrokerError("the broker is gone", retriable=True)])
async def test_a_last_heartbeat_that_cannot_be_sent_is_no_obstacle_to_the_exit(reporter, trouble):
    one, producer = await reporter(stopping=True)
    producer.trouble = trouble
    began = time.monotonic()
    with capture_logs() as logs:
        await one.close(0.4)
    assert time.monotonic() - began < 5
    assert producer.done[1:] == ["closed"]
    assert 0 <= producer.closing_s <= 0.4
    (told,) = logs
    assert told["event"] == "heartbeat_not_sent"
    assert ("gone" if isinstance(trouble, BrokerError) else "within 0.2 s") in told["error"]


async def test_a_reporter_that_never_began_only_closes(monkeypatch):
    monkeypatch.setattr(accounting, "BatchProducer", Producer)
    one = Reporter(None, make(), None, usage_topic="u", heartbeat_topic="h", stopping=lambda: True)
    await one.close(1.0)
    assert one._producer.done == ["closed"]
