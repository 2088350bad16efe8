"""Which letters' events a target has: the same event counts, whatever else has its header does not."""

import hashlib

import numpy as np
import pytest

from farthing.blocks import FetchedPartition
from farthing.dead.batches import Again, lay_out
from farthing.dead.done import Done
from farthing.dead.letters import read_letters
from farthing.wire import Arena, decode_whole

EVENT = (b"k", b"v" * 50)


def part(records):
    batch = lay_out("t", 3, records)
    return FetchedPartition("t", 3, 0, len(records), batch.data.data)


def letter(key, value, *, offset=7, **said):
    said = {"reason": b"syntax", "topic": b"e", "offset": b"%d" % offset, **said}
    headers = tuple((f"farthing.error.{name}".encode(), text) for name, text in said.items())
    (found,) = read_letters(part([Again(1, key, value, headers)]), Arena())
    return found


def found(letters, *records, scored=False):
    """Say which letters' events are among the records: (key, value, offset in the header)."""
    done = Done(scored=scored)
    for one in letters:
        done.want(one)
    name = b"farthing.offset" if scored else b"farthing.replay"
    again = [Again(1, key, value, ((name, b"%d" % offset),)) for key, value, offset in records]
    for block in decode_whole(part(again), Arena()):
        done.read(3, block)
    return done, [done.has(one) for one in letters if one.offset is not None]


def digest(data):
    return hashlib.sha256(data).hexdigest().encode()


WHOLE = letter(*EVENT)
CUT = letter(b"k", b"v", value_bytes=b"50", value_sha256=digest(EVENT[1]))


@pytest.mark.parametrize("one", [WHOLE, CUT, letter(b"", b"v", value_bytes=b"50", key_bytes=b"1")])
def test_the_event_itself_is_found_whether_or_not_its_letter_is_cut(one):
    assert found([one], (*EVENT, 7))[1] == [True]


@pytest.mark.parametrize("one", [WHOLE, CUT])
@pytest.mark.parametrize("record", [(*EVENT, 8), (b"k", b"v", 7), (b"k", None, 7), (b"other", EVENT[1], 7)])
def test_another_event_is_not(one, record):
    assert found([one, letter(b"a", b"b", offset=8)], record)[1] == [False, False]


def test_a_score_is_known_by_its_place_and_key():
    assert found([WHOLE], (b"k", b'{"score":1}', 7), scored=True)[1] == [True]
    assert found([WHOLE], (b"other", b'{"score":1}', 7), scored=True)[1] == [False]


def test_headers_that_no_letter_has_take_no_memory():
    numbers = np.random.default_rng(0).integers(0, 1 << 62, 500).tolist()
    done, _ = found([WHOLE], *[(*EVENT, number) for number in numbers])
    assert not done._done


def test_without_a_letter_of_ours_nothing_is_there_already():
    assert not found([letter(*EVENT, offset=-1)], (*EVENT, 7))[0]._done
