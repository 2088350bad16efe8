"""Kernels equal to their references, bit for bit: on what Kafka stored, on what we write, and on hostile bytes."""

import json
import struct
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from farthing.kernels.jit import NO_JIT
from farthing.wire import encode_records, layout, table
from farthing.wire.batches import index_batches, select_batches
from farthing.wire.crc32c import crc32c_reference
from farthing.wire.records import is_abort_marker, read_records
from farthing.wire.varint import MAX_VARLONG_BYTES, read_varlong, size_varlong, varlong, write_varlong
from farthing.wire.write import ROOM_BYTES, seal, write_records
from tests.references import both, same

pytestmark = pytest.mark.skipif(NO_JIT, reason="without compilation there is one path")

EXAMPLES = settings().max_examples
GOLDEN = Path(__file__).resolve().parents[1] / "golden"
CASES = sorted(json.loads((GOLDEN / "expected.json").read_text(encoding="utf-8")))
INT64 = st.integers(-(2**63), 2**63 - 1)
EDGES = st.sampled_from([0, 1, -1, 63, 64, -64, -65, 2**31 - 1, -(2**31), 2**62, -(2**62) - 1, 2**63 - 1, -(2**63)])


def octets(data):
    return np.frombuffer(bytes(data), np.uint8).copy()


def record(delta_ms, offset_delta, key, value, headers):
    """Lay out one record by the definition."""

    def sized(data):
        return varlong(-1) if data is None else varlong(len(data)) + data

    body = b"\0" + varlong(delta_ms) + varlong(offset_delta) + sized(key) + sized(value) + varlong(len(headers))
    body += b"".join(sized(name) + sized(content) for name, content in headers)
    return varlong(len(body)) + body


nullable = st.none() | st.binary(max_size=70)
records_of_a_batch = st.lists(
    st.tuples(INT64 | st.integers(-300, 300), nullable, nullable, st.lists(st.tuples(st.binary(max_size=5), nullable), max_size=3)),
    max_size=6,
)  # fmt: skip


@st.composite
def batches(draw):
    """A whole batch with a good checksum and any header."""
    drawn = draw(records_of_a_batch)
    body = b"".join(record(delta, k, *rest) for k, (delta, *rest) in enumerate(drawn))
    head = np.zeros(1, layout.HEADER)
    n = len(drawn)
    head["baseOffset"] = draw(st.sampled_from([0, 7, 2**40, 2**63 - 1, 2**63 - 8, -1]))
    head["batchLength"] = layout.HEADER_BYTES - layout.LOG_OVERHEAD + len(body)
    head["magic"] = draw(st.sampled_from([2] * 8 + [0, 1, 3]))
    head["attributes"] = draw(st.sampled_from([0] * 6 + [1, 4, 5, 7, 8, 0x10, 0x20, 0x30]))
    head["lastOffsetDelta"] = draw(st.sampled_from([max(n - 1, 0)] * 4 + [n + 3, -1, 2**31 - 1]))
    head["baseTimestamp"], head["maxTimestamp"] = draw(INT64), draw(INT64)
    head["producerId"] = draw(st.sampled_from([-1, 0, 7]))
    head["recordsCount"] = draw(st.sampled_from([n] * 6 + [n + 1, -1, 0, 2**31 - 1]))
    data = bytearray(head.tobytes() + body)
    if draw(st.integers(0, 9)):
        struct.pack_into(">I", data, layout.CRC, crc32c_reference(octets(data), layout.ATTRIBUTES, len(data)))
    return bytes(data)


@given(st.binary(max_size=14), st.integers(0, 3), st.integers(0, 14), st.integers(1, MAX_VARLONG_BYTES))
def test_reading_any_bytes_as_a_number(data, at, stop, max_bytes):
    same(read_varlong, octets(data), at, min(stop, len(data)), max_bytes)


@given(INT64 | EDGES | st.integers(-300, 300))
def test_writing_any_number(value):
    at, (data,) = same(write_varlong, np.zeros(12, np.uint8), 1, value)
    assert same(size_varlong, value)[0] == at - 1
    assert read_varlong(data, 1, at, MAX_VARLONG_BYTES) == (value, at)


@given(st.binary(min_size=8, max_size=8), INT64, st.integers(1, 8))
def test_big_endian_integers(data, value, width):
    for read, form in ((layout.be16, ">h"), (layout.be32, ">i"), (layout.be64, ">q")):
        assert same(read, octets(data), 0)[0] == struct.unpack_from(form, data)[0]
    same(layout.put_be, np.zeros(10, np.uint8), 1, value, width)


def check_reading(data, start, stop, fetch_offset, check_crc):
    """Index a record set, select nothing away, and read every batch as if it were not compressed."""
    rows = len(data) // layout.HEADER_BYTES + 1
    (n, _, _), (_, indexed) = same(
        index_batches, data, start, stop, np.zeros((rows, table.N_COLUMNS), np.int64), 0, check_crc
    )
    room = len(data) // layout.MIN_RECORD_BYTES + 1
    for last in range(n + 1):
        (found, ours), (expected, theirs) = both(
            read_records, data, indexed, 0, last, fetch_offset, 0,
            np.zeros((8, room), np.int64), np.zeros(room, np.int32), np.zeros(9, np.int64),
        )  # fmt: skip
        assert found == expected
        kept = found[0]
        assert np.array_equal(ours[2][:, :kept], theirs[2][:, :kept])
        assert np.array_equal(ours[3][:kept], theirs[3][:kept])
    return n


@pytest.mark.parametrize("case", CASES)
def test_what_kafka_stored(case):
    data = octets((GOLDEN / f"{case}.bin").read_bytes())
    assert check_reading(data, 0, len(data), 0, True) > 0
    check_reading(data, 0, len(data), 3, False)


@settings(max_examples=3 * EXAMPLES)
@given(
    st.lists(batches(), max_size=3),
    st.integers(0, 5),
    st.integers(0, 70),
    st.sampled_from([0, 8, 2**40 + 2]),
    st.booleans(),
)
def test_reading_batches(parts, junk, cut, fetch_offset, check_crc):
    data = octets(bytes(junk) + b"".join(parts))
    check_reading(data, junk, max(len(data) - cut, junk), fetch_offset, check_crc)


@settings(max_examples=3 * EXAMPLES)
@given(
    batches(), st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 255)), min_size=1, max_size=4), st.booleans()
)
def test_reading_damaged_batches(good, changes, check_crc):
    data = octets(good)
    for place, byte in changes:
        data[place % len(data)] = byte
    check_reading(data, 0, len(data), 0, check_crc)


@st.composite
def transactions(draw):
    """A table of batches with ascending offsets, the control records that it points to, and what was aborted."""
    buffer, rows, offset = b"", [], draw(st.integers(0, 3))
    for _ in range(draw(st.integers(0, 12))):
        control = draw(st.booleans())
        key = struct.pack(">hh", 0, draw(st.integers(0, 1))) + draw(st.binary(max_size=2))
        body = record(0, 0, draw(st.sampled_from([key] * 6 + [key[:3], None])), b"", [])
        body = body[: draw(st.sampled_from([None] * 8 + [2, 5]))]
        delta = draw(st.integers(0, 4))
        attributes = (layout.CONTROL if control else 0) | (layout.TRANSACTIONAL if draw(st.booleans()) else 0)
        producer = draw(st.integers(-1, 3))
        rows.append((len(buffer), len(buffer) + len(body), offset, delta, attributes, 0, 0, producer, 1, 1))
        buffer += body
        offset += delta + 1 + draw(st.integers(0, 2))
    aborted = sorted(draw(st.lists(st.tuples(st.integers(0, offset + 2), st.integers(0, 3)), max_size=5)))
    return (
        octets(buffer),
        np.array(rows, np.int64).reshape(-1, table.N_COLUMNS),
        np.array(aborted, np.int64).reshape(-1, 2),
    )


@settings(max_examples=5 * EXAMPLES)
@given(transactions(), st.integers(0, 12))
def test_selecting_batches(drawn, fetch_offset):
    buffer, rows, aborted = drawn
    arguments = (buffer, rows, 0, len(rows), fetch_offset, aborted[:, 1].copy(), aborted[:, 0].copy())
    ours, theirs = both(select_batches, *arguments, np.zeros(len(aborted), np.uint8))
    assert np.array_equal(ours[1][1], theirs[1][1])
    for row in rows:
        same(is_abort_marker, buffer, int(row[table.START]), int(row[table.STOP]))


@st.composite
def written(draw):
    """Arguments of write_records: any block, any choice of its rows, any headers."""
    events = draw(st.integers(1, 5))

    def ragged(lists):
        indptr = np.cumsum([0, *map(len, lists)])
        return octets(b"".join(lists)), indptr[:-1].copy(), indptr[1:].copy()

    def spans(start, stop):
        null = np.array(draw(st.lists(st.booleans(), min_size=len(start), max_size=len(start))), bool)
        return np.where(null, -1, start), np.where(null, -1, stop)

    def texts(n, most=40):
        return draw(st.lists(st.binary(max_size=most), min_size=n, max_size=n))

    buffer, start, stop = ragged(texts(events, 140))
    key_start, key_stop = spans(start, stop)
    rows = np.array(sorted(draw(st.sets(st.integers(0, events - 1), min_size=1))), np.int64)
    m = len(rows)
    values, value_start, value_stop = ragged(texts(m, 140))
    value_start, value_stop = spans(value_start, value_stop)
    kinds = draw(st.integers(1, 3))
    fixed, _, ends = ragged(texts(kinds))
    extra, _, extra_ends = ragged(texts(m))
    times = draw(st.lists(INT64 | st.integers(0, 500), min_size=events, max_size=events))
    offsets = draw(st.lists(st.integers(0, 2**63 - 1) | st.integers(0, 12), min_size=events, max_size=events))
    counts = [draw(st.integers(0, 2**31 - 1) | st.integers(0, 3)) for _ in range(m)]
    own, _, own_ends = ragged(texts(m, 140))
    kind = [draw(st.integers(0, kinds - 1)) for _ in range(m)]
    more = draw(st.lists(st.integers(0, 9), min_size=m, max_size=m))
    room = len(buffer) + len(values) + m * (len(fixed) + 120) + len(extra) + len(own) + ROOM_BYTES
    return (
        np.zeros(room, np.uint8), draw(st.integers(0, 3)), 0, m, draw(st.sampled_from([1 << 20, 300, 100, 0])),
        rows, buffer, key_start, key_stop, np.array(times, np.int64),
        np.array(offsets, np.int64),
        own, np.concatenate([[0], own_ends]), np.array(draw(st.sampled_from([[], counts])), np.int64),
        values, value_start, value_stop,
        fixed, np.concatenate([[0], ends]), np.array(draw(st.sampled_from([[], kind])), np.int64), draw(st.integers(0, 9)),
        extra, np.concatenate([[0], extra_ends]), np.array(draw(st.sampled_from([[], more])), np.int64),
        octets(draw(st.sampled_from([b"", b"\x1efarthing.offset", b"\x8c\x01" + b"h" * 70]))), draw(INT64),
    )  # fmt: skip


@settings(max_examples=5 * EXAMPLES)
@given(written())
def test_writing_records(arguments):
    done = 0
    while done < arguments[3]:
        given = (*arguments[:2], done, *arguments[3:])
        (found, ours), (expected, theirs) = both(write_records, *given)
        assert found == expected
        stop, done, _ = found
        assert ours[0][:stop].tobytes() == theirs[0][:stop].tobytes()


@given(st.binary(max_size=90), st.integers(0, 4), st.integers(0, 2**31 - 1), INT64, INT64)
def test_sealing(body, codec, count, first, last):
    same(seal, octets(bytes(layout.HEADER_BYTES) + body), codec, count, first, last)


def test_a_base_offset_that_no_offset_can_follow_is_refused():
    """It is not covered by the checksum; adding to it would wrap around."""
    data = encode_records("t", 0, octets(b"ab"), np.array([0, 1, 2]), np.zeros(2, np.int64)).data
    for base, wrong in ((2**63 - 3, table.FINE), (2**63 - 2, table.BAD_COUNT), (2**63 - 1, table.BAD_COUNT)):
        layout.put_be(data, 0, base, 8)
        assert same(index_batches, data, 0, len(data), np.zeros((2, table.N_COLUMNS), np.int64), 0, True)[0][2] == wrong
