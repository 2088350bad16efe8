"""An ONNX classifier over number columns, served from a topic."""

import json

import pytest

from farthing import Scorer
from tests.column_factory import write_column_bundle

from .running import Service

pytestmark = pytest.mark.kafka


async def test_events_of_numbers_are_scored_from_a_topic(apache_kafka, tmp_path):
    bundle = write_column_bundle(tmp_path / "churn")
    events = [
        json.dumps({"id": k, "age": 18 + k % 60, "tenure": k % 7, "plan": {"fee": k % 100}}).encode()
        for k in range(2000)
    ]
    bad = [b"{", b'{"age":1,"tenure":2}', b'{"age":"x","tenure":2,"plan":{"fee":1}}']
    service = Service(apache_kafka, tmp_path, partitions=2, bundle=str(bundle))
    await service.create_topics()
    service.start()
    try:
        await service.send([*events, *bad], batch_records=37)
        await service.ready()
        found = await service.read(service.sink, len(events))
        dead = await service.read(service.dead, len(bad))
    finally:
        assert service.stop() == 0
    expected = Scorer.load(bundle).score_events(events).values
    assert sorted(value.value for value in found) == sorted(expected)
    assert sorted(value.value for value in dead) == sorted(bad)
