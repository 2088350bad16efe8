"""The kernels behind pieces of batches: equal to their references bit for bit, on good and on hostile bytes."""

import random

import cramjam
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from farthing.kernels.jit import NO_JIT
from farthing.wire import codec, lz, table, unpack
from farthing.wire.batches import fit_batches, keep_batches, move_batches
from farthing.wire.records import read_piece
from tests.references import both, same
from tests.wire.test_decode import CODECS
from tests.wire.test_pieces import pack, record

EXAMPLES = settings().max_examples


def octets(data):
    return np.frombuffer(bytearray(data), np.uint8)


def repetitive(seed, size):
    """Bytes with copies from near and far, up to beyond the reach of LZ4 and Snappy."""
    rng, out = random.Random(seed), bytearray()
    while len(out) < size:
        if out and rng.random() < 0.6:
            back, n = rng.randrange(1, min(len(out), 90_000) + 1), rng.randrange(1, 3000)
            while n > 0:
                out += out[-back:][:n]
                n -= back
        else:
            out += rng.randbytes(rng.randrange(1, 400))
    return bytes(out[:size])


@pytest.mark.skipif(NO_JIT, reason="without compilation there is one path")
@pytest.mark.parametrize("kernel", [lz.unpack_lz4, lz.unpack_snappy], ids=["lz4", "snappy"])
@settings(max_examples=2 * EXAMPLES)
@given(st.integers(0, 2**32), st.integers(1, 600), st.integers(0, 3))
@example(1, 1, 0)
def test_unpacking_in_windows_of_any_size(kernel, seed, window, damage):
    rng = random.Random(seed)
    plain = repetitive(seed, rng.choice([0, 1, 7, 300, 3000]))
    if kernel is lz.unpack_lz4:
        packed = bytearray(cramjam.lz4.compress_block(plain, store_size=False)) if plain else bytearray(b"\0")
        start = 0
    else:
        packed = bytearray(cramjam.snappy.compress_raw(plain)) if plain else bytearray(b"\0")
        start = 1 + (len(plain) > 127) + (len(plain) > 16_383)
    for _ in range(damage):
        packed[rng.randrange(len(packed))] = rng.randrange(256)
    data, at, found, low = octets(packed), start, b"", rng.randrange(3)
    state = np.zeros(lz.STATE, np.int64)
    work, held = np.zeros(200_000, np.uint8), low
    for _ in range(4 * (len(packed) * 300 // window + 4)):
        if held + window > len(work):
            return  # damage that unpacks to more
        (at, out), arrays = same(kernel, data, at, len(data), work, low, held, held + window, state)
        work, state = arrays[1], arrays[2]
        found += work[held:out].tobytes()
        held = out
        if at == lz.BAD or (at == len(data) and not state[[lz.LITERAL, lz.COPY, lz.NEXT]].any()):
            break
    else:
        raise AssertionError("it does not end")
    if not damage:
        assert at == len(data)
        assert found == plain


@pytest.mark.parametrize("number", CODECS)
@settings(max_examples=EXAMPLES, deadline=None)
@given(st.integers(0, 2**32), st.sampled_from([0, 1, 1000, 70_000, 300_000]), st.integers(0, 4))
def test_windows_hold_what_is_unpacked_at_once(number, seed, size, damage):
    """Whatever is accepted at once is accepted in windows, and gives the same bytes."""
    rng = random.Random(seed)
    packed = bytearray(pack(number, repetitive(seed, size)))
    if damage == 1:
        packed = packed + packed  # frames one after another; nothing of the kind in raw bytes
    elif damage == 2:
        packed += rng.randbytes(3)
    elif damage == 3 and packed:
        packed = packed[: rng.randrange(len(packed))]
    elif damage == 4 and packed:
        packed[rng.randrange(len(packed))] ^= 1 << rng.randrange(8)
    try:
        found = b"".join(bytes(memoryview(window)) for window in unpack.windows(number, octets(packed)))
    except codec.CodecError:
        found = None
    if number == 0:
        assert found == packed
        return
    room = np.empty(2 * size + 100_000, np.uint8)
    try:
        expected = room[: codec.decompress_into(number, memoryview(bytes(packed)), room)].tobytes()
    except codec.CodecError:
        expected = None
    if damage == 0:
        assert expected is not None
    if expected is not None:
        assert found == expected


@pytest.mark.skipif(NO_JIT, reason="without compilation there is one path")
@settings(max_examples=3 * EXAMPLES)
@given(
    st.lists(st.sampled_from([None, b"", b"some bytes", b"x" * 200]), max_size=6), st.integers(0, 2**32),
    st.integers(-1, 3), st.integers(0, 8), st.integers(0, 7),
)  # fmt: skip
def test_reading_pieces(values, seed, previous, most, left):
    rng = random.Random(seed)
    body = bytearray(b"".join(record(k, value, None, [(b"h", value)] * (k % 3)) for k, value in enumerate(values)))
    for _ in range(rng.choice([0, 0, 1, 2])):
        if body:
            body[rng.randrange(len(body))] = rng.randrange(256)
    cut = rng.randrange(len(body) + 1)
    row = np.zeros(table.N_COLUMNS, np.int64)
    row[table.BASE_OFFSET], row[table.LAST_OFFSET_DELTA] = rng.choice([0, 7, 2**40]), rng.choice([2, 5, 9])
    row[table.ATTRIBUTES], row[table.MAX_TIMESTAMP] = rng.choice([0, 8]), 99
    row[table.BASE_TIMESTAMP] = rng.choice([0, 2**63 - 1])
    (found, ours), (expected, theirs) = both(
        read_piece, octets(body), 0, len(body) - rng.choice([0, cut]), rng.random() < 0.5, row, left, previous,
        int(row[table.BASE_OFFSET]) + rng.choice([0, 2]), 1, 1 + most, np.zeros((8, 12), np.int64),
        np.zeros(12, np.int32), np.zeros(9, np.int64),
    )  # fmt: skip
    assert found == expected
    assert np.array_equal(ours[2], theirs[2])
    assert np.array_equal(ours[3], theirs[3])


@pytest.mark.skipif(NO_JIT, reason="without compilation there is one path")
@settings(max_examples=EXAMPLES)
@given(st.integers(0, 2**32), st.integers(0, 12), st.integers(0, 5000), st.integers(0, 5000))
def test_choosing_batches(seed, n, room, share):
    rng = np.random.default_rng(seed)
    rows = rng.integers(0, 2, (n, table.N_COLUMNS))
    rows[:, table.START] = rng.integers(0, 1000, n)
    rows[:, table.STOP] = rows[:, table.START] + rng.integers(0, 900, n)
    rows[:, table.COUNT] = rng.integers(0, 9, n)
    same(fit_batches, rows, room, share, int(rng.integers(0, 300)))
    same(keep_batches, rows, int(rng.integers(0, n + 1)))
    same(move_batches, rows, int(rng.integers(-50, 50)))
