"""What the loop has beside its clients, and the simulation does not look at."""

import asyncio

from farthing.wire import DEFAULT_LIMITS


class Nothing:
    """Stands for metrics: whatever is asked of it, it is there and does nothing."""

    def __getattr__(self, _name):
        return self

    def __call__(self, *_arguments, **_options):
        return self


class Watch:
    """A :class:`farthing.kafka.BrokerWatch` that knows nothing: whether a worker is ready is tested elsewhere."""

    written, missing = (), {}
    coordinator, coordinator_answers, coordinator_problem = "the coordinator", 0, ""

    def __init__(self, *_arguments, **_options):
        pass

    async def run(self):
        await asyncio.Event().wait()

    def answers(self, _partition):
        return 0

    def leader(self, _partition):
        return "the leader", ""


class Limits:
    """The :class:`farthing.kafka.SinkLimits` of topics that take everything."""

    def __init__(self, *_arguments):
        pass

    def of(self, _topic):
        return DEFAULT_LIMITS

    async def read(self):
        pass

    def read_when_due(self):
        pass

    async def close(self):
        pass
