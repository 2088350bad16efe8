"""Loops and brokers with one mistake each: the simulation must notice every one of them."""

import asyncio

from farthing.errors import BrokerError
from farthing.kafka import OffsetTracker
from farthing.serving import pipeline as pipeline_module
from farthing.serving.commits import Commits
from farthing.serving.delivery import Delivery
from farthing.serving.pipeline import Pipeline

from .clients import Producer
from .run import Run
from .world import replaced


class OffByOne(OffsetTracker):
    """Commits one offset more than is acknowledged."""

    def committable(self, partitions=None):
        found = super().committable(partitions)
        return {p: offset + (offset < self._owned[p].begun) for p, offset in found.items()}


class PastInFlight(OffsetTracker):
    """Commits past what is in flight, as Faust's ``_new_offset`` does."""

    def committable(self, partitions=None):
        chosen = self._owned if partitions is None else [p for p in partitions if p in self._owned]
        return {p: self._owned[p].begun for p in chosen if self._owned[p].begun > self._owned[p].committed}


class FirstCommitPastInFlight(OffsetTracker):
    """Commits past what is in flight only while nothing has been acknowledged yet."""

    def committable(self, partitions=None):
        found = super().committable(partitions)
        for p, owned in self._owned.items():
            if (partitions is None or p in partitions) and owned.done == owned.committed and owned.flights:
                found[p] = owned.flights[0].next_offset
        return found


class NeverGoesBack(OffsetTracker):
    """Goes on after an error where it was, not where it was acknowledged."""

    def rewind(self, partition):
        owned = self._owned[partition]
        owned.flights.clear()
        owned.done = owned.begun
        return owned.begun


class RemembersOldAssignments(OffsetTracker):
    """Keeps what was acknowledged in an older assignment, and takes it for the new one's."""

    def assign(self, partition, offset, **committed):
        before = self._owned.get(partition)
        super().assign(partition, offset, **committed)
        if before is not None:
            self._owned[partition].begun = self._owned[partition].done = max(before.begun, offset)

    def revoke(self, partitions):
        pass


class AcknowledgesFirst(Delivery):
    """Takes a block for acknowledged before the broker has it."""

    async def answer(self, _route, _parts, answer, tickets):
        _acknowledge(self, answer, tickets)
        await self.producer.send(answer.batches)


class SwallowsProduceErrors(Delivery):
    """Goes on as if a block that was not produced had been."""

    async def answer(self, route, parts, answer, tickets):
        try:
            await super().answer(route, parts, answer, tickets)
        except BrokerError:
            _acknowledge(self, answer, tickets)


def _acknowledge(delivery, answer, tickets):
    for ticket, segment, usage in zip(tickets, answer.segments, answer.usage, strict=True):
        if delivery.offsets.ack(ticket):
            delivery.reports.add(ticket.partition, segment.next_offset, usage, None)


class CountsTwice(Pipeline):
    """Keeps a partition's count from before it was given up."""

    def __init__(self, *arguments, **options):
        super().__init__(*arguments, **options)
        self._begin, self._consumer._on_position = self._consumer._on_position, self._again

    async def _on_revoked(self, partitions):
        kept = dict(self._reports._counts)
        await super()._on_revoked(partitions)
        self._reports._counts.update(kept)

    def _again(self, partition, offset, metadata, committed):
        known = self._reports._counts.get(partition)
        self._begin(partition, offset, metadata if known is None else str(known), committed)


class CommitsAtOnce(Commits):
    """Lets a commit begin while another is under way, so that the older one may come last."""

    async def commit(self, partitions=None):
        offsets = self._offsets.committable(partitions)
        if offsets:
            await self._commit(offsets, self._reports.metadata(offsets))


class CountsLate(Commits):
    """Takes the count that travels with a commit when it is sent, not when its offsets were chosen."""

    async def _commit(self, offsets, _metadata):
        await self._reports.publish(offsets)
        await super()._commit(offsets, self._reports.metadata(offsets))


class LeavesItsProducing(Pipeline):
    """Forgets the block that is being produced before it has ended."""

    async def _back_off(self, error, stopping):
        if self._producing is not None:
            producing, self._producing = self._producing, None
            await asyncio.wait({producing})
        await super()._back_off(error, stopping)


class TellsNobody(Producer):
    """Drops a batch now and then, and says that it was written."""

    async def send(self, batches, _on_refused=None):
        await super().send([batch for batch in batches if self._machine.world.random.random() > 0.01])


class Backwards(Producer):
    """Sends the batches of a block in the wrong order."""

    async def send(self, batches, _on_refused=None):
        await super().send(batches[::-1])


class AcceptsAnyCommit(Run):
    """A broker that takes commits of those it has put out."""

    def prepare(self):
        self.world.checks_generations = False


def mutated(mutant, seed):
    """Run a seed with a mistake in it."""
    if issubclass(mutant, Run):
        return mutant(seed).run()
    for kind in (OffsetTracker, Delivery, Commits):
        if issubclass(mutant, kind):
            with replaced(pipeline_module, **{kind.__name__: mutant}):
                return Run(seed).run()
    from . import run as run_module

    name = "Pipeline" if issubclass(mutant, Pipeline) else "Producer"
    with replaced(run_module, **{name: mutant}):
        return Run(seed).run()


MUTANTS = (
    OffByOne, PastInFlight, FirstCommitPastInFlight, NeverGoesBack, RemembersOldAssignments,
    AcknowledgesFirst, SwallowsProduceErrors, CountsTwice, CommitsAtOnce, CountsLate, LeavesItsProducing, TellsNobody,
    Backwards, AcceptsAnyCommit,
)  # fmt: skip
