"""Decides whether a worker is ready: that events are being scored, or that there is none to score.

Pure: it gets a sample of what is known every half second, and keeps for how long each thing has not changed. Brokers
are judged by the age of their last answer, partitions by their acknowledged offset against the high watermark. So a
worker is unready for what it sees, never for the absence of an error, and the other way round:

- A broker that leads one of our partitions, or the group's coordinator, has been silent for :data:`SILENT_S`.
- A topic has no partitions, a partition's lag is not known, or the group gives us no assignment, for as long.
- Events can be read, and none of a partition was acknowledged for ``stall_timeout_s``; or they cannot be read, because
  a producer's transaction has been open for that long; or they are acknowledged, and no offset is committed.
- A partition is held, or the broker has failed more than once in a row.

A worker without a partition stands by, and is ready. One that is unready is ready again once there has been no reason
for :data:`SETTLED_S`, so that the state does not flap.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Hashable, Mapping
from dataclasses import dataclass, field
from typing import Final

from farthing.kafka.lag import Lag
from farthing.kafka.offsets import Partition

SILENT_S: Final = 10.0
"""After this time without an answer a broker counts as silent, and what is not known as unknown."""

SETTLED_S: Final = 2.0
"""A worker is ready again when there has been no reason against it for this time."""

LONGEST_STEP_S: Final = 2.0
"""A longer time between two samples counts as this: it was the worker itself that stood still."""

CREATE: Final = "create it again, with `farthing topics create`"
GRANT: Final = "grant this client its right to it (deploy/kafka/acls.sh lists them)"
"""What to do about a topic without partitions."""

TURNS: Final = 4
"""Partitions take turns: when another one has had this many since, a partition that waits has been left out."""


@dataclass(frozen=True, slots=True)
class LeaderView:
    """What is known of the broker that leads a partition."""

    answers: int
    """How often it has said where the partition's log ends."""
    name: str = "the leader"
    problem: str = ""
    """What it answered when it was last asked, if not the end of the log."""


@dataclass(frozen=True, slots=True)
class PartitionView:
    """What is known of a partition of ours."""

    leader: LeaderView
    lag: Lag | None
    next_unacknowledged: int | None
    readable_end: int | None = None
    held: str | None = None
    """Why it is not fetched."""


@dataclass(frozen=True, slots=True)
class Sample:
    """What is known at one moment."""

    epoch: int = 0
    """Of the assignment."""
    partitions: Mapping[Partition, PartitionView] | None = field(default_factory=dict)
    """None while the group has not given us an assignment."""
    written: Mapping[Partition, LeaderView] = field(default_factory=dict)
    """Leaders of the partitions that ours are written to."""
    missing: Mapping[str, str] = field(default_factory=dict)
    """Topics without partitions, and what the broker says of each."""
    group: str = "the group"
    coordinator: str = "the coordinator"
    coordinator_answers: int = 0
    coordinator_problem: str = ""
    commits: int = 0
    """How many were acknowledged."""
    uncommitted: bool = False
    """Whether there are acknowledged events whose offsets are not committed."""
    trouble: str | None = None
    """The broker's last error, if it has failed more than once in a row."""


class Readiness:
    """Says whether the worker is ready, sample by sample."""

    def __init__(self, stall_timeout_s: float) -> None:
        self._stall_s = stall_timeout_s
        self._now = 0.0  # seconds that we have been looking
        self._last_look: float | None = None
        self._since: dict[Hashable, tuple[object, float]] = {}
        self._seen: set[Hashable] = set()
        self._advances: dict[Partition, deque[float]] = {}
        self._offsets: dict[Partition, tuple[int, int | None]] = {}
        self._last_advance = 0.0
        self._last_reason = -SETTLED_S
        self._verdict = ("running", "scoring")

    def look(self, sample: Sample, clock_s: float) -> tuple[str, str]:
        """Return state and reason. ``clock_s`` is monotonic seconds, and never goes back."""
        if self._last_look is not None:
            self._now += min(max(clock_s - self._last_look, 0.0), LONGEST_STEP_S)
        self._last_look = clock_s
        self._seen = set()
        self._note_advances(sample)
        reasons = self._reasons(sample)  # all of them, since each keeps its own time
        self._since = {key: self._since[key] for key in self._seen}
        found = next((reason for reason in reasons if reason is not None), None)
        if found is not None:
            self._last_reason = self._now
            self._verdict = found
        elif sample.partitions is None:
            pass  # a rebalance: what was true before it holds until there are partitions, or SILENT_S have passed
        elif self._verdict[0] == "running" or self._now - self._last_reason >= SETTLED_S:
            self._verdict = ("running", "scoring" if sample.partitions else "nothing assigned, standing by")
        return self._verdict

    def _reasons(self, sample: Sample) -> list[tuple[str, str] | None]:
        partitions = sample.partitions or {}
        findings = [
            self._missing(sample.missing),
            self._silent_leader(sample),
            self._silent_coordinator(sample),
            _held(partitions),
            sample.trouble,
            self._open_transaction(sample.epoch, partitions),
            self._stalled(sample.epoch, partitions),
            self._uncommitted(sample),
            self._unknown(sample.epoch, partitions),
        ]
        return [self._joining(sample), *(None if reason is None else ("stalled", reason) for reason in findings)]

    def _unchanged(self, key: Hashable, value: object) -> float:
        """Return for how many seconds a value has been the same; 0 while it is None."""
        self._seen.add(key)
        before = self._since.get(key)
        if before is None or before[0] != value or value is None:
            self._since[key] = value, self._now
        return self._now - self._since[key][1]

    def _note_advances(self, sample: Sample) -> None:
        partitions = sample.partitions or {}
        for partition, view in partitions.items():
            now = (sample.epoch, view.next_unacknowledged)
            before = self._offsets.get(partition)
            if before is not None and before != now:
                self._advances.setdefault(partition, deque(maxlen=TURNS)).append(self._now)
                self._last_advance = self._now
            self._offsets[partition] = now
        for gone in self._offsets.keys() - partitions.keys():
            del self._offsets[gone]
            self._advances.pop(gone, None)

    def _joining(self, sample: Sample) -> tuple[str, str] | None:
        seconds = self._unchanged("joining", True if sample.partitions is None else None)
        if seconds <= SILENT_S:
            return None
        return (
            "joining",
            f"the group {sample.group} has given this worker no partitions for {seconds:.0f} s: it waits for members "
            f"that have not come back{_also(sample.coordinator_problem)}",
        )

    def _missing(self, missing: Mapping[str, str]) -> str | None:
        since = {topic: self._unchanged(("missing", topic), True) for topic in sorted(missing)}
        for topic, seconds in since.items():
            if seconds > SILENT_S:
                remedy = GRANT if "TopicAuthorizationFailed" in missing[topic] else CREATE
                return f"{topic} has had no partitions for {seconds:.0f} s{_also(missing[topic])}: {remedy}"
        return None

    def _silent_leader(self, sample: Sample) -> str | None:
        leaders = {partition: view.leader for partition, view in (sample.partitions or {}).items()}
        leaders |= sample.written
        since = {p: self._unchanged(("answers", p), (sample.epoch, view.answers)) for p, view in leaders.items()}
        silent = [p for p in sorted(since) if since[p] > SILENT_S]
        if not silent:
            return None
        (topic, number), leader = silent[0], leaders[silent[0]]
        others = sum(leaders[p].name == leader.name for p in silent) - 1
        more = f" and {others} more partition{'' if others == 1 else 's'}" if others else ""
        return (
            f"{leader.name} of {topic}[{number}]{more} has not answered for {since[silent[0]]:.0f} s"
            f"{_also(leader.problem)}"
        )

    def _silent_coordinator(self, sample: Sample) -> str | None:
        seconds = self._unchanged("coordinator", sample.coordinator_answers)
        if seconds <= SILENT_S:
            return None
        return (
            f"{sample.coordinator} of the group {sample.group} has not answered for {seconds:.0f} s, so no offset can "
            f"be committed{_also(sample.coordinator_problem)}"
        )

    def _open_transaction(self, epoch: int, partitions: Mapping[Partition, PartitionView]) -> str | None:
        behind = {p: view.lag.unreadable if view.lag is not None else 0 for p, view in partitions.items()}
        since = {
            p: self._unchanged(("open", p), (epoch, view.readable_end) if behind[p] else None)
            for p, view in partitions.items()
        }
        for partition in sorted(since):
            if since[partition] > self._stall_s:
                return (
                    f"{partition[0]}[{partition[1]}]: a producer's transaction has been open for "
                    f"{since[partition]:.0f} s, so {behind[partition]:,} events from offset "
                    f"{partitions[partition].readable_end} on cannot be read yet; end it at its producer, or abort it "
                    "(kafka-transactions.sh)"
                )
        return None

    def _stalled(self, epoch: int, partitions: Mapping[Partition, PartitionView]) -> str | None:
        waiting = {p: view.lag.readable if view.lag is not None else 0 for p, view in partitions.items()}
        since = {
            p: self._unchanged(("advance", p), (epoch, view.next_unacknowledged) if waiting[p] else None)
            for p, view in partitions.items()
        }
        # Slow progress of another partition is progress: this one's turn may be still to come.
        turn = max((times[0] for times in self._advances.values() if len(times) == TURNS), default=-1.0)
        none = self._now - self._last_advance > self._stall_s
        for partition in sorted(since):
            if since[partition] > self._stall_s and (none or turn > self._now - since[partition]):
                return (
                    f"{partition[0]}[{partition[1]}] has a lag of {waiting[partition]:,} events and no progress for "
                    f"{since[partition]:.0f} s: nothing from offset {partitions[partition].next_unacknowledged} on was "
                    "acknowledged"
                )
        return None

    def _uncommitted(self, sample: Sample) -> str | None:
        seconds = self._unchanged("commits", sample.commits if sample.uncommitted else None)
        if seconds <= self._stall_s:
            return None
        return (
            f"events are acknowledged, and no offset was committed for {seconds:.0f} s"
            f"{_also(sample.coordinator_problem)}: after a restart they are scored again"
        )

    def _unknown(self, epoch: int, partitions: Mapping[Partition, PartitionView]) -> str | None:
        since = {
            p: self._unchanged(("unknown", p), epoch if view.lag is None else None) for p, view in partitions.items()
        }
        for partition in sorted(since):
            if since[partition] > SILENT_S:
                at = partitions[partition].next_unacknowledged
                what = "where to begin is not known" if at is None else f"its log does not reach our offset {at}"
                return f"{partition[0]}[{partition[1]}]: for {since[partition]:.0f} s, {what}"
        return None


def _held(partitions: Mapping[Partition, PartitionView]) -> str | None:
    held = {partition: view.held for partition, view in partitions.items() if view.held is not None}
    if not held:
        return None
    (topic, number), reason = min(held.items())
    others = f" (and {len(held) - 1} more partitions)" if len(held) > 1 else ""
    return f"{topic}[{number}] is held{others}: {reason}"


def _also(problem: str) -> str:
    return f" ({problem})" if problem else ""
