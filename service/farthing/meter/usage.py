"""Usage totals: running totals of integers, one for each source partition and bundle.

A total only grows. What happened between two moments is the difference of two totals, so the next record makes up for
one that was lost, repeated or late. ``calls`` is a small histogram: for each size class, how many events would have
been API calls of that size, and how many bytes they would have sent. Prices have context tiers, so a call must be
priced by its own size and never as part of a sum.

The encoded total is stored in the metadata of an offset commit (Kafka's ``offset.metadata.max.bytes``: 4,096 by
default). Even with all classes in use and every count at 2**63 - 1 it is shorter than that.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Final, NamedTuple

from farthing.meter.untrusted import Refused, damaged, read_object, shown, whole

FORMAT_VERSION: Final = 1
METADATA_LIMIT_BYTES: Final = 4_096
"""Kafka's default for ``offset.metadata.max.bytes``."""

LARGEST_EVENT_BYTES: Final = 2**31 - 1
"""Kafka writes the length of a value in 31 bits."""

LAST_SIZE_CLASS: Final = 83
"""The class of everything from 3.5 MiB up. Each octave has four classes, so a class spans at most 25 % of its least."""


def size_class(size_bytes: int) -> int:
    """Return the class of a size: 0 to 3 are the sizes themselves, then four classes for every power of two.

    Parameters
    ----------
    size_bytes:
        Bytes, 0 or more.
    """
    if size_bytes < 0:
        raise ValueError(f"a size of {size_bytes} bytes")
    if size_bytes < 4:
        return size_bytes
    exponent = size_bytes.bit_length() - 1
    return min(4 * (exponent - 1) + ((size_bytes >> (exponent - 2)) & 3), LAST_SIZE_CLASS)


class SizeCount(NamedTuple):
    """One class of the histogram."""

    calls: int
    prompt_bytes: int


_NONE: Final = SizeCount(0, 0)


@dataclass(frozen=True, slots=True)
class UsageTotals:
    """What has been scored up to some offset, in integers.

    ``payload_bytes`` counts the events' whole values, including dead ones; ``prompt_bytes`` in ``calls`` counts only
    the fields that the model reads, because only they would be sent to an API. One scored event is one call, so calls
    add up to ``scored``.
    """

    scored: int = 0
    dead: int = 0
    rows: int = 0
    payload_bytes: int = 0
    calls: Mapping[int, SizeCount] = field(default_factory=lambda: MappingProxyType({}))

    def __post_init__(self) -> None:
        kept = {at: SizeCount(*self.calls[at]) for at in sorted(self.calls) if self.calls[at] != _NONE}
        object.__setattr__(self, "calls", MappingProxyType(kept))
        numbers = (
            self.scored,
            self.dead,
            self.rows,
            self.payload_bytes,
            *(n for count in kept.values() for n in count),
        )
        if any(type(n) is not int for n in (*numbers, *kept)):
            raise TypeError("usage counts are whole numbers of type int")
        if min(numbers) < 0:
            raise ValueError(f"usage counts cannot be negative: {self}")
        if any(not 0 <= at <= LAST_SIZE_CLASS for at in kept):
            raise ValueError(f"size classes go from 0 to {LAST_SIZE_CLASS}: {sorted(kept)}")
        if sum(count.calls for count in kept.values()) != self.scored:
            raise ValueError(f"calls by size class do not add up to {self.scored} scored events")

    @property
    def prompt_bytes(self) -> int:
        """Bytes that the calls would have sent."""
        return sum(count.prompt_bytes for count in self.calls.values())

    def __add__(self, other: UsageTotals) -> UsageTotals:
        calls = {
            at: SizeCount(*(a + b for a, b in zip(self.calls.get(at, _NONE), other.calls.get(at, _NONE), strict=True)))
            for at in self.calls.keys() | other.calls.keys()
        }
        return UsageTotals(
            self.scored + other.scored,
            self.dead + other.dead,
            self.rows + other.rows,
            self.payload_bytes + other.payload_bytes,
            calls,
        )

    def __sub__(self, earlier: UsageTotals) -> UsageTotals:
        """Return what was added since ``earlier``; ValueError if that is not an earlier state of the same total."""
        calls = {
            at: SizeCount(
                *(a - b for a, b in zip(self.calls.get(at, _NONE), earlier.calls.get(at, _NONE), strict=True))
            )
            for at in self.calls.keys() | earlier.calls.keys()
        }
        try:
            return UsageTotals(
                self.scored - earlier.scored,
                self.dead - earlier.dead,
                self.rows - earlier.rows,
                self.payload_bytes - earlier.payload_bytes,
                calls,
            )
        except ValueError as error:
            raise ValueError(
                "totals only grow: what is subtracted is not an earlier total of the same count"
            ) from error

    def __le__(self, later: UsageTotals) -> bool:
        """Whether this can be an earlier state of the same total: no count of it is higher."""
        return (
            self.scored <= later.scored
            and self.dead <= later.dead
            and self.rows <= later.rows
            and self.payload_bytes <= later.payload_bytes
            and all(
                count.calls <= of_later.calls and count.prompt_bytes <= of_later.prompt_bytes
                for at, count in self.calls.items()
                for of_later in (later.calls.get(at, _NONE),)
            )
        )

    def encode(self) -> str:
        """Return the total as ASCII JSON, at most ``METADATA_LIMIT_BYTES`` long for counts below 2**63."""
        return json.dumps(self.as_dict(), separators=(",", ":"))

    def as_dict(self) -> dict[str, Any]:
        """Return what is encoded, as JSON types."""
        return {
            "v": FORMAT_VERSION,
            "s": self.scored,
            "d": self.dead,
            "r": self.rows,
            "b": self.payload_bytes,
            "c": [n for at, count in self.calls.items() for n in (at, *count)],
        }

    @classmethod
    def decode(cls, text: str) -> UsageTotals:
        """Read what :meth:`encode` wrote.

        Raises
        ------
        Refused
            It is something else, or of another version; the message names both versions. A ValueError.
        """
        return cls.of(read_object(text, "usage total", most=METADATA_LIMIT_BYTES))

    @classmethod
    def of(cls, body: object) -> UsageTotals:
        """Read the JSON object that :meth:`encode` writes, once it is parsed. Raises Refused, which is a ValueError."""
        if not isinstance(body, dict) or "v" not in body:
            raise Refused("syntax", f"not a usage total: {shown(body)}")
        if body["v"] != FORMAT_VERSION:
            raise Refused(
                "version",
                f"a usage total of format {shown(body['v'])}, but this Farthing reads format {FORMAT_VERSION}: "
                "run the version that wrote it, or a later one",
            )
        try:
            flat = [whole(n) for n in body["c"]]
            if len(flat) % 3:
                raise Refused("damaged", "the histogram is cut off")
            calls = {at: SizeCount(n, size) for at, n, size in zip(*[iter(flat)] * 3, strict=True)}
            if len(calls) != len(flat) // 3:
                raise Refused("duplicate", "a size class appears twice")
            if any(size > n * LARGEST_EVENT_BYTES for n, size in calls.values()):
                raise Refused("damaged", "its calls have more bytes than Kafka's largest record")
            return cls(whole(body["s"]), whole(body["d"]), whole(body["r"]), whole(body["b"]), calls)
        except (KeyError, TypeError, ValueError) as error:
            raise damaged("usage total", error) from error


def added_up(totals: Iterable[UsageTotals]) -> UsageTotals:
    """Add up many totals, as ``+`` would, but making only one new one."""
    scored = dead = rows = payload_bytes = 0
    calls: dict[int, list[int]] = defaultdict(lambda: [0, 0])
    for total in totals:
        scored += total.scored
        dead += total.dead
        rows += total.rows
        payload_bytes += total.payload_bytes
        for at, count in total.calls.items():
            sums = calls[at]
            sums[0] += count.calls
            sums[1] += count.prompt_bytes
    return UsageTotals(scored, dead, rows, payload_bytes, {at: SizeCount(*sums) for at, sums in calls.items()})
