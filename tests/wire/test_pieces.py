"""Batches cut into blocks: whatever the budget, the same records, and no more memory than it."""

import gzip
import random
import struct

import cramjam
import numpy as np
from backports import zstd
from hypothesis import given, settings
from hypothesis import strategies as st

from farthing.wire import Arena, Limits, Unread, codec, decode, layout
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
