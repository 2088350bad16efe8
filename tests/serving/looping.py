"""The loop itself on the test's own event loop, against real Apache Kafka: for what needs a hand inside."""

import asyncio
import contextlib
from dataclasses import dataclass

from farthing.kafka import KafkaSettings
from farthing.process.probes import Health
from farthing.serving.metrics import Metrics
from farthing.serving.pipeline import Pipeline
from farthing.serving.route import Route, RouteTopics

from .running import SESSION_TIMEOUT_MS, scorer

DEADLINE_S = 30


@dataclass
class Loop:
    """A pipeline that runs. ``task`` ends with it, and holds what it raised."""

    pipeline: Pipeline
    metrics: Metrics
    health: Health
    stop: asyncio.Event
    task: asyncio.Task

    @property
    def consumer(self):
        return self.pipeline._consumer

    @property
    def coordinator(self):
        """aiokafka's, with whose insides some tests meddle."""
        return self.consumer._membership._consumer._coordinator

    def sample(self, name, **labels):
        return self.metrics.registry.get_sample_value(name, labels or None)

    async def until(self, condition, timeout_s=DEADLINE_S):
        """Wait for a condition; the pipeline's own error comes first."""
        deadline = asyncio.get_running_loop().time() + timeout_s
        while not condition():
            if self.task.done():
                self.task.result()
                raise AssertionError("the pipeline has ended")
            assert asyncio.get_running_loop().time() < deadline, f"not within {timeout_s} s; {self.health}"
            await asyncio.sleep(0.02)

    async def commits_all(self, *services):
        """Wait until everything in the services' sources is committed; the pipeline's own error comes first."""
        waiting = asyncio.gather(*(service.all_committed() for service in services))
        await asyncio.wait({waiting, self.task}, return_when=asyncio.FIRST_COMPLETED)
        if self.task.done():
            waiting.cancel()
            self.task.result()
        await waiting

    async def fails(self, timeout_s=DEADLINE_S):
        """Wait for the pipeline to end with an error, and give it."""
        await asyncio.wait({self.task}, timeout=timeout_s)
        assert self.task.done(), f"not within {timeout_s} s; {self.health}"
        return self.task.exception()


def make_route(service, *, compression="none", route_class=Route, sink=None):
    route = route_class(RouteTopics(service.source, sink or service.sink, service.dead, compression), scorer().stages)
    route.warm()  # as the worker does: a kernel that is compiled holds the event loop up
    return route


@contextlib.asynccontextmanager
async def looping(service, *routes, kafka=None, **options):
    """Run the loop on the service's topics; without ``routes`` on its one."""
    routes = routes or (make_route(service),)
    settings = {
        "bootstrap_servers": (service.servers,), "group_id": service.group, "metadata_max_age_ms": 1_000,
        "session_timeout_ms": SESSION_TIMEOUT_MS, "heartbeat_interval_ms": 300,
    } | (kafka or {})  # fmt: skip
    metrics = Metrics({route.topics.source: route.stages.model_id for route in routes})
    health = Health()
    options = {"commit_interval_s": 0.2, "stall_timeout_s": 60.0, "linger_s": 0.0, "on_corrupt_batch": "halt"} | options
    pipeline = Pipeline(routes, KafkaSettings(**settings), metrics, health, **options)
    stop = asyncio.Event()
    loop = Loop(pipeline, metrics, health, stop, asyncio.create_task(pipeline.run(stop, drain_timeout_s=20.0)))
    try:
        await loop.until(lambda: health.ready)
        yield loop
    finally:
        stop.set()
        await asyncio.wait({loop.task}, timeout=DEADLINE_S)
        loop.task.cancel()
        with contextlib.suppress(BaseException):
            await loop.task
    # What the pipeline raised is the test's to look at (Loop.fails); otherwise it must have ended well.
