"""``farthing audit`` on Apache Kafka: workers that are killed, and books that are changed behind its back."""

import asyncio
import json
from dataclasses import replace

import pytest
from aiokafka.admin import AIOKafkaAdminClient, RecordsToDelete
from aiokafka.structs import TopicPartition

from farthing.local.comments import comment_events
from farthing.meter.records import UsageRecord
from tests.inprocess import farthing
from tests.ledger.running import RunningLedger
from tests.serving.running import SESSION_TIMEOUT_MS, Service
from tests.serving.test_usage import read_all

SOON_LEFT = {"session_timeout_ms": SESSION_TIMEOUT_MS, "heartbeat_interval_ms": 1_000}


class Nowhere:
    """A ledger that is not there."""

    port = 9


def audit(service, ledger, *more):
    done = farthing("audit", "-c", service.config, "--json", "--ledger", f"http://127.0.0.1:{ledger.port}", *more)
    assert "Traceback" not in done.stderr
    return done, json.loads(done.stdout.splitlines()[-1]) if done.stdout else None


@pytest.mark.kafka
async def test_it_agrees_through_a_kill_and_finds_what_was_changed(apache_kafka, tmp_path):
    ledger = RunningLedger(apache_kafka, tmp_path)
    extra = f'[meter]\nusage_topic = "{ledger.usage}"\nheartbeat_topic = "{ledger.heartbeats}"\n'
    # A commit a minute: the kill comes before the first one that everything is in, so there are repeats.
    service = Service(
        apache_kafka, tmp_path, partitions=3, extra=extra, kafka=SOON_LEFT, worker={"commit_interval_ms": 60_000}
    )
    bad = [b"{", b'{"id":1}', b'{"text":5}']
    values = [*comment_events(5_997), *bad]
    try:
        await ledger.create_topics()
        await service.create_topics()
        ledger.start()
        service.start()
        await service.ready()
        await service.send(values[:3_000], batch_records=100)
        await service.read(service.sink, 3_000)
        service.process.kill()
        service.process.wait(10)
        service.start()
        await service.send(values[3_000:], batch_records=100)
        await service.ready()
        await service.read(service.sink, 5_997)
        await service.read(service.dead, 3)
        assert service.stop() == 0
        await ledger.ready()
        await ledger.wait_for(lambda: sum(n for n, *_ in (ledger.books() or {}).values()) == 6_000, 60)

        done, said = audit(service, ledger)
        assert done.returncode == 0, done.stderr
        assert "agree: 5,997 events scored and 3 dead in 3 partitions" in done.stderr
        assert (said["agrees"], said["scored"], said["dead"], said["later"], said["foreign"]) == (True, 5_997, 3, 0, 0)
        assert said["repeats"] >= 1_000
        assert [p["ledger_scored"] for p in said["partitions"]] == [p["scored"] for p in said["partitions"]]

        # A count that says two events more than there were.
        last = max((UsageRecord.decode(v) for v in await read_all(ledger.servers, ledger.usage)),
                   key=lambda r: (r.partition == 1, r.next_offset))  # fmt: skip
        two = replace(last.totals, scored=2, dead=0, calls={10: (2, 0)})
        await ledger.post([replace(last, next_offset=last.next_offset + 2, totals=last.totals + two)])
        await ledger.wait_for(lambda: sum(n for n, *_ in ledger.books().values()) == 6_002, 60)
        done, said = audit(service, ledger)
        assert done.returncode == 1
        assert f"{service.source}[1]: offsets 0 to 2002 by {last.model}: the ledger has" in done.stderr
        assert (said["agrees"], said["ledger_scored"], said["scored"]) == (False, 5_999, 5_997)

        # Without a ledger the workers' own totals are the books: that record is among them.
        done, said = audit(service, Nowhere)
        assert done.returncode == 1
        assert "no ledger answers at http://127.0.0.1:9" in done.stderr
        assert f"compared with the workers' totals in {ledger.usage}" in said["books"]
        assert (said["ledger_scored"], said["scored"], said["recounted_only"]) == (5_999, 5_997, False)

        # Without those either there is only the recount, and that is said.
        config = service.config.read_text()
        service.config.write_text(config.replace(ledger.usage, f"none-{service.name}"))
        done, said = audit(service, Nowhere)
        service.config.write_text(config)
        assert done.returncode == 4
        assert "recounted: 5,997 events scored and 3 dead in 3 partitions" in done.stderr
        assert "not compared with any books: no ledger answers at" in done.stderr
        assert (said["agrees"], said["scored"], said["dead"], said["recounted_only"]) == (False, 5_997, 3, True)

        # What retention has deleted cannot be recounted, and that is said.
        admin = AIOKafkaAdminClient(bootstrap_servers=service.servers)
        await admin.start()
        await admin.delete_records({TopicPartition(service.sink, 1): RecordsToDelete(before_offset=500)})
        await admin.close()
        done, said = audit(service, ledger)
        assert done.returncode == 4
        assert f"{service.sink}[1] begins at offset 500" in done.stderr
    finally:
        service.end()
        ledger.stop()


@pytest.mark.kafka
async def test_it_may_run_while_events_are_scored(apache_kafka, tmp_path):
    ledger = RunningLedger(apache_kafka, tmp_path)
    extra = f'[meter]\nusage_topic = "{ledger.usage}"\nheartbeat_topic = "{ledger.heartbeats}"\n'
    service = Service(apache_kafka, tmp_path, partitions=2, extra=extra)
    try:
        await ledger.create_topics()
        await service.create_topics()
        ledger.start()
        service.start()
        await service.ready()
        await ledger.ready()
        async with service.load():
            await ledger.wait_for(lambda: sum(n for _, n, *_ in (ledger.books() or {}).values()) > 2_000, 60)
            done, said = await asyncio.to_thread(audit, service, ledger)
        assert done.returncode == 0, done.stderr
        assert said["scored"] > 2_000
        assert service.stop() == 0
    finally:
        service.end()
        ledger.stop()


def run(tmp_path, routes, *more):
    path = tmp_path / "farthing.toml"
    path.write_text('[kafka]\nbootstrap_servers = ["127.0.0.1:9"]\nrequest_timeout_ms = 1000\n' + routes)
    return farthing("audit", "-c", path, *more)


ROUTE = '[[route]]\nbundle = "moderation"\nsource = "e{0}"\nsink = "s"\ndead_letters = "d{0}"\n'


def test_errors_say_what_to_do(tmp_path):
    done = run(tmp_path, ROUTE.format(1) + "[ledger]\nport = 9\n")
    assert done.returncode == 3  # neither a ledger nor a broker
    assert "kafka.bootstrap_servers = 127.0.0.1:9" in done.stderr
    done = run(tmp_path, ROUTE.format(1), "--ledger", "here")
    assert done.returncode == 2
    assert "write an address such as" in done.stderr
    done = run(tmp_path, ROUTE.format(1) + ROUTE.format(2))
    assert done.returncode == 2
    assert "several routes write to s" in done.stderr
    done = run(tmp_path, ROUTE.format(1) + ROUTE.format(2).replace('"s"', '"s2"').replace('"d2"', '"d1"'))
    assert done.returncode == 2
    assert "several routes write to d1" in done.stderr
