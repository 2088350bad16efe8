"""Whether an acknowledgement is progress: not where it was undone before, and no commit has followed."""

from types import SimpleNamespace

import pytest

from farthing.errors import BrokerError
from farthing.kafka import KafkaSettings, OffsetTracker
from farthing.kafka.lag import LogEnds, lag
from farthing.process.probes import Health
from farthing.serving import progress as module
from farthing.serving.metrics import Metrics
from farthing.serving.progress import LOOK_EVERY_S, Progress

PLACE = ("e", 0)
TROUBLE = BrokerError("commit: COORDINATOR_NOT_AVAILABLE", retriable=True)


class Consumer:
    """One partition, whose log ends at 10."""

    epoch, rebalances, rebalance_seconds, assignment, held = 0, 1, 0.0, [PLACE], {}

    def __init__(self):
        self.ends = LogEnds(lambda: 0.0)
        self.end = SimpleNamespace(high_watermark=10, readable=10)

    def lag(self, next_unacknowledged):
        return {PLACE: lag(self.end, next_unacknowledged(PLACE))}

    def refresh(self):
        pass


@pytest.fixture
def offsets():
    return OffsetTracker()


@pytest.fixture
def consumer():
    return Consumer()


@pytest.fixture
def progress(consumer, offsets):
    topics = {"e": ("scores", "dead")}
    made = Progress(KafkaSettings(), topics, consumer, offsets, Metrics({"e": "model"}), Health(), stall_timeout_s=3.0)
    made.begin()
    return made


def cycle(progress, consumer, offsets):
    """Score and produce everything; the commit fails, and it is undone."""
    offsets.assign(PLACE, 0)
    offsets.ack(offsets.begin(PLACE, 0, 10))
    progress.made()
    progress.calm()
    progress.trouble(TROUBLE)
    progress.undone()
    offsets.revoke([PLACE])
    consumer.epoch += 1


def test_commits_that_always_fail_are_said_though_all_is_produced(progress, consumer, offsets):
    looks = []
    for _ in range(4):
        cycle(progress, consumer, offsets)
        looks.append(progress._sample())
    assert all(sample.uncommitted for sample in looks)
    assert looks[-1].trouble == str(TROUBLE)
    offsets.assign(PLACE, 0)
    offsets.ack(offsets.begin(PLACE, 0, 10))
    offsets.committed({PLACE: 10})
    progress.committed()
    sample = progress._sample()
    assert (sample.uncommitted, sample.trouble) == (False, None)


def test_what_was_undone_is_forgotten_where_nothing_is_left_to_score(progress, consumer, offsets):
    cycle(progress, consumer, offsets)
    offsets.assign(PLACE, 5)
    progress.calm()
    assert progress._sample().uncommitted  # five events are still to be scored
    offsets.assign(PLACE, 10)  # it was committed after all
    progress.calm()
    assert not progress._sample().uncommitted


def test_the_worker_is_stalled(progress, consumer, offsets, monkeypatch):
    now = [0.0]
    monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: now[0]))
    for _ in range(20):
        cycle(progress, consumer, offsets)
        progress._look()
        now[0] += LOOK_EVERY_S
    assert progress._health.state == "stalled"
