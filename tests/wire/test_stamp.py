"""A producer's stamp is what aiokafka reads, and the checksum that it changes is that of all bytes."""

import numpy as np
import pytest
from aiokafka.record.memory_records import MemoryRecords
from hypothesis import given
from hypothesis import strategies as st

from farthing.kernels.jit import NO_JIT
from farthing.wire import encode_records, layout, stamp, stamp_producer


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


@pytest.mark.skipif(NO_JIT, reason="the reference runs in place of the kernel")
@given(
    st.binary(min_size=1, max_size=300), st.integers(-1, 2**63 - 1), st.integers(-1, 2**15 - 1),
    st.integers(-1, 2**31 - 1),
)  # fmt: skip
def test_a_stamp_is_that_of_the_reference(value, producer_id, epoch, sequence):
    out = encode_records("t", 0, np.frombuffer(value, np.uint8), np.array([0, len(value)]), np.array([5]))
    expected = out.data.copy()
    for transactional in (True, False):  # the bit is set, and cleared again
        stamp._stamp.reference(expected, producer_id, epoch, sequence, layout.TRANSACTIONAL * transactional)
        stamp_producer(out.data, producer_id, epoch, sequence, transactional=transactional)
        assert out.data.tobytes() == expected.tobytes()
