"""Two hundred kinds of strange event, what must become of each, and a service that they are mixed into.

The sink is compacted and takes 20,000 bytes, the dead letters 10,000; the source takes nearly everything. The model
fails on a text with the word kaput.
"""

import os
import time
from pathlib import Path

import numpy as np

from farthing.blocks import Status as S
from farthing.errors import ScoreError
from farthing.kafka import BatchProducer, KafkaSettings
from farthing.model.stages import Stages
from tests.payload.corpus import CORPUS

from .running import event, offset_of, scorer
from .strange import make_topics, ours, plain, records_batch

SINK_BYTES, DEAD_BYTES = 20_000, 10_000
HOUR_MS = 3_600_000
BAD = b'{"text":5}'
POISONED = """
import runpy
from tests.serving import poison
poison.poison_the_model()
runpy.run_module("farthing", run_name="__main__")
"""


def poison_the_model(patch=setattr):
    """Let every model fail on texts with the word kaput."""
    prepare = Stages.prepare

    def poisoned(self, columns, records=None):
        text = columns.columns["text"]
        if b"kaput" in text.data[: text.indptr[-1]].tobytes():
            raise ScoreError("ONNX Runtime failed")
        return prepare(self, columns, records)

    patch(Stages, "prepare", poisoned)


def kinds():
    """Give (record, what must become of it): a Status, OK for scored."""
    now = time.time_ns() // 1_000_000
    stamps = (now + 2 * HOUR_MS, now + 10**12, now - 10**12, 0, -1)
    many = [(f"h{n}", None) for n in range(100_000)]
    found = []
    for size in (1, 10_000, 18_000, 19_000, 19_500):
        found.append((plain("i" * size), S.OK))
        found.append((plain(1, key=b"k" * size), S.OK))
    for size in (19_990, 20_000, 20_010, 100_000, 1_000_000):
        found.append((plain("i" * size), S.SCORE_TOO_LARGE))
        found.append((plain(1, key=b"k" * size), S.SCORE_TOO_LARGE))
    for size in (0, 1, 5_000, 9_000, 9_500, 9_900, 10_000, 10_010, 20_000, 100_000, 1_000_000):
        found.append(((BAD, b"k" * size, [], None), S.WRONG_TYPE))
        found.append(((BAD, b"k", [("h", b"x" * size)], None), S.WRONG_TYPE))
        found.append(((b'{"text":5}' + b" " * size, b"k", [], None), S.WRONG_TYPE))
    found += [((BAD, b"k", many, None), S.WRONG_TYPE), (plain(1, headers=many), S.OK)]
    found += [
        (plain(1, headers=[("", None), ("n", b"")]), S.OK),
        ((BAD, None, [("", None), ("n", b"")], None), S.WRONG_TYPE),
    ]
    found += [(plain(1, headers=[("trace", b"x" * size)]), S.OK) for size in (4_000, 5_000, 30_000)]
    found += [(plain(1, key=None), S.NULL_KEY), (plain(1, key=b""), S.OK), (plain("x" * 30_000, key=None), S.NULL_KEY)]
    found += [((None, key, [], None), S.NULL_VALUE) for key in (None, b"", b"k", b"k" * 20_000)]
    found += [((b"", key, [], None), S.EMPTY_VALUE) for key in (None, b"", b"k")]
    found += [(plain(1, stamp=stamp), S.OK) for stamp in stamps]
    found += [((BAD, b"k", [], stamp), S.WRONG_TYPE) for stamp in stamps]
    found += [(plain(1, text), S.MODEL_FAILED) for text in ("kaput", "a kaput b", "kaput" * 3_000)]
    found += [(plain(1, "kaput", key=b"k" * size, stamp=0), S.MODEL_FAILED) for size in (5_000, 50_000)]
    whole = event("m", "x" * ((1 << 20) - len(event("m", ""))))
    found += [((whole, b"k", [], None), S.OK), ((whole + b" ", b"k", [], None), S.TOO_LARGE)]
    found += [((b"x" * size, b"k", [], None), S.TOO_LARGE) for size in (2_000_000, 5_000_000)]
    refused = [(value, status) for value, status in CORPUS if status not in (None, S.OK) and len(value or b"") < 90_000]
    step = len(refused) / (200 - len(found))
    chosen = [refused[int(k * step)] for k in range(200 - len(found))]
    return found + [((value, b"c%d" % k, [], None), status) for k, (value, status) in enumerate(chosen)]


async def make_poisoned(service):
    """Create the topics of a poisoned service."""
    await make_topics(service, sink={"cleanup.policy": "compact", "max.message.bytes": str(SINK_BYTES)},
                      dead={"max.message.bytes": str(DEAD_BYTES)})  # fmt: skip


def start(service):
    """Start the service with a model that fails on some events."""
    path = os.pathsep.join([str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH", "")])
    service.start("-c", POISONED, "serve", "-c", str(service.config), env={**os.environ, "PYTHONPATH": path})


async def send(service, rounds):
    """Send each kind ``rounds`` times, every hundredth event; gives (partition, offset) -> (record, status)."""
    strange = [kind for _ in range(rounds) for kind in kinds()]
    expected, next_offset = {}, dict.fromkeys(range(service.partitions), 0)
    producer = BatchProducer(KafkaSettings(bootstrap_servers=(service.servers,)))
    await producer.start()
    for number, kind in enumerate(strange):
        partition = number % service.partitions
        ids = range(100 * number, 100 * number + 99)
        batch = [(plain(n, f"comment {n} " * (n % 9 + 1), key=b"g%d" % n), S.OK) for n in ids]
        batch.insert(number % 99, kind)
        await producer.send([records_batch(service.source, partition, [record for record, _ in batch])])
        for one in batch:
            expected[partition, next_offset[partition]] = one
            next_offset[partition] += 1
    await producer.close(5)
    return expected


async def check(service, expected):
    """Compare what was written with what must become of each event; gives (scores, letters, repeats)."""
    owed = {place: status for place, (_, status) in expected.items()}
    scores = await service.read(service.sink, sum(status is S.OK for status in owed.values()))
    letters = await service.read(service.dead, sum(status is not S.OK for status in owed.values()))
    found = {(record.partition, offset_of(record)): record for record in scores}
    assert {place for place, status in owed.items() if status is S.OK} == set(found)
    dead = {(record.partition, int(ours(record)["offset"])): record for record in letters}
    reasons = {place: S[ours(record)["reason"].decode().upper()] for place, record in dead.items()}
    assert reasons == {place: status for place, status in owed.items() if status is not S.OK}
    places = list(found)
    values = scorer().score_events([expected[place][0][0] for place in places]).values
    for place, value in zip(places, values, strict=True):
        assert (found[place].value, found[place].key) == (value, expected[place][0][1]), place
    sizes = np.array(
        [len(r.value or b"") + len(r.key or b"") + sum(len(v or b"") for _, v in r.headers) for r in letters]
    )
    assert sizes.max() < DEAD_BYTES
    for place, record in dead.items():
        (value, key, headers, _), told = expected[place][0], ours(record)
        assert (record.value == value or "value_bytes" in told) and (record.key == key or "key_bytes" in told)
        theirs = [pair for pair in record.headers if not pair[0].startswith("farthing.")]
        assert theirs == headers or "headers_bytes" in told
    return len(found), len(dead), len(scores) + len(letters) - len(found) - len(dead)
