"""Record batches: equal to aiokafka's decoder, and nothing that bytes can do harms us."""

import gzip
import random
import struct
import sys

import cramjam
import numpy as np
import pytest
from aiokafka.record.default_records import DefaultRecordBatchBuilder
from aiokafka.record.memory_records import MemoryRecords
from hypothesis import given, settings
from hypothesis import strategies as st

from farthing.blocks import FetchedPartition
from farthing.errors import CorruptBatchError, UnsupportedBatchError
from farthing.wire import Arena, codec, decode, layout, next_fetch_offset
from farthing.wire.crc32c import (
    POLYNOMIAL,
    THIRDS_FROM,
    append_zeros,
    append_zeros_reference,
    crc32c,
    crc32c_reference,
    crc32c_tables,
)

CODECS = (0, 1, 2, 3, 4)
EXAMPLES = settings().max_examples


def batch(rng, base_offset, n, *, codec_=0, transactional=False, control=False, producer_id=-1, start=None):
    builder = DefaultRecordBatchBuilder(
        2, codec_, transactional, producer_id, 0 if producer_id >= 0 else -1, 0 if producer_id >= 0 else -1, 1 << 30
    )
    timestamp = 1_700_000_000_000
    for k in range(n):
        key = None if rng.random() < 0.3 else rng.randbytes(rng.randrange(12))
        value = None if rng.random() < 0.1 else rng.randbytes(rng.randrange(200))
        headers = [(f"h{j}", None if rng.random() < 0.2 else rng.randbytes(5)) for j in range(rng.randrange(3))]
        builder.append(k, timestamp + rng.randrange(-5000, 5000), key, value, headers)
    data = bytearray(builder.build())
    struct.pack_into(">q", data, 0, base_offset)
    if control:
        attributes = struct.unpack_from(">h", data, layout.ATTRIBUTES)[0] | layout.CONTROL
        struct.pack_into(">h", data, layout.ATTRIBUTES, attributes)
        reseal(data)
    return bytes(data)


def reseal(data):
    array = np.frombuffer(bytes(data), np.uint8)
    struct.pack_into(">I", data, layout.CRC, crc32c_reference(array, layout.ATTRIBUTES, len(data)))
    return data


def marker(base_offset, producer_id, *, abort):
    builder = DefaultRecordBatchBuilder(2, 0, True, producer_id, 0, 0, 1 << 20)
    builder.append(0, 1_700_000_000_000, struct.pack(">hh", 0, 0 if abort else 1), struct.pack(">hi", 0, 0), [])
    data = bytearray(builder.build())
    struct.pack_into(">q", data, 0, base_offset)
    attributes = struct.unpack_from(">h", data, layout.ATTRIBUTES)[0] | layout.CONTROL
    struct.pack_into(">h", data, layout.ATTRIBUTES, attributes)
    return bytes(reseal(data))


def part(data, fetch_offset=0, partition=0, aborted=()):
    return FetchedPartition("t", partition, fetch_offset, 0, data, aborted)


def ours(block, rows=None):
    out = []
    for i in range(len(block)) if rows is None else rows:

        def cut(start, stop, i=i):
            return None if start[i] < 0 else block.buffer[start[i] : stop[i]].tobytes()

        out.append(
            (
                int(block.offsets[i]), int(block.timestamps_ms[i]), cut(block.key_start, block.key_stop),
                cut(block.value_start, block.value_stop), int(block.header_count[i]),
            )
        )  # fmt: skip
    return out


def theirs(data):
    out = []
    records = MemoryRecords(data)
    while records.has_next():
        read = records.next_batch()
        assert read.validate_crc()
        out += [(r.offset, r.timestamp, r.key, r.value, len(r.headers)) for r in read]
    return out


def test_equal_to_aiokafka_on_thousands_of_batches():
    rng = random.Random(1)
    arena = Arena()
    total = 0
    while total < 100 * EXAMPLES:
        pieces, offset = [], rng.randrange(1 << 40)
        first = offset
        for _ in range(50):
            n = rng.choice((1, 1, 1, 2, 3, 10))
            pieces.append(batch(rng, offset, n, codec_=rng.choice(CODECS)))
            offset += n + rng.randrange(3)  # compaction leaves holes
            total += 1
        data = b"".join(pieces)
        block = decode([part(data, first)], arena)
        assert block.segments[0].fault is None
        assert ours(block) == theirs(data)


@pytest.mark.parametrize("codec_", CODECS)
def test_several_partitions_stay_apart(codec_):
    rng = random.Random(2)
    parts = [part(batch(rng, 100 * p, 20, codec_=codec_), 100 * p, p) for p in range(5)]
    block = decode(parts, Arena())
    assert [s.partition for s in block.segments] == list(range(5))
    for k, segment in enumerate(block.segments):
        assert ours(block, range(segment.start, segment.stop)) == theirs(parts[k].data)
        assert segment.next_offset == 100 * k + 20


def test_fetch_in_the_middle_of_a_batch():
    data = batch(random.Random(3), 50, 10)
    block = decode([part(data, 55)], Arena())
    assert block.offsets.tolist() == [55, 56, 57, 58, 59]
    assert block.segments[0].next_offset == 60


def test_next_offset_comes_from_the_header_not_from_the_last_record():
    data = bytearray(batch(random.Random(4), 7, 3))
    struct.pack_into(">i", data, layout.LAST_OFFSET_DELTA, 99)  # compaction took the last records
    block = decode([part(bytes(reseal(data)), 7)], Arena())
    assert len(block) == 3
    assert block.segments[0].next_offset == 107
    assert next_fetch_offset(bytes(data), 7) == 107


def test_log_append_time_is_the_batch_header_s():
    data = bytearray(batch(random.Random(5), 0, 4))
    struct.pack_into(">h", data, layout.ATTRIBUTES, layout.LOG_APPEND_TIME)
    struct.pack_into(">q", data, layout.MAX_TIMESTAMP, 1234)
    assert decode([part(bytes(reseal(data)))], Arena()).timestamps_ms.tolist() == [1234] * 4


def test_control_batches_and_aborted_transactions_are_skipped():
    rng = random.Random(6)
    data = b"".join(
        [
            batch(rng, 0, 2, transactional=True, producer_id=7),  # aborted
            batch(rng, 2, 2, transactional=True, producer_id=8),  # committed
            marker(4, 7, abort=True),
            batch(rng, 5, 2, transactional=True, producer_id=7),  # a later transaction, committed
            marker(7, 8, abort=False),
            marker(8, 7, abort=False),
        ]
    )
    block = decode([part(data, 0, aborted=((7, 0),))], Arena())
    assert block.offsets.tolist() == [2, 3, 5, 6]
    assert block.segments[0].next_offset == 9


@pytest.mark.parametrize("cut", range(0, 400, 7))
def test_an_incomplete_last_batch_is_left_for_the_next_fetch(cut):
    rng = random.Random(7)
    whole, second = batch(rng, 0, 2), batch(rng, 2, 30)
    data = whole + second[: min(cut, len(second) - 1)]
    block = decode([part(data)], Arena())
    assert len(block) == 2
    assert block.segments[0].fault is None
    assert block.segments[0].next_offset == next_fetch_offset(data, 0) == 2


def test_every_flipped_bit_is_found_and_other_partitions_are_untouched():
    rng = random.Random(8)
    good, bad = batch(rng, 0, 3), batch(rng, 3, 3)
    for position in range(layout.MAGIC, len(bad)):
        flipped = bytearray(bad)
        flipped[position] ^= 1 << (position % 8)
        block = decode([part(good + bytes(flipped)), part(good, partition=1)], Arena())
        first, second = block.segments
        assert isinstance(first.fault, CorruptBatchError | UnsupportedBatchError), position
        assert (first.stop - first.start, first.next_offset) == (3, 3)
        assert second.fault is None
        assert second.stop - second.start == 3


@settings(max_examples=4 * EXAMPLES)
@given(st.data())
def test_hostile_batches_with_a_good_checksum_never_harm(data):
    codec_ = data.draw(st.sampled_from(CODECS))
    raw = bytearray(batch(random.Random(data.draw(st.integers(0, 5))), 10, 3, codec_=codec_))
    for _ in range(data.draw(st.integers(1, 4))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    block = decode([part(bytes(reseal(raw)), 10)], Arena())
    assert 10 <= block.segments[0].next_offset < 2**63
    assert 10 <= next_fetch_offset(bytes(raw), 10) < 2**63
    assert (block.offsets >= 10).all()
    for i in range(len(block)):
        for start, stop in ((block.key_start, block.key_stop), (block.value_start, block.value_stop)):
            assert start[i] == stop[i] == -1 or 0 <= start[i] <= stop[i] <= len(block.buffer)


def test_a_claim_of_two_billion_records_takes_no_memory():
    data = bytearray(batch(random.Random(9), 0, 1))
    struct.pack_into(">i", data, layout.RECORDS_COUNT, 2**31 - 1)
    struct.pack_into(">i", data, layout.LAST_OFFSET_DELTA, 2**31 - 2)
    arena = Arena()
    assert isinstance(decode([part(bytes(reseal(data)))], arena).segments[0].fault, CorruptBatchError)
    assert arena.columns.nbytes < 1 << 20


@pytest.mark.parametrize("base_offset", [2**63 - 1, 2**63 - 3, -1, -(2**63)])
def test_an_impossible_base_offset_is_a_fault_not_an_overflow(base_offset):
    """The checksum covers neither base offset nor length."""
    data = bytearray(batch(random.Random(14), 0, 3))
    struct.pack_into(">q", data, 0, base_offset)
    fault = decode([part(bytes(data), 5)], Arena()).segments[0].fault
    assert isinstance(fault, CorruptBatchError)
    assert fault.next_offset is None
    assert next_fetch_offset(bytes(data), 5) == 5


@pytest.mark.parametrize("magic", [0, 1])
def test_old_message_sets_are_refused_with_advice(magic):
    data = bytearray(batch(random.Random(10), 0, 1))
    data[layout.MAGIC] = magic
    fault = decode([part(bytes(data))], Arena()).segments[0].fault
    assert isinstance(fault, UnsupportedBatchError)
    assert "0.11" in str(fault)
    assert "t[0]" in str(fault)


def bomb(codec_):
    zeros = bytes(256 << 20) if codec_ == 4 else bytes(200 << 20)
    packed = {1: lambda d: gzip.compress(d, 9), 3: cramjam.lz4.compress, 4: cramjam.zstd.compress}
    body = bytes(packed[codec_](zeros)) if codec_ in packed else struct.pack(">i", 0)
    if codec_ == 2:
        body = bytes(cramjam.snappy.compress_raw(bytes(48 << 20)))
    head = bytearray(batch(random.Random(11), 0, 1)[: layout.HEADER_BYTES])
    struct.pack_into(">h", head, layout.ATTRIBUTES, codec_)
    data = bytearray(bytes(head) + body)
    struct.pack_into(">i", data, layout.BATCH_LENGTH, len(data) - layout.LOG_OVERHEAD)
    return bytes(reseal(data))


@pytest.mark.parametrize("codec_", [1, 2, 3, 4])
def test_a_decompression_bomb_is_an_error_not_memory(codec_):
    data = bomb(codec_)
    arena = Arena()
    resource = pytest.importorskip("resource", reason="this system does not say how much memory was used at most")
    decode([part(batch(random.Random(12), 0, 1))], Arena())  # what kernels need is there before memory is measured
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    fault = decode([part(data)], arena).segments[0].fault
    unit = 1 if sys.platform == "darwin" else 1024
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * unit
    assert isinstance(fault, CorruptBatchError)
    assert grown < 64 << 20
    assert len(arena.buffer) <= 2 * codec.MAX_UNCOMPRESSED_BYTES + len(data)


def test_raw_snappy_is_read_as_well_as_framed():
    rng = random.Random(12)
    plain = batch(rng, 0, 5)
    body = bytes(cramjam.snappy.compress_raw(plain[layout.HEADER_BYTES :]))
    data = bytearray(plain[: layout.HEADER_BYTES] + body)
    struct.pack_into(">h", data, layout.ATTRIBUTES, 2)
    struct.pack_into(">i", data, layout.BATCH_LENGTH, len(data) - layout.LOG_OVERHEAD)
    assert ours(decode([part(bytes(reseal(data)))], Arena())) == theirs(plain)


@given(st.binary(max_size=300), st.integers(0, 20))
def test_crc32c_equals_googles(data, start):
    array = np.frombuffer(data, np.uint8)
    start = min(start, len(data))
    expected = crc32c_reference(array, start, len(data))
    assert crc32c(array, start, len(data)) == crc32c_tables(array, start, len(data)) == expected


@settings(max_examples=EXAMPLES // 2)
@given(st.integers(-100, 200), st.integers(0, 20), st.integers(0, 2**32 - 1))
def test_crc32c_of_long_data_equals_googles(more, start, seed):
    """From THIRDS_FROM on, three thirds at once and a rest."""
    array = np.random.default_rng(seed).integers(0, 256, THIRDS_FROM + more + start, np.uint8)
    expected = crc32c_reference(array, start, len(array))
    assert crc32c(array, start, len(array)) == crc32c_tables(array, start, len(array)) == expected


@given(st.integers(0, 2**32 - 1), st.integers(0, 1000))
def test_zeros_are_appended_as_the_definition_says(crc, n):
    one_bit_at_a_time = crc
    for _ in range(8 * n):
        one_bit_at_a_time = (one_bit_at_a_time >> 1) ^ (POLYNOMIAL if one_bit_at_a_time & 1 else 0)
    assert append_zeros(crc, n) == append_zeros_reference(crc, n) == one_bit_at_a_time


def test_many_zeros_are_many_times_a_few():
    crc, times = 0x12345678, 10 * EXAMPLES
    for _ in range(times):
        crc = append_zeros(crc, 123_456)
    assert crc == append_zeros(0x12345678, 123_456 * times)


@settings(max_examples=3 * EXAMPLES)
@given(st.binary(max_size=400))
def test_any_bytes_at_all(data):
    block = decode([part(data)], Arena())
    assert len(block) == 0
    assert next_fetch_offset(data, 5) >= 5
