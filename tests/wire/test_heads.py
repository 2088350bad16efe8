"""The headers of single batches: the last whole one, and the first though it may be cut."""

import numpy as np
import pytest

from farthing.wire import BatchHead, encode_records, first_head, last_head, next_fetch_offset


def batch(base_offset, count):
    values = np.zeros(count, np.uint8)
    out = encode_records("t", 0, values, np.arange(count + 1), np.full(count, 5)).data
    out[:8] = np.frombuffer(base_offset.to_bytes(8, "big"), np.uint8)
    return out.tobytes()


@pytest.mark.parametrize("kind", [bytes, lambda data: memoryview(bytearray(data))])
def test_first_and_last(kind):
    one, two = batch(7, 3), batch(10, 5)
    data = kind(one + two)
    first, last = first_head(data), last_head(data)
    assert (first.base_offset, first.next_offset, first.count, first.rewritten) == (7, 10, 3, False)
    assert (last.base_offset, last.next_offset, last.count) == (10, 15, 5)
    assert last.crc == int.from_bytes(two[17:21], "big")
    assert last.leader_epoch == int.from_bytes(two[12:16], "big", signed=True)
    assert last.next_offset == next_fetch_offset(data, 7)
    cut = kind((one + two)[:-1])
    assert last_head(cut) == first_head(cut) == first
    assert first_head(kind(one[:-1])) == first  # its batch is not whole
    assert last_head(kind(one[:-1])) is None


def test_nothing():
    assert first_head(b"") is last_head(b"") is first_head(b"x" * 60) is None


def test_a_batch_that_compaction_keeps_for_its_tombstones():
    data = bytearray(batch(7, 3))
    data[22] |= 0x40
    assert first_head(bytes(data)) == BatchHead(
        7, 10, *(getattr(first_head(bytes(data)), n) for n in ("crc", "leader_epoch")), 3, rewritten=True
    )
