"""The headers of a record that is too long to be held: its letter says how many there were, and their digest."""

import hashlib

import numpy as np
import pytest

from farthing.blocks import Status
from farthing.wire import Arena, Limits, TopicLimits, decode_whole, encode_dead
from farthing.wire.long_record import HEAD_BYTES
from tests.wire.test_dead import encoded, ours
from tests.wire.test_decode import part
from tests.wire.test_encode import read
from tests.wire.test_pieces import batch_of, pack, record

SMALL = [("trace", b"1"), ("none", None)]
LONG = [(f"h{n}", b"x" * 30_000) for n in range(100)]


@pytest.mark.parametrize("number", [0, 4])
@pytest.mark.parametrize(
    "size, headers",
    [(600_000, SMALL), (3_000_000, SMALL), (3_000_000, []), (200_000, LONG), (HEAD_BYTES - 20, LONG),
     *((HEAD_BYTES - n, SMALL) for n in range(12, 40, 3))],
)  # fmt: skip
def test_what_a_long_record_had_is_noted(number, size, headers):
    own = [(name.encode(), value) for name, value in headers]
    body = record(0, b"v" * size, b"k", own) + record(1, b"next", b"k", own[:1])
    raw = batch_of(0, 2, 1, pack(number, body), number)
    block = next(decode_whole(part(raw), Arena(), Limits(100_000, 100_000)))
    assert len(block.cut) == 1
    status = np.zeros(len(block), np.uint8)
    status[0] = Status.RECORD_TOO_LARGE
    letters = encode_dead(block, status, topic="d", model="m", limits=TopicLimits(100 << 20))
    ((_, letter),) = read(letters)
    told = ours(letter)
    assert told["value_bytes"] == b"%d" % size
    assert told["value_sha256"] == hashlib.sha256(b"v" * size).hexdigest().encode()
    if not headers:
        assert "headers_bytes" not in told
    else:
        assert told["headers_bytes"] == b"%d" % len(encoded(headers))
        assert told["headers_count"] == b"%d" % len(headers)
        assert told["headers_sha256"] == hashlib.sha256(encoded(headers)).hexdigest().encode()
