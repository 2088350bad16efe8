"""The ledger on Apache Kafka: whatever is lost, repeated, late or killed, the books are those of the furthest totals."""

import json
import random
import shutil
import subprocess
import sys
import time

import pytest
from prometheus_client.parser import text_string_to_metric_families

from farthing.ledger.books import Account
from farthing.meter.records import TenantCount
from tests.ledger.cases import beat, mixed, now_ms, record, totals
from tests.ledger.running import RunningLedger
from tests.ledger.test_statement_json import ACCOUNT, HISTORY, STATEMENT

pytestmark = pytest.mark.kafka
LOOPBACK = "0100007F"  # 127.0.0.1 as /proc/net/tcp writes it


@pytest.fixture
async def ledger(apache_kafka, tmp_path):
    one = RunningLedger(apache_kafka, tmp_path)
    await one.create_topics()
    yield one
    one.stop()


def run_of(partition, steps, first=1):
    """A partition's records as a worker would send them: totals that grow."""
    return [
        record(0, now_ms(), partition=partition, used=totals(100 * n, dead=n), tenants={"acme": TenantCount(n, 0, n)})
        for n in range(first, first + steps)
    ]


def furthest(records):
    """An independent account of what the books must be."""
    kept = {}
    for r in records:
        at = r.topic, r.partition, r.model, r.base_offset
        calls = [n for count in r.totals.calls.values() for n in count]
        kept[at] = max(kept.get(at, ()), (r.next_offset, r.totals.scored, r.totals.dead, sum(calls[1::2])))
    return kept


def assert_prometheus_says(text, said):
    """A live scrape and the JSON agree on what no clock moves."""
    if shutil.which("promtool"):
        subprocess.run(["promtool", "check", "metrics"], input=text.encode(), check=True, timeout=30)
    found = {
        (sample.name, *sorted(sample.labels.values())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }
    for estimate, usd in said["avoided_usd"].items():
        value = found["farthing_ledger_avoided_cost_usd", *sorted((said["model"], "naive", estimate))]
        assert value == pytest.approx(usd, abs=1e-9)
    (route,) = said["routes"]
    for outcome in ("scored", "dead"):
        labels = sorted((route["topic"], route["scored_by"], outcome))
        assert found["farthing_ledger_events_total", *labels] == said["events"][outcome] > 0


async def test_nothing_that_happens_to_records_or_to_the_ledger_changes_the_books(ledger):
    rng = random.Random(4)
    records = [one for partition in range(20) for one in run_of(partition, 30)]
    lost = records[17]  # in the middle of a partition's run
    sent = [r for r in records if r is not lost] * 2
    rng.shuffle(sent)
    half = len(sent) // 2

    ledger.start()
    await ledger.ready()
    await ledger.beat([beat("a/0", now_ms() - 60_000, now_ms())])
    await ledger.post(sent[:half])
    bad = [
        (b"k", b"nothing"),
        (b"k", b'{"v":99}'),
        (b"k", b""),
        (b"k", None),
        (b"t", record(1, task="telepathy").encode()),
    ]
    await ledger.send(ledger.usage, bad)
    await ledger.send(ledger.heartbeats, [(b"k", b"[]"), (b"s", beat(sample={"m": (1, 2)}).encode())])
    await ledger.wait_for(lambda: ledger.books() == furthest(sent[:half]), 120)
    await ledger.wait_for(lambda: ledger.metric("farthing_ledger_refused_records_total") == 7, 120)
    assert ledger.metric("farthing_ledger_records_total") == half + 1 + 7

    # Only what the settings name is listened on: no web server of Faust's.
    if sys.platform == "linux":
        assert ledger.listens_on() == {(LOOPBACK, ledger.port)}

    for path, schema in (("statement?window=hour", STATEMENT), ("history?window=hour", HISTORY)):
        status, text = ledger.get(f"/api/{path}")
        assert status == 200
        schema.validate(json.loads(text))
    for one in json.loads(ledger.get("/api/accounts")[1]):
        ACCOUNT.validate(one)

    assert_prometheus_says(ledger.get("/metrics")[1], json.loads(ledger.get("/api/statement?window=all&mode=naive")[1]))

    # Killed hard while records come, more come while it is dead, and it is started again.
    await ledger.post(sent[half:])
    ledger.kill()
    more = [one for partition in range(5) for one in run_of(partition, 3, first=31)]
    await ledger.post(more)
    ledger.start()
    await ledger.ready()
    await ledger.wait_for(lambda: ledger.books() == furthest([*records, *more]), 120)
    said = json.loads(ledger.get("/api/statement?window=all")[1])
    assert said["events"]["scored"] == sum(scored for _, scored, _, _ in furthest([*records, *more]).values())
    assert [w["worker"] for w in said["workers"]] == ["a/0"]  # restored from its changelog

    # A stop in good order, and nothing but the changelogs to start from again.
    code, took_s = ledger.stop()
    assert code == 0
    assert took_s < 25
    assert "Traceback" not in ledger.log.read_text()


async def test_faust_runs_the_app_by_its_name_too(ledger):
    ledger.start("-m", "faust", "-A", "farthing.ledger.run", "worker", "-l", "warn")
    await ledger.ready()
    records = run_of(0, 10)
    await ledger.post(records)
    await ledger.wait_for(lambda: ledger.books() == furthest(records), 120)
    if sys.platform == "linux":
        assert ledger.listens_on() == {(LOOPBACK, ledger.port)}
    code, took_s = ledger.stop()
    assert code == 0
    assert took_s < 25


async def test_sigterm_with_the_broker_dead_ends_in_time(own_kafka, tmp_path):
    ledger = RunningLedger(own_kafka, tmp_path)
    await ledger.create_topics()
    ledger.start()
    try:
        await ledger.ready()
        records = run_of(0, 3)
        await ledger.post(records)
        await ledger.wait_for(lambda: ledger.books() == furthest(records), 120)
        assert "Coordinator" not in ledger.log.read_text()  # its group is the first of this broker
        own_kafka.kill()
        assert ledger.get("/api/statement")[0] == 200  # the books are still shown
    finally:
        _, took_s = ledger.stop()
    print(f"stopped within {took_s:.1f} s")
    assert took_s < 25


@pytest.mark.campaign
async def test_records_a_second_and_restoring_100_000_entries(ledger, capsys):
    """The figures that the design rests on: 1,000 usage records/s with all windows on, 100,000 entries in 30 s.

    Of the records, what is asserted is seconds of the process's CPU, which others on the machine do not change; it is
    one thread. Of the restoring it is seconds by the clock: most of them were once spent waiting for fetches.
    """
    records, entries = 20_000, 100_000
    ledger.start()
    await ledger.ready()
    before_s = ledger.cpu_s()
    began = time.monotonic()
    # All keys differ, so no write is saved: the dearest kind.
    await ledger.post(record(0, now_ms(), partition=p, used=totals(1_000 + p)) for p in range(records))
    sent_s = time.monotonic() - began
    await ledger.wait_for(lambda: ledger.metric("farthing_ledger_records_total") == records, 300, every_s=2)
    took_s, took_cpu_s = time.monotonic() - began, ledger.cpu_s() - before_s
    assert ledger.stop()[0] == 0

    accounts = {n: Account.opened(record(0, now_ms(), partition=n, used=mixed(2_000 + n))) for n in range(entries)}
    changelog = f"ledger-{ledger.name}-accounts-changelog"
    await ledger.send(changelog, ((one.record.key, one.encode()) for one in accounts.values()))
    began = time.monotonic()
    ledger.start()
    await ledger.ready(200)
    restored_s, restored_cpu_s = time.monotonic() - began, ledger.cpu_s()
    assert ledger.books() == furthest(one.record for one in accounts.values())
    with capsys.disabled():
        print(
            f"\nledger: {records / took_s:,.0f} records/s, {records / took_cpu_s:,.0f} per CPU-second (sent within "
            f"{sent_s:.1f} s); {entries:,} entries restored {restored_s:.1f} s after the process began, of them "
            f"{restored_cpu_s:.1f} s of CPU"
        )
    assert records / took_cpu_s > 1_000
    assert restored_s < 30
