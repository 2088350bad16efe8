"""The reporter: nothing that happens to its topics holds scoring up, and its last word is heard if it can be."""

import asyncio
import time

import numpy as np
import pytest
from structlog.testing import capture_logs

from farthing.errors import BrokerError, ConfigError
from farthing.meter.count import CALLS, N_COUNTS, ROWS, SCORED
from farthing.meter.records import Heartbeat
from farthing.serving import publishing, reporter
from farthing.serving.accounting import Accounting, Scored
from farthing.serving.metrics import Metrics
from farthing.serving.reporter import Reporter

PARTITION = ("e", 0)
GONE = BrokerError("the broker is gone", retriable=True)
REFUSED = BrokerError("produce to u[0]: TopicAuthorizationFailedError; check the topic", retriable=False)


def counts(n):
    row = np.zeros(N_COUNTS, np.int64)
    row[SCORED] = row[ROWS] = row[CALLS] = n
    return row


class Producer:
    """Stands for a producer: what it was given, in order, and "closed"."""

    def __init__(self, _):
        self.done, self.closing_s = [], None
        self.trouble = None
        self.tried = 0

    async def start(self):
        pass

    async def send(self, batches):
        self.tried += 1
        if self.trouble is TimeoutError:
            await asyncio.sleep(60)
        if self.trouble is not None:
            raise self.trouble
        self.done += [bytes(batch.data) for batch in batches]

    async def close(self, timeout_s):
        self.done.append("closed")
        self.closing_s = timeout_s


async def until(condition):
    async with asyncio.timeout(20):
        while not condition():  # noqa: ASYNC110 - there is no event to wait for
            await asyncio.sleep(0.005)


@pytest.fixture
def begin(monkeypatch):
    """Makes a reporter that has sent one heartbeat."""
    monkeypatch.setattr(reporter, "BatchProducer", Producer)
    monkeypatch.setattr(publishing, "RETRY_PAUSES_S", (0.02, 0.05))
    monkeypatch.setattr(reporter, "WORTH_SAYING_S", 0.0)
    made = []

    async def begin(*, stopping=True, metrics=None, make_topics=None):
        one = Reporter(
            None, Accounting({"e": Scored("m@1", "moderation")}, most_tenants=9),
            lambda: Heartbeat("host/0", 1, 1_000, "draining", 1, 0),
            usage_topic="u", heartbeat_topic="h", stopping=lambda: stopping, metrics=metrics, make_topics=make_topics,
        )  # fmt: skip
        one.beats, one.usage = one._beats._producer, one._usage._producer
        made.append(one)
        await one.start()
        one.assign(PARTITION, 0, "")
        await until(lambda: len(one.beats.done) == 1)
        return one

    yield begin
    for one in made:
        for task in one._tasks:
            task.cancel()


async def test_the_last_heartbeat_says_that_the_worker_stops(begin):
    one = await begin()
    await one.close(1.0)
    first, last, closed = one.beats.done
    assert closed == "closed"
    assert b'"state":"draining"' in first
    assert b'"at_ms":1000,' in first
    assert b'"state":"stopped"' in last
    assert b'"at_ms":1001,' in last  # or the ledger would keep the one before
    assert one.usage.done == ["closed"]


async def test_a_worker_that_failed_does_not_say_that_it_stopped(begin):
    one = await begin(stopping=False)
    await one.close(1.0)
    assert len(one.beats.done) == 2


@pytest.mark.parametrize("trouble", [TimeoutError, GONE, ConfigError("the key is gone")])
async def test_a_last_heartbeat_that_cannot_be_sent_is_no_obstacle_to_the_exit(begin, trouble):
    one = await begin()
    one.beats.trouble = trouble
    began = time.monotonic()
    with capture_logs() as logs:
        await one.close(0.4)
    assert time.monotonic() - began < 5
    assert one.beats.done[1:] == ["closed"]
    assert 0 <= one.beats.closing_s <= 0.4
    (told,) = logs
    assert told["event"] == "heartbeat_not_sent"
    assert ("within 0.2 s" if trouble is TimeoutError else "gone") in told["error"]


async def test_a_reporter_that_never_began_only_closes(begin, monkeypatch):
    one = Reporter(
        None, Accounting({}, most_tenants=1), None, usage_topic="u", heartbeat_topic="h", stopping=lambda: True
    )
    await one.close(1.0)
    assert one._beats._producer.done == one._usage._producer.done == ["closed"]


@pytest.mark.parametrize("trouble", [TimeoutError, GONE, REFUSED, RuntimeError("a bug")])
async def test_without_the_usage_topic_nobody_waits_and_all_of_it_follows(begin, monkeypatch, trouble):
    monkeypatch.setattr(publishing, "RETRY_PAUSES_S", (0.2,))
    metrics = Metrics({"e": "m@1"})
    one = await begin(metrics=metrics)
    one.usage.trouble = trouble
    with capture_logs() as logs:
        for n in range(1, 50):
            one.add(PARTITION, n, counts(1))
            began = time.monotonic()
            await one.publish([PARTITION])
            assert time.monotonic() - began < 1
            assert one.metadata([PARTITION])  # what is committed meanwhile has the total
            await asyncio.sleep(0.005)
        if trouble is not TimeoutError:
            await until(lambda: one.trouble is not None)
            assert "usage not published for" in one.trouble
            assert "totals are committed with the offsets" in one.trouble
            assert sum(log["event"] == "not_published" for log in logs) == 1  # though it was tried more than once
            assert metrics.registry.get_sample_value("farthing_usage_unpublished_seconds") > 0
            errors = metrics.registry.get_sample_value("farthing_report_errors_total", {"report": "usage"})
            assert errors == one.usage.tried
            began = time.monotonic()
            await one.publish([PARTITION], everything=True)  # there is no use in waiting
            assert time.monotonic() - began < 1
            one.usage.trouble = None
            await until(lambda: one.usage.done)
            assert b'"next_offset":49' in one.usage.done[0]
            await until(lambda: one.trouble is None)
            assert metrics.registry.get_sample_value("farthing_usage_unpublished_seconds") == 0
    assert len(one.beats.done) >= 1


async def test_giving_up_partitions_waits_for_the_last_totals_but_not_for_ever(begin, monkeypatch):
    monkeypatch.setattr(reporter, "LAST_S", 0.2)
    one = await begin()
    one.add(PARTITION, 5, counts(5))
    await one.publish([PARTITION], everything=True)
    assert b'"next_offset":5' in one.usage.done[0]
    one.usage.trouble = TimeoutError
    one.add(PARTITION, 6, counts(1))
    began = time.monotonic()
    with capture_logs() as logs:
        await one.publish([PARTITION], everything=True)
    assert time.monotonic() - began < 5
    assert [log["event"] for log in logs] == ["last_usage_not_published"]


async def test_what_was_refused_is_tried_once_more_when_partitions_are_given_up(begin, monkeypatch):
    one = await begin()
    monkeypatch.setattr(publishing, "RETRY_PAUSES_S", (60.0,))
    one.usage.trouble = REFUSED
    one.add(PARTITION, 5, counts(5))
    await one.publish([PARTITION])
    await until(lambda: one._usage.trouble is not None)
    one.usage.trouble = None
    await one.publish([PARTITION], everything=True)
    assert b'"next_offset":5' in one.usage.done[0]


async def test_heartbeats_go_on_without_the_usage_topic_and_totals_without_heartbeats(begin, monkeypatch):
    monkeypatch.setattr(reporter, "PUBLISH_EVERY_S", 0.01)
    one = await begin()
    one.usage.trouble = TimeoutError  # a leader that is frozen
    one.add(PARTITION, 5, counts(5))
    await one.publish([PARTITION])
    beats = len(one.beats.done)
    await until(lambda: len(one.beats.done) > beats + 5)
    other = await begin()
    other.beats.trouble = REFUSED
    await until(lambda: other.trouble is not None)
    assert "heartbeats not published" in other.trouble
    other.add(PARTITION, 5, counts(5))
    await other.publish([PARTITION])
    await until(lambda: other.usage.done)


async def test_a_missing_topic_is_made_again_and_every_total_is_in_it(begin):
    made = []

    async def make_topics(names):
        made.extend(names)
        if "u" in names and len(made) in (3, 4):
            raise BrokerError("u: cannot be created: TopicAuthorizationFailedError", retriable=False)
        return names

    one = await begin(make_topics=make_topics)
    one.assign(("e", 1), 0, "")
    one.add(("e", 1), 3, counts(3))
    await one.publish([PARTITION])
    await until(lambda: len(one.usage.done) == 1)
    one.usage.trouble = BrokerError("produce to u[0]: no broker acknowledged it", retriable=True)
    one.add(PARTITION, 5, counts(5))
    await one.publish([PARTITION])
    await until(lambda: one.trouble is not None)
    one.usage.trouble = None
    async with asyncio.timeout(20):
        while not b"".join(one.usage.done[1:]).count(b'"partition":1'):
            await one.publish([PARTITION])
            await asyncio.sleep(0.02)
    assert made.count("u") >= 3


async def test_a_bug_in_the_meter_ends_neither_reports_nor_scoring(begin, monkeypatch):
    one = await begin()
    with capture_logs() as logs:
        monkeypatch.setattr(one._accounting, "due", lambda _: 1 / 0)
        await one.publish([PARTITION])
        await until(lambda: logs)
        monkeypatch.undo()
        monkeypatch.setattr(reporter, "WORTH_SAYING_S", 0.0)
        one.add(PARTITION, 5, counts(5))
    assert "ZeroDivisionError" in logs[0]["error"]
    async with asyncio.timeout(20):
        while not one.usage.done:
            await one.publish([PARTITION])
            await asyncio.sleep(0.02)
