"""A source that was created again: its letters have offsets that an earlier log's have too, and are other events."""

from types import SimpleNamespace

import pytest

from farthing.blocks import FetchedPartition
from farthing.dead import replay as module
from farthing.dead.batches import Again, lay_out
from farthing.dead.letters import read_letters, record_headers
from farthing.dead.replay import Replay
from farthing.dead.selection import Selection
from farthing.kafka import KafkaSettings
from farthing.wire import Arena, decode_whole

ROUTE = SimpleNamespace(source="e", sink="s", dead_letters="d", max_header_bytes=0)


def fetched(topic, *records):
    """Lay out records: whole ones, or the headers of some that are like the letters' events."""
    whole = [one if isinstance(one, Again) else Again(1_000, None, b"v", tuple(one)) for one in records]
    batch = lay_out(topic, 0, whole)
    return FetchedPartition(topic, 0, 0, len(records), batch.data.data)


def letter(offset, *more):
    return [(b"farthing.error.reason", b"syntax"), (b"farthing.error.topic", b"e"),
            (b"farthing.error.offset", b"%d" % offset), *more]  # fmt: skip


class Producer:
    def __init__(self, sent):
        self.sent = sent

    async def start(self):
        pass

    async def send(self, batches, _on_refused):
        self.sent += batches

    async def close(self, _timeout_s):
        pass


@pytest.fixture
def replayed(monkeypatch):
    """Replays letters of both logs; gives the summary, and the headers of what was written."""

    async def run(*there):
        async def letters_of(*_):
            for one in read_letters(fetched("d", letter(5), letter(5, (b"farthing.error.log", b"2"))), Arena()):
                yield one

        async def parts_of(*_):
            if there:
                yield fetched("e", *there)

        sent = []
        monkeypatch.setattr(module, "letters_of", letters_of)
        monkeypatch.setattr(module, "parts_of", parts_of)
        monkeypatch.setattr(module, "BatchProducer", lambda _: Producer(sent))
        job = Replay(
            KafkaSettings(), ROUTE, Selection(), scorer=None, dry_run=False, per_second=None, tell=lambda _: None
        )
        summary = await job.run()
        parts = [FetchedPartition("e", 0, 0, batch.record_count, batch.data.data) for batch in sent]
        found = [header for part in parts for block in decode_whole(part, Arena())
                 for row in range(len(block)) for header in record_headers(block, row)]  # fmt: skip
        return summary, found

    return run


async def test_each_is_replayed_and_says_of_which_log_it_was(replayed):
    summary, headers = await replayed()
    assert (summary.letters, summary.replayed, summary.repeats) == (2, 2, 0)
    assert headers == [(b"farthing.replay", b"5"), (b"farthing.replay", b"5"), (b"farthing.log", b"2")]


@pytest.mark.parametrize(
    ("there", "left"),
    [
        ([(b"farthing.replay", b"5")], [(b"farthing.replay", b"5"), (b"farthing.log", b"2")]),
        ([(b"farthing.replay", b"5"), (b"farthing.log", b"2")], [(b"farthing.replay", b"5")]),
    ],
)
async def test_what_is_there_already_is_left_out_and_the_other_is_not(replayed, there, left):
    summary, headers = await replayed(there)
    assert (summary.replayed, summary.already) == (1, 1)
    assert headers == left


@pytest.mark.parametrize(("key", "value"), [(None, b"other"), (b"k", b"v"), (None, None)])
async def test_another_event_with_the_header_is_not_the_letters(replayed, key, value):
    """Any producer can write the header, and a source that is a copy of another topic has that one's."""
    summary, headers = await replayed(Again(1_000, key, value, ((b"farthing.replay", b"5"),)))
    assert (summary.replayed, summary.already) == (2, 0)
    assert len(headers) == 3
