"""Kills the worker at every named place of its loop, at a pass that the seed chooses; the oracle judges what is left.

One seed for three of the places runs with the suite, twenty for each with ``--campaign`` or ``-m faults``; every other
seed is for exactly-once delivery.
"""

import asyncio
import os
import random
import signal

import pytest

from farthing.serving.failpoints import FAILPOINTS, VARIABLE
from tests.serving.running import Service, eventually, scorer

from .cells import APPEND_TIME, KAFKA, MODES
from .oracle import judge
from .producing import Load
from .reading import read_history

IDS = 4_000
PARTITIONS = 3
SHORT = ("after_produce", "before_commit", "in_revoke")
SEEDS = range(20)


async def check(place, seed, broker, folder):
    chance = random.Random(f"{place}-{seed}")
    passes = 2 if place == "in_revoke" else chance.randint(1, 6)  # the first revoke is that of a member with nothing
    usage = f"usage.{place}.{seed}.{os.getpid()}"
    mode = MODES[seed % 2]
    kafka = KAFKA | {"delivery": mode.replace("-", "_")}
    # A static member takes its partitions back at once: no session has to end first.
    service = Service(
        broker, folder, partitions=PARTITIONS, kafka={**kafka, "group_instance_id": "one"},
        worker={"commit_interval_ms": 100}, extra=f'[meter]\nusage_topic = "{usage}"\n',
    )  # fmt: skip
    twin = service.twin(kafka={**kafka, "group_instance_id": "two"})
    load = Load(
        broker.bootstrap_servers, service.source, seed=seed, count=IDS, rate=1_000, partitions=PARTITIONS, bad=0.02
    )
    try:
        await service.create_topics(answers=APPEND_TIME)
        service.start(env={**os.environ, VARIABLE: f"{place}:{passes}"})
        await eventually(
            lambda: service.process.poll() is not None or service.get("/ready")[0] == 200, 90, service.said
        )
        load.start()  # now, so that it lasts for many passes
        if place == "in_revoke":
            twin.start()
        await eventually(lambda: service.process.poll() is not None, 90, service.said)
        assert service.process.returncode == -signal.SIGKILL, service.said()
        service.start()
        await service.ready()
        await asyncio.to_thread(load.join)
        await service.all_committed(90)
        assert service.stop() == 0, service.said()
        if twin.process is not None:
            assert twin.stop() == 0, twin.said()
        await service.all_ended()
        verdict = judge(await read_history(service, scorer(), load.acknowledged, usage_topic=usage))
    finally:
        for member in service.family:
            member.end()
    wrong = verdict.wrong(exactly_once=mode == "exactly-once")
    assert not wrong, f"{place}:{passes}, seed {seed}, {mode}: {wrong}"
    assert verdict.answers >= IDS


@pytest.mark.kafka
@pytest.mark.parametrize("place", SHORT)
async def test_a_kill_at_this_place_loses_nothing(place, apache_kafka, tmp_path):
    await check(place, 0, apache_kafka, tmp_path)


@pytest.mark.kafka
@pytest.mark.faults
@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("place", FAILPOINTS)
async def test_kills_at_every_place(place, seed, apache_kafka, tmp_path):
    await check(place, seed, apache_kafka, tmp_path)
