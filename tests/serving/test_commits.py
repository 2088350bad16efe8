"""Commits go on in the background at least once: a slow one holds nothing up, and what goes wrong is not forgotten."""

import asyncio
from types import SimpleNamespace

import pytest

from farthing.errors import BrokerError
from farthing.kafka import OffsetTracker
from farthing.serving.commits import Commits

ONE = ("e", 0)


class Slow:
    """Makes answers final when it is let; ``error`` is raised instead."""

    is_open = is_spoiled = False

    def __init__(self, together):
        self.together, self.error = together, None
        self.goes_on, self.committed = asyncio.Event(), []

    async def commit(self, offsets, _metadata, _timeout_s):
        await self.goes_on.wait()
        if self.error is not None:
            raise self.error
        self.committed.append(dict(offsets))
        return True


class Reports:
    published = 0

    def metadata(self, partitions, **_):
        return dict.fromkeys(partitions, "total")

    async def publish(self, _partitions, **_):
        self.published += 1


def made(final):
    offsets, reports = OffsetTracker(), Reports()
    offsets.assign(ONE, 0, committed=True)
    consumer = SimpleNamespace(epoch=0, marks_offsets=True)
    counter = SimpleNamespace(labels=lambda *_: SimpleNamespace(inc=lambda *_: None))
    metrics = SimpleNamespace(took=lambda *_: None, commits=counter)
    progress = SimpleNamespace(committed=lambda: None, undone=lambda: None)
    return Commits(consumer, offsets, final, reports, metrics, progress, 1.0), offsets, reports


def answer(offsets, stop):
    assert offsets.ack(offsets.begin(ONE, offsets.begun(ONE), stop))


async def test_a_slow_commit_holds_nothing_up_and_is_not_overtaken():
    final = Slow(together=False)
    commits, offsets, reports = made(final)
    answer(offsets, 5)
    await commits.commit_and_publish()
    assert len(commits.running) == 1
    await asyncio.sleep(0.01)
    answer(offsets, 9)
    await commits.commit_and_publish()  # not before the other has ended
    commits.check()
    assert len(commits.running) == 1
    final.goes_on.set()
    await commits.settle()
    assert (final.committed, reports.published, commits.running) == ([{ONE: 5}], 1, set())
    await commits.commit_and_publish()
    await commits.settle()
    assert (final.committed, reports.published) == ([{ONE: 5}, {ONE: 9}], 2)


@pytest.mark.parametrize("seen_by", ["check", "settle"])
async def test_what_goes_wrong_is_raised_once(seen_by):
    final = Slow(together=False)
    final.error = BrokerError("the coordinator is gone", retriable=True)
    final.goes_on.set()
    commits, offsets, _ = made(final)
    answer(offsets, 5)
    await commits.commit_and_publish()
    await asyncio.wait(commits.running)
    with pytest.raises(BrokerError, match="is gone"):
        commits.check() if seen_by == "check" else await commits.settle()
    commits.check()
    await commits.settle()
    assert offsets.committable() == {ONE: 5}


async def test_a_transaction_and_a_new_start_are_waited_for():
    final = Slow(together=True)
    commits, offsets, _ = made(final)
    answer(offsets, 5)
    waiting = asyncio.create_task(commits.commit_and_publish())
    await asyncio.sleep(0.01)
    assert not waiting.done()
    final.goes_on.set()
    await waiting
    assert (final.committed, commits.running) == ([{ONE: 5}], set())
    final = Slow(together=False)
    commits, offsets, _ = made(final)
    offsets.assign(("e", 1), 3, committed=False)  # nobody has committed that it begins here
    waiting = asyncio.create_task(commits.commit_and_publish())
    await asyncio.sleep(0.01)
    assert not waiting.done()
    final.goes_on.set()
    await waiting
    assert final.committed == [{("e", 1): 3}]
