"""Record sets captured from Apache Kafka (``tests/golden/capture.py``): equal to what was produced, and to aiokafka."""

import base64
import json
import struct
from pathlib import Path

import pytest
from aiokafka.consumer.fetcher import READ_COMMITTED, READ_UNCOMMITTED, PartitionRecords
from aiokafka.record.memory_records import MemoryRecords
from aiokafka.structs import TopicPartition

from farthing.blocks import FetchedPartition
from farthing.errors import CorruptBatchError
from farthing.wire import Arena, decode, layout, next_fetch_offset, raw_batch
from farthing.wire.varint import read_varlong

FOLDER = Path(__file__).resolve().parents[1] / "golden"
CASES = json.loads((FOLDER / "expected.json").read_text(encoding="utf-8"))
UNCOMMITTED = {"uncommitted"}


def part(case, partition=0, data=None):
    said = CASES[case]
    return FetchedPartition(
        case, partition, said["fetch_offset"], said["high_watermark"],
        (FOLDER / f"{case}.bin").read_bytes() if data is None else data, tuple(map(tuple, said["aborted"])),
    )  # fmt: skip


def produced(case):
    def plain(text):
        return None if text is None else base64.b64decode(text)

    return [
        (offset, stamp, plain(key), plain(value), [(name, plain(v)) for name, v in headers])
        for offset, stamp, key, value, headers in CASES[case]["records"]
    ]


def headers_of(block, i):
    """Read record ``i``'s headers (KIP-82): name length, name, value length or -1, value."""
    at, stop, out = int(block.headers_start[i]), int(block.headers_stop[i]), []

    def take(at):
        length, at = read_varlong(block.buffer, at, stop, 5)
        assert at >= 0
        return (None, at) if length < 0 else (block.buffer[at : at + length].tobytes(), at + int(length))

    for _ in range(int(block.header_count[i])):
        name, at = take(at)
        value, at = take(at)
        out.append((name.decode(), value))
    assert at == stop
    return out


def ours(block, segment):
    def cut(start, stop, i):
        return None if start[i] < 0 else block.buffer[start[i] : stop[i]].tobytes()

    return [
        (
            int(block.offsets[i]), int(block.timestamps_ms[i]), cut(block.key_start, block.key_stop, i),
            cut(block.value_start, block.value_stop, i), headers_of(block, i),
        )
        for i in range(segment.start, segment.stop)
    ]  # fmt: skip


def theirs(case):
    """Decode with aiokafka's fetcher: (records, next offset)."""
    said = part(case)
    isolation = READ_UNCOMMITTED if case in UNCOMMITTED else READ_COMMITTED
    read = PartitionRecords(
        TopicPartition(case, 0), MemoryRecords(said.data), list(said.aborted), said.fetch_offset, None, None, True,
        isolation,
    )  # fmt: skip
    return [(r.offset, r.timestamp, r.key, r.value, list(r.headers)) for r in read], read.next_fetch_offset


def test_the_captures_are_all_there_and_small():
    stored = {path.stem for path in FOLDER.glob("*.bin")}
    assert stored == set(CASES)
    assert {f"{who}-{codec}" for who in ("client", "broker") for codec in ("gzip", "snappy", "lz4", "zstd")} <= stored
    assert {"transactions", "compacted", "append-time", "cut"} <= stored
    assert sum(path.stat().st_size for path in FOLDER.iterdir()) < 100_000


@pytest.mark.parametrize("case", CASES)
def test_a_capture_is_what_was_produced_and_what_aiokafka_reads(case):
    block = decode([part(case)], Arena())
    (segment,) = block.segments
    assert segment.fault is None
    assert ours(block, segment) == produced(case)
    assert segment.next_offset == CASES[case]["next_offset"]
    assert next_fetch_offset(part(case).data, part(case).fetch_offset) == segment.next_offset
    assert (ours(block, segment), segment.next_offset) == theirs(case)


def test_all_captures_in_one_block_stay_apart():
    arena = Arena()
    for cases in (sorted(CASES), sorted(CASES, reverse=True)):  # the second block reuses the first one's memory
        block = decode([part(case, k) for k, case in enumerate(cases)], arena)
        for case, segment in zip(cases, block.segments, strict=True):
            assert segment.fault is None
            assert ours(block, segment) == produced(case), case


def batches_of(data):
    """Split a record set: (base offset, attributes, last offset delta, record count) of each batch."""
    out, at = [], 0
    while at + layout.HEADER_BYTES <= len(data):
        base, length = struct.unpack_from(">qi", data, at)
        out.append(
            (
                base,
                struct.unpack_from(">h", data, at + layout.ATTRIBUTES)[0],
                struct.unpack_from(">i", data, at + layout.LAST_OFFSET_DELTA)[0],
                struct.unpack_from(">i", data, at + layout.RECORDS_COUNT)[0],
            )
        )
        at += layout.LOG_OVERHEAD + length
    return out


def test_the_captures_hold_what_they_are_for():
    """A capture that lost its point (no gap, no marker, no codec) would pass everything else."""
    for number, codec in enumerate(("gzip", "snappy", "lz4", "zstd"), 1):
        for who in ("client", "broker"):
            assert {a & layout.CODEC_MASK for _, a, *_ in batches_of(part(f"{who}-{codec}").data)} == {number}
    compacted = batches_of(part("compacted").data)
    assert any(count == 0 for *_, count in compacted)  # an empty batch: kept for its producer's sequence
    assert any(0 < count < delta + 1 for _, _, delta, count in compacted)
    last_of_first = compacted[0][0] + compacted[0][2]
    assert last_of_first not in [row[0] for row in produced("compacted")]  # the header's next offset, not the record's
    kinds = [a & (layout.CONTROL | layout.TRANSACTIONAL) for _, a, *_ in batches_of(part("transactions").data)]
    assert kinds.count(layout.CONTROL | layout.TRANSACTIONAL) == 4
    assert kinds.count(layout.TRANSACTIONAL) >= 6
    assert all(a & layout.LOG_APPEND_TIME for _, a, *_ in batches_of(part("append-time").data))
    cut = part("cut").data
    assert len(batches_of(cut)) == 2
    assert next_fetch_offset(cut, 0) == 8


def test_without_the_aborted_list_aborted_records_would_come_out():
    """The list, not the markers alone, tells what was aborted: without it this test's subject does not exist."""
    whole = part("transactions")
    blind = FetchedPartition(whole.topic, 0, 0, 0, whole.data)
    block = decode([blind], Arena())
    extra = {row[0] for row in ours(block, block.segments[0])} - {row[0] for row in produced("transactions")}
    assert len(extra) == 7


@pytest.mark.parametrize("case", CASES)
def test_every_damaged_byte_of_kafka_s_own_batches_is_found(case):
    whole = part(case)
    arena = Arena()
    batches = batches_of(whole.data)
    for at in range(layout.MAGIC, len(raw_batch(whole.data, batches[0][0])), 13):
        damaged = bytearray(whole.data)
        damaged[at] ^= 0x10
        segment = decode([part(case, data=bytes(damaged))], arena).segments[0]
        if segment.fault is None:  # a longer length claims bytes that are not there: left for the next fetch
            assert layout.BATCH_LENGTH <= at < layout.MAGIC, at
            continue
        assert segment.start == segment.stop
        assert segment.next_offset == whole.fetch_offset


def test_a_damaged_batch_in_the_middle_names_its_offsets():
    whole = part("client-zstd")
    (_, *_), (second, *_), (third, *_) = batches_of(whole.data)
    damaged = bytearray(whole.data)
    damaged[len(raw_batch(whole.data, 0)) + layout.HEADER_BYTES + 5] ^= 1
    block = decode([part("client-zstd", data=bytes(damaged))], Arena())
    (segment,) = block.segments
    assert isinstance(segment.fault, CorruptBatchError)
    assert (segment.fault.base_offset, segment.fault.next_offset) == (second, third)
    assert ours(block, segment) == produced("client-zstd")[:second]
