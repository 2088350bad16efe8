"""What the load test sends: seeded, made-up events of the three tasks, or the lines of a file, ready to be produced.

All events are made before the first is sent. While a test runs, a batch is a tuple that is handed over as it is, so
that one generator process can send more than the service can score.
"""

from __future__ import annotations

import itertools
import json
import math
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from farthing.errors import ConfigError
from farthing.files import read_lines
from farthing.local.bid_requests import bid_request_events
from farthing.local.comments import comment_events, ranking_events

Message = tuple[bytes | None, bytes | None]
"""Value and key."""

TENANTS: Final = 1_000
CANDIDATES: Final = 20  # in the middle; a few events have many
MOST_CANDIDATES: Final = 200
MOST_LINES: Final = 500_000  # of a file; more would be read, and not sent in a test of usual length


@dataclass(frozen=True, slots=True)
class Batch:
    """Events that are sent together: what one connection hands over at one time."""

    messages: tuple[Message, ...]
    value_bytes: int

    def __len__(self) -> int:
        """Events in it."""
        return len(self.messages)


@dataclass(frozen=True, slots=True)
class EventPool:
    """Events that are sent over and over, in batches of one size."""

    batches: tuple[Batch, ...]
    malformed: int  # events of the pool that must become dead letters

    def __len__(self) -> int:
        """Events in it."""
        return sum(map(len, self.batches))

    @property
    def mean_bytes(self) -> float:
        """Bytes of a value, on average."""
        return sum(batch.value_bytes for batch in self.batches) / len(self)


def made_up(
    task: str, n: int, *, batch_events: int, malformed_share: float = 0.0, seed: int = 42,
    lay_out: Callable[[bytes], bytes] | None = None,
) -> EventPool:  # fmt: skip
    """Make a pool for a task; the same for the same arguments.

        Parameters
        ----------
        task:
            One of :data:`TASKS`.
        n:
            Events, rounded up to whole batches.
        malformed_share:
    Between 0 and 1, rounded to whole events. The kinds of :data:`MALFORMED` in turn.
        lay_out:
            Lays an event out anew, where its fields are to lie elsewhere; None: they lie where bundles have them.

        Raises
        ------
        ConfigError
            A number makes no sense, or the task is not known.
    """
    if task not in TASKS:
        raise ConfigError(f"there are no events of the task {task!r}; one of {', '.join(TASKS)}")
    n = _whole_batches(n, batch_events)
    messages = TASKS[task](n, seed)
    if lay_out is not None:
        messages = [(None if value is None else lay_out(value), key) for value, key in messages]
    return _pool(messages, task, batch_events, malformed_share, seed)


def from_file(
    path: Path, task: str, *, batch_events: int, key_field: str | None = None, malformed_share: float = 0.0,
    seed: int = 42,
) -> EventPool:  # fmt: skip
    """Take the lines of a file of JSON lines, packed or not; empty ones are left out.

    The first lines are sent again to fill the last batch. ``key_field`` is the field at the top of an event, a string
    or a number, that becomes its key; events without it have none. Raises ConfigError: the file cannot be opened, or
    has no lines; DataError: it is cut off or damaged.
    """
    values = [line for _, line in itertools.islice(read_lines(path), MOST_LINES)]
    if not values:
        raise ConfigError(f"{path}: there are no events in it; give a file of JSON lines, compressed or not")
    n = _whole_batches(len(values), batch_events)
    keyed = [(value, None if key_field is None else _key(value, key_field)) for value in values]
    return _pool(list(itertools.islice(itertools.cycle(keyed), n)), task, batch_events, malformed_share, seed)


def _whole_batches(n: int, batch_events: int) -> int:
    if batch_events < 1 or n < 1:
        raise ConfigError(f"a pool of {n} events in batches of {batch_events}: both must be at least 1")
    return math.ceil(n / batch_events) * batch_events


def _pool(messages: Sequence[Message], task: str, batch_events: int, malformed_share: float, seed: int) -> EventPool:
    if not 0 <= malformed_share <= 1:
        raise ConfigError(f"a share of malformed events of {malformed_share}: it must be between 0 and 1")
    spoilt = list(messages)
    chosen = sorted(random.Random(f"malformed {seed}").sample(range(len(spoilt)), round(len(spoilt) * malformed_share)))
    for place, spoil in zip(chosen, itertools.cycle(MALFORMED.values()), strict=False):
        value, key = spoilt[place]
        spoilt[place] = spoil(value or b"{}", task), key
    batches = []
    for start in range(0, len(spoilt), batch_events):
        part = tuple(spoilt[start : start + batch_events])
        batches.append(Batch(part, sum(len(value) for value, _ in part if value is not None)))
    return EventPool(tuple(batches), len(chosen))


def _moderation(n: int, seed: int) -> list[Message]:
    """Comments, keyed by their users: a few write most."""
    return [(value, _key(value, "user")) for value in comment_events(n, seed=seed)]


def _rerank(n: int, seed: int) -> list[Message]:
    """Queries of tenants, a few of which ask most; the number of candidates is skewed too."""
    rng = random.Random(seed)
    counts = (min(max(round(rng.lognormvariate(math.log(CANDIDATES), 0.7)), 2), MOST_CANDIDATES) for _ in range(n))
    values = [
        ranking_events(1, candidates=count, seed=seed * 1_000_003 + number)[0] for number, count in enumerate(counts)
    ]
    return list(zip(values, _tenants(n, rng), strict=True))


def _bidding(n: int, seed: int) -> list[Message]:
    """Bid requests of exchanges' seats, a few of which send most."""
    return list(zip(bid_request_events(n, seed=seed), _tenants(n, random.Random(seed)), strict=True))


TASKS: Final[Mapping[str, Callable[[int, int], list[Message]]]] = {
    "moderation": _moderation,
    "rerank": _rerank,
    "bidding": _bidding,
}


def _tenants(n: int, rng: random.Random) -> list[bytes]:
    """Draw tenants by Zipf's law: the k-th in turn has a k-th of the first one's events."""
    weights = [1 / rank for rank in range(1, TENANTS + 1)]
    return [b"tenant-%d" % rank for rank in rng.choices(range(1, TENANTS + 1), weights, k=n)]


def _with_field(value: bytes, field: bytes) -> bytes:
    """Put one more field at the end of an object; one that is known to nobody, so its content alone is wrong."""
    head, _, _ = value.rpartition(b"}")
    return head + (b',"x":' if head.strip() != b"{" else b'"x":') + field + b"}"


_WRONG_TYPES: Final = {
    "moderation": b'{"id":"wrong","text":7}',
    "rerank": b'{"id":"wrong","query":7,"candidates":[]}',
    "bidding": b'{"id":"wrong","imp":7}',
}

MALFORMED: Final[Mapping[str, Callable[[bytes, str], bytes | None]]] = {
    "cut off": lambda value, _: value[: max(len(value) // 2, 1)],
    "no UTF-8": lambda value, _: _with_field(value, b'"\xff"'),
    "no object": lambda value, _: b"[" + value + b"]",
    "a field of another type": lambda _, task: _WRONG_TYPES[task],
    "a byte order mark": lambda value, _: b"\xef\xbb\xbf" + value,
    "a control character": lambda value, _: _with_field(value, b'"\x01"'),
    "not a number": lambda value, _: _with_field(value, b"NaN"),
    "too deep": lambda value, _: _with_field(value, b"[" * 80 + b"]" * 80),
    "trailing bytes": lambda value, _: value + b"}",
    "empty": lambda _value, _: b"",
    "a tombstone": lambda _value, _: None,
}
"""Ways to spoil an event so that no task can score it."""


def _key(value: bytes, field: str) -> bytes | None:
    try:
        event = json.loads(value)
    except ValueError:
        return None
    key = event.get(field) if isinstance(event, dict) else None
    return str(key).encode() if isinstance(key, str | int | float) and not isinstance(key, bool) else None
