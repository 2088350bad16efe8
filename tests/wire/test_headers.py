"""Source offsets out of headers: kernel equals reference, on whatever headers a record may have."""

import numpy as np
import pytest
from aiokafka.record.default_records import DefaultRecordBatchBuilder
from hypothesis import given
from hypothesis import strategies as st

from farthing.blocks import FetchedPartition
from farthing.jit import NO_JIT
from farthing.wire import Arena, decode, source_offsets
from farthing.wire.headers import find_source_offsets, source_offsets_reference

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
