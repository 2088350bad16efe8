"""All accounts and workers together: records are posted here, and every statement is made from it.

Pure: records in, totals out; the caller has the tables, the topics and the clock.
"""

from __future__ import annotations

import threading
from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Final

from farthing.ledger.ages import Ages, ByRoute
from farthing.ledger.books import CLOCKS_APART_MS, Account, post
from farthing.meter.latencies import percentile_ms
from farthing.meter.records import OTHER, Heartbeat, TenantCount, UsageRecord
from farthing.meter.untrusted import Refused, shown
from farthing.meter.usage import UsageTotals, added_up

ALIVE_WITHIN_MS: Final = 10_000
"""A worker whose last heartbeat is older is considered dead."""

MISSED_FOR_MS: Final = 3_600_000
"""How long a worker that went silent without saying that it stops is still reported."""

OWNERLESS_FOR_MS: Final = 60_000
"""How long the partitions of a silent worker may have no owner (``kafka.session_timeout_ms`` and some more)."""

MOST_ACCOUNTS: Final = 200_000
MOST_SUBJECTS: Final = 2_000
MOST_PROCESSES: Final = 50_000
MOST_TENANTS: Final = 1_000_000
MOST_HEARTBEAT_BYTES: Final = 3 << 29
"""What the books have room for: counts, routes with their models, processes ever seen, tenants of all counts together
(beyond, tenants of a count are not told apart), and memory of the last heartbeats (beyond half of it, latencies and
samples of texts are left out). Full of usual records, that is about 1.5 GiB: 3.5 KiB a count, 8 KiB a process, 0.3 KiB
a tenant. Whoever may write to the topics can invent names, but no more than this, and write larger records: heartbeats
then take 1.5 GiB, two minutes of their ages (:mod:`farthing.ledger.ages`) 0.5 GiB, and a count with all size classes
27 KiB."""

_MOST_UP_MS: Final = 10 * 365 * 86_400_000
_VERY_OLD_MS: Final = 1 << 62
_MOMENTS_KEPT: Final = 120
_MOMENT_MS: Final = 1_000


@dataclass(frozen=True, slots=True)
class Subject:
    """What a total counts: events of a route's source topic that were scored with one model."""

    topic: str
    model: str
    task: str


@dataclass(frozen=True, slots=True)
class Moment:
    """Running totals at one moment, from which rates are computed."""

    at_ms: int
    scored: Mapping[Subject, int]
    ages: ByRoute  # over all workers


@dataclass(slots=True)
class Ledger:
    """Keeps the furthest record of every count, and the last heartbeat of every worker process.

    One thread posts and reads. Others take a copy (:meth:`copied`): records are never changed, only replaced, and the
    lock keeps the mappings from changing while they are copied.
    """

    accounts: dict[bytes, Account] = field(default_factory=dict)
    beats: dict[bytes, Heartbeat] = field(default_factory=dict)
    heard_ms: dict[bytes, int] = field(default_factory=dict)  # when, by the ledger's clock
    _moments: deque[Moment] = field(default_factory=lambda: deque(maxlen=_MOMENTS_KEPT))
    _ages: Ages = field(default_factory=Ages, compare=False)
    _beat_bytes: int = 0  # of all heartbeats together
    _subjects: set[Subject] = field(default_factory=set)
    _tenants: int = 0  # in all accounts together
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False, compare=False)

    @classmethod
    def restored(
        cls,
        accounts: Iterable[tuple[bytes, bytes]],
        beats: Iterable[tuple[bytes, bytes]],
        *,
        refuse: Callable[[str, Refused], None] = lambda _table, _error: None,
    ) -> Ledger:
        """Read the tables' values; each that cannot be read or has no room is left out, and ``refuse`` is told."""
        ledger = cls()
        for _, value in accounts:
            try:
                ledger._keep(Account.decode(value))
            except Refused as error:
                refuse("accounts", error)
        for _, value in beats:
            try:
                ledger.beat(Heartbeat.decode(value))
            except Refused as error:
                refuse("workers", error)
        return ledger

    def copied(self) -> Ledger:
        """Return a copy of the books for another thread: what is posted later does not show in it."""
        with self._lock:
            return Ledger(dict(self.accounts), dict(self.beats), dict(self.heard_ms), self._moments.copy())

    def post(self, record: UsageRecord) -> Account | None:
        """Post a usage record; returns the account if it changed, to be stored.

        Raises
        ------
        Refused
            It is a new count, and there is no room for more.
        """
        previous = self.accounts.get(record.key)
        account = post(previous, record)
        return None if account is previous else self._keep(account)

    def _keep(self, account: Account) -> Account | None:
        record = account.record
        previous = self.accounts.get(record.key)
        if previous is None:
            subject = Subject(record.topic, record.model, record.task)
            if any(character < " " for character in f"{record.topic}{record.model}{record.task}"):
                raise Refused("damaged", f"a count of {shown(record.topic)}: a name has control characters")
            full = len(self.accounts) >= MOST_ACCOUNTS
            if full or (len(self._subjects) >= MOST_SUBJECTS and subject not in self._subjects):
                raise Refused(
                    "too_many",
                    f"a count of {record.topic}[{record.partition}] by {record.model}: there is no room for more than "
                    f"{MOST_ACCOUNTS:,} counts and {MOST_SUBJECTS:,} routes and models",
                )
            self._subjects.add(subject)
        elif record.next_offset < previous.record.next_offset:
            return None
        had = 0 if previous is None else len(previous.record.tenants)
        if self._tenants - had + len(record.tenants) > MOST_TENANTS and len(record.tenants) > had:
            account = account.without_tenants()
        self._tenants += len(account.record.tenants) - had
        with self._lock:
            self.accounts[record.key] = account
        return account

    def beat(self, beat: Heartbeat, heard_ms: int | None = None) -> bool:
        """Note a heartbeat; False when there is a later one of the same process.

        ``heard_ms`` is when it came, by the ledger's clock; None for one that has waited in a topic: then it was
        written at its own time. Whether a worker lives is a matter of when it was heard, whatever its clock says.

        Raises
        ------
        Refused
            It is a new process, or larger than before, and there is no room for more.
        """
        if beat.at_ms - beat.started_at_ms > _MOST_UP_MS:
            raise Refused(
                "damaged", f"a heartbeat of {shown(beat.worker)}: a process of more than ten years has a wrong clock"
            )
        previous = self.beats.get(beat.key)
        if previous is None:
            if len(self.beats) >= MOST_PROCESSES:
                raise Refused(
                    "too_many", f"a heartbeat of {shown(beat.worker)}: there are {MOST_PROCESSES:,} processes"
                )
        elif previous.at_ms >= beat.at_ms:
            # Its clock may have been put forward, and back again.
            ahead_ms = None if heard_ms is None else heard_ms + CLOCKS_APART_MS
            if ahead_ms is None or not beat.at_ms <= ahead_ms < previous.at_ms:
                return False
        had = 0 if previous is None else previous.about_bytes
        counted = {} if previous is None else previous.events_by_age
        room = MOST_HEARTBEAT_BYTES - self._beat_bytes + had
        is_detailed = beat.about_bytes <= max(had, room - MOST_HEARTBEAT_BYTES // 2)
        if not (is_detailed and self._ages.replace(counted, beat.events_by_age)):
            beat = beat.without_details()
            if beat.about_bytes > max(had, room):
                raise Refused("too_many", f"a heartbeat of {shown(beat.worker)}: there is no room for one of this size")
            self._ages.replace(counted, {})
        self._beat_bytes += beat.about_bytes - had
        with self._lock:
            self.beats[beat.key] = beat
            self.heard_ms[beat.key] = beat.at_ms if heard_ms is None else heard_ms
        return True

    def subjects(self) -> list[Subject]:
        """List all that was ever scored, in a stable order."""
        subjects = {Subject(a.record.topic, a.record.model, a.record.task) for a in self.accounts.values()}
        return sorted(subjects, key=lambda s: (s.topic, s.model, s.task))

    def totals(self, window: str | None, now_ms: int) -> dict[Subject, UsageTotals]:
        """Add up all partitions' counts, of one window so far (a key of WINDOWS_MS) or of all time."""
        totals: dict[Subject, list[UsageTotals]] = defaultdict(list)
        openings: dict[Subject, list[UsageTotals]] = defaultdict(list)
        for account in self.accounts.values():
            record = account.record
            subject = Subject(record.topic, record.model, record.task)
            opening = None if window is None else account.opening(window, now_ms)
            if opening is record.totals:
                totals[subject]  # listed with zeros if nothing was counted in this window
                continue
            totals[subject].append(record.totals)
            if opening is not None:
                openings[subject].append(opening)
        return {s: added_up(parts) - added_up(openings[s]) for s, parts in totals.items()}

    def scored(self) -> dict[Subject, int]:
        """Count the scored events of all time."""
        scored: dict[Subject, int] = defaultdict(int)
        for account in self.accounts.values():
            record = account.record
            scored[Subject(record.topic, record.model, record.task)] += record.totals.scored
        return dict(scored)

    def tenants(self, most: int) -> dict[str, TenantCount]:
        """Add up tenants over all counts: the ``most`` with the most scored events, and all others as OTHER."""
        sums: dict[str, list[int]] = defaultdict(lambda: [0, 0, 0])
        for account in self.accounts.values():
            for name, count in account.record.tenants.items():
                total = sums[name]
                for at, n in enumerate(count):
                    total[at] += n
        other: list[int] = sums.pop(OTHER, [0, 0, 0])
        ranked = sorted(sums.items(), key=lambda item: (-item[1][0], item[0]))
        for _, rest in ranked[most:]:
            other = [a + b for a, b in zip(other, rest, strict=True)]
        ranked_tenants = {name: TenantCount(*sum_) for name, sum_ in ranked[:most]}
        if any(other):
            ranked_tenants[OTHER] = TenantCount(*other)
        return ranked_tenants

    def reserved_core_ms(self) -> int:
        """Core-milliseconds that all worker processes have reserved so far."""
        return sum(beat.reserved_core_ms for beat in self.beats.values())

    def cpu_ns(self) -> int:
        """CPU nanoseconds that all worker processes have used so far."""
        return sum(beat.cpu_ns for beat in self.beats.values())

    def workers(self, now_ms: int) -> list[Heartbeat]:
        """Return the last heartbeat of each living worker, by name."""
        lately = (beat for beat, age_ms in self._latest(now_ms) if age_ms <= ALIVE_WITHIN_MS)
        return [beat for beat in lately if beat.state != "stopped"]

    def missed(self, now_ms: int) -> list[Heartbeat]:
        """Return the last heartbeat of each worker that went silent within the hour without saying that it stops."""
        silent = (beat for beat, age_ms in self._latest(now_ms) if ALIVE_WITHIN_MS < age_ms <= MISSED_FOR_MS)
        return [beat for beat in silent if beat.state != "stopped"]

    def age_ms(self, beat: Heartbeat, now_ms: int) -> int:
        """Return how long ago a heartbeat was heard; one from the future, which a clock made up, is very old."""
        age_ms = now_ms - self.heard_ms.get(beat.key, beat.at_ms)
        return age_ms if age_ms >= -CLOCKS_APART_MS else _VERY_OLD_MS

    def ran_ms(self, beat: Heartbeat) -> tuple[int, int]:
        """Return from when to when a process has run, by the ledger's clock where the worker's is known to be wrong."""
        end = beat.at_ms
        heard = self.heard_ms.get(beat.key, end)
        if abs(heard - end) > CLOCKS_APART_MS:
            end = heard
        return end - max(beat.at_ms - beat.started_at_ms, 0), end

    def _latest(self, now_ms: int) -> list[tuple[Heartbeat, int]]:
        """Return the process of each worker that was heard last, by the worker's name, and how long ago that was."""
        latest: dict[str, tuple[Heartbeat, int]] = {}
        for beat in self.beats.values():
            age_ms = self.age_ms(beat, now_ms)
            other = latest.get(beat.worker)
            if other is None or (-age_ms, beat.started_at_ms) > (-other[1], other[0].started_at_ms):
                latest[beat.worker] = (beat, age_ms)
        return [latest[name] for name in sorted(latest)]

    def has_heard_since(self, then_ms: int) -> bool:
        """Whether a heartbeat that a worker wrote after ``then_ms`` has been read."""
        return any(then_ms <= beat.at_ms <= then_ms + MISSED_FOR_MS for beat in self.beats.values())

    def note_moment(self, now_ms: int) -> None:
        """Remember the current totals, at most once a second."""
        if self._moments and 0 <= now_ms - self._moments[-1].at_ms < _MOMENT_MS:
            return
        if self._moments and now_ms < self._moments[-1].at_ms:
            self._moments.clear()  # our clock was put back: nothing can be measured across that
        moment = Moment(now_ms, self.scored(), self._ages.copied())
        with self._lock:
            self._moments.append(moment)

    def events_per_second(self, over_ms: int) -> dict[Subject, Fraction] | None:
        """Rates over the last ``over_ms``; None when fewer than two moments have been noted."""
        first, last = self._span(over_ms)
        if first is None or last is None:
            return None
        took_ms = last.at_ms - first.at_ms
        return {s: Fraction((n - first.scored.get(s, 0)) * 1000, took_ms) for s, n in last.scored.items()}

    def latency_ms(self, route: str, share: float, over_ms: int) -> float | None:
        """Return the age in ms that ``share`` of the last events did not exceed, see :mod:`farthing.meter.latencies`.

        Infinity when it is past the last edge that older workers have, None when no event was scored.
        """
        first, last = self._span(over_ms)
        if first is None or last is None:
            return None
        now, then = last.ages.get(route, {}), first.ages.get(route, {})
        counts = {edge: now.get(edge, 0) - then.get(edge, 0) for edge in {*now, *then}}
        if min(counts.values(), default=0) < 0:
            return None  # a process with the same key has begun counting anew
        return percentile_ms(counts, share)

    def _span(self, over_ms: int) -> tuple[Moment | None, Moment | None]:
        if len(self._moments) < 2:
            return None, None
        last = self._moments[-1]
        first = next(m for m in self._moments if last.at_ms - m.at_ms <= over_ms)
        return (None, None) if first is last else (first, last)

    def last_edge_ms(self) -> int | None:
        """Return the last edge of older workers' latencies, to say "over N ms"; None when all report every age."""
        return (
            max((edge for b in self.beats.values() if b.ages is None for edge in b.latency_edges_ms), default=0) or None
        )

    def lag_is_known(self, now_ms: int) -> bool:
        """Whether the living workers know the lag of all their partitions, and no partitions wait for an owner."""
        alive = self.workers(now_ms)
        left = any(self.age_ms(beat, now_ms) <= OWNERLESS_FOR_MS for beat in self.missed(now_ms))
        return bool(alive) and not left and not any(beat.lag_unknown for beat in alive)

    def lag(self, now_ms: int) -> dict[str, int]:
        """Lag by route (see :mod:`farthing.kafka.lag`), as the living workers last reported it."""
        lags: dict[str, int] = defaultdict(int)
        for beat in self.workers(now_ms):
            for route, lag in beat.lag.items():
                lags[route] += lag
        return dict(lags)

    def unreadable(self, now_ms: int) -> int:
        """Count the part of the lag that cannot be read yet, because a producer's transaction is open."""
        return sum(sum(beat.unreadable.values()) for beat in self.workers(now_ms))
