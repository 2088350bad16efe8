"""Judges what a service did, from what lies in its topics: no clock, no broker, none of the code that it judges.

The words are Jepsen's, for one source event (a *place*: partition and offset) and its answer, a score or a dead letter:

============  ======================================================================================================
lost          a place without an answer, or an event that its producer knows to be written and the source lacks
duplicated    an answer more than the one that a place is due (allowed at least once, never exactly once)
corrupted     an answer with other bytes than its event is due: value, key, or the other kind of answer
reordered     inside one incarnation of a worker an answer stands before that of an earlier place
foreign       an answer to no place: to an aborted event, to another topic's, or written by someone else
poll-skip     an answer appears while an earlier place of its partition has none yet: positions went past events
early         a place is committed before it is answered for the first time
late          a place is answered again after it was committed, by more than the one block that a worker had under way
              when it lost its partition without noticing: so only what was answered since the last commit is repeated
books         the usage that was counted is not what the topics hold, or the ledger and the audit disagree
============  ======================================================================================================

An *incarnation* is what one producer id wrote between two times that its positions were set: it shows in the sink as a
row of record batches, each of which goes on where the last one ended.
"""

from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

ANOMALIES = ("lost", "duplicated", "corrupted", "reordered", "foreign", "poll-skip", "early", "late", "books")
SHOWN = 5

Place = tuple[int, int]
"""(partition, offset) in the source."""


class Due(NamedTuple):
    """What one event must be answered with."""

    key: bytes | None
    value: bytes | None
    """The score record's value, or that of the dead letter: the event's own."""
    dead: bool


class Answer(NamedTuple):
    """One record of the sink or of the dead letters, in the order of its topic's partition."""

    place: Place | None
    """None if it does not say which event it answers."""
    key: bytes | None
    value: bytes | None
    producer: tuple[int, int]
    """Producer id and epoch of its batch."""
    batch: int
    """Base offset of its batch."""
    next_offset: int | None = None
    """Of a dead letter that holds a whole record batch: it answers all places from its own to before this offset."""
    time_ms: int = 0
    """When the broker appended it."""


class Commit(NamedTuple):
    """One committed position of a partition of the source."""

    partition: int
    offset: int
    time_ms: int
    """When the broker appended it."""


@dataclass(frozen=True)
class History:
    """Everything that is judged. ``scores`` and ``dead`` are in log order, partition by partition."""

    due: Mapping[Place, Due]
    scores: Iterable[Answer]
    dead: Iterable[Answer]
    unwritten: Iterable[str] = ()
    """Ids that the broker acknowledged to the source's producer and the source does not have."""
    usage: Mapping[int, tuple[int, int]] | None = None
    """Events that each partition's usage records count: (scored, dead)."""
    commits: Iterable[Commit] = ()
    """What was committed, each partition's in the order of time."""
    audit: str | None = None
    """What an audit found to be wrong; empty if nothing."""


@dataclass
class Verdict:
    """Anomalies by name, how often each was found, and the first examples."""

    counts: Counter[str] = field(default_factory=Counter)
    examples: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    answers: int = 0
    incarnations: int = 0

    def found(self, anomaly: str, example: str, times: int = 1) -> None:
        """Note an anomaly."""
        assert anomaly in ANOMALIES
        self.counts[anomaly] += times
        if len(self.examples[anomaly]) < SHOWN:
            self.examples[anomaly].append(example)

    def wrong(self, *, exactly_once: bool = False) -> dict[str, list[str]]:
        """Return what may not be: at least once, answers may be repeated, but not with other bytes."""
        allowed = set() if exactly_once else {"duplicated"}
        return {name: self.examples[name] for name in ANOMALIES if self.counts[name] and name not in allowed}


def judge(history: History) -> Verdict:
    """Compare the answers with what was due."""
    verdict = Verdict()
    answered: dict[bool, Counter[Place]] = {}
    letters = list(history.dead)
    whole = {place for letter in letters if letter.next_offset is not None for place in _covered(letter, history.due)}
    for dead, answers in ((False, list(history.scores)), (True, letters)):
        answered[dead] = _read(history.due, whole, answers, dead=dead, verdict=verdict)
        verdict.answers += len(answers)
        _compare_with_commits(history, answers, verdict)
    for place, due in history.due.items():
        times = answered[False][place] + answered[True][place]
        if not times:
            verdict.found("lost", f"{_at(place)} ({due.key!r}) has no answer")
        elif times > 1:
            verdict.found("duplicated", f"{_at(place)} has {times} answers", times - 1)
    for name in history.unwritten:
        verdict.found("lost", f"the source lacks {name}, which the broker had acknowledged")
    _check_books(history, answered, whole, verdict)
    return verdict


def _read(
    due: Mapping[Place, Due], whole: set[Place], answers: list[Answer], *, dead: bool, verdict: Verdict
) -> Counter[Place]:
    """Judge one topic, and count the answers of each place; ``whole`` has those that letters of whole batches answer."""
    answered: Counter[Place] = Counter()
    order = _ranks(place for place, event in due.items() if event.dead == dead and place not in whole)
    appeared: dict[int, int] = defaultdict(int)  # by partition: ranks below this one have appeared, or were noted
    missing: dict[int, set[int]] = defaultdict(set)  # ranks that were skipped
    last: dict[tuple[int, tuple[int, int]], tuple[int, int]] = {}  # by partition and producer: batch and rank
    for answer in answers:
        if answer.place is None:
            verdict.found("foreign", f"a record by {answer.producer} does not say which event it answers")
            continue
        if answer.next_offset is not None:  # a whole batch: its events' own dead letters never come
            answered.update(_covered(answer, due))
            continue
        event = due.get(answer.place)
        if event is None:
            verdict.found("foreign", f"{_at(answer.place)} is answered, and there is no such event")
            continue
        answered[answer.place] += 1
        if answer.place in whole:
            continue
        if event.dead != dead:
            verdict.found(
                "corrupted", f"{_at(answer.place)} is {'a dead letter' if dead else 'scored'}, and should not"
            )
            continue
        for what, is_there, owed in (("value", answer.value, event.value), ("key", answer.key, event.key)):
            if is_there != owed:
                verdict.found("corrupted", f"{_at(answer.place)} has another {what}: {is_there!r}, due {owed!r}"[:400])
        _place_in_order(answer, order[answer.place], appeared, missing, last, verdict)
    return answered


def _place_in_order(answer, rank, appeared, missing, last, verdict):
    """Compare an answer's rank with those before it in its partition and in its incarnation."""
    partition = answer.place[0]
    if rank > appeared[partition]:
        skipped = range(appeared[partition], rank)
        missing[partition].update(skipped)
        verdict.found("poll-skip", f"{_at(answer.place)} is answered before {len(skipped)} earlier ones", len(skipped))
    elif rank in missing[partition]:
        missing[partition].discard(rank)
        verdict.found("reordered", f"{_at(answer.place)} is answered after later ones")
    appeared[partition] = max(appeared[partition], rank + 1)
    owner = partition, answer.producer
    batch, before = last.get(owner, (-1, -2))
    if answer.batch == batch and rank <= before:
        verdict.found("reordered", f"{_at(answer.place)} is answered after later ones of its batch")
    verdict.incarnations += rank != before + 1
    last[owner] = answer.batch, rank


def _compare_with_commits(history: History, answers: list[Answer], verdict: Verdict) -> None:
    """Judge when the places of one topic were committed. Times are milliseconds, so equal ones say nothing."""
    times: dict[int, list[int]] = defaultdict(list)
    furthest: dict[int, list[int]] = defaultdict(list)  # what was committed by then
    for commit in history.commits:
        times[commit.partition].append(commit.time_ms)
        furthest[commit.partition].append(max([commit.offset, *furthest[commit.partition][-1:]]))
    known: set[Place] = set()
    excused: dict[tuple[int, tuple[int, int]], int] = {}  # by partition and producer: the one batch that came late
    for answer in answers:
        if answer.place is None or answer.place not in history.due:
            continue
        partition, offset = answer.place
        before = bisect_left(times[partition], answer.time_ms)
        is_committed = before > 0 and offset < furthest[partition][before - 1]
        if is_committed and answer.place not in known:
            verdict.found("early", f"{_at(answer.place)} was committed before it was answered")
        elif is_committed and excused.setdefault((partition, answer.producer), answer.batch) != answer.batch:
            verdict.found("late", f"{_at(answer.place)} is answered again after it was committed")
        known.add(answer.place)


def _covered(letter: Answer, due: Mapping[Place, Due]) -> list[Place]:
    """List the places that a letter with a whole batch answers."""
    assert letter.place is not None
    partition, first = letter.place
    return [(partition, offset) for offset in range(first, letter.next_offset or 0) if (partition, offset) in due]


def _check_books(
    history: History, answered: Mapping[bool, Counter[Place]], whole: set[Place], verdict: Verdict
) -> None:
    """Compare what was counted with what was answered: of a batch that nobody could read no event is counted."""
    if history.audit:
        verdict.found("books", history.audit)
    if history.usage is None:
        return
    owed: dict[int, list[int]] = defaultdict(lambda: [0, 0])
    for dead, places in answered.items():
        for partition, _ in (place for place in places if place in history.due and place not in whole):
            owed[partition][dead] += 1
    for partition in sorted(owed.keys() | history.usage.keys()):
        counted, there = tuple(history.usage.get(partition, (0, 0))), tuple(owed[partition])
        if counted != there:
            verdict.found("books", f"[{partition}]: usage has (scored, dead) = {counted}, the topics have {there}")


def _ranks(places: Iterable[Place]) -> dict[Place, int]:
    """Number each partition's places in the order of their offsets."""
    ranks: dict[Place, int] = {}
    following: Counter[int] = Counter()
    for place in sorted(places):
        ranks[place] = following[place[0]]
        following[place[0]] += 1
    return ranks


def _at(place: Place) -> str:
    return f"[{place[0]}] {place[1]}"
