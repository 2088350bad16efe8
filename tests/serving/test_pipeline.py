"""The loop's life without a broker: what it says when it is stopped before it has read anything."""

import asyncio
from types import SimpleNamespace

from farthing.kafka import KafkaSettings
from farthing.process.probes import Health
from farthing.serving import pipeline as pipeline_module
from farthing.serving.metrics import Metrics
from farthing.serving.pipeline import Pipeline
from farthing.serving.route import Route, RouteTopics

from .running import scorer

LIMIT_S = 60


async def test_a_stop_while_joining_leaves_nothing_undone(monkeypatch):
    """Nothing has been read then: no warning that events will be scored again."""
    logged = []

    def note(event, **_):
        logged.append(event)

    monkeypatch.setattr(pipeline_module, "log", SimpleNamespace(info=note, warning=note))
    stages = scorer().stages
    route = Route(RouteTopics("in", "out", "dead", "none"), stages)
    pipeline = Pipeline(
        (route,), KafkaSettings(bootstrap_servers=("127.0.0.1:1",)), Metrics({"in": stages.model_id}), Health(),
        commit_interval_s=1.0, stall_timeout_s=60.0, linger_s=0.0, on_corrupt_batch="halt",
    )  # fmt: skip
    monkeypatch.setattr(pipeline._producer, "start", asyncio.Event().wait)
    stop = asyncio.Event()
    stop.set()
    await asyncio.wait_for(pipeline.run(stop, drain_timeout_s=20.0), LIMIT_S)
    assert logged == ["stopped_while_joining"]
