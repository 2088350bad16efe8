"""The offset tracker against a plain model, and mutants of it that the model must catch."""

import pytest
from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from farthing.kafka.offsets import OffsetTracker

PARTITIONS = [("t", 0), ("t", 1), ("u", 0)]


class Machine(RuleBasedStateMachine):
    """Model: for each owned partition the list of its blocks, in order, with whether each was acknowledged."""

    tracker_class = OffsetTracker

    @initialize()
    def start(self):
        self.tracker = self.tracker_class()
        self.owned = {}
        self.stale = []

    @rule(p=st.sampled_from(PARTITIONS), offset=st.integers(0, 1000), committed=st.booleans())
    def assign(self, p, offset, committed):
        self.stale += [ticket for ticket, *_ in self.owned.get(p, ([], 0, 0))[0]]
        self.tracker.assign(p, offset, committed=committed)
        self.owned[p] = ([], offset, offset if committed else -1)  # blocks, start, committed

    @precondition(lambda self: self.owned)
    @rule(data=st.data(), size=st.integers(0, 50))
    def begin(self, data, size):
        p = data.draw(st.sampled_from(sorted(self.owned)))
        blocks, start, _ = self.owned[p]
        first = blocks[-1][1] if blocks else start
        assert self.tracker.begun(p) == first
        blocks.append([self.tracker.begin(p, first, first + size), first + size, False])

    @precondition(lambda self: any(blocks for blocks, _, _ in self.owned.values()))
    @rule(data=st.data())
    def ack(self, data):
        p = data.draw(st.sampled_from(sorted(p for p, (blocks, _, _) in self.owned.items() if blocks)))
        block = data.draw(st.sampled_from(self.owned[p][0]))
        expected = not block[2]
        self.tracker.ack(block[0])
        block[2] = block[2] or expected

    @precondition(lambda self: self.stale)
    @rule(data=st.data())
    def late_ack(self, data):
        assert self.tracker.ack(data.draw(st.sampled_from(self.stale))) is False

    @rule(p=st.sampled_from(PARTITIONS))
    def revoke(self, p):
        if p in self.owned:
            self.stale += [ticket for ticket, *_ in self.owned.pop(p)[0]]
        self.tracker.revoke([p])

    @precondition(lambda self: self.owned)
    @rule(data=st.data())
    def rewind(self, data):
        p = data.draw(st.sampled_from(sorted(self.owned)))
        blocks, _, committed = self.owned[p]
        done = self.done(p)
        assert self.tracker.rewind(p) == done
        self.stale += [ticket for ticket, _, acked in blocks if not acked]
        self.owned[p] = ([], done, committed)

    @precondition(lambda self: self.owned)
    @rule(data=st.data(), left=st.integers(-1, 1), size=st.integers(0, 50))
    def skip(self, data, left, size):
        p = data.draw(st.sampled_from(sorted(self.owned)))
        blocks, _, committed = self.owned[p]
        done = self.done(p)
        expected = left == 0 and all(acked for *_, acked in blocks)
        assert self.tracker.skip(p, done + left, done + left + size) is expected
        if expected:
            self.stale += [ticket for ticket, *_ in blocks]
            self.owned[p] = ([], done + size, committed)

    @rule()
    def commit(self):
        offsets = self.tracker.committable()
        self.tracker.committed(offsets)
        for p, offset in offsets.items():
            blocks, start, committed = self.owned[p]
            assert offset > committed
            self.owned[p] = (blocks, start, offset)

    def done(self, p):
        blocks, start, _ = self.owned[p]
        for _, next_offset, acked in blocks:
            if not acked:
                break
            start = next_offset
        return start

    @invariant()
    def only_what_is_done_and_ours_is_committable(self):
        expected = {p: self.done(p) for p, (_, _, committed) in self.owned.items() if self.done(p) > committed}
        assert self.tracker.committable() == expected
        assert sorted(self.tracker.partitions()) == sorted(self.owned)
        assert self.tracker.has_new_starts == any(committed < 0 for *_, committed in self.owned.values())


TestOffsetTracker = Machine.TestCase
TestOffsetTracker.settings = settings(max_examples=100, stateful_step_count=30, deadline=None)


class CommitsPastWhatIsInFlight(OffsetTracker):
    def ack(self, ticket):
        owned = self._owned.get(ticket.partition)
        done = super().ack(ticket)
        if done and owned.flights and owned.flights[-1].acked:
            owned.done = owned.flights[-1].next_offset
        return done


class CommitsOneTooFar(OffsetTracker):
    def committable(self, partitions=None):
        return {p: offset + 1 for p, offset in super().committable(partitions).items()}


class ForgetsWhoseAcknowledgementItIs(OffsetTracker):
    def ack(self, ticket):
        owned = self._owned.get(ticket.partition)
        if owned is not None and owned.assignment != ticket.assignment and owned.flights:
            owned.flights[0].acked = True
            owned.done = owned.flights.popleft().next_offset
            return True
        return super().ack(ticket)


class TakesItForTheNewest(OffsetTracker):
    def ack(self, ticket):
        owned = self._owned.get(ticket.partition)
        if owned is None or not owned.flights:
            return False
        owned.done = owned.flights[-1].next_offset
        owned.flights.clear()
        return True


class SkipsWhatIsInFlight(OffsetTracker):
    def skip(self, partition, left, offset):
        if self.next_unacknowledged(partition) == left:
            self.rewind(partition)
        return super().skip(partition, left, offset)


class CommitsAfterRevoke(OffsetTracker):
    def revoke(self, partitions):
        return None


@pytest.mark.parametrize(
    "mutant",
    [
        CommitsPastWhatIsInFlight, CommitsOneTooFar, ForgetsWhoseAcknowledgementItIs, TakesItForTheNewest,
        SkipsWhatIsInFlight, CommitsAfterRevoke,
    ],
)  # fmt: skip
def test_mutants_are_caught(mutant):
    machine = type("Mutant", (Machine,), {"tracker_class": mutant})
    with pytest.raises(Exception):  # noqa: B017 (whatever the model notices first)
        run_state_machine_as_test(
            machine,
            settings=settings(
                max_examples=1000, stateful_step_count=30, database=None, derandomize=True, phases=[Phase.generate]
            ),
        )


def test_a_gap_in_the_middle_holds_everything_back():
    tracker = OffsetTracker()
    tracker.assign(("t", 0), 2585)
    tickets = [tracker.begin(("t", 0), n, n + 1) for n in range(2585, 2590)]
    for ticket in tickets[1:]:
        tracker.ack(ticket)
    assert tracker.committable() == {}
    tracker.ack(tickets[0])
    assert tracker.committable() == {("t", 0): 2590}


def test_blocks_must_join():
    tracker = OffsetTracker()
    with pytest.raises(ValueError, match="not ours"):
        tracker.begin(("t", 0), 0, 1)
    tracker.assign(("t", 0), 5)
    with pytest.raises(ValueError, match="expected one from 5"):
        tracker.begin(("t", 0), 6, 7)
