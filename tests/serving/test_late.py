"""A refused record is found again in what was fetched, whatever else was fetched with it."""

import random

import pytest

from farthing.errors import DecodeError
from farthing.serving.late import record_at
from tests.wire.test_decode import batch, marker, part


def fetched(aborted=((7, 0),)):
    """A producer's aborted transaction, and its committed one after it."""
    rng = random.Random(1)
    pieces = [
        batch(rng, 0, 1, transactional=True, producer_id=7),
        marker(1, 7, abort=True),
        batch(rng, 2, 3, transactional=True, producer_id=7),
        marker(5, 7, abort=False),
    ]
    return part(b"".join(pieces), aborted=aborted)


@pytest.mark.parametrize("offset", [2, 3, 4])
def test_a_record_is_found_though_its_producer_aborted_a_transaction_before(offset):
    record = record_at(fetched(), offset)
    assert (record.offsets.tolist(), len(record)) == ([offset], 1)
    assert record.segments[0].next_offset == offset + 1


@pytest.mark.parametrize("offset", [1, 5, 6])
def test_where_there_is_no_such_record_it_says_so(offset):
    with pytest.raises(DecodeError, match="no such record"):
        record_at(fetched(), offset)
