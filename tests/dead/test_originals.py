"""Events that are fetched again: one that is longer than a worker reads is said to be so, and sent where it is not."""

import pytest

from farthing.blocks import FetchedPartition
from farthing.dead import originals as module
from farthing.dead.batches import Again, lay_out
from farthing.dead.letters import read_letters
from farthing.dead.originals import Gone, Originals
from farthing.kafka import KafkaSettings
from farthing.wire import Arena, Limits

LONG = Again(1_000, b"k", b"v" * (3 << 20), ((b"h1", b"1"),))


@pytest.fixture(autouse=True)
def source(monkeypatch):
    class Reader:
        begins, ends = {("e", 0): 5}, {("e", 0): 7}

        def __init__(self, *_):
            pass

        async def start(self):
            pass

        async def read(self):
            batch = lay_out("e", 0, [LONG, Again(1_001, b"k", b"next", ())])
            batch.data[7] = 5  # base offset
            (offset,) = self.begins.values()
            yield FetchedPartition("e", 0, offset, 7, batch.data.data)

    monkeypatch.setattr(module, "TopicReader", Reader)


def letter(offset):
    said = (b"reason", b"record_too_large"), (b"topic", b"e"), (b"offset", b"%d" % offset)
    headers = [(b"farthing.error." + name, text) for name, text in said]
    headers += [(b"farthing.error.value_bytes", b"%d" % (len(LONG.value) if offset == 5 else 4))]
    batch = lay_out("d", 0, [Again(1_000, b"k", b"v", tuple(headers))])
    (found,) = read_letters(FetchedPartition("d", 0, 0, 1, batch.data.data), Arena())
    return found


async def test_a_record_that_is_too_long_is_there_and_that_is_said():
    originals = Originals(KafkaSettings(), "e", Limits(1 << 20, 1 << 20))
    with pytest.raises(Gone, match=r"longer than worker\.max_block_bytes: raise it to at least \d+, then replay"):
        await originals.fetch(letter(5))


async def test_its_neighbour_is_fetched():
    originals = Originals(KafkaSettings(), "e", Limits(1 << 20, 1 << 20))
    assert (await originals.fetch(letter(6))).value == b"next"


async def test_where_the_limit_was_raised_it_is_fetched_whole():
    assert await Originals(KafkaSettings(), "e", Limits(8 << 20, 8 << 20)).fetch(letter(5)) == LONG
