"""Captures record sets from Apache Kafka, with what was produced: ``python tests/golden/capture.py``.

Each ``<case>.bin`` is the record set of one Fetch response, byte for byte. ``expected.json`` says of each case what was
*produced* (offsets from the acknowledgements), never what a decoder made of the bytes: it is an oracle of its own.
Producer ids and compressed bytes may differ from run to run; what the tests compare does not.
"""

import asyncio
import base64
import json
import sys
import time
from pathlib import Path

from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.client import AIOKafkaClient
from aiokafka.consumer.fetcher import READ_UNCOMMITTED, PartitionRecords
from aiokafka.protocol.fetch import FetchRequest
from aiokafka.record.memory_records import MemoryRecords
from aiokafka.structs import TopicPartition

from farthing.local.broker import ApacheKafka

FOLDER = Path(__file__).resolve().parent
CODECS = ("gzip", "snappy", "lz4", "zstd")
BEGAN_MS = 1_700_000_000_000
WAIT_S = 40.0
# Markers bear the broker's own time, years after our records': without this they would begin a new segment, and a fetch
# reads one segment.
ONE_SEGMENT = {"segment.ms": str(10**15)}
COMPACTED = {
    "cleanup.policy": "compact", "segment.ms": "60000", "min.cleanable.dirty.ratio": "0.001",
    "delete.retention.ms": "3600000", "segment.jitter.ms": "0",
}  # fmt: skip


def records(n, start=0):
    """Make ``n`` varied records: (key, value, headers, timestamp_ms)."""
    out = []
    for k in range(start, start + n):
        key = (None, b"", f"key-{k}".encode(), bytes(range(k % 7)))[k % 4]
        value = (
            f'{{"id":{k},"text":"comment {k} is fine"}}'.encode(), None, b"", f"naïve café {k} 😂".encode() * 3,
            bytes((k * 31 + j) % 256 for j in range(130)),
        )[k % 5]  # fmt: skip
        if key is None and value is None:
            key = b"null value"
        headers = [
            [],
            [("h", b"1")],
            [("empty", b""), ("null", None)],
            [("héader", b"\x00\xff"), ("h", b"1"), ("h", b"2")],
        ]
        out.append((key, value, headers[k % 4], BEGAN_MS + (k * 7919) % 5000 - 2500))
    return out


class Capture:
    """One broker, one low-level client; remembers what each case must decode to."""

    def __init__(self, servers):
        self.servers = servers
        self.cases = {}

    async def __aenter__(self):
        self.admin = AIOKafkaAdminClient(bootstrap_servers=self.servers)
        await self.admin.start()
        self.client = AIOKafkaClient(bootstrap_servers=self.servers)
        await self.client.bootstrap()
        return self

    async def __aexit__(self, *_):
        await self.client.close()
        await self.admin.close()

    async def topic(self, name, **configs):
        await self.admin.create_topics([NewTopic(name, 1, 1, topic_configs=configs)])

    async def produce(self, topic, rows, *, batch=8, producer=None, **options):
        """Produce ``rows``, at most ``batch`` to a record batch; gives [offset, timestamp, key, value, headers]."""
        own = producer is None
        if own:
            producer = AIOKafkaProducer(bootstrap_servers=self.servers, linger_ms=50, acks="all", **options)
            await producer.start()
        out = []
        try:
            for at in range(0, len(rows), batch):
                chunk = rows[at : at + batch]
                futures = [
                    await producer.send(topic, value, key, 0, timestamp_ms=stamp, headers=headers)
                    for key, value, headers, stamp in chunk
                ]
                for row, future in zip(chunk, futures, strict=True):
                    meta = await future
                    stamp = row[3] if meta.timestamp_type in (0, None) else meta.timestamp
                    out.append([meta.offset, stamp, row[0], row[1], row[2]])
        finally:
            if own:
                await producer.stop()
        return out

    async def fetch(self, topic, offset=0, *, committed=True, max_bytes=1 << 20):
        """Fetch once, as the service does: (bytes, aborted transactions, high watermark)."""
        await self.client.set_topics([topic])
        node = self.client.cluster.leader_for_partition(TopicPartition(topic, 0))
        request = FetchRequest(500, 1, 1 << 22, int(committed), [(topic, [(0, offset, max_bytes)])])
        ((_, ((_, code, high_watermark, _, _, aborted, *_, data),)),) = (await self.client.send(node, request)).topics
        assert code == 0, code
        return data, aborted or [], high_watermark

    def store(self, case, data, expected, *, fetch_offset=0, next_offset, aborted=(), high_watermark=None, note=""):
        (FOLDER / f"{case}.bin").write_bytes(data)
        self.cases[case] = {
            "note": note, "fetch_offset": fetch_offset, "next_offset": next_offset, "high_watermark": high_watermark,
            "aborted": [list(pair) for pair in aborted],
            "records": [
                [offset, stamp, text(key), text(value), [[name, text(v)] for name, v in headers]]
                for offset, stamp, key, value, headers in expected
            ],
        }  # fmt: skip


def text(data):
    return None if data is None else base64.b64encode(data).decode()


def offsets_left(data):
    """Offsets that aiokafka finds (used only to see whether the log cleaner has been)."""
    read = PartitionRecords(None, MemoryRecords(data), [], 0, lambda k: k, lambda v: v, True, READ_UNCOMMITTED)
    read._consumer_record = lambda _, record: record.offset
    return list(read)


async def plain_and_compressed(capture):
    rows = records(20)
    for codec in ("none", *CODECS):
        topic = f"client-{codec}"
        await capture.topic(topic)
        done = await capture.produce(topic, rows, compression_type=None if codec == "none" else codec)
        data, aborted, high = await capture.fetch(topic)
        capture.store(topic, data, done, next_offset=20, aborted=aborted, high_watermark=high)
    await capture.topic("idempotent")
    done = await capture.produce("idempotent", rows, enable_idempotence=True)
    data, aborted, high = await capture.fetch("idempotent")
    capture.store("idempotent", data, done, next_offset=20, aborted=aborted, high_watermark=high)


async def rewritten_by_the_broker(capture):
    for codec in (*CODECS, "uncompressed"):
        topic = f"broker-{codec}"
        await capture.topic(topic, **{"compression.type": codec})
        client_codec = "gzip" if codec == "uncompressed" else None
        done = await capture.produce(topic, records(20), compression_type=client_codec)
        data, aborted, high = await capture.fetch(topic)
        note = f"the broker wrote these batches: topic setting compression.type = {codec}, producer's {client_codec}"
        capture.store(topic, data, done, next_offset=20, aborted=aborted, high_watermark=high, note=note)
    await capture.topic("append-time", **{"message.timestamp.type": "LogAppendTime"})
    done = await capture.produce("append-time", records(20), compression_type="lz4")
    data, aborted, high = await capture.fetch("append-time")
    assert all(stamp > BEGAN_MS + 10**9 for _, stamp, *_ in done)
    note = "LogAppendTime: the batch header's time holds for all its records"
    capture.store("append-time", data, done, next_offset=20, aborted=aborted, high_watermark=high, note=note)


async def transactions(capture):
    topic = "transactions"
    await capture.topic(topic, **ONE_SEGMENT)
    a, b = (
        AIOKafkaProducer(bootstrap_servers=capture.servers, transactional_id=name, linger_ms=20, compression_type=codec)
        for name, codec in (("a", None), ("b", "zstd"))
    )
    await a.start()
    await b.start()
    good, bad = [], []
    good += await capture.produce(topic, records(3))  # no transaction
    await a.begin_transaction()
    await b.begin_transaction()
    good += await capture.produce(topic, records(4, 3), batch=2, producer=a)
    bad += await capture.produce(topic, records(4, 7), batch=2, producer=b)  # between those of a
    good += await capture.produce(topic, records(2, 11), producer=a)
    await b.abort_transaction()
    await a.commit_transaction()
    await b.begin_transaction()  # the producer that aborted commits now
    good += await capture.produce(topic, records(3, 13), producer=b)
    await b.commit_transaction()
    await a.begin_transaction()  # the one that committed aborts
    bad += await capture.produce(topic, records(3, 16), producer=a)
    await a.abort_transaction()
    good += await capture.produce(topic, records(2, 19))
    await a.begin_transaction()  # open when it is fetched: lies after the last stable offset
    bad += await capture.produce(topic, records(2, 21), producer=a)
    end = good[-1][0] + 1
    deadline = time.monotonic() + WAIT_S
    while True:  # the coordinator answers before the markers are written
        data, aborted, high = await capture.fetch(topic)
        if offsets_left(data)[-1:] == [end - 1] and len(aborted) == 2:
            break
        assert time.monotonic() < deadline, (aborted, offsets_left(data))
        await asyncio.sleep(0.2)
    note = "read_committed: two producers, commit and abort markers, an open transaction at the end"
    capture.store(topic, data, good, next_offset=end, aborted=aborted, high_watermark=high, note=note)
    data, aborted, high = await capture.fetch(topic, committed=False)
    note = "the same log, read_uncommitted: only the markers are left out"
    every = sorted(good + bad)
    capture.store("uncommitted", data, every, next_offset=every[-1][0] + 1, high_watermark=high, note=note)
    middle = bad[1][0]
    data, aborted, high = await capture.fetch(topic, middle)
    rest = [row for row in good if row[0] >= middle]
    note = "read_committed from the middle of a batch of an aborted transaction on"
    capture.store(
        "transactions-middle", data, rest, fetch_offset=middle, next_offset=end, aborted=aborted, high_watermark=high,
        note=note,
    )  # fmt: skip
    await a.abort_transaction()
    await a.stop()
    await b.stop()


async def compacted(capture):
    """The log cleaner took records out of batches, and all records of one."""
    topic = "compacted"
    await capture.topic(topic, **COMPACTED)

    def keyed(names, stamp):
        return [(name.encode(), f"{name}@{stamp}".encode() * 3, [], BEGAN_MS + stamp) for name in names]

    done = await capture.produce(topic, keyed("abcdefgh", 0), compression_type="gzip")
    done += await capture.produce(topic, keyed("xyz", 1), enable_idempotence=True)  # its last batch stays, empty
    done += await capture.produce(topic, keyed("abc", 2), batch=3)
    done += await capture.produce(topic, [*keyed("hxyz", 3), (b"d", None, [], BEGAN_MS + 3)], batch=5)
    await capture.produce(topic, keyed("q", 120_000))  # begins a new segment: the one before may be cleaned
    latest = {row[2]: row for row in done}
    expected = sorted(latest.values())
    deadline = time.monotonic() + WAIT_S
    while True:
        data, aborted, high = await capture.fetch(topic)
        if offsets_left(data) == [row[0] for row in expected]:
            break
        if time.monotonic() > deadline:
            raise SystemExit(f"not compacted within {WAIT_S} s: {offsets_left(data)}")
        await asyncio.sleep(0.5)
    assert b"x@1" not in data
    note = "cleaned by the broker: gaps at the begin, in the middle and at the end of batches, one batch with no record"
    capture.store(topic, data, expected, next_offset=done[-1][0] + 1, aborted=aborted, high_watermark=high, note=note)


async def limited(capture):
    """A fetch that ends in the middle of a batch, and one that begins there."""
    data, aborted, high = await capture.fetch("client-none", max_bytes=700)
    rows = [row for row in rows_of(capture, "client-none") if row[0] < 8]
    note = "max_bytes cuts the second batch off"
    capture.store("cut", data, rows, next_offset=8, aborted=aborted, high_watermark=high, note=note)
    data, aborted, high = await capture.fetch("client-lz4", 11)
    rows = [row for row in rows_of(capture, "client-lz4") if row[0] >= 11]
    note = "fetched from 11 on: the broker sends the whole batch from 8"
    capture.store(
        "middle", data, rows, fetch_offset=11, next_offset=20, aborted=aborted, high_watermark=high, note=note
    )


def rows_of(capture, case):
    rows = capture.cases[case]["records"]
    return [[o, t, plain(k), plain(v), [(n, plain(h)) for n, h in headers]] for o, t, k, v, headers in rows]


def plain(data):
    return None if data is None else base64.b64decode(data)


async def run(broker):
    async with Capture(broker.bootstrap_servers) as capture:
        for scene in (plain_and_compressed, rewritten_by_the_broker, transactions, compacted, limited):
            await scene(capture)
        lines = [f"{json.dumps(case)}: {json.dumps(said, ensure_ascii=False)}" for case, said in capture.cases.items()]
        (FOLDER / "expected.json").write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")
        size = sum(path.stat().st_size for path in FOLDER.iterdir() if path.suffix in (".bin", ".json"))
        print(f"{len(capture.cases)} cases, {size} bytes in {FOLDER}")


def main():
    # Our records are years old: without log.retention.ms = -1 the broker would delete them.
    properties = {"log.cleaner.backoff.ms": "500", "log.initial.task.delay.ms": "500", "log.retention.ms": "-1"}
    with ApacheKafka(properties=properties) as broker:
        asyncio.run(run(broker))


if __name__ == "__main__":
    sys.exit(main())
