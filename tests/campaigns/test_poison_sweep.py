"""The poison sweep: 200 kinds of strange event, 1 in 100, among more than 200,000 good ones; three workers; the audit must agree.

``pytest --campaign -s tests/campaigns/test_poison_sweep.py``
"""

import asyncio
import time

import pytest

from tests.audit.test_command import audit
from tests.ledger.running import RunningLedger
from tests.serving import poison
from tests.serving.running import Service

pytestmark = [pytest.mark.kafka, pytest.mark.campaign]

ROUNDS = 11  # of 19,800 good events and 200 strange ones


async def test_no_strange_event_stops_another(apache_kafka, tmp_path, capsys):
    ledger = RunningLedger(apache_kafka, tmp_path)
    extra = f'[meter]\nusage_topic = "{ledger.usage}"\nheartbeat_topic = "{ledger.heartbeats}"\n'
    service = Service(apache_kafka, tmp_path, partitions=6, extra=extra)
    twins = [service.twin(), service.twin()]
    members = [service, *twins]
    try:
        await ledger.create_topics()
        await poison.make_poisoned(service)
        ledger.start()
        for member in members:
            poison.start(member)
            await member.ready()
        began = time.monotonic()
        expected = await poison.send(service, ROUNDS)
        await service.all_committed(timeout_s=300)
        took = time.monotonic() - began
        scored, dead, repeats = await poison.check(service, expected)
        assert scored + dead == len(expected) == ROUNDS * 20_000
        assert all(member.process.poll() is None for member in members)
        assert [member.stop() for member in members] == [0, 0, 0]
        await ledger.ready()
        await ledger.wait_for(
            lambda: sum(s + d for _, s, d, _ in (ledger.books() or {}).values()) == len(expected), 120
        )
        done, said = await asyncio.to_thread(audit, service, ledger)
        assert done.returncode == 0, done.stderr
        assert (said["scored"], said["dead"]) == (scored, dead)
        with capsys.disabled():
            print(
                f"\npoison sweep: {len(expected):,} events, {scored:,} scored, {dead:,} dead letters, {repeats:,} "
                f"repeats, {took:.0f} s; audit: {' '.join(done.stderr.split())}"
            )
    finally:
        for member in members:
            member.end()
        ledger.stop()
