"""What we write is what aiokafka and our own decoder read."""

import itertools
import random
import struct
import sys
from dataclasses import replace

import numpy as np
import pytest
from aiokafka.record.default_records import DefaultRecordBatchBuilder
from aiokafka.record.memory_records import MemoryRecords

from farthing.blocks import FetchedPartition, RecordBlock, RenderedValues, Segment, Status
from farthing.wire import (
    CODEC_NAMES,
    NO_TIME,
    Arena,
    Dropped,
    TopicLimits,
    decode,
    encode_dead,
    encode_records,
    encode_scores,
    header_bytes,
)
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


def test_no_score_is_larger_than_its_topic_takes():
    """Sizes around the limit: what just fits is written, what does not is left out and says so."""
    records, values = RecordBlock.of_values([b""] * 4), values_of(range(4))
    records = replace(records, segments=(Segment("t", 0, 0, 4, 0, 4),))
    sizes = [len(out.data) for out in encode_scores(records, values, topic="s", max_batch_bytes=1)]
    assert len(set(sizes)) == 1
    for limit, fits in ((sizes[0], 4), (sizes[0] - 1, 0), (sizes[0] + 1, 4)):
        status = np.zeros(4, np.uint8)
        outputs = encode_scores(records, values, topic="s", limits=TopicLimits(limit), status=status)
        assert (len(outputs), status.tolist()) == (fits, [0 if fits else Status.SCORE_TOO_LARGE] * 4)
        assert all(len(out.data) <= limit for out in outputs)


@pytest.mark.parametrize("compression", CODEC_NAMES)
@pytest.mark.parametrize("limit", [200, 700, 1_500])
def test_batches_keep_to_the_limit_and_order_around_what_does_not_fit(compression, limit):
    rng = np.random.default_rng(3)  # random bytes: compression makes them longer
    pieces = [rng.bytes(int(n)) for n in rng.integers(1, 400, 300)]
    pieces[7] = pieces[100] = pieces[299] = rng.bytes(5_000)
    records = replace(RecordBlock.of_values([b""] * 300), segments=(Segment("t", 0, 0, 300, 0, 300),))
    indptr = np.cumsum([0, *map(len, pieces)])
    values = RenderedValues(np.arange(300), np.frombuffer(bytearray(b"".join(pieces)), np.uint8), indptr)
    status = np.zeros(300, np.uint8)
    outputs = encode_scores(
        records, values, topic="s", limits=TopicLimits(limit), compression=compression, status=status
    )
    assert max(len(out.data) for out in outputs) <= limit
    left_out = np.flatnonzero(status).tolist()
    assert {7, 100, 299} <= set(left_out) and set(status[left_out].tolist()) == {Status.SCORE_TOO_LARGE}
    assert [r.value for _, r in read(outputs)] == [p for k, p in enumerate(pieces) if not status[k]]
    if limit == 1_500:
        assert left_out == [7, 100, 299]


def test_own_headers_are_dropped_before_an_event_is_refused_for_them():
    out = encode_records("t", 0, np.frombuffer(b"v", np.uint8), np.array([0, 1]), np.array([5]),
                         headers=header_bytes("trace", "x" * 500), header_count=1)  # fmt: skip
    records = decode([FetchedPartition("t", 0, 0, 0, out.data.data)], Arena())
    status, dropped = np.zeros(1, np.uint8), np.zeros(len(Dropped), np.int64)
    scored = encode_scores(
        records,
        values_of([0]),
        topic="s",
        limits=TopicLimits(300),
        max_header_bytes=4096,
        status=status,
        dropped=dropped,
    )
    ((_, record),) = read(scored)
    assert [name for name, _ in record.headers] == ["farthing.offset"]
    assert (status.tolist(), dropped.tolist()) == ([0], [0, 1])


@pytest.mark.parametrize("compacted", [True, False])
def test_a_compacted_topic_gets_no_score_without_a_key(compacted):
    block = block_of()
    keyless = block.key_start < 0
    assert 0 < keyless.sum() < len(block)
    status = np.zeros(len(block), np.uint8)
    limits = TopicLimits(compacted=compacted)
    rows = read(encode_scores(block, values_of(range(len(block))), topic="s", limits=limits, status=status))
    assert (status == np.where(keyless & compacted, Status.NULL_KEY, 0)).all()
    assert len(rows) == (status == 0).sum()
    assert all(record.key is not None for _, record in rows) or not compacted


def test_timestamps_stay_within_what_the_topic_takes():
    stamps = [-1, 0, 999, 1_000, 5_000, 9_000, 9_001, 2**62, -2, -(2**62)]
    out = encode_records("t", 0, np.zeros(10, np.uint8), np.arange(11), np.array(stamps, np.int64))
    block = decode([FetchedPartition("t", 0, 0, 0, out.data.data)], Arena())
    for status, outputs in (
        (0, encode_scores(block, values_of(range(10)), topic="s", times=(1_000, 9_000))),
        (1, encode_dead(block, np.full(10, Status.SYNTAX, np.uint8), topic="d", model="m", times=(1_000, 9_000))),
    ):
        records = [record for _, record in read(outputs)]
        assert [r.timestamp for r in records] == [-1, 3_000, 3_000, 1_000, 5_000, 9_000, 7_000, 7_000, 3_000, 3_000]
        name = "farthing.error.timestamp_ms" if status else "farthing.timestamp_ms"
        stated = [dict(record.headers).get(name) for record in records]
        assert stated == [None, b"0", b"999", None, None, None, b"9001", b"%d" % 2**62, b"-2", b"-%d" % 2**62]
    untimed = read(encode_scores(block, values_of(range(10)), topic="s", times=NO_TIME))
    assert {record.timestamp for _, record in untimed} == {-1}


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
    for every, limits in itertools.product(
        (1, 7), (TopicLimits(), TopicLimits(700), TopicLimits(3_000, compacted=True))
    ):
        status = np.where(np.arange(40) % every == 0, np.uint8(Status.SYNTAX), np.uint8(0))
        encode_dead(block, status, topic="t", model="m" * 300, max_batch_bytes=max_batch_bytes, limits=limits)
    assert len(left) >= 4
    assert min(left) >= ROOM_BYTES
