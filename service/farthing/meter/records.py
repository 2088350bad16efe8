"""The records that workers send to the ledger: running totals of partitions, and heartbeats once a second.

Both are totals, never differences, so a reader that keeps the furthest one loses nothing to records that are missing,
repeated or late. They are encoded as JSON, one object per record.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Final, NamedTuple

from farthing.meter.latencies import of_octaves
from farthing.meter.usage import UsageTotals

FORMAT_VERSION: Final = 1
OTHER: Final = ""
"""The tenant of events that name none, and of those whose tenant is beyond the number that a worker counts."""


class TenantCount(NamedTuple):
    """One tenant's counts, from which its share of the money is computed."""

    scored: int
    dead: int
    prompt_bytes: int


_NONE: Final[Mapping[str, Any]] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class UsageRecord:
    """The total of one input partition and model, from ``base_offset`` to before ``next_offset``.

    A new count begins, with another ``base_offset``, when a model first scores a partition, or when the total in the
    committed offset's metadata was lost; all counts of a partition together are what was scored there. ``incarnation``
    (the JSON key ``log``) rises by one each time a worker sees the partition's log begin anew (its topic was deleted
    and created again), because the same offsets then belong to another count; a worker that was not running at the time
    cannot notice.
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
            "totals": json.loads(self.totals.encode()),
            "tenants": dict(self.tenants),
        } | ({"log": self.incarnation} if self.incarnation else {})
        return json.dumps(body, separators=(",", ":"), ensure_ascii=False).encode()

    @classmethod
    def decode(cls, value: bytes) -> UsageRecord:
        """Read what :meth:`encode` wrote.

        Raises
        ------
        ValueError
            It is something else, of another version, or damaged; the message says what.
        """
        body = _object(value, "usage record")
        try:
            return cls(
                str(body["topic"]),
                _whole(body["partition"]),
                str(body["model"]),
                str(body["task"]),
                _whole(body["base_offset"]),
                _whole(body["next_offset"]),
                _whole(body["at_ms"]),
                UsageTotals.decode(json.dumps(body["totals"])),
                {str(name): TenantCount(*map(_whole, count)) for name, count in body["tenants"].items()},
                _whole(body.get("log", 0)),
            )
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"a damaged usage record ({type(error).__name__}: {error})") from error


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
    def decode(cls, value: bytes) -> Heartbeat:
        """Read what :meth:`encode` wrote. Raises ValueError as :meth:`UsageRecord.decode`."""
        body = _object(value, "heartbeat")
        try:
            return cls(
                str(body["worker"]),
                _whole(body["started_at_ms"]),
                _whole(body["at_ms"]),
                str(body["state"]),
                _whole(body["cores"]),
                _whole(body["cpu_ns"]),
                {str(route): _whole(n) for route, n in body["lag"].items()},
                tuple(map(_whole, body["latency_edges_ms"])),
                {str(route): tuple(map(_whole, counts)) for route, counts in body["latency"].items()},
                {str(model): tuple(map(_whole, counts)) for model, counts in body["sample"].items()},
                _ages(body.get("ages")),
                {str(route): _whole(n) for route, n in body.get("unreadable", {}).items()},
            )
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"a damaged heartbeat ({type(error).__name__}: {error})") from error


def _object(value: bytes, what: str) -> dict[str, Any]:
    try:
        body = json.loads(value)
        version = body["v"]
    except (ValueError, TypeError, KeyError) as error:
        raise ValueError(f"not a {what}: {value[:80]!r}") from error
    if version != FORMAT_VERSION:
        raise ValueError(
            f"a {what} of format {version!r}, but this Farthing reads format {FORMAT_VERSION}: update the older side"
        )
    return dict(body)


def _ages(by_route: Any) -> dict[str, dict[int, int]] | None:
    """Read ages by route, [edge, events, edge, events, ...]; None for an older heartbeat, which has none."""
    if by_route is None:
        return None
    if any(len(pairs) % 2 for pairs in by_route.values()):
        raise TypeError("ages are [edge, events, edge, events, ...], and a number is missing")
    return {
        str(route): dict(zip(map(_whole, pairs[::2]), map(_whole, pairs[1::2]), strict=True))
        for route, pairs in by_route.items()
    }


def _whole(value: object) -> int:
    if type(value) is not int or value < 0:
        raise TypeError(f"{value!r} is not a whole number of 0 or more")
    return value
