"""The ledger's counts of one route beside those of its topics: where they differ, and what else is not as it should be.

The books and the topics are compared up to the offset that the books have come to, so an audit may run while events
are scored: what was answered since is told, and is no difference.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from farthing.audit.recount import Answered


@dataclass(frozen=True, slots=True)
class Account:
    """One count of the ledger: a model's answers to a source partition, from ``base_offset`` to ``next_offset``."""

    topic: str
    partition: int
    model: str
    base_offset: int
    next_offset: int
    scored: int
    dead: int

    @classmethod
    def read(cls, body: Mapping[str, Any]) -> Account:
        """Read one entry of ``/api/accounts``. Raises KeyError, TypeError."""
        whole = (int(body[name]) for name in ("base_offset", "next_offset", "scored", "dead"))
        return cls(str(body["topic"]), int(body["partition"]), str(body["model"]), *whole)


@dataclass(frozen=True, slots=True)
class Compared:
    """One source partition."""

    topic: str
    partition: int
    counted_to: int
    ledger_scored: int
    ledger_dead: int
    scored: int
    dead: int
    repeats: int
    later: int
    foreign: int
    skipped_batches: int
    findings: tuple[str, ...]  # why it does not agree; none: it does
    unknown: str | None = None  # why it cannot be recounted

    def as_dict(self) -> dict[str, Any]:
        """Give it as JSON types."""
        return {name: getattr(self, name) for name in self.__slots__} | {"findings": list(self.findings)}


def counted_to(accounts: Sequence[Account]) -> dict[int, int]:
    """Give for each partition the offset before which some count has counted."""
    found: dict[int, int] = {}
    for account in accounts:
        found[account.partition] = max(found.get(account.partition, 0), account.next_offset)
    return found


def compare(
    topic: str, accounts: Sequence[Account], answered: Mapping[int, Answered], deleted: Mapping[int, str]
) -> list[Compared]:
    """Compare one route, partition by partition.

    Parameters
    ----------
    topic:
        The route's source.
    accounts:
        The ledger's counts of it.
    answered:
        What the topics hold, by partition.
    deleted:
        For partitions whose log no longer begins at offset 0: a sentence that says so.
    """
    bounds = counted_to(accounts)
    return [
        _compare(
            topic,
            partition,
            sorted((a for a in accounts if a.partition == partition), key=lambda a: (a.base_offset, a.next_offset)),
            answered.get(partition, Answered()),
            deleted.get(partition),
        )
        for partition in sorted(bounds.keys() | answered.keys())
    ]


def _compare(
    topic: str, partition: int, accounts: Sequence[Account], answered: Answered, deleted: str | None
) -> Compared:
    findings = []
    for account in accounts:
        span = account.base_offset, account.next_offset
        for what, said, found in (
            ("scored", account.scored, answered.scored.count(*span)),
            ("dead", account.dead, answered.dead.count(*span)),
        ):
            if said != found:
                findings.append(
                    f"offsets {span[0]} to {span[1]} by {account.model}: the ledger has {said:,} {what}, the topics "
                    f"{found:,}"
                )
    for one, other in pairwise(accounts):
        if other.base_offset < one.next_offset:
            findings.append(
                f"offsets {other.base_offset} to {min(one.next_offset, other.next_offset)} are in two counts, of "
                f"{one.model} and {other.model}"
            )
    ledger_scored, ledger_dead = sum(a.scored for a in accounts), sum(a.dead for a in accounts)
    scored, dead = len(answered.scored), len(answered.dead)
    if not findings and (ledger_scored, ledger_dead) != (scored, dead):
        findings.append(
            f"{scored - ledger_scored:,} scored and {dead - ledger_dead:,} dead events lie between the ledger's counts"
        )
    both = answered.both()
    if both:
        findings.append(f"{both:,} events were scored and are dead letters too")
    if answered.later and not accounts:
        findings.append(
            f"{answered.later:,} answers and no count in the ledger; when workers began a moment ago, ask again"
        )
    return Compared(
        topic, partition, max((a.next_offset for a in accounts), default=0), ledger_scored, ledger_dead, scored, dead,
        answered.repeats, answered.later, answered.foreign, answered.skipped_batches,
        () if deleted else tuple(findings), deleted,
    )  # fmt: skip
