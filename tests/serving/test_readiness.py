"""Ready means scoring: a state machine over samples, with a clock of its own, against worlds that are made up."""

from dataclasses import dataclass, field, replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from farthing.kafka.lag import LogEnd, lag
from farthing.serving.readiness import (
    LONGEST_STEP_S,
    SETTLED_S,
    SILENT_S,
    LeaderView,
    PartitionView,
    Readiness,
    Sample,
)

STALL_S = 60.0
EVERY_S = 0.5
P, Q, R = ("events", 0), ("events", 1), ("events", 2)


@dataclass
class Log:
    """One partition: its end, how far it may be read, how far it is acknowledged, and whether its leader answers."""

    high: int = 100
    stable: int | None = None
    done: int | None = 100
    answers: int = 0
    leader: str = "broker 1 (one:9092), the leader"

    def view(self):
        readable = self.high if self.stable is None else self.stable
        found = lag(LogEnd(self.high, readable), self.done)
        return PartitionView(LeaderView(self.answers, self.leader), found, self.done, readable)


@dataclass
class World:
    """What a worker sees, moment by moment."""

    logs: dict = field(default_factory=lambda: {P: Log(), Q: Log(), R: Log()})
    silent: set = field(default_factory=set)  # brokers
    coordinator: str = "broker 1 (one:9092), the leader"
    answers: int = 0
    more: dict = field(default_factory=dict)
    clock_s: float = 1_000.0

    def __post_init__(self):
        self.readiness = Readiness(STALL_S)
        self.state, self.reason = self.look()

    def look(self):
        for log in self.logs.values():
            log.answers += log.leader not in self.silent
        self.answers += self.coordinator not in self.silent
        sample = Sample(
            partitions={partition: log.view() for partition, log in self.logs.items()},
            coordinator=self.coordinator, coordinator_answers=self.answers,
        )  # fmt: skip
        return self.readiness.look(replace(sample, **self.more), self.clock_s)

    def run(self, seconds, every=lambda: None):
        """Let time pass; gives the states seen."""
        seen = []
        for _ in range(round(seconds / EVERY_S)):
            self.clock_s += EVERY_S
            every()
            self.state, self.reason = self.look()
            seen.append(self.state)
        return seen


READY = {"running"}


def test_a_topic_where_nothing_happens_stays_ready():
    world = World()
    assert set(world.run(2 * 3600)) == READY
    assert world.reason == "scoring"


@pytest.mark.parametrize("silent", [1, 2])
def test_a_frozen_broker_is_named_in_time_and_forgiven(silent):
    """One of two brokers or the only one, and it need not be one with anything to read."""
    world = World()
    world.logs[Q].leader = "broker 2 (two:9092), the leader"
    assert set(world.run(20)) == READY
    world.silent.add(world.logs[Q].leader)
    if silent == 2:
        world.silent.add(world.logs[P].leader)
    states = world.run(60)
    assert states.index("stalled") * EVERY_S <= SILENT_S + 1
    assert set(states[states.index("stalled") :]) == {"stalled"}
    number = "0" if silent == 2 else "1"
    assert f"of events[{number}]" in world.reason and "has not answered for" in world.reason
    assert world.reason.startswith("broker 1 (one:9092)" if silent == 2 else "broker 2 (two:9092)")
    world.silent.clear()
    assert set(world.run(SETTLED_S + 1)[-1:]) == READY


def test_partitions_of_one_silent_broker_are_one_finding():
    world = World()
    world.silent.add(world.logs[P].leader)
    world.coordinator = "elsewhere"
    world.run(15)
    assert "of events[0] and 2 more partitions has not answered" in world.reason


def test_the_coordinator_alone_is_silent():
    world = World(coordinator="the coordinator, broker 3 (three:9092),")
    world.silent.add(world.coordinator)
    world.more = {"group": "g"}
    states = world.run(30)
    assert states.index("stalled") * EVERY_S <= SILENT_S + 1
    assert world.reason.startswith("the coordinator, broker 3 (three:9092), of the group g has not answered for")


def test_a_leader_that_scores_are_written_to_is_silent():
    world = World()
    world.more = {"written": {("scores", 4): LeaderView(7, "broker 9, the leader", "RequestTimedOutError")}}
    world.run(15)
    assert world.reason.startswith("broker 9, the leader of scores[4] has not answered")
    assert "(RequestTimedOutError)" in world.reason


def test_a_topic_without_partitions_and_a_worker_that_stands_by():
    world = World(logs={})
    assert set(world.run(3600)) == READY
    assert world.reason == "nothing assigned, standing by"
    world.more = {"missing": {"events": "UnknownTopicOrPartitionError"}}
    states = world.run(40)
    assert states.index("stalled") * EVERY_S <= SILENT_S + 1
    assert "events has had no partitions for" in world.reason and "UnknownTopicOrPartitionError" in world.reason
    world.more = {}
    assert world.run(SETTLED_S + 1)[-1] == "running"


def test_an_old_open_transaction_is_named_with_its_offset():
    world = World()
    log = world.logs[Q]
    log.stable = 100

    def write():
        log.high += 10

    states = world.run(STALL_S + 5, write)
    assert states.index("stalled") * EVERY_S == pytest.approx(STALL_S, abs=2)
    assert "events[1]: a producer's transaction has been open for" in world.reason
    assert "from offset 100 on" in world.reason
    log.stable = None

    def score():
        log.done = log.high

    assert world.run(SETTLED_S + 1, score)[-1] == "running"


def test_transactions_that_end_are_no_matter():
    world = World()
    log = world.logs[P]

    def turn():
        log.high += 10
        log.stable = log.done = log.high - 5

    assert set(world.run(600, turn)) == READY


def test_one_partition_stands_while_the_others_go_on():
    world = World()
    world.logs[R].high = 150

    def others():
        for p in (P, Q):
            world.logs[p].high += 5
            world.logs[p].done += 5

    states = world.run(STALL_S + 10, others)
    assert states.index("stalled") * EVERY_S == pytest.approx(STALL_S, abs=3)
    assert "events[2] has a lag of 50 events and no progress for" in world.reason
    assert "nothing from offset 100 on" in world.reason


@given(st.integers(1, 8), st.floats(1.0, STALL_S - 2.0))
@settings(max_examples=30)
def test_slow_progress_is_progress(partitions, pause_s):
    """However many partitions wait: one block of one of them in turn, in less than the stall timeout."""
    logs = {("events", n): Log(high=1_000_000, done=0) for n in range(partitions)}
    world = World(logs=logs)
    turn, due = 0, world.clock_s

    def slowly():
        nonlocal turn, due
        if world.clock_s >= due + pause_s:
            due = world.clock_s
            world.logs["events", turn % partitions].done += 1
            turn += 1

    assert set(world.run(4 * STALL_S * min(partitions, 4), slowly)) == READY


def test_acknowledged_and_never_committed():
    world = World()
    world.more = {"uncommitted": True, "commits": 3, "coordinator_problem": "NotCoordinatorForGroupError"}

    def score():
        world.logs[P].high += 5
        world.logs[P].done += 5

    states = world.run(STALL_S + 10, score)
    assert states.index("stalled") * EVERY_S == pytest.approx(STALL_S, abs=2)
    assert "no offset was committed for" in world.reason and "NotCoordinatorForGroupError" in world.reason
    world.more["commits"] = 4
    assert world.run(SETTLED_S + 1, score)[-1] == "running"


def test_a_rebalance_is_short_or_told():
    world = World()
    world.more = {"partitions": None, "group": "g"}
    assert set(world.run(SILENT_S)) == READY
    assert world.run(5)[-1] == "joining"
    assert "the group g has given this worker no partitions for" in world.reason
    world.more = {}
    assert world.run(SETTLED_S + 1)[-1] == "running"


def test_a_position_that_is_not_known_or_beyond_the_log():
    world = World()
    world.logs[P].done = None
    world.run(15)
    assert "events[0]: for" in world.reason and "where to begin is not known" in world.reason
    world.logs[P].done = 170
    world.run(15)
    assert "its log does not reach our offset 170" in world.reason


def test_a_hold_and_an_error_count_at_once():
    world = World()
    world.more = {"trouble": "fetch from broker 1: KafkaConnectionError"}
    assert world.run(1) == ["stalled", "stalled"]
    assert world.reason == "fetch from broker 1: KafkaConnectionError"
    world.more = {"partitions": {P: replace(Log().view(), held="a bad batch"), Q: replace(Log().view(), held="b")}}
    world.run(1)
    assert world.reason == "events[0] is held (and 1 more partitions): a bad batch"


@given(st.lists(st.floats(0, 1e9), max_size=20))
def test_a_worker_that_stood_still_accuses_nobody(gaps):
    """SIGSTOP, a machine that slept, a clock of whatever kind that jumped: one look afterwards is no evidence."""
    world = World()
    world.silent.add(world.coordinator)
    for gap in gaps:
        world.clock_s += gap
        world.silent.clear()
        state, _ = world.look()
        assert state == "running"
        world.silent.add(world.coordinator)
        world.clock_s += gap
        state, _ = world.look()  # one look without an answer
        assert state == "running"
        world.clock_s -= gap / 2
        assert world.look()[0] == "running"
        world.silent.clear()
        world.look()


FAULTS = st.sampled_from(["silent", "coordinator", "stuck", "open", "lost", "uncommitted", "trouble", "none", "none"])


@given(st.lists(st.tuples(FAULTS, st.floats(0.5, 100.0)), max_size=12), st.integers(0, 5))
@settings(max_examples=60)
def test_no_state_flaps_and_every_one_ends(story, jitter):
    """Whatever happens in whatever order: unready lasts at least SETTLED_S, and ends as soon as nothing is wrong."""
    world = World()
    fault = "none"
    tick = 0

    def turn():
        nonlocal tick
        tick += 1
        world.silent = {"silent": {Log.leader}, "coordinator": {world.coordinator}}.get(fault, set())
        world.logs[P].high += 1
        world.logs[Q].high += tick % (jitter + 1) == 0
        for partition, log in world.logs.items():
            log.stable = min(log.high, log.stable or log.high) if fault == "open" else None
            if fault == "open" and log.stable is None:
                log.stable = log.high
            if not (fault == "stuck" and partition == P):
                log.done = log.high if log.stable is None else log.stable
        world.more = {
            "missing": {"events": ""} if fault == "lost" else {},
            "uncommitted": True,
            "commits": world.more.get("commits", 0) + (fault != "uncommitted"),
            "trouble": "an error" if fault == "trouble" and tick % 3 else None,
        }

    states = []
    for fault, seconds in story:  # noqa: B007 - turn() reads it
        states += world.run(seconds, turn)
    fault = "none"
    states += world.run(SETTLED_S + 2 * EVERY_S, turn)
    assert states[-1] == "running"
    spells = [len(spell) for spell in "".join(" u"[s != "running"] for s in states).split()]
    assert all(n * EVERY_S >= SETTLED_S for n in spells)


def test_the_longest_step_is_several_looks():
    """A busy machine looks late: that must not cost it the time that it watched."""
    assert EVERY_S < LONGEST_STEP_S < SILENT_S / 2


def test_what_to_do_about_a_topic_without_partitions():
    for problem, advice in (
        ("UnknownTopicOrPartitionError", "create it again"),
        ("TopicAuthorizationFailedError", "right"),
    ):
        readiness = Readiness(STALL_S)
        for second in range(15):
            state, reason = readiness.look(Sample(coordinator_answers=second, missing={"e": problem}), float(second))
        assert state == "stalled" and advice in reason
