"""How answers become final: what is committed and what is undone, in which order."""

import asyncio
from types import SimpleNamespace

import pytest

from farthing.errors import BrokerError
from farthing.kafka import BatchProducer, HeldError, KafkaSettings, OffsetTracker
from farthing.serving.commits import Commits
from farthing.serving.finality import AtLeastOnce, ExactlyOnce, finality

ONE = ("e", 0)
MEMBER = object()


class Consumer:
    """Notes what it is told. ``on_commit`` is called while a commit is under way."""

    def __init__(self):
        self.epoch, self.marks_offsets, self.member = 0, True, MEMBER
        self.said, self.on_commit = [], []

    def marked(self, offsets, metadata):
        return {p: metadata.get(p, "") + ("+mark" if self.marks_offsets else "") for p in offsets}

    def forget_positions(self):
        self.epoch += 1
        self.said.append("forget")

    def seek(self, partition, offset):
        self.said.append(("seek", partition, offset))

    async def commit(self, offsets, _timeout_s, metadata):
        self.said.append((dict(offsets), self.marked(offsets, metadata)))
        if self.on_commit:
            self.on_commit.pop(0)()
        return True


class Transactions:
    """Takes a transactional id, and commits, each when it is let."""

    def __init__(self):
        self.begun, self.committed, self.is_open = 0, [], False
        self.goes_on = asyncio.Event()
        self.goes_on.set()

    async def begin(self):
        await self.goes_on.wait()
        self.begun += 1
        self.is_open = False

    async def commit(self, offsets, metadata, member):
        self.committed.append((dict(offsets), dict(metadata), member))
        self.is_open = False
        return True


class Reports:
    def __init__(self):
        self.said, self._fits = [], True

    def metadata(self, partitions, *, refused=False):
        self._fits &= not refused
        return dict.fromkeys(partitions, "total") if self._fits else {}

    def revoke(self, partitions):
        self.said.append(("revoke", list(partitions)))


@pytest.fixture
def transactions():
    return Transactions()


@pytest.fixture
async def producer(transactions):
    one = BatchProducer(KafkaSettings(), "id")
    one._transactions = transactions
    await one.recover()
    return one


@pytest.fixture
def offsets():
    tracker = OffsetTracker()
    tracker.assign(ONE, 0)
    return tracker


def acknowledge(offsets, stop):
    assert offsets.ack(offsets.begin(ONE, offsets.begun(ONE), stop))


def commits(consumer, offsets, final, reports):
    nothing = SimpleNamespace(committed=lambda: None, undone=lambda: None)
    labels = SimpleNamespace(labels=lambda *_: SimpleNamespace(inc=lambda *_: None))
    metrics = SimpleNamespace(took=lambda *_: None, commits=labels)
    return Commits(consumer, offsets, final, reports, metrics, nothing, 1.0)


def test_the_producer_decides(offsets):
    consumer, reports = Consumer(), Reports()
    chosen = finality(consumer, offsets, BatchProducer(KafkaSettings()), reports)
    assert (type(chosen), chosen.together, chosen.is_open) == (AtLeastOnce, False, False)
    assert isinstance(finality(consumer, offsets, BatchProducer(KafkaSettings(), "id"), reports), ExactlyOnce)


async def test_a_transaction_ends_with_offsets_totals_and_their_logs(producer, transactions, offsets):
    consumer, reports = Consumer(), Reports()
    final = ExactlyOnce(consumer, offsets, producer, reports)
    acknowledge(offsets, 10)
    await commits(consumer, offsets, final, reports).commit()
    assert transactions.committed == [({ONE: 10}, {ONE: "total+mark"}, MEMBER)]
    assert offsets.committable() == {}


async def test_what_is_undone_begins_again_at_what_is_committed(producer, transactions, offsets):
    consumer, reports = Consumer(), Reports()
    acknowledge(offsets, 10)
    await ExactlyOnce(consumer, offsets, producer, reports).undo()
    assert (transactions.begun, consumer.said, reports.said) == (2, ["forget"], [("revoke", [ONE])])
    assert offsets.partitions() == []


async def test_no_offset_is_committed_whose_answers_were_aborted_meanwhile(producer, transactions, offsets):
    """A rebalance commits while the loop takes the transactional id anew: the offsets belong to what is aborted."""
    consumer, reports = Consumer(), Reports()
    final = ExactlyOnce(consumer, offsets, producer, reports)
    acknowledge(offsets, 10)
    transactions.is_open = True
    transactions.goes_on.clear()
    undoing = asyncio.create_task(final.undo())
    await asyncio.sleep(0)
    committing = asyncio.create_task(commits(consumer, offsets, final, reports).commit([ONE]))
    await asyncio.sleep(0)
    transactions.goes_on.set()
    await undoing
    with pytest.raises(BrokerError, match="aborted meanwhile"):
        await committing
    assert transactions.committed == []


async def test_what_the_group_has_taken_away_is_undone(producer, transactions, offsets):
    consumer, reports = Consumer(), Reports()
    consumer.member = None
    acknowledge(offsets, 10)
    assert not await ExactlyOnce(consumer, offsets, producer, reports).commit({ONE: 10}, {}, 1.0)
    assert (transactions.begun, transactions.committed, consumer.said) == (2, [], ["forget"])


async def test_answers_without_an_offset_become_visible_too(producer, transactions, offsets):
    """Those to events of a log that was replaced: no offset of it can be committed any more."""
    consumer, reports = Consumer(), Reports()
    one = commits(consumer, offsets, ExactlyOnce(consumer, offsets, producer, reports), reports)
    await one.commit()
    assert transactions.committed == []  # nothing was sent
    transactions.is_open = True
    await one.commit()
    assert transactions.committed == [({}, {}, MEMBER)]
    transactions.is_open = True
    one._finality.give_up()
    await one.commit()
    assert len(transactions.committed) == 1  # it can only be aborted
    with pytest.raises(BrokerError, match="the transaction is broken"):
        await producer.send([])


async def test_giving_up_costs_nothing_when_all_is_committed(producer, transactions, offsets):
    ExactlyOnce(Consumer(), offsets, producer, Reports()).give_up()
    await producer.send([])
    assert transactions.begun == 1


async def test_a_commit_that_another_log_has_overtaken_is_left_out_and_not_noted(offsets):
    consumer, reports = Consumer(), Reports()
    one = commits(consumer, offsets, AtLeastOnce(consumer, offsets), reports)

    def move():
        offsets.assign(ONE, 0)  # another log, whose offsets are other events
        consumer.epoch += 1

    acknowledge(offsets, 10)
    consumer.on_commit = [move]
    await asyncio.gather(one.commit(), one.commit())
    assert consumer.said == [({ONE: 10}, {ONE: "total+mark"})]
    acknowledge(offsets, 4)
    assert offsets.committable() == {ONE: 4}


async def test_the_mark_goes_last_where_metadata_is_too_long(offsets):
    consumer, reports = Consumer(), Reports()

    def too_long():
        raise BrokerError("OffsetMetadataTooLarge", retriable=True)

    consumer.on_commit = [too_long, too_long]
    acknowledge(offsets, 10)
    await commits(consumer, offsets, AtLeastOnce(consumer, offsets), reports).commit()
    assert consumer.said == [({ONE: 10}, {ONE: "total+mark"}), ({ONE: 10}, {ONE: "+mark"}), ({ONE: 10}, {ONE: ""})]
    assert not consumer.marks_offsets


async def test_where_nothing_was_ever_committed_a_commit_is_due_at_once(offsets):
    consumer, reports = Consumer(), Reports()
    one = commits(consumer, offsets, AtLeastOnce(consumer, offsets), reports)
    assert one.is_due() and not one.is_due()
    offsets.assign(ONE, 100, committed=False)
    assert one.is_due()
    await one.commit()
    assert consumer.said == [({ONE: 100}, {ONE: "total+mark"})]
    assert not one.is_due()


async def test_a_source_that_may_not_be_read_keeps_no_other_from_being_committed(offsets):
    consumer, reports, held = Consumer(), Reports(), []
    other = ("f", 0)
    offsets.assign(other, 3, committed=False)
    acknowledge(offsets, 10)

    def denied():
        raise HeldError({ONE: "grant"})

    consumer.on_commit, consumer.hold = [denied], lambda partition, reason, **_: held.append((partition, reason))
    await commits(consumer, offsets, AtLeastOnce(consumer, offsets), reports).commit()
    assert held == [(ONE, "grant")]
    assert offsets.committable() == {ONE: 10}


async def test_a_transaction_that_was_given_up_is_aborted_though_nothing_is_sent(producer, transactions, offsets):
    """Readers of committed data would stand still until the broker ends it."""
    consumer, reports = Consumer(), Reports()
    one = commits(consumer, offsets, ExactlyOnce(consumer, offsets, producer, reports), reports)
    transactions.is_open = True
    one._finality.give_up()
    offsets.revoke([ONE])
    await one.commit([ONE])  # of the revocation itself
    assert transactions.is_open
    await one.end_what_was_given_up()
    assert not transactions.is_open and not transactions.committed
    await one.end_what_was_given_up()
    assert transactions.begun == 2


async def test_a_commit_is_waited_for_only_while_there_is_something_to_commit(offsets):
    consumer, reports = Consumer(), Reports()
    one = commits(consumer, offsets, AtLeastOnce(consumer, offsets), reports)
    assert one.is_due() and one.wait_s() is None
    ticket = offsets.begin(ONE, 0, 10)
    assert 0 < one.wait_s() <= 1.0
    offsets.ack(ticket)
    assert 0 < one.wait_s() <= 1.0
    await one.commit()
    assert one.wait_s() is None
