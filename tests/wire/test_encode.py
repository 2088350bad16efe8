"""What we write is what aiokafka and our own decoder read."""

import random
import struct
import sys

import numpy as np
import pytest
from aiokafka.record.default_records import DefaultRecordBatchBuilder
from aiokafka.record.memory_records import MemoryRecords

from farthing.blocks import FetchedPartition, RenderedValues, Status
from farthing.wire import CODEC_NAMES, Arena, decode, encode_dead, encode_records, encode_scores, stamp_producer
from farthing.wire.write import ROOM_BYTES

from .test_decode import batch, part


def read(outputs):
    rows = []
    for out in outputs:
        one = MemoryRecords(out.data.tobytes()).next_batch()
        assert one.validate_crc()
        records = list(one)
        assert len(records) == out.record_count
        assert max(r.timestamp for r in records) == out.max_timestamp_ms
        rows += [(out.partition, r) for r in records]
    return rows


def block_of(n=60, partitions=3):
    rng = random.Random(1)
    return decode([part(batch(rng, 1000 * p, n), 1000 * p, p) for p in range(partitions)], Arena())


def values_of(events):
    pieces = [f'{{"k":{e}}}'.encode() for e in events]
    indptr = np.cumsum([0, *map(len, pieces)])
    return RenderedValues(np.array(events, np.int64), np.frombuffer(b"".join(pieces), np.uint8), indptr)


@pytest.mark.parametrize("compression", CODEC_NAMES)
@pytest.mark.parametrize("max_batch_bytes", [200, 900_000])
def test_scores_keep_key_timestamp_partition_and_tell_their_offset(compression, max_batch_bytes):
    block = block_of()
    events = [e for e in range(len(block)) if e % 5]
    outputs = encode_scores(
        block, values_of(events), topic="out", compression=compression, max_batch_bytes=max_batch_bytes
    )
    rows = read(outputs)
    assert len(rows) == len(events)
    if max_batch_bytes == 200:
        assert len(outputs) > 10
    for (partition, record), event in zip(rows, events, strict=True):
        segment = next(s for s in block.segments if s.start <= event < s.stop)
        key = (
            None
            if block.key_start[event] < 0
            else block.buffer[block.key_start[event] : block.key_stop[event]].tobytes()
        )
        assert (partition, record.key, record.timestamp) == (segment.partition, key, block.timestamps_ms[event])
        assert record.value == f'{{"k":{event}}}'.encode()
        assert record.headers == [("farthing.offset", str(block.offsets[event]).encode())]


def test_dead_letters_keep_everything_and_say_why():
    block = block_of()
    status = np.zeros(len(block), np.uint8)
    status[::4] = Status.SYNTAX
    status[1] = Status.NON_FINITE
    rows = read(encode_dead(block, status, topic="dead", model="m@1"))
    dead = np.flatnonzero(status)
    assert len(rows) == len(dead)
    for (partition, record), event in zip(rows, dead, strict=True):
        start, stop = block.value_start[event], block.value_stop[event]
        assert record.value == (None if start < 0 else block.buffer[start:stop].tobytes())
        headers = dict(record.headers[int(block.header_count[event]) :])
        assert headers["farthing.error.reason"] == Status(status[event]).name.lower().encode()
        assert headers["farthing.error.stage"] == (b"score" if event == 1 else b"parse")
        assert headers["farthing.error.model"] == b"m@1"
        assert headers["farthing.error.topic"] == b"t"
        assert headers["farthing.error.partition"] == str(partition).encode()
        assert headers["farthing.error.offset"] == str(block.offsets[event]).encode()


def test_a_value_too_long_for_the_dead_letter_topic_is_cut_and_described():
    value = b"x" * 5000
    out = encode_records("t", 0, np.frombuffer(value, np.uint8), np.array([0, 5000]), np.array([1]))
    block = decode([FetchedPartition("t", 0, 0, 0, out.data.data)], Arena())
    status = np.array([Status.TOO_LARGE], np.uint8)
    ((_, record),) = read(encode_dead(block, status, topic="d", model="m", max_value_bytes=100))
    assert record.value == value[:100]
    assert dict(record.headers)["farthing.error.value_bytes"] == b"5000"
    assert len(dict(record.headers)["farthing.error.value_sha256"]) == 64


@pytest.mark.parametrize("max_batch_bytes", [1, 300, 900_000])
def test_kernels_are_given_room_for_all_that_they_write(monkeypatch, max_batch_bytes):
    """They check no bounds: with the longest varints, keys, headers and values, and with none of them."""
    module = sys.modules["farthing.wire.encode"]
    write, left = module.write_records, []

    def watched(out, *arguments):
        returned = write(out, *arguments)
        left.append(len(out) - returned[0])
        return returned

    monkeypatch.setattr(module, "write_records", watched)
    builder = DefaultRecordBatchBuilder(2, 0, False, -1, -1, -1, 1 << 30)
    for k in range(40):
        long = b"k" * (k % 3 * 100)
        builder.append(
            k, [0, 2**62, 5][k % 3], [None, long][k % 2], [long * 9, None, b""][k % 3], [("h" * 70, long)] * (k % 4)
        )
    data = bytearray(builder.build())
    struct.pack_into(">q", data, 0, 2**63 - 100)
    block = decode([part(bytes(data), 2**63 - 100)], Arena())
    assert len(block) == 40
    encode_scores(block, values_of(range(40)), topic="t", max_batch_bytes=max_batch_bytes)
    encode_scores(block, values_of([39]), topic="t", max_batch_bytes=max_batch_bytes)
    for every in (1, 7):
        status = np.where(np.arange(40) % every == 0, np.uint8(Status.SYNTAX), np.uint8(0))
        encode_dead(block, status, topic="t", model="m" * 300, max_batch_bytes=max_batch_bytes, max_value_bytes=50)
    assert len(left) >= 4
    assert min(left) >= ROOM_BYTES


@pytest.mark.parametrize("size", [1, 100, 5_000, 500_000])
def test_a_producer_stamp_is_read_and_the_crc_holds(size):
    values = np.arange(size, dtype=np.int64).astype(np.uint8)
    out = encode_records("t", 0, values, np.array([0, 1, size]), np.array([5, 4]))
    for identity in ((77, 3, 2**31 - 1), (2**62 + 5, 0, 0), (-1, -1, -1)):
        stamp_producer(out.data, *identity)
        one = MemoryRecords(out.data.tobytes()).next_batch()
        assert one.validate_crc()
        assert (one.producer_id, one.producer_epoch, one.base_sequence) == identity
        assert [r.value for r in one] == [values[:1].tobytes(), values[1:].tobytes()]
