"""A broker that dies and comes back, one that stays dead, a model that hangs, a supervisor that is killed."""

import asyncio
import os
import signal
import subprocess
import threading
import time

import pytest

from farthing.errors import ScoreError
from farthing.local.process import free_port
from farthing.serving.route import Route

from .looping import looping, make_route
from .running import event, eventually

pytestmark = pytest.mark.kafka

# Short, so that a broker need not be gone for long to be gone for longer than this.
IMPATIENT = {"delivery_timeout_ms": 2_000, "request_timeout_ms": 2_000}
SMALL_BLOCKS = {"fetch_max_bytes": 1 << 16, "max_partition_fetch_bytes": 1 << 16}  # so that there is a middle to be in


async def in_the_middle(service):
    """Wait until some of the backlog is scored."""
    await eventually(lambda: (service.metric("farthing_events_total", outcome="scored") or 0) > 500, 120, service.said)


def resident_bytes(pid):
    """What a process holds in memory (POSIX ps gives KiB)."""
    done = subprocess.run(["ps", "-o", "rss=", "-p", str(pid)], capture_output=True, text=True, check=True)
    return int(done.stdout) * 1024


def backlog(events):
    return [event(n, "text " * (n % 20)) for n in range(events)]


async def test_a_broker_that_is_gone_for_a_while_loses_nothing(mortal_kafka, make_service):
    service = make_service(mortal_kafka, kafka=IMPATIENT | SMALL_BLOCKS)
    await service.create_topics()
    await service.send(backlog(60_000), batch_records=500)
    service.start()
    await in_the_middle(service)
    mortal_kafka.kill()
    assert "broker" in await service.stalled()
    before, errors = resident_bytes(service.process.pid), service.metric("farthing_broker_errors_total")
    await eventually(lambda: service.metric("farthing_broker_errors_total") >= errors + 1, 60, service.said)
    assert resident_bytes(service.process.pid) < before + (32 << 20)  # nothing piles up
    assert (service.get("/live")[0], service.get("/ready")[0]) == (200, 503)
    mortal_kafka.start()
    await service.ready()
    await service.send(backlog(400), batch_records=100)
    await service.check_delivery()
    await service.all_committed()
    assert service.stop() == 0
    refused = [line for line in service.log.read_text().splitlines() if "Unable connect to node" in line]
    assert 0 < len(refused) < 50  # said, and not a hundred times a second
    assert len(service.events("produce_retried")) < 50  # none, where nothing was in flight


@pytest.mark.parametrize(("workers", "drain_s"), [(1, 5), (2, 20)])
async def test_sigterm_with_the_broker_dead_ends_in_time(workers, drain_s, mortal_kafka, make_service):
    drain = {"drain_timeout_ms": drain_s * 1000}
    service = make_service(mortal_kafka, workers=workers, kafka=SMALL_BLOCKS, worker=drain)
    await service.create_topics()
    await service.send(backlog(10_000) * 30, batch_records=2_000)
    service.start()
    await in_the_middle(service)
    mortal_kafka.kill()
    await eventually(lambda: service.events("produce_retried"), 60, service.said)  # a block is in flight
    assert service.get("/live")[0] == 200
    pids = service.worker_pids().values()
    began = time.monotonic()
    service.stop(timeout_s=26)
    assert time.monotonic() - began < drain_s + 5
    assert not any(_runs(pid) for pid in pids)


async def test_a_signal_before_there_is_a_broker_ends_at_once(tmp_path, make_service):
    class Nowhere:
        bootstrap_servers = f"127.0.0.1:{free_port()}"

    service = make_service(Nowhere)
    service.start()
    await eventually(lambda: service.get("/live")[0] == 200, 60, service.said)
    began = time.monotonic()
    service.stop(timeout_s=26)
    assert time.monotonic() - began < 25


class Hanging(Route):
    """Answers one block, then none."""

    def __init__(self, *arguments):
        super().__init__(*arguments)
        self.calls = 0
        self.release = threading.Event()

    def answer(self, fetched):
        self.calls += 1
        if self.calls > 2:  # the first one warms
            self.release.wait(60)
        return super().answer(fetched)


async def test_a_model_that_hangs_is_noticed_and_ends_the_worker(apache_kafka, make_service):
    """The loop goes on meanwhile: heartbeats are sent, probes answered, and the partitions given up in order."""
    service = make_service(apache_kafka, partitions=1)
    await service.create_topics()
    route = make_route(service, route_class=Hanging)
    async with looping(service, route, stall_timeout_s=2.0) as loop:
        await service.send([event(1, "answered")])
        await loop.commits_all(service)
        await service.send([event(2, "not answered " * 2_000)])  # too long for the event loop
        late = 0.0
        while not loop.task.done():
            began = time.monotonic()
            await asyncio.sleep(0.01)
            late = max(late, time.monotonic() - began)
        assert late < 1.5  # the event loop was not held up
        error = await loop.fails()
        assert isinstance(error, ScoreError)
        assert "worker.stall_timeout_ms = 2000" in str(error)
    route.release.set()
    assert await service.committed() == {0: 1}
    async with looping(service) as loop:  # the next owner
        await loop.commits_all(service)
    assert await service.check_delivery() == (2, 0)


@pytest.mark.parametrize("length", [1, 20_000], ids=["on_the_loop", "on_the_thread"])
async def test_a_worker_in_which_a_block_hangs_still_exits(apache_kafka, make_service, length):
    service = make_service(apache_kafka, partitions=1, worker={"stall_timeout_ms": 1_000})
    await service.create_topics()
    await service.send([event(1, "x" * length)])
    program = (
        "import sys, time\n"
        "from farthing.__main__ import main\n"
        "from farthing.serving.route import Route\n"
        "answer = Route.answer\n"
        "Route.warm = lambda self: None\n"
        "Route.answer = lambda self, fetched: time.sleep(600)\n"
        f"main(['serve', '-c', {str(service.config)!r}])\n"
    )
    service.start("-c", program)
    assert await service.waiting(120) == 4
    assert "worker.stall_timeout_ms = 1000" in service.said()
    assert not any((await service.committed()).values())  # but for where it began


async def test_workers_drain_when_their_supervisor_is_killed(apache_kafka, make_service):
    service = make_service(apache_kafka, workers=2)
    await service.create_topics()
    service.start()
    await service.ready()
    pids = service.worker_pids()
    assert len(pids) == 2
    service.process.kill()
    service.process.wait(60)

    def gone():
        return not any(_runs(pid) for pid in pids.values())

    await eventually(gone, 40, service.said)
    assert len(service.events("draining")) == 2
    assert not service.events("drain_incomplete")


async def test_ctrl_c_reaches_each_worker_once_and_drains_it(apache_kafka, make_service):
    """A terminal sends SIGINT to the whole process group, workers too; from the supervisor they then get another."""
    service = make_service(apache_kafka, workers=2)
    await service.create_topics()
    service.start(start_new_session=True)  # a process group of its own, as a terminal gives
    await service.ready()
    async with service.load():
        await eventually(
            lambda: (service.metric("farthing_events_total", outcome="scored") or 0) > 200, 60, service.said
        )
        os.killpg(service.process.pid, signal.SIGINT)
        assert await service.waiting(30) == 0
    assert not service.events("stopping_at_once")
    assert len(service.events("draining")) == 2


def _runs(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    state = subprocess.run(["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True, check=False).stdout
    return bool(state.strip()) and not state.startswith("Z")
