"""What threads share: all of it is listed in service/DESIGN.md, and holds while others hammer it."""

import asyncio
import logging
import re
import sys
import threading
import time
from pathlib import Path

import gevent
import numpy as np
import pytest
from loadtest.events import made_up
from loadtest.sending import Connection
from loadtest.totals import SentTotals

from farthing import Scorer
from farthing.blocks import Presence, RawColumn
from farthing.config import Settings
from farthing.kafka import PacingTable
from farthing.ledger.figures import Figures
from farthing.ledger.ledger import Ledger
from farthing.ledger.refusals import Refusals
from farthing.local.comments import comment_events
from farthing.meter.tenants import TENANT, TenantNames
from farthing.meter.tokens import TextSample
from farthing.process.first_start import _Printed, compiling
from farthing.process.logs import _Repeats
from farthing.process.probes import Health
from farthing.serving.route import Route, RouteTopics
from farthing.serving.scoring_thread import ScoringThread
from farthing.serving.worker import Worker
from tests.ledger.cases import NOW, beat, book, record

ROOT = Path(__file__).parents[1]
STARTS = re.compile(r"to_thread\(|Thread\(|Timer\(|run_in_executor|ThreadPoolExecutor|threadpool|gevent\.spawn\(")
SECONDS = 0.3


@pytest.fixture(autouse=True)
def switching():
    """Threads take turns a thousand times as often as usual."""
    usual = sys.getswitchinterval()
    sys.setswitchinterval(5e-6)
    yield
    sys.setswitchinterval(usual)


def hammer(*actions, seconds=SECONDS):
    """Run each action over and over on a thread of its own; what one of them raises is raised here."""
    end, failures = time.monotonic() + seconds, []

    def repeat(action):
        try:
            action()
            while time.monotonic() < end and not failures:
                action()
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=repeat, args=(action,)) for action in actions]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    if failures:
        raise failures[0]


def test_every_file_that_starts_a_thread_is_in_the_table():
    text = (ROOT / "service" / "DESIGN.md").read_text(encoding="utf-8")
    section = text.split("## 4. What threads share")[1].split("\n## ")[0]
    missing = []
    for folder in ("service/farthing", "loadtest"):
        for path in (ROOT / folder).rglob("*.py"):
            lines = path.read_text(encoding="utf-8").splitlines()
            if any(STARTS.search(line) for line in lines) and path.name not in section:
                missing.append(str(path.relative_to(ROOT)))
    assert not missing, f"these start threads, and DESIGN.md does not say what they share: {missing}"


def test_health_is_one_pair():
    health = Health()
    said = [(state, f"because {state}") for state in ("joining", "running", "stalled")]

    def read():
        state, reason = health.now
        assert reason in (f"because {state}", "starting")

    hammer(lambda: [health.set(*one) for one in said], read, read)


async def test_a_load_that_goes_on_does_not_overrule_a_drain():
    route = {"bundle": "moderation", "source": "a", "sink": "b", "dead_letters": "c"}
    worker = Worker(Settings(route=[route]))
    loop = asyncio.get_running_loop()

    def load():
        for number in range(1, 200):
            loop.call_soon_threadsafe(worker._say_starting, compiling(number))

    await asyncio.to_thread(load)
    await asyncio.sleep(0)
    assert worker._health.now == ("starting", compiling(199))
    loading = asyncio.create_task(asyncio.to_thread(load))
    worker._health.set("draining", "SIGTERM received")
    await loading
    await asyncio.sleep(0)
    assert worker._health.now == ("draining", "SIGTERM received")


async def test_the_scoring_thread_does_one_thing_at_a_time():
    scoring, busy, done = ScoringThread(60), [], []

    def work(number):
        busy.append(number)
        assert busy == [number]
        sum(range(500))
        busy.remove(number)
        done.append(number)

    await asyncio.gather(*(scoring.call(work, number) for number in range(300)))
    scoring.close()
    assert done == list(range(300))


def test_a_pacing_table_is_read_while_records_are_applied():
    table = PacingTable(["a", "b"])
    values = [b'{"multiplier": 0.25}', b'{"multiplier": 0.5}', None]

    def read():
        assert table.multiplier("a") in (0.25, 0.5, 1.0)
        assert table.multiplier("b") in (0.25, 0.5, 1.0)

    hammer(lambda: [table.apply(key, value) for value in values for key in (b"a", b"b")], read, read)


def test_tenants_are_named_while_others_are_counted():
    names, given = TenantNames(), []
    number = iter(range(1_000_000))
    bounds, status = np.array([0, 1], np.int64), np.zeros(1, np.uint8)

    def count():
        token = f'"tenant-{next(number)}"'.encode()
        column = RawColumn(
            np.array([Presence.PRESENT], np.uint8), np.zeros(1, np.int64), np.array([len(token)], np.int64)
        )
        counted = names.count(bounds, status, np.ones(1, np.int64), column, np.frombuffer(token, np.uint8))
        given.append((int(counted.rows[0, TENANT]), token.decode().strip('"')))

    def read():
        for tenant, text in given[-50:]:
            assert names.text(tenant) == (text if tenant else names.text(0))

    count()
    hammer(count, read, read)


def test_a_sample_is_whole_whenever_it_is_read():
    route = Route(RouteTopics("a", "b", "c"), Scorer.load("moderation").stages)
    one = TextSample.of("twelve bytes")

    def sample():
        route.sample += one

    def read():
        (
            texts,
            *_,
        ) = row = route.sample.as_ints()
        assert sum(row[7:]) == 12 * texts

    hammer(sample, read, read)


def test_one_scorer_scores_for_several_threads():
    scorer = Scorer.load("moderation")
    blocks = [comment_events(200, seed=seed) for seed in range(3)]
    expected = [scorer.score_events(block).values for block in blocks]

    def score(k):
        assert scorer.score_events(blocks[k]).values == expected[k]

    hammer(*(lambda k=k: score(k) for k in range(3)))


class Running:
    """Stands in for the ledger's app."""

    def __init__(self, ledger):
        self.ledger, self.ready, self.records = ledger, True, 0
        self.refusals, self.broker_silent_s = Refusals(), 0.0

    def books(self):
        return self.ledger, None


def test_books_are_copied_and_scraped_while_they_are_posted():
    ledger, number = Ledger(), iter(range(1_000_000))
    figures = Figures(Running(ledger), book())

    def post():
        k = next(number)
        ledger.post(record(100, partition=k % 5_000))
        ledger.beat(beat(f"node/{k % 5_000}", at_ms=NOW + k))
        ledger.note_moment(NOW + 1_000 * k)

    def copy():
        copied = ledger.copied()
        assert len(copied.accounts) == len(list(copied.accounts.values()))
        assert sum(copied.scored().values()) == 100 * len(copied.accounts)

    post()
    hammer(post, copy, lambda: list(figures.collect()))


def at_once(action, threads=4):
    """Run an action on several threads that begin together; gives what each of them returned."""
    together, returned = threading.Barrier(threads), []

    def work():
        together.wait(60)
        returned.append(action())

    started = [threading.Thread(target=work) for _ in range(threads)]
    for thread in started:
        thread.start()
    for thread in started:
        thread.join(60)
    return returned


def test_a_message_is_said_once_whoever_logs_it():
    repeats = _Repeats()
    for number in range(200):
        record_ = logging.LogRecord("aiokafka", logging.ERROR, "", 0, f"message {number}", None, None)
        assert sorted(at_once(lambda one=record_: repeats.filter(one))) == [False, False, False, True]


def test_kernels_are_announced_once():
    for _ in range(200):
        printed = _Printed()
        assert sorted(at_once(lambda printed=printed: printed.is_due(compiling(1)))) == [False, False, False, True]


class Deaf:
    """A producer that tells of deliveries when it is polled, and whose queue is often full."""

    def __init__(self, _config):
        self.waiting = []

    def produce(self, _topic, _value, _key, _partition, delivered, *_):
        if len(self.waiting) >= 7:
            raise BufferError
        self.waiting.append(delivered)

    def poll(self, _timeout):
        waiting, self.waiting = self.waiting, []
        for delivered in waiting:
            delivered(None, None)


def test_totals_are_whole_while_users_send(monkeypatch):
    monkeypatch.setattr("loadtest.sending.Producer", Deaf)
    totals, delivered = SentTotals(), []
    connection = Connection({}, "events", totals, lambda *one: delivered.append(one))
    batches = made_up("moderation", 40, batch_events=20, malformed_share=0.0, seed=0).batches

    def user():
        for k in range(50):
            connection.send(batches[k % len(batches)], time.time())
            gevent.sleep(0)

    def read():
        while totals.batches < 200:
            plain = totals.plain()
            assert plain["acked"] + plain["failed"] <= 20 * 200
            assert sum(SentTotals.of([plain, plain]).late_ms.values()) == 2 * plain["batches"]
            gevent.sleep(0)

    def poll():
        while totals.batches < 200:
            connection.poll()
            gevent.sleep(0)

    greenlets = [gevent.spawn(work) for work in (user, user, user, user, read, poll)]
    gevent.joinall(greenlets, timeout=60, raise_error=True)
    assert connection.drain(10)
    assert (totals.sent, totals.acked, totals.failed, len(delivered)) == (4_000, 4_000, 0, 200)
