"""Letters are read as long as the workers' settings let an event be, and some bytes more for what was said of it."""

from farthing.blocks import FetchedPartition
from farthing.dead import reading as module
from farthing.dead.batches import Again, lay_out
from farthing.dead.reading import letters_of, worker_limits
from farthing.sections import Settings

LONG = b"v" * (20 << 20)


def settings(**worker):
    route = {"bundle": "moderation", "source": "e", "sink": "s", "dead_letters": "d"}
    return Settings(route=[route], worker=worker)


async def test_a_letter_as_long_as_the_longest_event_is_whole(monkeypatch):
    said = (b"reason", b"syntax"), (b"topic", b"e"), (b"offset", b"5")
    headers = tuple((b"farthing.error." + name, text) for name, text in said)
    batch = lay_out("d", 0, [Again(1_000, b"k", LONG, headers), Again(1_000, b"k", b"v", headers)])

    async def parts_of(*_):
        yield FetchedPartition("d", 0, 0, 2, batch.data.data)

    monkeypatch.setattr(module, "parts_of", parts_of)
    given = settings(max_block_bytes=len(LONG) + 3)
    limits = worker_limits(given, given.route[0])
    found = [letter async for letter in letters_of(given.kafka, given.route[0], limits)]
    assert [(letter.offset, letter.value) for letter in found] == [(5, LONG), (5, b"v")]
