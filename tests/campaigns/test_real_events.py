"""Real texts through Apache Kafka with two workers, against ``farthing score`` on the same events.

Half a million with ``--campaign``, a fifth of that without.
"""

import asyncio
import gzip
import itertools
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.serving.running import Service

pytestmark = pytest.mark.kafka

DATA = Path(__file__).parents[3] / "shared" / "data" / "moderation"
EVENTS, FEWER = 500_000, 100_000


def real_texts():
    for path in sorted(DATA.glob("*/*.jsonl.gz")):
        with gzip.open(path, "rt", encoding="utf-8") as lines:
            for line in lines:
                yield json.loads(line)["text"]


@pytest.mark.skipif(not DATA.is_dir(), reason=f"the real texts are not here: {DATA}")
async def test_real_events_come_out_bit_equal_and_in_order(apache_kafka, tmp_path, request):
    n_events = EVENTS if request.config.getoption("--campaign") else FEWER
    texts = itertools.cycle(list(real_texts()))
    events = [json.dumps({"id": n, "text": next(texts)}, ensure_ascii=n % 2 == 0).encode() for n in range(n_events)]
    lines = tmp_path / "events.jsonl"
    lines.write_bytes(b"\n".join(events) + b"\n")
    service = Service(apache_kafka, tmp_path, partitions=4, workers=2)
    await service.create_topics()
    service.start()
    try:
        await service.ready()
        sent = await service.send(events, batch_records=1_000)
        scored = await score_by_command(lines)
        found = await service.read(service.sink, n_events, timeout_s=180)
        dead = await service.read(service.dead, 0, timeout_s=5)
    finally:
        assert service.stop() == 0
    assert not dead
    expected = {json.loads(value)["id"]: value for value in scored}
    assert len(expected) == n_events
    ids_in_order = [[] for _ in range(service.partitions)]
    for number, value in sent:
        ids_in_order[number].append(json.loads(value)["id"])
    for partition, ids in enumerate(ids_in_order):
        records = [record for record in found if record.partition == partition]
        offsets = np.array([int(dict(record.headers)["farthing.offset"]) for record in records])
        first_seen = np.unique(offsets, return_index=True)[1]
        assert len(first_seen) == len(ids), f"partition {partition}: lost or foreign"
        assert (np.diff(first_seen) > 0).all(), f"partition {partition}: out of order"
        for record, offset in zip(records, offsets.tolist(), strict=True):
            assert record.value == expected[ids[offset]]


async def score_by_command(lines):
    """What ``farthing score`` says of the same events."""
    command = [sys.executable, "-m", "farthing", "score", "moderation", str(lines)]
    done = await asyncio.to_thread(subprocess.run, command, capture_output=True, check=True, timeout=300)
    return done.stdout.splitlines()
