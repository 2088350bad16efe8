"""What a worker tells the ledger: the running total of a partition, and once a second that it lives.

Both are totals, never differences: whoever keeps the one that is furthest on has lost nothing to a record that went
missing, came twice or came late. The wire form is JSON, one object a record.
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
"""The tenant of events that name none, and of those beyond the limit of tenants that a worker keeps apart."""


class TenantCount(NamedTuple):
    """One tenant's counts; its share of the money follows from them."""

    scored: int
    dead: int
    prompt_bytes: int


_NONE: Final[Mapping[str, Any]] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class UsageRecord:
    """The total of one input partition and model, from ``base_offset`` to before ``next_offset``.

    A count begins anew, with another ``base_offset``, when a model first meets a partition or the total that went with
    the committed offset was lost; all counts of a partition together are what was scored there. ``incarnation`` (the
    JSON key ``log``) goes up by one each time that a worker saw the partition's log begin anew (its topic was deleted
    and created again), so that the same offsets belong to another count; a worker that was not there at the time cannot
    know.
    """

    topic: str
    partition: int
    model: str
    task: str
    base_offset: int
    next_offset: int
    at_ms: int  # when it was counted, by the worker's clock, since the epoch
    totals: UsageTotals
    tenants: Mapping[str, TenantCount] = field(default_factory=lambda: _NONE)
    incarnation: int = 0

    def __post_init__(self) -> None:
        if not 0 <= self.base_offset <= self.next_offset or self.partition < 0:
            raise ValueError(f"a count of {self.topic}[{self.partition}] from {self.base_offset} to {self.next_offset}")

    @property
    def key(self) -> bytes:
        """The record's Kafka key: one for each count, so that a compacted topic keeps the last total of each."""
        later = f"/{self.incarnation}" if self.incarnation else ""
        return f"{self.topic}/{self.partition}/{self.model}/{self.base_offset}{later}".encode()

    def encode(self) -> bytes:
        """Give the record's Kafka value."""
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
    """That a worker process lives, and what it has used since it started.

    ``worker`` names the place (host, HTTP port of the service, index), ``started_at_ms`` the process that holds it now.
    """

    worker: str
    started_at_ms: int
    at_ms: int
    state: str  # one of farthing.serving.metrics.STATES
    cores: int  # reserved for the process, busy or not
    cpu_ns: int  # used so far, user and system
    lag: Mapping[str, int] = field(default_factory=lambda: _NONE)  # route -> lag, where known
    latency_edges_ms: tuple[int, ...] = ()
    latency: Mapping[str, tuple[int, ...]] = field(default_factory=lambda: _NONE)  # route -> events by age, last: over
    sample: Mapping[str, tuple[int, ...]] = field(default_factory=lambda: _NONE)  # model -> sampled text, see tokens
    ages: Mapping[str, Mapping[int, int]] | None = None  # route -> events by upper edge in ms, see latencies

    @property
    def events_by_age(self) -> Mapping[str, Mapping[float, int]]:
        """Events by route and upper edge in ms, as fine as the worker told them; infinity: over its last edge."""
        if self.ages is not None:
            return {route: {float(edge): n for edge, n in counts.items()} for route, counts in self.ages.items()}
        return {route: of_octaves(self.latency_edges_ms, counts) for route, counts in self.latency.items()}

    @property
    def lag_unknown(self) -> frozenset[str]:
        """The routes whose lag the worker does not know now: it has latencies of them, and no lag."""
        return frozenset(self.latency.keys() - self.lag.keys())

    @property
    def key(self) -> bytes:
        """The record's Kafka key."""
        return f"{self.worker}/{self.started_at_ms}".encode()

    @property
    def reserved_core_ms(self) -> int:
        """Core-milliseconds that the process has held, idle or not."""
        return self.cores * max(self.at_ms - self.started_at_ms, 0)

    def encode(self) -> bytes:
        """Give the record's Kafka value."""
        body = {name: getattr(self, name) for name in self.__slots__}
        body |= {name: dict(body[name]) for name in ("lag", "latency", "sample")}
        ages = body.pop("ages")
        if ages is not None:  # [edge, events, edge, events, ...], those with events only: an object takes more room
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
    """Older heartbeats have none; what is there is [edge, events, edge, events, ...] by route."""
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
