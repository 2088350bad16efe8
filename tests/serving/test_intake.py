"""A fetch that brought few bytes is followed by a pause; one that brought none, or many, is not."""

import asyncio
from types import SimpleNamespace

import pytest

from farthing.blocks import FetchedPartition
from farthing.kafka import Fetched
from farthing.serving.backlog import SMALL_BYTES, Backlog
from farthing.serving.intake import Intake


class Consumer:
    """Brings fetches of these sizes, one after the other."""

    def __init__(self, *sizes):
        self.sizes = list(sizes)

    async def fetch(self):
        size = self.sizes.pop(0)
        return Fetched(0, (FetchedPartition("t", 0, 0, 9, bytes(size)),) if size else ())


@pytest.mark.parametrize(
    ("linger_s", "sizes", "pauses"),
    [
        (0.002, (100, 100, 100), 2),
        (0.002, (0, 0, 100), 0),
        (0.002, (100, 0, 100), 1),
        (0.002, (SMALL_BYTES, 0), 1),
        (0.002, (SMALL_BYTES + 1, 1 << 20, 100), 0),
        (0.0, (100, 100, 100), 0),
    ],
)
async def test_a_pause_follows_a_small_fetch(monkeypatch, linger_s, sizes, pauses):
    slept = []

    async def sleep(seconds):
        slept.append(seconds)

    monkeypatch.setattr(asyncio, "sleep", sleep)
    intake = Intake(Consumer(*sizes), Backlog(1 << 20), SimpleNamespace(took=lambda *_: None), linger_s)
    for size in sizes:
        assert sum(len(part.data) for part in (await intake.fetch()).partitions) == size
    assert slept == [linger_s] * pauses
