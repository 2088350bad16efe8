"""What the topics say, from record batches as workers write them."""

import numpy as np
import pytest

from farthing.audit.recount import Recount, partition_and_log, place_of
from farthing.blocks import FetchedPartition
from farthing.errors import CorruptBatchError
from farthing.wire import encode_records, header_bytes


def fetched(topic, headers, *, partition=0, base_offset=0):
    """A batch of one record for each list of (name, value) headers."""
    parts = []
    for one in headers:
        raw = b"".join(header_bytes(name, value) for name, value in one)
        batch = encode_records(
            topic, partition, np.zeros(2, np.uint8), np.array([0, 2]), np.zeros(1, np.int64),
            headers=raw, header_count=len(one),
        )  # fmt: skip
        data = bytearray(batch.data.tobytes())
        data[:8] = (base_offset + len(parts)).to_bytes(8, "big")
        parts.append(bytes(data))
    return FetchedPartition(topic, partition, base_offset, base_offset + len(parts), b"".join(parts))


def score(offset):
    return [("farthing.offset", str(offset))]


def letter(offset, *more):
    return [("farthing.error.offset", str(offset)), *more]


def test_repeats_count_once_and_what_the_books_have_not_come_to_is_told():
    recount = Recount("s", "d", {0: 10, 1: 3})
    recount.read(fetched("s", [score(n) for n in (0, 1, 2, 4, 2, 9, 10, 11)]))
    recount.read(fetched("s", [score(0), score(4)], base_offset=8))
    recount.read(fetched("d", [letter(3), letter(3), [("other", "1")], letter(12)]))
    recount.read(fetched("s", [score(0), score(1)], partition=1))
    recount.read(fetched("s", [score(0)], partition=7))  # a partition that the books know nothing of
    one, two, seven = (recount.outcomes[p] for p in (0, 1, 7))
    assert (len(one.scored), len(one.dead), one.repeats, one.later, one.foreign) == (5, 1, 4, 3, 1)
    assert (len(two.scored), two.later) == (2, 0)
    assert (len(seven.scored), seven.later) == (0, 1)


def test_a_skipped_batch_is_no_event():
    recount = Recount("s", "d", {0: 100})
    recount.read(fetched("d", [letter(5, ("farthing.error.next_offset", "9")), letter(5)]))
    found = recount.outcomes[0]
    assert (len(found.dead), found.skipped_batches, found.repeats) == (1, 1, 0)


def test_the_logs_of_a_topic_that_was_created_again_are_counted_apart():
    recount = Recount("s", "d", {0: 3, place_of(0, 1): 5})
    later = [[*score(n), ("farthing.log", "1")] for n in (0, 1, 2, 4, 4, 7)]
    recount.read(fetched("s", [score(0), score(1), *later]))
    recount.read(fetched("d", [letter(2), letter(3, ("farthing.error.log", "1"))]))
    first, second = recount.outcomes[0], recount.outcomes[place_of(0, 1)]
    assert (len(first.scored), len(first.dead), first.repeats, first.later) == (2, 1, 0, 0)
    assert (len(second.scored), len(second.dead), second.repeats, second.later) == (4, 1, 1, 1)
    assert partition_and_log(place_of(7, 2)) == (7, 2)


def test_both_at_once_is_told():
    recount = Recount("s", "d", {0: 100})
    recount.read(fetched("s", [score(1), score(2)]))
    recount.read(fetched("d", [letter(2)]))
    assert recount.outcomes[0].both() == 1


def test_a_dead_letter_that_was_scored_later_is_no_contradiction():
    recount = Recount("s", "d", {0: 100})
    recount.read(fetched("s", [score(1), [*score(2), ("farthing.replay", "2")]]))
    recount.read(fetched("d", [letter(2)]))
    found = recount.outcomes[0]
    assert (len(found.scored), len(found.dead), found.both(), found.foreign) == (1, 1, 0, 0)


def test_a_damaged_batch_is_an_error_and_no_small_count():
    part = fetched("s", [score(1), score(2)])
    data = bytearray(part.data)
    data[-1] ^= 1
    with pytest.raises(CorruptBatchError, match=r"s\[0\]"):
        Recount("s", "d", {0: 100}).read(FetchedPartition("s", 0, 0, 2, bytes(data)))
