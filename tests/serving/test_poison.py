"""Two hundred kinds of strange event, one in a hundred among good ones: none of them stops another.

The long form, 200,000 events and three workers, is in ``tests/campaigns/test_poison_sweep.py``.
"""

import pytest

from farthing.blocks import Status

from . import poison
from .looping import looping

pytestmark = pytest.mark.kafka


def test_there_are_two_hundred_kinds():
    kinds = poison.kinds()
    assert len(kinds) == 200
    assert {Status.OK, Status.MODEL_FAILED, Status.SCORE_TOO_LARGE, Status.NULL_KEY, Status.NULL_VALUE, Status.TOO_LARGE,
            Status.SYNTAX, Status.LONE_SURROGATE, Status.TOO_DEEP} <= {status for _, status in kinds}  # fmt: skip


async def test_every_good_one_is_scored_and_every_strange_one_kept(apache_kafka, make_service, monkeypatch):
    service = make_service(apache_kafka, partitions=2)
    await poison.make_poisoned(service)
    expected = await poison.send(service, 1)
    assert len(expected) == 20_000
    with monkeypatch.context() as patched:
        poison.poison_the_model(patched.setattr)
        async with looping(service) as loop:
            await loop.commits_all(service)
            assert loop.health.ready
    loop.task.result()
    scored, dead, repeats = await poison.check(service, expected)
    assert (scored + dead, repeats) == (20_000, 0)
    assert loop.sample("farthing_events_total", route=service.source, outcome="dead") == dead
    assert loop.sample("farthing_dead_events_total", route=service.source, reason="model_failed") == 5
