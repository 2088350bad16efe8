"""What is done to a service and its broker in a cell of the fault matrix, and which broker it takes."""

import asyncio
import os
import signal
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType

from tests.serving.running import SESSION_TIMEOUT_MS, eventually
from tests.serving.test_corrupt_batches import Segment

from .inside import CLOCK, LATE_SEQUENCES, set_clock
from .reading import read_source

KILLS = 3
STOPPED_S = SESSION_TIMEOUT_MS / 1000 + 3


@dataclass(frozen=True)
class Fault:
    """What is done, to which kind of broker (``brokers.py``), and what is changed inside the service's processes."""

    inflict: Callable[[Any], Awaitable[None]]
    broker: str = "one node"
    inside: str | None = None
    proxied: bool = False
    limited: bool = False
    """Whether the service runs in a control group with the memory of its container."""
    kafka: dict[str, int] = field(default_factory=dict)
    """Settings of its own."""


async def kill_worker(trial):
    for _ in range(KILLS):
        await trial.backlog()
        os.kill(trial.a_worker(), signal.SIGKILL)
        if trial.cell.workers == 1:
            await asyncio.to_thread(trial.service.process.wait, 10)
        await trial.up_again()
        await trial.moves_on()


async def stop_past_session(trial):
    await trial.backlog()
    pid = trial.a_worker()
    os.kill(pid, signal.SIGSTOP)
    heir = trial.service.twin(kafka=trial.kafka) if trial.cell.workers == 1 else None
    try:
        if heir:
            heir.start()
            await heir.ready()
        await asyncio.sleep(STOPPED_S)
    finally:
        os.kill(pid, signal.SIGCONT)
    await trial.moves_on()
    if heir:
        assert heir.stop() == 0, heir.said()


async def sigterm(trial):
    for _ in range(KILLS):
        await trial.backlog()
        assert await asyncio.to_thread(trial.service.stop) == 0, trial.service.said()
        await trial.up_again()
        await trial.service.ready()
        await trial.moves_on()


async def broker_killed(trial):
    for _ in range(KILLS):
        await trial.backlog()
        trial.broker.kill()
        await trial.moment(3.0)
        trial.broker.start()
        await trial.moves_on()


async def broker_frozen(trial):
    await trial.backlog()
    trial.broker.process.send_signal(signal.SIGSTOP)
    try:
        await asyncio.sleep(STOPPED_S)
    finally:
        trial.broker.process.send_signal(signal.SIGCONT)
    await trial.moves_on()


async def connections_cut(trial):
    for _ in range(12):
        trial.load.burst(trial.cell.ids // 30)
        await trial.moment(2.0)
        trial.proxy.cut()
    await trial.moves_on()


async def delay_500_ms(trial):
    trial.proxy.delay_s = 0.25
    await trial.backlog()
    await asyncio.sleep(8.0)
    await trial.moves_on()


async def members_come_and_go(trial):
    for _ in range(KILLS):
        twin = trial.service.twin(kafka=trial.kafka)
        twin.start()
        await twin.ready()
        await trial.backlog()
        await asyncio.sleep(3.0)
        assert await asyncio.to_thread(twin.stop) == 0, twin.said()
        await trial.moves_on()


async def sink_refuses(trial):
    """The sink wants two replicas in sync and has one: the broker refuses every write until that is mended."""
    for wanted in ("2", "1") * KILLS:
        async with trial.service.admin() as admin:
            change = ConfigResource(ConfigResourceType.TOPIC, trial.service.sink, {"min.insync.replicas": wanted})
            await admin.alter_configs([change])
        await trial.backlog()
        await asyncio.sleep(2.0)
    await trial.moves_on()


async def usage_topic_deleted(trial):
    await trial.backlog()
    async with trial.service.admin() as admin:
        await admin.delete_topics([trial.usage_topic])
    await trial.moves_on()


async def clock_steps(trial):
    for days in (30, -30, 0):
        set_clock(trial.folder, days * 86_400)
        await trial.backlog()
        await asyncio.sleep(3.0)
        await trial.moves_on()


async def corrupt_batches(trial):
    """Damage batches of three partitions on the broker's disk, before they are read."""
    assert await asyncio.to_thread(trial.service.stop) == 0, trial.service.said()
    trial.load.burst(trial.cell.ids)
    await asyncio.to_thread(trial.load.join)
    trial.source = await read_source(trial.service.servers, trial.service.source)
    committed = await trial.service.committed()
    await asyncio.to_thread(trial.broker.stop)  # in good order: otherwise it would look through its logs and cut them
    for partition in range(KILLS):
        segment = Segment(trial.broker, trial.service.source, partition)
        later = [k for k, (_, base, _) in enumerate(segment.batches) if base >= committed.get(partition, 0)]
        segment.flip(trial.random.choice(later), -5)
    trial.broker.start()
    await trial.up_again()
    await trial.service.ready()


async def nothing(trial):
    await trial.backlog()


async def leaders_move(trial):
    """Two of three nodes end in good order, one after the other, and come back."""
    for number in (2, 3, 2):
        await trial.backlog()
        node = trial.broker.node(number)
        await asyncio.to_thread(node.stop)
        await trial.moves_on()
        node.start()


async def node_killed(trial):
    """A node of three dies and comes back, as often as workers are killed elsewhere."""
    for _ in range(KILLS):
        await trial.backlog()
        node = trial.broker.node(trial.random.choice((2, 3)))
        node.kill()
        await trial.moves_on()
        node.start()


async def too_few_replicas(trial):
    """Two of three nodes die: nothing can be written that all replicas wanted in sync would have."""
    await trial.backlog()
    for number in (2, 3):
        trial.broker.node(number).kill()
    await asyncio.sleep(STOPPED_S)
    for number in (2, 3):
        trial.broker.node(number).start()
    await trial.moves_on()


async def disk_full(trial):
    """The broker's disk fills up, the broker ends, and comes back once there is room."""
    await trial.backlog()
    trial.broker.fill_disk()
    try:
        trial.load.burst(trial.cell.ids // 2)
        await eventually(lambda: trial.broker.process.poll() is not None, 60)
    finally:
        trial.broker.kill()
        trial.broker.free_disk()
    trial.broker.start()
    await trial.moves_on()


async def backlog_of_all(trial):
    """All of the events wait at once, while the memory is that of the container."""
    assert await asyncio.to_thread(trial.service.stop) == 0, trial.service.said()
    trial.load.burst(trial.cell.ids)
    await asyncio.to_thread(trial.load.join)
    await trial.up_again()
    await trial.service.ready()


FAULTS = {
    "worker killed": Fault(kill_worker),
    "stopped past its session": Fault(stop_past_session),
    "sigterm": Fault(sigterm),
    "broker killed": Fault(broker_killed),
    "broker frozen": Fault(broker_frozen),
    "connections cut": Fault(connections_cut, proxied=True),
    # Every transaction is six round trips: with small fetches it would have a few hundred events.
    "delay 500 ms": Fault(
        delay_500_ms, proxied=True, kafka={"fetch_max_bytes": 1 << 20, "max_partition_fetch_bytes": 1 << 18}
    ),
    "members come and go": Fault(members_come_and_go),
    "transactions aborted": Fault(nothing),
    "poison 1 %": Fault(kill_worker),
    "sink refuses": Fault(sink_refuses),
    "usage topic deleted": Fault(usage_topic_deleted),
    "clock steps": Fault(clock_steps, inside=CLOCK),
    "sequences wrap": Fault(nothing, inside=LATE_SEQUENCES),
    "corrupt batches": Fault(corrupt_batches),
    "memory limited": Fault(backlog_of_all, limited=True),
    "leaders move": Fault(leaders_move, "three nodes"),
    "node killed": Fault(node_killed, "three nodes"),
    "too few replicas": Fault(too_few_replicas, "three nodes"),
    "disk full": Fault(disk_full, "small disk"),
}
