"""The records that workers send to the ledger: running totals of partitions, and heartbeats once a second.

Both are totals, never differences, so a reader that keeps the furthest one loses nothing to records that are missing,
repeated or late. They are encoded as JSON, one object per record.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any, Final, NamedTuple

from farthing.meter.latencies import EDGES_MS, of_octaves
from farthing.meter.untrusted import Refused, damaged, name, read_object, shown, whole
from farthing.meter.usage import UsageTotals

FORMAT_VERSION: Final = 1
MOST_BYTES: Final = 256 << 10
"""Of an encoded record: five times what a worker with 200 tenants and a hundred routes can write."""

MOST_TENANTS: Final = 4_096

MOST_NAMED: Final = 256
"""Routes or models in each part of a heartbeat."""

MOST_IN_ROW: Final = len(EDGES_MS) + 1
"""Counts of one of them: a bucket for each edge, and for older workers one above the last."""

_MOST_SQUARES: Final = 2**127  # sums of squares pass 2**63 where texts of 1 MB are sampled for years
_MOST_CORES: Final = 1 << 16

OTHER: Final = ""
"""The tenant of events that name none, and of those whose tenant is beyond the number that a worker counts."""


class TenantCount(NamedTuple):
    """One tenant's counts, from which its share of the money is computed."""

    scored: int
    dead: int
    prompt_bytes: int


_MOST_PARTITION: Final = 2**31 - 1
_LONGEST_TOPIC_ID: Final = 22  # 16 bytes in base64
_NONE: Final[Mapping[str, Any]] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class UsageRecord:
    """The total of one input partition and model, from ``base_offset`` to before ``next_offset``.

    A new count begins, with another ``base_offset``, when a model first scores a partition, or when the total in the
    committed offset's metadata was lost; all counts of a partition together are what was scored there. ``incarnation``
    (the JSON key ``log``) rises by one each time a worker finds another log in place of the partition's (its topic was
    deleted and created again), because the same offsets then belong to another count. ``lost`` counts the events
    before ``base_offset`` that retention deleted before they were scored.
    """

    topic: str
    partition: int
    model: str
    task: str
    base_offset: int
    next_offset: int
    at_ms: int  # when it was counted: ms since the epoch, by the worker's clock
    totals: UsageTotals
    tenants: Mapping[str, TenantCount] = field(default_factory=lambda: _NONE)
    incarnation: int = 0
    lost: int = 0
    topic_id: str = ""  # of the topic that the log belongs to; empty if the broker has no ids

    def __post_init__(self) -> None:
        if not 0 <= self.base_offset <= self.next_offset or self.partition < 0:
            raise ValueError(f"a count of {self.topic}[{self.partition}] from {self.base_offset} to {self.next_offset}")

    @property
    def key(self) -> bytes:
        """The record's Kafka key: each count has its own, so that a compacted topic keeps the last total of each."""
        later = f"/{self.incarnation}" if self.incarnation else ""
        return f"{self.topic}/{self.partition}/{self.model}/{self.base_offset}{later}".encode()

    def encode(self) -> bytes:
        """Return the record's Kafka value."""
        body = {
            "v": FORMAT_VERSION,
            "topic": self.topic,
            "partition": self.partition,
            "model": self.model,
            "task": self.task,
            "base_offset": self.base_offset,
            "next_offset": self.next_offset,
            "at_ms": self.at_ms,
            "totals": self.totals.as_dict(),
            "tenants": dict(self.tenants),
        }
        body |= {name: n for name, n in (("log", self.incarnation), ("lost", self.lost)) if n}
        body |= {"topic_id": self.topic_id} if self.topic_id else {}
        return json.dumps(body, separators=(",", ":"), ensure_ascii=False).encode()

    @classmethod
    def decode(cls, value: bytes | None) -> UsageRecord:
        """Read what :meth:`encode` wrote.

        Raises
        ------
        Refused
            It is something else, of another version, or damaged; the message says what. A ValueError.
        """
        body = _object(value, "usage record")
        try:
            tenants = body["tenants"]
            if len(tenants) > MOST_TENANTS:
                raise Refused("too_large", f"{len(tenants):,} tenants, and at most {MOST_TENANTS:,} are read")
            return cls(
                name(body["topic"]),
                whole(body["partition"], _MOST_PARTITION),
                name(body["model"]),
                name(body["task"]),
                whole(body["base_offset"]),
                whole(body["next_offset"], 2**64),
                whole(body["at_ms"]),
                UsageTotals.of(body["totals"]),
                {name(tenant): _tenant_count(count) for tenant, count in tenants.items()},
                whole(body.get("log", 0), _MOST_PARTITION),
                whole(body.get("lost", 0)),
                name(body.get("topic_id", ""), _LONGEST_TOPIC_ID),
            )
        except (KeyError, TypeError, AttributeError, ValueError, RecursionError) as error:
            raise damaged("usage record", error) from error


@dataclass(frozen=True, slots=True)
class Heartbeat:
    """Says that a worker process is alive, and what it has used since it started.

    ``worker`` identifies the worker (host, HTTP port of the service, index), ``started_at_ms`` its current process.
    """

    worker: str
    started_at_ms: int
    at_ms: int
    state: str  # one of farthing.serving.metrics.STATES
    cores: int  # reserved for the process, busy or not
    cpu_ns: int  # used so far, user and system
    lag: Mapping[str, int] = field(default_factory=lambda: _NONE)  # route -> lag, where known
    latency_edges_ms: tuple[int, ...] = ()
    latency: Mapping[str, tuple[int, ...]] = field(default_factory=lambda: _NONE)  # route -> events by octave of age
    sample: Mapping[str, tuple[int, ...]] = field(default_factory=lambda: _NONE)  # model -> sampled text, see tokens
    ages: Mapping[str, Mapping[int, int]] | None = None  # route -> events by upper edge in ms, see latencies
    unreadable: Mapping[str, int] = field(default_factory=lambda: _NONE)  # route -> part of lag, where there is some

    @property
    def events_by_age(self) -> Mapping[str, Mapping[float, int]]:
        """Events by route and upper edge in ms, as finely as the worker sent them; infinity: above its last edge."""
        if self.ages is not None:
            return {route: {float(edge): n for edge, n in counts.items()} for route, counts in self.ages.items()}
        return {route: of_octaves(self.latency_edges_ms, counts) for route, counts in self.latency.items()}

    @property
    def about_bytes(self) -> int:
        """About what it takes in memory, and rather more than less."""
        ages = self.ages or {}
        names = [name for part in (self.lag, self.unreadable, self.latency, self.sample, ages) for name in part]
        rows = (self.latency_edges_ms, *self.latency.values(), *self.sample.values())
        return (
            2_000
            + sum(400 + 4 * len(name) for name in names)
            + 48 * sum(map(len, rows))
            + 180 * sum(map(len, ages.values()))
        )

    def without_details(self) -> Heartbeat:
        """Return it without latencies and samples of texts: the worker is alive, and its cores and lag are known."""
        return replace(self, latency=dict.fromkeys(self.latency, ()), sample={}, ages={})

    @property
    def lag_unknown(self) -> frozenset[str]:
        """The routes whose lag the worker does not know now: it sends latencies for them, but no lag."""
        return frozenset(self.latency.keys() - self.lag.keys())

    @property
    def key(self) -> bytes:
        """The record's Kafka key."""
        return f"{self.worker}/{self.started_at_ms}".encode()

    @property
    def reserved_core_ms(self) -> int:
        """Core-milliseconds that the process has reserved so far, idle or not."""
        return self.cores * max(self.at_ms - self.started_at_ms, 0)

    def encode(self) -> bytes:
        """Return the record's Kafka value."""
        body = {name: getattr(self, name) for name in self.__slots__}
        body |= {name: dict(body[name]) for name in ("lag", "latency", "sample")}
        ages, unreadable = body.pop("ages"), body.pop("unreadable")
        if unreadable:
            body["unreadable"] = dict(unreadable)
        if ages is not None:  # [edge, events, edge, events, ...] for buckets with events: an object would be longer
            body["ages"] = {route: [n for pair in counts.items() for n in pair] for route, counts in ages.items()}
        return json.dumps({"v": FORMAT_VERSION, **body}, separators=(",", ":"), ensure_ascii=False).encode()

    @classmethod
    def decode(cls, value: bytes | None) -> Heartbeat:
        """Read what :meth:`encode` wrote. Raises Refused as :meth:`UsageRecord.decode`."""
        body = _object(value, "heartbeat")
        try:
            _check_widths(body)
            return cls(
                name(body["worker"]),
                whole(body["started_at_ms"]),
                whole(body["at_ms"]),
                name(body["state"]),
                whole(body["cores"], _MOST_CORES),
                whole(body["cpu_ns"]),
                {name(route): whole(n) for route, n in body["lag"].items()},
                tuple(map(whole, body["latency_edges_ms"])),
                {name(route): tuple(map(whole, counts)) for route, counts in body["latency"].items()},
                {
                    name(model): tuple(whole(n, _MOST_SQUARES) for n in counts)
                    for model, counts in body["sample"].items()
                },
                _ages(body.get("ages")),
                {name(route): whole(n) for route, n in body.get("unreadable", {}).items()},
            )
        except (KeyError, TypeError, AttributeError, ValueError, RecursionError) as error:
            raise damaged("heartbeat", error) from error


def _object(value: bytes | None, what: str) -> dict[str, Any]:
    body = read_object(value, what, most=MOST_BYTES)
    if "v" not in body:
        raise Refused("syntax", f"not a {what}: it has no version: {shown(value)}")
    version = body["v"]
    if version != FORMAT_VERSION:
        raise Refused(
            "version",
            f"a {what} of format {shown(version)}, but this Farthing reads format {FORMAT_VERSION}: "
            "update the older side",
        )
    return body


def _tenant_count(count: Any) -> TenantCount:
    if len(count) != len(TenantCount._fields):
        raise Refused("damaged", f"a tenant has {len(TenantCount._fields)} counts, not {len(count)}")
    return TenantCount(*map(whole, count))


def _check_widths(body: Mapping[str, Any]) -> None:
    """Refuse a heartbeat with more routes, models or counts than a worker has: each would be kept, and added up."""
    parts = {part: body.get(part) or {} for part in ("lag", "latency", "sample", "ages", "unreadable")}
    for part, named in parts.items():
        if len(named) > MOST_NAMED:
            raise Refused("too_large", f"{part} has {len(named):,} names, and at most {MOST_NAMED} are read")
    rows = (body["latency_edges_ms"], *parts["latency"].values(), *parts["sample"].values())
    counts = max(map(len, rows))
    pairs = max((len(row) // 2 for row in parts["ages"].values()), default=0)
    if counts > MOST_IN_ROW or pairs > len(EDGES_MS):
        raise Refused(
            "too_large", f"{max(counts, pairs):,} counts of one name, and at most {len(EDGES_MS)} ages are read"
        )


def _ages(by_route: Any) -> dict[str, dict[int, int]] | None:
    """Read ages by route, [edge, events, edge, events, ...]; None for an older heartbeat, which has none."""
    if by_route is None:
        return None
    if any(len(pairs) % 2 for pairs in by_route.values()):
        raise TypeError("ages are [edge, events, edge, events, ...], and a number is missing")
    return {
        name(route): dict(zip(map(whole, pairs[::2]), map(whole, pairs[1::2]), strict=True))
        for route, pairs in by_route.items()
    }
