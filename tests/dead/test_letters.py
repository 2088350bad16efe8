"""Letters taken apart: old ones, new ones, cut ones, whole batches, and what somebody else wrote."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from farthing.blocks import FetchedPartition
from farthing.dead.batches import Again, lay_out
from farthing.dead.letters import FOREIGN, read_letters
from farthing.dead.originals import is_of
from farthing.errors import CorruptBatchError
from farthing.wire import Arena, letter_key, stamp_producer


def letters_of(*records):
    batch = lay_out("dead", 3, records)
    stamp_producer(batch.data, 7, 0, 0)
    return list(read_letters(FetchedPartition("dead", 3, 0, len(records), batch.data.tobytes()), Arena()))


def headers(**error):
    return tuple((f"farthing.error.{name}".encode(), value) for name, value in error.items())


BYTES = st.none() | st.binary(max_size=40)
NAMES = st.binary(max_size=12).filter(lambda name: not name.startswith(b"farthing."))
OWN = st.lists(st.tuples(NAMES, BYTES), max_size=4).map(tuple)
TIMES = st.integers(0, 1 << 42)


@given(st.lists(st.builds(Again, TIMES, BYTES, BYTES, OWN), min_size=1, max_size=5))
def test_what_is_laid_out_is_read_again(records):
    found = letters_of(*records)
    assert [Again(one.timestamp_ms, one.key, one.value, one.headers) for one in found] == records
    assert [one.position for one in found] == list(range(len(records)))
    assert {one.reason for one in found} == {FOREIGN}


def test_a_letter_says_what_its_headers_say():
    own = ((b"trace", b"\xff\x00"), (b"trace", None))
    said = headers(reason=b"syntax", stage=b"parse", model=b"m@1", topic=b"events", partition=b"3", offset=b"41",
                   time_ms=b"1700000000123", timestamp_ms=b"5", novelty=b"of a later version")  # fmt: skip
    (letter,) = letters_of(Again(9, b"k", b"v", own + said))
    assert (letter.reason, letter.source, letter.offset, letter.place) == ("syntax", "events", 41, "3:41")
    assert (letter.at_ms, letter.timestamp_ms, letter.event_timestamp_ms) == (1700000000123, 9, 5)
    assert letter.headers == own
    assert letter.error["novelty"] == "of a later version"
    assert letter.cut == ()
    assert letter.batch_stop is None


def test_cut_letters_whole_batches_and_a_key_that_had_to_move():
    cut, bare, whole, moved = letters_of(
        Again(
            1, b"k", b"v", headers(topic=b"t", offset=b"1", value_bytes=b"900", value_sha256=b"ab", headers_bytes=b"9")
        ),
        Again(1, None, None, headers(reason=b"syntax", offset=b"2")),
        Again(1, None, b"raw", headers(reason=b"CorruptBatchError", topic=b"t", offset=b"3", next_offset=b"9")),
        Again(1, b"t-3-4", b"v", headers(reason=b"syntax", topic=b"t", offset=b"4", key=b"\xfe")),
    )
    assert cut.cut == ("value", "headers")
    assert bare.cut == ("key", "value", "headers")
    assert whole.batch_stop == 9
    assert moved.key == b"\xfe"
    assert moved.cut == ()


@pytest.mark.parametrize("offset", [b"", b"-1", b"1e3", b"\xb2", "٣".encode(), b"9" * 400, None])
def test_an_offset_that_is_none_makes_a_letter_foreign(offset):
    (letter,) = letters_of(Again(1, None, b"v", ((b"farthing.error.offset", offset),)))
    assert letter.offset is None
    assert letter.reason == FOREIGN


def test_a_damaged_batch_is_an_error_after_the_letters_before_it():
    batch = lay_out("dead", 3, [Again(1, None, b"v", ())]).data
    damaged = batch.copy()
    damaged[-1] ^= 1
    damaged[7] = 1  # base offset 1
    part = FetchedPartition("dead", 3, 0, 2, np.concatenate([batch, damaged]).tobytes())
    reading = read_letters(part, Arena())
    assert next(reading).value == b"v"
    with pytest.raises(CorruptBatchError):
        next(reading)


@pytest.mark.parametrize("log", [0, 2])
def test_a_keyless_event_has_no_key_though_its_letter_in_a_compacted_topic_does(log):
    said = dict(reason=b"syntax", topic=b"t", offset=b"4") | ({"log": b"%d" % log} if log else {})
    place = letter_key("t", 3, 4, log)
    none, other, own = letters_of(
        Again(1, place, b"v", headers(**said)),
        Again(1, place + b"1", b"v", headers(**said)),
        Again(1, place, b"v", headers(**said, key=place)),
    )
    assert (none.key, other.key, own.key) == (None, place + b"1", place)
    assert is_of(none, Again(1, None, b"v", ()))
    assert letters_of(Again(1, place, b"v", ()))[0].key == place  # somebody else's record
