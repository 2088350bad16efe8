"""The books and what was read of the topics stay consistent, whoever else is in the group and whatever is lost."""

import asyncio
import json
import os
import re
import signal

import pytest
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from farthing.ledger.app import SILENT_S
from farthing.local.process import free_port
from tests.ledger.cases import beat, now_ms, record
from tests.ledger.running import RunningLedger
from tests.ledger.test_run import furthest, run_of

pytestmark = pytest.mark.kafka


@pytest.fixture
async def ledger(apache_kafka, tmp_path):
    one = RunningLedger(apache_kafka, tmp_path)
    await one.create_topics()
    yield one
    one.stop()


@pytest.fixture
def twin(ledger, tmp_path):
    """Another ledger of the same group, with a folder and a port of its own."""
    other = object.__new__(RunningLedger)
    other.__dict__ |= ledger.__dict__ | {"port": free_port(), "log": tmp_path / "twin.log", "process": None}
    other.config = tmp_path / "twin.toml"
    text = re.sub(r"\nport = \d+", f"\nport = {other.port}", ledger.config.read_text())
    other.config.write_text(re.sub(r'data_dir = "[^"]*"', f'data_dir = "{tmp_path / "twin"}"', text))
    yield other
    other.stop()


async def test_a_second_ledger_shows_no_books_until_it_has_them(ledger, twin):
    """Faust calls the tables of a member without partitions restored: it served empty books, and kept them so."""
    records = run_of(0, 5)
    ledger.start()
    await ledger.ready()
    await ledger.post(records)
    await ledger.wait_for(lambda: ledger.books() == furthest(records), 60)

    twin.start()
    await twin.wait_for(lambda: "another member of the group" in twin.get("/ready")[1], 60)
    assert twin.get("/ready")[0] == 503
    assert twin.books() is None
    assert twin.metric("farthing_ledger_ready") == 0

    ledger.kill()
    await twin.ready()
    assert twin.books() == furthest(records)
    more = run_of(0, 3, first=6)
    await twin.post(more)
    await twin.wait_for(lambda: twin.books() == furthest([*records, *more]), 60)
    assert twin.stop()[0] == 0
    assert "\x1b" not in ledger.log.read_text() + twin.log.read_text()  # Faust's terminal codes


async def test_books_whose_changelogs_are_gone_or_damaged_are_read_from_the_topics_again(ledger):
    """The offsets of all records are committed, so Faust alone would never read them again."""
    records, beats = run_of(0, 5) + run_of(1, 5), [beat("a/0", now_ms() - 60_000, now_ms() - 30_000)]
    ledger.start()
    await ledger.ready()
    await ledger.post(records)
    await ledger.beat(beats)
    await ledger.wait_for(lambda: ledger.metric("farthing_ledger_records_total") == 11, 60)
    assert ledger.stop()[0] == 0
    admin = AIOKafkaAdminClient(bootstrap_servers=ledger.servers)
    await admin.start()
    try:
        gone = [f"ledger-{ledger.name}-{table}-changelog" for table in ("accounts", "minutes")]
        await admin.delete_topics(gone)
        compact = {"cleanup.policy": "compact"}
        for topic in gone:
            made = False
            while not made:  # deleting takes a moment
                answer = await admin.create_topics([NewTopic(topic, 1, 1, topic_configs=compact)])
                made = answer.topic_errors[0][1] == 0
                await asyncio.sleep(0.1)
    finally:
        await admin.close()
    deep = b"[" * 100_000
    await ledger.send(
        gone[0], [(b"k", deep), (records[0].key, b'{"v":1e999}'), (b"u", b"\xff" * 50), (b"n", b"9" * 400)]
    )
    await ledger.send(f"ledger-{ledger.name}-workers-changelog", [(beats[0].key, deep), (b"k", b'{"v":1,"v":1}')])
    await ledger.send(gone[1], [(b"1", deep), (b"2", b'{"minute":-1,"scored":{},"core_ms":0}')])
    await ledger.send(f"ledger-{ledger.name}-reached-changelog", [(ledger.usage.encode(), deep)])

    ledger.start()
    await ledger.ready()
    assert ledger.books() == furthest(records)
    assert [w["worker"] for w in json.loads(ledger.get("/api/statement?window=all")[1])["workers"]] == ["a/0"]
    assert ledger.metric("farthing_ledger_refused_records_total") == 0  # of the topics, that is
    assert 'farthing_ledger_refusals_total{reason="nesting",source="accounts"} 1.0' in ledger.get("/metrics")[1]
    assert "Traceback" not in ledger.log.read_text()


WRONG_CLOCK = """
import sys, time
real, real_ns, step = time.time, time.time_ns, int(sys.argv.pop(1))
time.time, time.time_ns = lambda: real() + step, lambda: real_ns() + step * 1_000_000_000
from farthing.__main__ import main
sys.exit(main())
"""


async def test_a_ledger_whose_clock_is_wrong_keeps_and_stores_the_books(ledger):
    """The broker refuses records whose timestamps are more than an hour ahead of its clock."""
    records = run_of(0, 5)
    command = ("-c", WRONG_CLOCK, str(30 * 86_400), "ledger", "-c", str(ledger.config))
    ledger.start(*command)
    await ledger.ready()
    await ledger.post(records)
    await ledger.beat([beat("a/0", now_ms() - 60_000, now_ms())])
    await ledger.wait_for(lambda: ledger.books() == furthest(records), 60)
    await ledger.wait_for(lambda: ledger.metric("farthing_ledger_workers") == 1, 60)
    assert ledger.stop()[0] == 0
    assert "InvalidTimestamp" not in ledger.log.read_text()
    assert "changelog_write_lost" not in ledger.log.read_text()


async def test_a_ledger_without_a_broker_is_not_ready_and_shows_its_books(own_kafka, tmp_path):
    ledger = RunningLedger(own_kafka, tmp_path)
    await ledger.create_topics()
    ledger.start()
    try:
        await ledger.ready()
        await ledger.post([record(7, now_ms())])
        await ledger.wait_for(lambda: ledger.books(), 60)
        os.kill(own_kafka.process.pid, signal.SIGSTOP)
        try:
            await ledger.wait_for(lambda: "no broker has answered" in ledger.get("/ready")[1], SILENT_S + 30)
            assert ledger.get("/ready")[0] == 503
            assert ledger.get("/live")[0] == 200
            assert len(ledger.books()) == 1
            assert ledger.metric("farthing_ledger_broker_silent_seconds") > SILENT_S
        finally:
            os.kill(own_kafka.process.pid, signal.SIGCONT)
        await ledger.ready(90)
    finally:
        ledger.stop()


async def test_a_ledger_that_is_stopped_while_it_joins_leaves_at_once(ledger):
    """It took 15 s, ended with code 3, and stayed in the group until its session timed out."""
    ledger.config.write_text(ledger.config.read_text().replace("timeout_ms = 6000", "timeout_ms = 12000"))
    records = run_of(0, 5)
    ledger.start()
    await ledger.ready()
    await ledger.post(records)
    await ledger.wait_for(lambda: ledger.books() == furthest(records), 60)
    ledger.kill()  # the group waits for it, and with the group the next one
    ledger.start()
    admin = AIOKafkaAdminClient(bootstrap_servers=ledger.servers)
    await admin.start()
    try:
        states, members = set(), 0
        while members < 2 or "PreparingRebalance" not in states:
            assert ledger.process.poll() is None, ledger.tail()
            (group,) = (await admin.describe_consumer_groups([f"ledger-{ledger.name}"]))[0].groups
            states, members = {group[2]}, len(group[5])
            await asyncio.sleep(0.05)
    finally:
        await admin.close()
    ledger.process.send_signal(signal.SIGINT)
    code = await asyncio.to_thread(ledger.process.wait, 12)
    assert code == 0, ledger.tail()
    assert "stopped_while_joining" in ledger.log.read_text()
    ledger.start()
    await ledger.ready()
    assert ledger.books() == furthest(records)
