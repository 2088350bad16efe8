"""Topics in memory that refuse what a broker refuses, behind the producer's own handling of refusals."""

from collections import defaultdict

from farthing.kafka import HeldError
from farthing.kafka.sending import Sending
from farthing.kafka.verdicts import verdict_of
from farthing.wire import DEFAULT_LIMITS
from farthing.wire.split import records_of

TOO_LARGE, INVALID_RECORD, FORBIDDEN = 10, 87, 29


class Sinks:
    """A producer, and the topics that it writes to. ``limits`` are what they take, which nobody is told.

    Those that are ``closed`` take nothing: topics, or partitions of them.
    """

    is_transactional = False

    def __init__(self, **limits):
        self.closed = set()
        self.limits = limits
        self.written = defaultdict(list)
        self.requests = 0

    async def send(self, batches, on_refused=None):
        sending = Sending({}, on_refused, 0.0)
        sending.put(batches)
        while sending.queues:
            for place, queue in list(sending.queues.items()):
                self.requests += 1
                if self.closed & {place, place[0]}:
                    sending.hold(place, verdict_of(FORBIDDEN))
                    continue
                code = self._refusal(queue[0])
                if code:
                    await sending.take_apart(place, code, [])
                else:
                    batch = sending.written(place)
                    self.written[batch.topic] += records_of(batch)
            sending.finish()
        if sending.held:
            raise HeldError(sending.held)

    def _refusal(self, batch):
        limits = self.limits.get(batch.topic, DEFAULT_LIMITS)
        if limits.compacted and any(record.has_null_key for record in records_of(batch)):
            return INVALID_RECORD
        return TOO_LARGE if len(batch.data) > limits.max_message_bytes else 0


class Untold:
    """In place of SinkLimits: no broker states them."""

    def of(self, topic):
        return DEFAULT_LIMITS

    async def read_after_refusal(self):
        pass
