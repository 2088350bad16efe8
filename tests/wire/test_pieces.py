"""Batches cut into blocks: whatever the budget, the same records, and no more memory than it."""

import gzip
import hashlib
import random
import struct
import sys

import cramjam
import numpy as np
import pytest
from backports import zstd
from hypothesis import given, settings
from hypothesis import strategies as st

from farthing.kernels.jit import NO_JIT
from farthing.wire import Arena, Limits, Unread, codec, decode, decode_whole, layout
from farthing.wire.varint import varlong
from tests.wire.test_decode import CODECS, ours, part, reseal

EXAMPLES = settings().max_examples
RECORD_LIMIT = 40_000


def record(delta, value, key=None, headers=()):
    def sized(data):
        return varlong(-1) if data is None else varlong(len(data)) + data

    body = b"\0" + varlong(3 * delta) + varlong(delta) + sized(key) + sized(value) + varlong(len(headers))
    body += b"".join(sized(name) + sized(content) for name, content in headers)
    return varlong(len(body)) + body


def pack(number, body):
    if number == 0:
        return body
    return {
        1: lambda: gzip.compress(body, 6),
        2: lambda: codec.compress(2, np.frombuffer(body, np.uint8)).tobytes(),
        3: lambda: bytes(cramjam.lz4.compress(body)),
        4: lambda: zstd.compress(body),
    }[number]()


def batch_of(base, count, last_delta, packed, number):
    head = np.zeros(1, layout.HEADER)
    head["baseOffset"], head["magic"], head["attributes"], head["recordsCount"] = base, 2, number, count
    head["batchLength"] = layout.HEADER_BYTES - layout.LOG_OVERHEAD + len(packed)
    head["lastOffsetDelta"], head["producerId"] = last_delta, -1
    return bytes(reseal(bytearray(head.tobytes() + packed)))


def batch(base, values, number, *, raw_snappy=False, keys=True):
    body = b"".join(record(k, value, b"k%d" % k if keys and k % 3 else None) for k, value in enumerate(values))
    packed = bytes(cramjam.snappy.compress_raw(body)) if raw_snappy else pack(number, body)
    return batch_of(base, len(values), len(values) - 1, packed, number)


def everything(parts, limits, stop_after=1_000_000):
    """Decode all of it in blocks; gives each partition's records, cut records, last fault, and where it ended."""
    arena, found = Arena(), {}
    waiting = [Unread(one) for one in parts]
    while waiting and stop_after:
        stop_after -= 1
        block = decode(waiting, arena, limits)
        assert block.segments or any(unread._batch or unread.done for unread in waiting)
        cut = {one.row: one for one in block.cut}
        for segment in block.segments:
            rows, cuts, ends = found.setdefault(segment.partition, ([], [], []))
            assert not ends or ends[-1][0] == segment.first_offset
            rows += ours(block, range(segment.start, segment.stop))
            cuts += [
                (int(block.offsets[i]), block.buffer[one.start : one.stop].tobytes(), one.value_bytes, one.sha256)
                for i, one in cut.items()
                if segment.start <= i < segment.stop
            ]
            ends.append((segment.next_offset, segment.fault))
        for unread in waiting:
            unread.keep()
        waiting = [unread for unread in waiting if not unread.done]
    assert not waiting
    return {
        key: (rows, cuts, ends[-1][0], None if ends[-1][1] is None else (str(ends[-1][1]), ends[-1][1].first_offset))
        for key, (rows, cuts, ends) in found.items()
    }


def a_log(seed):
    """Batches of any codec and size, some records over the limit, perhaps damaged behind a good checksum."""
    rng = random.Random(seed)
    data, offset = b"", 0
    for _ in range(rng.randrange(1, 5)):
        number = rng.choice(CODECS)
        sizes = [rng.choice([0, 1, 5, 50, 300, 6000, 39_000, 120_000]) for _ in range(rng.randrange(20))]
        values = [
            None if size == 1 else rng.randbytes(size // 40 + 1) * 40 if size > 200 else rng.randbytes(size)
            for size in sizes
        ]
        raw = bytearray(batch(offset, values, number, raw_snappy=rng.random() < 0.5))
        damage = rng.randrange(10)
        if damage == 0:
            for _ in range(rng.randrange(1, 3)):
                raw[rng.randrange(layout.ATTRIBUTES + 2, len(raw))] = rng.randrange(256)
        elif damage == 1:
            raw = raw[: rng.randrange(layout.HEADER_BYTES, len(raw) + 1)]
        elif damage == 2:
            raw += rng.randbytes(rng.randrange(1, 9))
        elif damage == 3:
            raw += pack(number, record(len(values), b"one more"))
        struct.pack_into(">i", raw, layout.BATCH_LENGTH, len(raw) - layout.LOG_OVERHEAD)
        data += bytes(reseal(raw))
        offset += len(values)
    return data, rng.randrange(max(offset, 1))


@settings(max_examples=2 * EXAMPLES, deadline=None)
@given(
    st.lists(st.integers(0, 2**32), min_size=1, max_size=3), st.sampled_from([1, 100, 1000, 5000, 20_000, RECORD_LIMIT])
)
def test_any_budget_gives_the_same_records(seeds, budget):
    parts = [part(*a_log(seed), number) for number, seed in enumerate(seeds)]
    expected = everything(parts, Limits(RECORD_LIMIT * 1000, RECORD_LIMIT * 1000))
    assert not any(cuts for _, cuts, _, _ in expected.values())  # no record is over that limit
    first = everything(parts, Limits(RECORD_LIMIT, RECORD_LIMIT))
    assert everything(parts, Limits(budget, RECORD_LIMIT)) == first
    for key, (rows, cuts, end, fault) in first.items():
        whole_rows, _, whole_end, whole_fault = expected[key]
        long = {offset: (head, size, digest) for offset, head, size, digest in cuts}
        assert end == whole_end
        assert [row[:3] for row in rows] == [row[:3] for row in whole_rows]
        assert fault == whole_fault
        for row, whole in zip(rows, whole_rows, strict=True):
            if row[0] not in long:
                assert row == whole


def long_batch(before, body, after, number):
    """A batch with one long record, ``body``, among good ones."""
    records = [record(k, b"before %d" % k) for k in range(before)]
    records += [body] + [record(before + 1 + k, b"after %d" % k) for k in range(after)]
    return batch_of(7, len(records), len(records) - 1, pack(number, b"".join(records)), number)


@pytest.mark.parametrize("number", CODECS)
@pytest.mark.parametrize("after", [0, 2])
def test_a_record_over_the_limit_is_cut_and_the_others_are_read(number, after):
    value = random.Random(1).randbytes(1000) * (1_200 if NO_JIT else 3_000)
    key = b"the key"
    body = record(2, value, key, [(b"header", b"dropped")])
    found = everything([part(long_batch(2, body, after, number), 7)], Limits(50_000, 1 << 20))
    rows, ((offset, head, size, digest),), end, fault = found[0]
    assert [row[0] for row in rows] == list(range(7, 10 + after))
    assert rows[2] == (9, 6, key, None, 0)
    assert (offset, size, digest) == (9, len(value), hashlib.sha256(value).hexdigest())
    assert head == value[: len(head)]
    assert len(head) > 1_000_000
    assert (end, fault) == (10 + after, None)
    skipped = everything([part(long_batch(2, body, after, number), 10)], Limits(50_000, 1 << 20))
    assert [row[0] for row in skipped[0][0]] == list(range(10, 10 + after))


def test_a_long_key_and_long_headers_are_cut_as_a_whole():
    size = 3 << 20
    for body in (record(0, b"v", b"k" * size), record(0, None, b"k", [(b"h", b"x" * size)])):
        found = everything([part(long_batch(0, body, 1, 4), 7)], Limits(50_000, 1 << 20))
        rows, ((_, head, length, digest),), _, _ = found[0]
        assert len(rows) == 2
        assert head == body[: len(head)]
        assert (length, digest) == (len(body), hashlib.sha256(body).hexdigest())


def test_a_long_record_that_is_cut_off_or_does_not_add_up_is_damage():
    good = record(1, b"x" * (3 << 20), b"key")
    for body in (good[:-1], good + b"\0", good[:6] + varlong(1 << 30) + good[9:]):
        raw = batch_of(7, 2, 1, pack(4, record(0, b"fine") + body), 4)
        rows, cut, end, fault = everything([part(raw, 7)], Limits(50_000, 1 << 20))[0]
        assert ([row[0] for row in rows], cut, end) == ([7], [], 8)
        assert fault[1] == 8
        assert "the events before 8 are good, those from there to 8 cannot be read" in fault[0]


def test_a_fetch_in_the_middle_of_a_large_batch_skips_in_bounded_steps():
    """After a rebalance the batch is unpacked from its start again, once; each block passes a limited part of it by."""
    body = b"".join(record(k, b"x" * 1_000_000) for k in range(200))
    raw = batch_of(0, 200, 199, zstd.compress(body), 4)
    unread, arena = Unread(part(raw, 190)), Arena()
    seen, blocks = [], 0
    while not unread.done:
        block = decode([unread], arena, Limits(2 << 20, 2 << 20))
        seen += block.offsets.tolist()
        blocks += 1
        assert len(arena.buffer) < 8 << 20
    assert seen == list(range(190, 200))
    assert blocks >= 5  # 190 MB at most 64 MiB at a time, then a few events a block


def test_a_batch_may_be_of_any_size():
    """250 MB in pieces of a megabyte: what is kept between two pieces does not grow."""
    resource = pytest.importorskip("resource", reason="this system does not say how much memory was used at most")
    body = b"".join(record(k, b"y" * 10_000) for k in range(25_000))
    raw = batch_of(0, 25_000, 24_999, zstd.compress(body), 4)
    del body
    before, n = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, 0
    for block in decode_whole(part(raw), Arena(), Limits(1 << 20, 1 << 20)):
        assert len(block) <= 130
        n += len(block)
    assert n == 25_000
    unit = 1 if sys.platform == "darwin" else 1024
    assert (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * unit < 16 << 20
