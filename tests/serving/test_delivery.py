"""What is written while an output topic takes nothing: no score and no letter again and again."""

from collections import Counter
from types import SimpleNamespace

import pytest

from farthing.kafka import HeldError
from farthing.serving.delivery import Delivery
from farthing.serving.route import Route, RouteTopics

from .running import event, scorer
from .sinks import Sinks, Untold
from .test_failing import block

TOPICS = RouteTopics("e", "s", "d")
VALUES = [event(0, "fine"), b"bad", event(2, "fine")]


async def call(function):
    return function()


class Delivering:
    """Delivers one block to topics in memory, as often as it is asked."""

    def __init__(self, partitions=1):
        self.sinks, self.acknowledged = Sinks(), []
        nothing = SimpleNamespace(
            add=lambda *_: None, record=lambda *_: None, made=lambda: None, latency=SimpleNamespace(add=lambda *_: None)
        )
        offsets = SimpleNamespace(ack=lambda ticket: True)
        self.delivery = Delivery(
            self.sinks, Untold(), offsets, nothing, nothing, nothing, call, self.acknowledged.append
        )  # fmt: skip
        self.route = Route(TOPICS, scorer().stages)
        self.parts = [part for n in range(partitions) for part in block(VALUES, partition=n)]

    async def __call__(self):
        """Deliver the block; gives the partitions of the source that are held."""
        tickets = [SimpleNamespace(partition=(part.topic, part.partition)) for part in self.parts]
        answer = self.route.answer(self.parts)
        try:
            await self.delivery.answer(self.route, {t.partition: p for t, p in zip(tickets, self.parts, strict=True)},
                                       answer, tickets)  # fmt: skip
        except HeldError as error:
            return set(error.reasons)
        return set()

    def written(self):
        """Count the scores, and the letters."""
        return len(self.sinks.written["s"]), len(self.sinks.written["d"])


@pytest.mark.parametrize("closed, at_most", [("d", (4, 1)), ("s", (2, 2))])
async def test_while_one_topic_takes_nothing_the_other_gets_no_more_than_one_repeat(closed, at_most):
    deliver = Delivering()
    deliver.sinks.closed = {closed}
    for _ in range(20):
        assert await deliver() == {("e", 0)}
    assert not deliver.acknowledged
    deliver.sinks.closed = set()
    assert not await deliver()
    assert deliver.acknowledged == [("e", 0)]
    assert deliver.written() == at_most
    before = deliver.sinks.requests
    assert not await deliver()
    assert deliver.written() == (at_most[0] + 2, at_most[1] + 1)
    assert deliver.sinks.requests == before + 2


async def test_topics_that_take_turns_in_refusing_cost_one_repeat_for_each_turn():
    deliver = Delivering()
    for closed in ("d", "s", "d", "s"):
        deliver.sinks.closed = {closed}
        for _ in range(5):
            assert await deliver() == {("e", 0)}
    deliver.sinks.closed = {"s", "d"}
    before = deliver.written()
    assert await deliver() == {("e", 0)}
    assert deliver.written() == before
    assert before[0] <= 2 * 4 and before[1] <= 4


async def test_other_partitions_are_written_meanwhile():
    deliver = Delivering(partitions=3)
    deliver.sinks.closed = {("d", 1)}
    for _ in range(3):
        assert await deliver() == {("e", 1)}
    assert Counter(deliver.acknowledged) == {("e", 0): 3, ("e", 2): 3}
    scores = Counter(record.header(b"farthing.offset") for record in deliver.sinks.written["s"])
    assert scores == {b"0": 2 * 3 + 1, b"2": 2 * 3 + 1}
