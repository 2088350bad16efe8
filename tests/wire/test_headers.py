"""Headers that travel on, and source offsets out of them: on whatever headers a record may have."""

import sys

import numpy as np
import pytest
from aiokafka.record.default_records import DefaultRecordBatchBuilder
from aiokafka.record.memory_records import MemoryRecords
from hypothesis import given
from hypothesis import strategies as st

from farthing.blocks import FetchedPartition, RenderedValues, Status
from farthing.kernels.jit import NO_JIT
from farthing.wire import Arena, Dropped, decode, encode_dead, encode_records, encode_scores, source_offsets
from farthing.wire.headers import (
    find_source_offsets,
    keep_headers,
    keep_headers_reference,
    own_headers,
    source_offsets_reference,
)

NAME = "farthing.offset"
NUMBERS = st.one_of(
    st.integers(0, 2**63 - 1).map(lambda n: str(n).encode()),
    st.sampled_from([b"", b"-1", b"+1", b" 1", b"1.0", b"9223372036854775808", b"0" * 19, b"0" * 20, b"1a", b"\xd9\xa3"]),
    st.none(),
)  # fmt: skip
NAMES = st.one_of(st.just(NAME), st.sampled_from(["farthing.offse", "farthing.offset2", "", "h"]), st.text(max_size=4))


def block(headers_of):
    builder = DefaultRecordBatchBuilder(
        magic=2, compression_type=0, is_transactional=0, producer_id=-1, producer_epoch=-1, base_sequence=-1,
        batch_size=1 << 20,
    )  # fmt: skip
    for n, headers in enumerate(headers_of):
        builder.append(n, 0, None, b"v", headers)
    return decode([FetchedPartition("t", 0, 0, len(headers_of), bytes(builder.build()))], Arena())


@given(st.lists(st.lists(st.tuples(NAMES, NUMBERS), max_size=4), min_size=1, max_size=8))
def test_kernel_equals_reference(headers_of):
    records = block(headers_of)
    want = np.empty(len(records), np.int64)
    name = np.frombuffer(NAME.encode(), np.uint8)
    source_offsets_reference(
        records.buffer, records.headers_start, records.headers_stop, records.header_count, name, want
    )
    got = source_offsets(records, NAME.encode())
    assert got.tolist() == want.tolist()
    for number, headers in zip(got, headers_of, strict=True):
        ours = [v for n, v in headers if n == NAME and v is not None and v.isdigit() and len(v) <= 19]
        ours = [int(v) for v in ours if int(v) < 2**63]
        assert number == (ours[-1] if ours else -1)


@pytest.mark.skipif(NO_JIT, reason="without compilation there is one path")
def test_the_kernel_is_compiled():
    assert find_source_offsets.reference is source_offsets_reference


OWN_NAMES = st.one_of(
    st.sampled_from(["farthing.offset", "farthing.", "farthing", "Farthing.x", "farthing.é", "", "traceparent"]),
    st.text(max_size=6),
)
VALUES = st.one_of(st.none(), st.binary(max_size=40))
OWN = st.lists(st.lists(st.tuples(OWN_NAMES, VALUES), max_size=5), min_size=1, max_size=8)


def size_of(name, value):
    """Bytes of a header in a record; all lengths here take one byte, or two from 64 on."""
    sizes = [len(name.encode()), 0 if value is None else len(value)]
    return sum(n + (1 if n < 64 else 2) for n in sizes)


def travelling(headers, room):
    """The headers of one event that travel on, and those that do not, by reason."""
    kept, dropped = [], [0, 0]
    for name, value in headers:
        if name.startswith("farthing."):
            dropped[Dropped.RESERVED] += 1
        elif size_of(name, value) > room:
            dropped[Dropped.OVER_LIMIT] += 1
        else:
            kept.append((name, value))
            room -= size_of(name, value)
    return kept, dropped


@given(OWN, st.sampled_from([0, 2, 20, 50, 4096]), st.data())
def test_own_headers_reach_the_score_as_aiokafka_reads_them(headers_of, limit, data):
    records = block(headers_of)
    events = sorted(data.draw(st.sets(st.integers(0, len(records) - 1), min_size=1)))
    values = RenderedValues(
        np.array(events), np.frombuffer(b"{}" * len(events), np.uint8), 2 * np.arange(len(events) + 1)
    )
    dropped = np.zeros(len(Dropped), np.int64)
    (out,) = encode_scores(records, values, topic="s", max_header_bytes=limit, dropped=dropped)
    again = encode_scores(records, values, topic="s", max_header_bytes=limit)
    assert again[0].data.tobytes() == out.data.tobytes()  # a repeat has the same bytes
    batch = MemoryRecords(out.data.tobytes()).next_batch()
    assert batch.validate_crc()
    expected = [travelling(headers_of[event], limit) for event in events]
    assert [record.headers for record in batch] == [
        [*kept, ("farthing.offset", str(event).encode())] for event, (kept, _) in zip(events, expected, strict=True)
    ]
    assert dropped.tolist() == np.sum([gone for _, gone in expected], axis=0).tolist()


@given(OWN)
def test_dead_letters_keep_all_headers_but_those_that_are_ours(headers_of):
    records, dropped = block(headers_of), np.zeros(len(Dropped), np.int64)
    status = np.full(len(records), Status.SYNTAX, np.uint8)
    (out,) = encode_dead(records, status, topic="d", model="m", dropped=dropped)
    expected = [travelling(headers, 1 << 30) for headers in headers_of]
    for record, (kept, _) in zip(MemoryRecords(out.data.tobytes()).next_batch(), expected, strict=True):
        assert record.headers[: len(kept)] == kept
        ours = [name for name, _ in record.headers[len(kept) :]]
        assert len(ours) == 7
        assert all(name.startswith("farthing.error.") for name in ours)
    assert dropped.tolist() == [sum(gone[0] for _, gone in expected), 0]


@given(OWN, st.integers(0, 60), st.data())
def test_the_kernel_that_keeps_headers_equals_its_reference(headers_of, limit, data):
    records = block(headers_of)
    rows = np.array(sorted(data.draw(st.sets(st.integers(0, len(records) - 1)))), np.int64)
    reserved = np.frombuffer(bytearray(b"farthing."), np.uint8)

    def run(keep):
        out = [np.zeros(1 << 12, np.uint8), np.zeros(len(rows) + 1, int), np.zeros(len(rows), int), np.array([3, 4])]
        places = (records.headers_start, records.headers_stop, records.header_count)
        keep(records.buffer, *places, rows, reserved, limit, *out)
        return [array.tobytes() for array in out]

    assert run(keep_headers) == run(keep_headers_reference)


def test_names_that_are_not_utf8_and_long_lengths_pass_byte_for_byte():
    """A varint may be longer than it need be: what came is what goes."""
    header = b"\x82\x00\xff" + b"\x06a\x00b"  # the name FF, its length in two bytes; the value a NUL b
    out = encode_records("t", 0, np.frombuffer(b"v", np.uint8), np.array([0, 1]), np.array([1]), headers=header * 2,
                         header_count=2)  # fmt: skip
    records = decode([FetchedPartition("t", 0, 0, 1, out.data.data)], Arena())
    values = RenderedValues(np.array([0]), np.frombuffer(b"{}", np.uint8), np.array([0, 2]))
    (scored,) = encode_scores(records, values, topic="s", max_header_bytes=len(header) * 2)
    assert header * 2 in scored.data.tobytes()
    (scored,) = encode_scores(records, values, topic="s", max_header_bytes=len(header) * 2 - 1)
    assert header in scored.data.tobytes()
    assert header * 2 not in scored.data.tobytes()


def test_events_without_headers_cost_no_kernel(monkeypatch):
    module = sys.modules["farthing.wire.headers"]
    monkeypatch.setattr(module, "keep_headers", None)
    assert len(own_headers(block([[], []]), np.arange(2), 4096).count) == 0
