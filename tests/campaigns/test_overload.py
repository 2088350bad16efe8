"""A minute of three times what a worker can score: its memory keeps to its number, the group and the probes to theirs.

The capacity is measured first, on the same machine. Batches are made and compressed beforehand, so that producing them
takes next to no CPU. ``pytest --campaign tests/campaigns/test_overload.py -s``
"""

import asyncio
import json
import threading
import time
import urllib.request
from pathlib import Path

import numpy as np
import pytest

from farthing import limits
from farthing.kafka import BatchProducer, KafkaSettings
from farthing.local.comments import comment_events
from farthing.wire import encode_records
from tests.serving.running import Service, eventually

pytestmark = [pytest.mark.kafka, pytest.mark.campaign]

PARTITIONS = 8
BATCH = 500
TEXT_BYTES = 2_000
MEASURE_S, OVERLOAD_S, TIMES = 15, 60, 3
PROBE_S = 0.2
DRAIN_FACTOR = 4  # the lag drains at the capacity, or a quarter of it on a machine that is busy otherwise


def status(pid, name):
    lines = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    return int(lines[name].split()[0]) << 10


def made_batches(service):
    """Long comments, one compressed batch for each partition."""
    pool, found = comment_events(4_000, seed=5), []
    texts = [json.loads(value)["text"] for value in pool]
    for partition in range(PARTITIONS):
        values = []
        for k in range(BATCH):
            text = " ".join(texts[(partition * 311 + 7 * k + j) % len(texts)] for j in range(40))[:TEXT_BYTES]
            values.append(json.dumps({"id": k, "text": text}).encode())
        data, indptr = np.frombuffer(b"".join(values), np.uint8), np.cumsum([0, *map(len, values)])
        now = np.full(BATCH, time.time_ns() // 1_000_000)
        found.append(encode_records(service.source, partition, data, indptr, now, compression="zstd"))
    return found


class Probes(threading.Thread):
    """Asks /live and /ready all the time, and notes how long each answer took, and the worker's memory."""

    def __init__(self, service):
        super().__init__(daemon=True)
        self.service, self.ended = service, threading.Event()
        self.seconds, self.failed, self.memory = [], [], 0

    def run(self):
        while not self.ended.wait(PROBE_S):
            for path in ("/live", "/ready"):
                began = time.monotonic()
                try:
                    with urllib.request.urlopen(f"http://127.0.0.1:{self.service.port}{path}", timeout=5) as answer:
                        answer.read()
                except OSError as error:
                    self.failed.append((path, str(error)))
                self.seconds.append(time.monotonic() - began)
            self.memory = max(self.memory, status(self.service.process.pid, "VmRSS"))


async def test_three_times_what_it_can_score(apache_kafka, tmp_path):
    service = Service(apache_kafka, tmp_path, partitions=PARTITIONS)
    await service.create_topics()
    batches = made_batches(service)
    producer = BatchProducer(KafkaSettings(bootstrap_servers=(service.servers,)))
    await producer.start()
    sent = 0

    async def send(events):
        nonlocal sent
        for _ in range(max(events // (BATCH * PARTITIONS), 1)):
            await producer.send([fresh(batch) for batch in batches])
            sent += BATCH * PARTITIONS

    try:
        service.start()
        await service.ready()
        scored = lambda: service.metric("farthing_events_total", outcome="scored") or 0  # noqa: E731
        await send(8_000)
        await eventually(lambda: scored() >= sent, 60)
        began, before = time.monotonic(), scored()
        while time.monotonic() - began < MEASURE_S:
            if sent - scored() < 40_000:
                await send(16_000)
            await asyncio.sleep(0.05)
        capacity = (scored() - before) / (time.monotonic() - began)
        rebalances, at_first = service.metric("farthing_rebalances_total"), status(service.process.pid, "VmRSS")

        probes = Probes(service)
        probes.start()
        began, begun = time.monotonic(), sent
        while (passed := time.monotonic() - began) < OVERLOAD_S:
            owed = int(TIMES * capacity * passed) - (sent - begun)
            if owed > 0:
                await send(min(owed, 8 * BATCH * PARTITIONS))
            await asyncio.sleep(0.02)
        offered = (sent - begun) / (time.monotonic() - began)
        most_lag = sent - scored()
        await eventually(lambda: scored() >= sent, OVERLOAD_S * TIMES * DRAIN_FACTOR, service.said)
        drained_s = time.monotonic() - began - OVERLOAD_S
        await service.all_committed()
        probes.ended.set()
        probes.join(10)
        again = service.metric("farthing_rebalances_total")
        most = status(service.process.pid, "VmHWM")
    finally:
        await producer.close(5)
        service.stop()

    number = limits.worst_case_bytes(
        max_block_bytes=limits.MAX_BLOCK_BYTES, max_event_bytes=(1 << 20,), fetch_max_bytes=8 << 20,
        max_partition_fetch_bytes=4 << 20,
    )  # fmt: skip
    waits = sorted(probes.seconds)
    print(f"capacity {capacity:,.0f}/s; offered {offered:,.0f}/s ({offered / capacity:.2f} times) for {OVERLOAD_S} s; "
          f"lag at its end {most_lag:,.0f}, drained in {drained_s:.0f} s; memory {at_first >> 20} MiB before, "
          f"{most >> 20} MiB at most, number {number >> 20} MiB; {len(waits)} probes, median "
          f"{waits[len(waits) // 2] * 1e3:.0f} ms, 99 % {waits[len(waits) * 99 // 100] * 1e3:.0f} ms, worst "
          f"{waits[-1] * 1e3:.0f} ms; rebalances {again - rebalances:.0f}")  # fmt: skip
    assert offered > 0.9 * TIMES * capacity
    assert most < number
    assert again == rebalances
    assert probes.failed == []
    assert waits[-1] < 0.2


def fresh(batch):
    """The producer writes its identity into a batch: give it a copy."""
    return type(batch)(batch.topic, batch.partition, batch.data.copy(), batch.record_count, batch.max_timestamp_ms)
