"""Letters that had room for the reason and the place only: their event is sent again only if it is that one."""

import hashlib
from types import SimpleNamespace

import pytest

from farthing.blocks import FetchedPartition
from farthing.dead import originals as module
from farthing.dead.batches import Again, lay_out
from farthing.dead.letters import read_letters
from farthing.dead.originals import Gone, Originals, is_of
from farthing.dead.replay import Replay
from farthing.dead.selection import Selection
from farthing.kafka import KafkaSettings
from farthing.wire import Arena

ROUTE = SimpleNamespace(source="e", sink="s", dead_letters="d", max_header_bytes=0)
EVENT = Again(1_000, b"k", b"value", ())


def letter(*, time_ms=1_000, key=None, **said):
    said = {"reason": b"syntax", "offset": b"5", **said}
    headers = tuple((f"farthing.error.{name}".encode(), text) for name, text in said.items())
    batch = lay_out("d", 0, [Again(time_ms, key, None, headers)])
    (found,) = read_letters(FetchedPartition("d", 0, 0, 1, batch.data.data), Arena())
    return found


def digest(data):
    return hashlib.sha256(data).hexdigest().encode()


def test_it_is_the_event_of_its_time_or_digest():
    assert is_of(letter(), EVENT)
    assert not is_of(letter(time_ms=999), EVENT)
    assert is_of(letter(time_ms=999, value_sha256=digest(b"value")), EVENT)
    assert not is_of(letter(value_sha256=digest(b"other")), EVENT)


def test_a_length_is_compared_where_there_was_no_room_for_a_digest():
    said = {"topic": b"e", "key_bytes": b"1", "headers_bytes": b"9"}
    assert is_of(letter(**said, value_bytes=b"5"), EVENT)
    assert not is_of(letter(**said, value_bytes=b"6"), EVENT)


def test_the_key_of_one_in_a_compacted_topic_names_its_source():
    found = letter(key=b"my-topic-0-5.2", log=b"2")
    assert (found.source, found.key, found.cut) == ("my-topic", None, ("key", "value", "headers"))
    assert letter(key=b"my-topic-0-6").source is None


@pytest.mark.parametrize("shared, sent", [(False, 1), (True, 0)])
async def test_it_is_refused_where_several_routes_may_be_meant(monkeypatch, shared, sent):
    async def fetch(*_):
        return EVENT

    monkeypatch.setattr(Originals, "fetch", fetch)
    said = []
    job = Replay(
        KafkaSettings(), ROUTE, Selection(), scorer=None, dry_run=True, per_second=None, tell=said.append,
        shared=shared,
    )  # fmt: skip
    await job._take(letter(), Originals(KafkaSettings(), "e"), None)
    assert (len(job._waiting), job.summary.refused["cut"]) == (sent, 1 - sent)
    assert not shared or "other routes send their dead letters to d too" in said[0]
    await job._take(letter(offset=b"6", value_sha256=digest(b"value")), Originals(KafkaSettings(), "e"), None)
    await job._take(letter(offset=b"7", key=b"e-0-7"), Originals(KafkaSettings(), "e"), None)
    assert sum(len(batch) for batch in job._waiting.values()) == sent + 2


async def test_another_event_at_the_place_is_said(monkeypatch):
    class Reader:
        begins, ends = {("e", 0): 5}, {("e", 0): 6}

        def __init__(self, *_):
            pass

        async def start(self):
            pass

        async def read(self):
            batch = lay_out("e", 0, [EVENT])
            batch.data[7] = 5  # base offset
            yield FetchedPartition("e", 0, 5, 6, batch.data.data)

    monkeypatch.setattr(module, "TopicReader", Reader)
    assert await Originals(KafkaSettings(), "e").fetch(letter()) == EVENT
    with pytest.raises(Gone, match="is another event now"):
        await Originals(KafkaSettings(), "e").fetch(letter(time_ms=7))
