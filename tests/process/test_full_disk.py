"""A disk that fills up while the services run: neither logs nor folders are anything that events or books wait for."""

import subprocess
import sys

import pytest

from tests.ledger.running import RunningLedger
from tests.ledger.test_run import furthest, run_of
from tests.serving.running import Service, event

pytestmark = [
    pytest.mark.kafka,
    pytest.mark.skipif(not sys.platform.startswith("linux"), reason="/dev/full and prlimit are Linux'"),
]


def start_without_a_log(service):
    with open("/dev/full", "wb", buffering=0) as full:
        command = [sys.executable, "-m", "farthing", "serve", "-c", str(service.config)]
        service.process = subprocess.Popen(command, stdout=full, stderr=full, stdin=subprocess.DEVNULL)


async def test_a_supervised_worker_scores_on_though_nothing_can_be_logged(apache_kafka, tmp_path):
    service = Service(apache_kafka, tmp_path, partitions=2, workers=2)
    await service.create_topics()
    start_without_a_log(service)
    try:
        await service.ready()
        await service.send([event(n, "some text of an event") for n in range(20)], batch_records=10)
        assert len(await service.read(service.sink, 20)) == 20
        await service.all_committed()
        assert service.stop() == 0
    finally:
        service.stop()


async def test_a_ledger_keeps_its_books_though_it_can_write_no_file(apache_kafka, tmp_path):
    """Its log and its folder are on the disk that is full; the books are in Kafka."""
    import resource

    ledger = RunningLedger(apache_kafka, tmp_path)
    await ledger.create_topics()
    ledger.start()
    try:
        await ledger.ready()
        first, later = run_of(0, 3), run_of(0, 5, first=4)
        await ledger.post(first)
        await ledger.wait_for(lambda: ledger.books() == furthest(first), 60)
        resource.prlimit(ledger.process.pid, resource.RLIMIT_FSIZE, (0, resource.RLIM_INFINITY))
        await ledger.post(later)
        await ledger.wait_for(lambda: ledger.books() == furthest(later), 60)
        code, _ = ledger.stop()
        assert code == 0
        ledger.start()
        await ledger.ready()
        assert ledger.books() == furthest(later)
    finally:
        ledger.stop()
