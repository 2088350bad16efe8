"""What the consumer hands out while partitions are given up, and when one goes on elsewhere; without a broker."""

import asyncio
from types import SimpleNamespace

import pytest

from farthing.kafka import HeldError, KafkaSettings, Moved, RecordConsumer
from farthing.kafka import consumer as consumer_module
from farthing.kafka.error_codes import error_of
from farthing.kafka.incarnation import Incarnation
from farthing.kafka.recovery import Beginning

ONE, TWO = ("e", 0), ("e", 1)


@pytest.fixture
def moves():
    return []


@pytest.fixture
async def consumer(moves, monkeypatch):
    async def nothing(*_):
        pass

    one = RecordConsumer(
        KafkaSettings(), ["e"], on_revoked=nothing, on_position=lambda *_: None,
        on_moved=lambda partition, moved: moves.append((partition, moved)),
    )  # fmt: skip
    monkeypatch.setattr(one._membership, "check", lambda: None)
    await one._assigned([ONE, TWO])
    for partition in (ONE, TWO):
        one._positions[partition] = 10
        one._watch.take_over(partition, Incarnation())
    return one


async def test_nothing_moves_while_partitions_are_given_up(consumer, moves):
    consumer._rebalance_began = 1.0
    consumer._move(ONE, 10, Moved(0, 1, "new_log"))
    assert moves == []


async def test_nothing_is_handed_out_from_the_beginning_of_a_revocation_on(consumer, monkeypatch):
    """What is fetched then would be scored and written, and its offset could not be committed with it."""
    given_up, goes_on = asyncio.Event(), asyncio.Event()

    async def give_up(_):
        given_up.set()
        await goes_on.wait()

    monkeypatch.setattr(consumer, "_on_revoked", give_up)
    monkeypatch.setattr(consumer, "_due", lambda: pytest.fail("a broker is asked"))
    before = consumer.epoch
    revoking = asyncio.create_task(consumer._revoked([ONE, TWO]))
    await given_up.wait()
    assert consumer.epoch > before  # what is scored now is void
    fetched = await consumer.fetch()
    assert (fetched.epoch, fetched.partitions, fetched.answered) == (consumer.epoch, (), False)
    goes_on.set()
    await revoking
    assert consumer.assignment == []


def test_retention_voids_nothing_that_was_fetched(consumer, moves):
    epoch, gap = consumer.epoch, Moved(30, 0, "retention", 20, 10)
    consumer._move(ONE, 10, gap)
    assert (consumer.epoch, consumer._positions) == (epoch, {ONE: 30, TWO: 10})
    assert moves == [(ONE, gap)]
    consumer._move(ONE, 10, gap)  # another answer to a fetch from there
    assert len(moves) == 1


def test_another_log_voids_all_that_was_fetched(consumer, moves):
    epoch, new = consumer.epoch, Moved(0, 1, "new_log")
    consumer._move(ONE, 10, new)
    assert (consumer.epoch, consumer._positions) == (epoch + 1, {ONE: 0, TWO: 10})
    consumer._move(ONE, 10, new)  # found a second time
    assert (consumer.epoch, moves) == (epoch + 1, [(ONE, new)])


@pytest.mark.parametrize("moved", [Moved(0, 1, "new_log"), Moved(30, 0, "retention", 20, 10), "it is another log"])
def test_a_partition_that_begins_anew_is_not_moved(consumer, moves, moved):
    """Its position is read from the group again, and its log is checked then."""
    consumer.forget_positions()
    epoch = consumer.epoch
    consumer._move(ONE, 10, moved)
    assert (consumer.epoch, consumer._positions, moves) == (epoch, {ONE: None, TWO: None}, [])
    assert not consumer.held


def test_commits_say_which_log_an_offset_is_of_where_there_is_room(consumer):
    assert Incarnation.read(consumer.marked({ONE: 10}, {})[ONE]) == Incarnation()
    assert consumer.marked({ONE: 10}, {ONE: '{"model":"m"}'}) == {
        ONE: '{"model":"m"}'
    }  # no id, no batch: nothing to say
    consumer.marks_offsets = False
    assert consumer.marked({ONE: 10}, {}) == {}


@pytest.mark.parametrize("code", [9, 13, 17, 29, 35, 42, 43, 76, 2, -1, 12_345])
async def test_a_partition_that_a_broker_refuses_is_held_and_ends_nobody(consumer, monkeypatch, code):
    monkeypatch.setattr("farthing.kafka.consumer.refresh_metadata", lambda _: None)
    consumer._membership._consumer = SimpleNamespace(_client=None)
    await consumer._on_error(ONE, 10, error_of(code))
    assert list(consumer.held) == [ONE]
    assert ("grant this client the right to read the topic" in consumer.held[ONE]) == (code == 29)


async def test_a_source_that_may_not_be_described_is_held_and_the_others_begin(consumer, monkeypatch):
    """And it is asked for again later: the right may come back."""
    asked, reason = [], f"reading the committed offset of {ONE[0]}[{ONE[1]}]: grant"

    async def begin(partitions):
        asked.append(partitions)
        if ONE in partitions:
            raise HeldError({ONE: reason})
        return {p: Beginning(7, "", None) for p in partitions}

    monkeypatch.setattr(consumer._recovery, "begin", begin)
    monkeypatch.setattr(consumer_module, "REFUSED_AGAIN_S", 0.05)
    consumer.forget_positions()
    await consumer._find_positions()
    assert consumer.held == {ONE: reason}
    await consumer._find_positions()
    assert consumer._positions == {ONE: None, TWO: 7}
    await asyncio.sleep(0.1)
    await consumer._find_positions()
    assert asked == [[ONE, TWO], [TWO], [ONE]]
