"""A letter always fits its topic, also where no broker says what the topic takes."""

from types import SimpleNamespace

import pytest

from farthing.blocks import FetchedPartition
from farthing.errors import CorruptBatchError
from farthing.kafka import HeldError
from farthing.serving.delivery import Delivery
from farthing.serving.refused import Refusals
from farthing.serving.route import Route, RouteTopics
from farthing.wire import TopicLimits

from .running import event, scorer
from .sinks import Sinks, Untold
from .test_failing import block

TOPICS = RouteTopics("e", "s", "d")


async def call(function):
    return function()


async def written(values, **limits):
    """Deliver an answer to topics that take less than they say; gives what is in them."""
    route, sinks = Route(TOPICS, scorer().stages), Sinks(**limits)
    (part,) = block(values)
    await sinks.send(route.answer([part]).batches, Refusals(route, {("e", 0): part}, Untold(), call))
    return sinks.written["s"], sinks.written["d"]


def places(records, name=b"farthing.offset"):
    return [int(record.header(name)) for record in records]


@pytest.mark.parametrize("most", [1_048_588, 1_200, 200])
async def test_letters_without_keys_get_some_where_the_topic_is_compacted_whatever_it_says(most):
    values = [b"bad", event(1, "fine"), b"b" * 5_000, event(3, "fine")]
    scores, letters = await written(values, d=TopicLimits(most, compacted=True))
    assert places(scores) == [1, 3]
    assert sorted(places(letters, b"farthing.error.offset")) == [0, 2]
    assert sorted(record.key_and_value[1:6] for record in letters) == [b"e-0-0", b"e-0-2"]


async def test_scores_without_keys_become_letters_that_get_some():
    compacted = TopicLimits(compacted=True)
    scores, letters = await written([event(n, "fine") for n in range(3)], s=compacted, d=compacted)
    assert not scores
    assert [record.header(b"farthing.error.reason") for record in letters] == [b"null_key"] * 3
    assert sorted(record.key_and_value[1:6] for record in letters) == [b"e-0-0", b"e-0-1", b"e-0-2"]


async def test_a_topic_that_takes_no_letter_at_all_holds_the_partition():
    with pytest.raises(HeldError, match="MESSAGE_TOO_LARGE"):
        await written([b"bad", event(1, "fine")], d=TopicLimits(100, compacted=True))


FAULT = CorruptBatchError("the checksum is wrong", topic="e", partition=0, base_offset=7, next_offset=11)


async def skip(limits, raw=bytes(range(256)) * 100, told=None):
    """Deliver the letter of a batch that cannot be read; gives the letter and how many requests that took."""
    route, sinks = SimpleNamespace(topics=TOPICS, stages=SimpleNamespace(model_id="m@1")), Sinks(d=limits)
    delivery = Delivery(
        sinks, told or Untold(), SimpleNamespace(ack=lambda ticket: True),
        SimpleNamespace(add=lambda partition, offset: None), None, None, call, None,
    )  # fmt: skip
    head = (7).to_bytes(8, "big") + len(raw).to_bytes(4, "big")
    part = FetchedPartition("e", 0, 7, 11, head + raw)
    await delivery.letter(route, part, FAULT, SimpleNamespace(partition=("e", 0)))
    (letter,) = sinks.written["d"]
    assert [letter.header(b"farthing.error." + name) for name in (b"offset", b"next_offset")] == [b"7", b"11"]
    assert letter.header(b"farthing.error.reason") == b"CorruptBatchError"
    return letter, sinks.requests


@pytest.mark.parametrize("compacted", [False, True])
@pytest.mark.parametrize("most", [1_048_588, 25_000, 2_000, 500, 250])
async def test_the_letter_of_a_batch_fits_its_topic_whatever_that_says(most, compacted):
    limits = TopicLimits(most, compacted=compacted)
    letter, requests = await skip(limits)
    assert letter.has_null_key != compacted
    assert requests <= 12
    whole = 12 + 25_600
    if most < whole:
        assert len(letter.key_and_value) < most
        assert letter.header(b"farthing.error.value_bytes") == (b"%d" % whole if most > 500 else None)
    if most > 10_000:
        assert len(letter.key_and_value) > min(most, whole) / 4
    told = SimpleNamespace(of=lambda topic: limits)
    assert (await skip(limits, told=told))[1] == 1  # nothing is refused where it is known


async def test_a_batch_whose_letter_is_refused_at_any_length_holds_its_partition():
    with pytest.raises(HeldError, match="MESSAGE_TOO_LARGE"):
        await skip(TopicLimits(100))
