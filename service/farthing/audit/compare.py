"""Compares the ledger's counts of one route with those of its topics, and says where they differ or are inconsistent.

The books and the topics are compared up to the offset that the books have reached, so an audit may run while events
are scored: what was answered since then is reported, but it is not a difference.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Final

from farthing.audit.recount import Outcomes, partition_and_log, place_of

LEDGER: Final = "the ledger"
BOOKS: Final = "the books"
"""What the counts are called: a ledger's, or the workers' own totals without one."""


@dataclass(frozen=True, slots=True)
class LedgerCount:
    """One count of the ledger: a model's answers to a source partition, from ``base_offset`` to ``next_offset``."""

    topic: str
    partition: int
    model: str
    base_offset: int
    next_offset: int
    scored: int
    dead: int
    log: int = 0  # the number of the log: it rises when the topic is created again
    lost: int = 0  # events before base_offset that were deleted before they were scored

    @property
    def place(self) -> int:
        """The log that was counted, see :func:`farthing.audit.recount.place_of`."""
        return place_of(self.partition, self.log)

    @classmethod
    def read(cls, body: Mapping[str, Any]) -> LedgerCount:
        """Read one entry of ``/api/accounts``. Raises KeyError, TypeError."""
        whole = (int(body[name]) for name in ("base_offset", "next_offset", "scored", "dead"))
        later = (int(body.get(name, 0)) for name in ("log", "lost"))
        return cls(str(body["topic"]), int(body["partition"]), str(body["model"]), *whole, *later)


@dataclass(frozen=True, slots=True)
class Compared:
    """One log of a source partition."""

    topic: str
    partition: int
    log: int
    counted_to: int
    ledger_scored: int
    ledger_dead: int
    scored: int
    dead: int
    repeats: int
    later: int
    foreign: int
    skipped_batches: int
    lost: int
    findings: tuple[str, ...]  # why it does not agree; empty if it does
    unknown: str | None = None  # why it cannot be recounted

    def as_dict(self) -> dict[str, Any]:
        """Return the comparison as JSON types."""
        return {name: getattr(self, name) for name in self.__slots__} | {"findings": list(self.findings)}


def counted_to(accounts: Sequence[LedgerCount]) -> dict[int, int]:
    """Return the offset that the ledger's counts of each log have reached."""
    ends: dict[int, int] = {}
    for account in accounts:
        ends[account.place] = max(ends.get(account.place, 0), account.next_offset)
    return ends


def compare(
    topic: str, accounts: Sequence[LedgerCount] | None, outcomes: Mapping[int, Outcomes], deleted: Mapping[int, str],
    books: str = LEDGER,
) -> list[Compared]:  # fmt: skip
    """Compare one route, log by log.

    Parameters
    ----------
    topic:
        The route's source.
    accounts:
        The ledger's counts of it; None: there are no books, and nothing is compared with them.
    outcomes:
        What the topics hold, by partition and log (:func:`farthing.audit.recount.place_of`).
    deleted:
        For partitions whose log no longer begins at offset 0: a sentence that says so.
    books:
        What the counts are called.
    """
    if accounts is None:
        return [
            _recounted(topic, place, outcomes[place], deleted.get(partition_and_log(place)[0]))
            for place in sorted(outcomes)
        ]
    bounds = counted_to(accounts)
    return [
        _compare(
            topic,
            place,
            sorted((a for a in accounts if a.place == place), key=lambda a: (a.base_offset, a.next_offset)),
            outcomes.get(place, Outcomes()),
            deleted.get(partition_and_log(place)[0]),
            books,
        )
        for place in sorted(bounds.keys() | outcomes.keys())
    ]


def _recounted(topic: str, place: int, outcomes: Outcomes, deleted: str | None) -> Compared:
    both = outcomes.both()
    findings = (f"{both:,} events were scored and are dead letters too",) if both else ()
    return Compared(
        topic, *partition_and_log(place), 0, 0, 0, len(outcomes.scored), len(outcomes.dead), outcomes.repeats, 0,
        outcomes.foreign, outcomes.skipped_batches, 0, findings, deleted or "there are no books to compare it with",
    )  # fmt: skip


def _compare(
    topic: str, place: int, accounts: Sequence[LedgerCount], outcomes: Outcomes, deleted: str | None, books: str
) -> Compared:
    findings, has = [], "has" if books == LEDGER else "have"
    for account in accounts:
        span = account.base_offset, account.next_offset
        for what, in_ledger, in_topics in (
            ("scored", account.scored, outcomes.scored.count(*span)),
            ("dead", account.dead, outcomes.dead.count(*span)),
        ):
            if in_ledger != in_topics:
                findings.append(
                    f"offsets {span[0]} to {span[1]} by {account.model}: {books} {has} {in_ledger:,} {what}, the "
                    f"topics {in_topics:,}"
                )
    for one, other in pairwise(accounts):
        if other.base_offset < one.next_offset:
            findings.append(
                f"offsets {other.base_offset} to {min(one.next_offset, other.next_offset)} are in two counts, of "
                f"{one.model} and {other.model}"
            )
    ledger_scored, ledger_dead = sum(a.scored for a in accounts), sum(a.dead for a in accounts)
    scored, dead = len(outcomes.scored), len(outcomes.dead)
    if not findings and (ledger_scored, ledger_dead) != (scored, dead):
        findings.append(
            f"{scored - ledger_scored:,} scored and {dead - ledger_dead:,} dead events lie between the counts of "
            f"{books}"
        )
    both = outcomes.both()
    if both:
        findings.append(f"{both:,} events were scored and are dead letters too")
    if outcomes.later and not accounts:
        findings.append(f"{outcomes.later:,} answers and no count in {books}; if workers began just now, audit again")
    return Compared(
        topic, *partition_and_log(place), max((a.next_offset for a in accounts), default=0), ledger_scored, ledger_dead,
        scored, dead, outcomes.repeats, outcomes.later, outcomes.foreign, outcomes.skipped_batches,
        sum(a.lost for a in accounts), () if deleted else tuple(findings), deleted,
    )  # fmt: skip
