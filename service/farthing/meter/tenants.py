"""Counts a block's usage by tenant: names become small numbers in one pass, without an object per event.

A configured field of the event names its tenant. A worker counts the first :data:`CAPACITY` names that it meets
separately; further names, names longer than :data:`LONGEST_BYTES`, and events that name no tenant or cannot be read are
counted together as OTHER. So made-up tenants, however many, cannot take more memory or time than that.
"""

from __future__ import annotations

import json
import zlib
from base64 import b85decode, b85encode
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np

from farthing.blocks import Bytes, Int32s, Int64s, Presence, RawColumn, TextColumn
from farthing.kernels.jit import kernel
from farthing.kernels.machine import load_u64
from farthing.meter.records import OTHER, TenantCount
from farthing.meter.untrusted import Refused, damaged, name, read_object, whole

CAPACITY: Final = 4_096
"""Number of names that a worker counts separately for each route, OTHER included."""

LONGEST_BYTES: Final = 64
N_SLOTS: Final = 4 * CAPACITY
PART, TENANT, SCORED, DEAD, PROMPT_BYTES = 0, 1, 2, 3, 4
N_COLUMNS: Final = 5
_MOST_UNPACKED: Final = 1 << 18
_BASIS: Final = np.uint64(0xCBF29CE484222325)  # any odd numbers will do: the index is used in this process only
_MULTIPLIER: Final = np.uint64(0x9E3779B97F4A7C15)
_PRESENT: Final = int(Presence.PRESENT)


@kernel(inline=True)
def _word(buffer: Bytes, at: int, end: int) -> np.uint64:
    """Return the next eight bytes before ``end`` as a little-endian number; fewer bytes are padded with zeros."""
    if at + 8 <= len(buffer):
        word = load_u64(buffer, at)
    else:
        word = np.uint64(0)
        for k in range(min(end, len(buffer)) - at):
            word |= np.uint64(buffer[at + k]) << np.uint64(8 * k)
    left = end - at
    mask = np.uint64(0xFFFFFFFFFFFFFFFF) >> np.uint64(64 - 8 * min(left, 8))
    return np.uint64(word & mask)


@kernel(inline=True)
def _number_of(
    buffer: Bytes, start: int, stop: int, slots: Int32s, pool: Bytes, sizes: Int64s, n_names: Int64s
) -> np.int64:
    """Look up a name, adding it if it is new and there is room; returns its number, or OTHER's if there is no room."""
    hashed = _BASIS
    for place in range(start, stop, 8):
        hashed = (hashed ^ _word(buffer, place, stop)) * _MULTIPLIER
        hashed ^= hashed >> np.uint64(32)
    slot = np.int64(hashed & np.uint64(N_SLOTS - 1))
    while True:
        number = np.int64(slots[slot])
        if number == 0:
            if n_names[0] < CAPACITY:
                number = np.int64(n_names[0])
                slots[slot] = np.int32(number)
                for k in range(stop - start):
                    pool[LONGEST_BYTES * number + k] = buffer[start + k]
                sizes[number] = stop - start
                n_names[0] += 1
            break
        if sizes[number] == stop - start:
            ours = LONGEST_BYTES * number - start
            place = start
            while place < stop and load_u64(pool, ours + place) == _word(buffer, place, stop):
                place += 8
            if place >= stop:
                break
        slot = (slot + 1) & (N_SLOTS - 1)
    return number


def count_tenants_reference(
    bounds: Int64s, status: Bytes, prompt_bytes: Int64s, presence: Bytes, buffer: Bytes, start: Int64s, stop: Int64s,
    slots: Int32s, pool: Bytes, sizes: Int64s, n_names: Int64s, seen: Int64s, rows: Int64s,
) -> int:  # fmt: skip
    """Plain form of :func:`count_tenants`; it keeps no index (``slots``, ``seen``)."""
    ids = {pool[LONGEST_BYTES * k :][: sizes[k]].tobytes(): k for k in range(1, int(n_names[0]))}
    row_of: dict[tuple[int, int], int] = {}
    for part in range(len(bounds) - 1):
        for event in range(bounds[part], bounds[part + 1]):
            name = buffer[start[event] : stop[event]].tobytes() if presence[event] == _PRESENT else b""
            tenant = ids.get(name, 0)
            if not tenant and 0 < len(name) <= LONGEST_BYTES and n_names[0] < CAPACITY:
                tenant = ids[name] = int(n_names[0])
                pool[LONGEST_BYTES * tenant :][: len(name)] = np.frombuffer(name, np.uint8)
                sizes[tenant] = len(name)
                n_names[0] += 1
            at = row_of.get((part, tenant), -1)
            if at < 0:
                at = row_of[part, tenant] = len(row_of)
                rows[at] = part, tenant, 0, 0, 0
            if status[event]:
                rows[at, DEAD] += 1
            else:
                rows[at, SCORED] += 1
                rows[at, PROMPT_BYTES] += prompt_bytes[event]
    return len(row_of)


@kernel(reference=count_tenants_reference)
def count_tenants(
    bounds: Int64s, status: Bytes, prompt_bytes: Int64s, presence: Bytes, buffer: Bytes, start: Int64s, stop: Int64s,
    slots: Int32s, pool: Bytes, sizes: Int64s, n_names: Int64s, seen: Int64s, rows: Int64s,
) -> int:  # fmt: skip
    """Count the events of each part of a block by tenant.

    Parameters
    ----------
    bounds, status, prompt_bytes:
        As in :func:`farthing.meter.count.count_usage`.
    presence, buffer, start, stop:
        The tenants' names: uint8 (n,) Presence, and int64 (n,) places in a buffer.
    slots, pool, sizes, n_names:
        The names met so far, to which new ones are added: an open-addressed index int32 (N_SLOTS,) of their numbers, 0
        where free; their bytes, padded with zeros to LONGEST_BYTES each; int64 (CAPACITY,) their lengths; int64 (1,)
        how many names there are, including OTHER (number 0).
    seen:
        int64 (CAPACITY,): scratch.
    rows:
        int64 (>= rows, N_COLUMNS): gets one row for each part and tenant: part, tenant, scored, dead, bytes.

    Returns
    -------
    The number of rows.
    """
    n_rows = 0
    for part in range(len(bounds) - 1):
        first_row = n_rows
        for event in range(bounds[part], bounds[part + 1]):
            tenant = np.int64(0)
            if presence[event] == _PRESENT and 0 < stop[event] - start[event] <= LONGEST_BYTES:
                tenant = _number_of(buffer, start[event], stop[event], slots, pool, sizes, n_names)
            row = seen[tenant]
            if row < first_row or row >= n_rows or rows[row, TENANT] != tenant:
                row = n_rows
                seen[tenant] = row
                rows[row, PART] = part
                rows[row, TENANT] = tenant
                rows[row, SCORED] = 0
                rows[row, DEAD] = 0
                rows[row, PROMPT_BYTES] = 0
                n_rows += 1
            if status[event] != 0:
                rows[row, DEAD] += 1
            else:
                rows[row, SCORED] += 1
                rows[row, PROMPT_BYTES] += prompt_bytes[event]
    return n_rows


@dataclass(frozen=True, slots=True)
class TenantRows:
    """A block's counts by part and tenant, from :func:`count_tenants`; ``names`` has the names of the numbers."""

    names: TenantNames
    rows: Int64s  # (n_rows, N_COLUMNS), by part

    def of_part(self, part: int) -> Int64s:
        """Return the rows of one part."""
        first, last = np.searchsorted(self.rows[:, PART], (part, part + 1))
        return self.rows[first:last]


class TenantNames:
    """The names that a route has met, as numbers from 1 on. One thread counts; others may read names at any time."""

    def __init__(self, *, tokens: bool = True) -> None:
        """``tokens`` says that names are JSON values as they came; else they are texts."""
        self._tokens = tokens
        self._slots = np.zeros(N_SLOTS, np.int32)
        self._pool = np.zeros(CAPACITY * LONGEST_BYTES, np.uint8)
        self._sizes = np.zeros(CAPACITY, np.int64)
        self._n_names = np.ones(1, np.int64)
        self._seen = np.zeros(CAPACITY, np.int64)
        self._rows = np.empty((0, N_COLUMNS), np.int64)
        self._texts: dict[int, str] = {0: OTHER}

    def count(
        self, bounds: Int64s, status: Bytes, prompt_bytes: Int64s, column: RawColumn | TextColumn, buffer: Bytes
    ) -> TenantRows:
        """Count a block; ``buffer`` is that of its records, into which a raw column is a view."""
        if isinstance(column, TextColumn):
            buffer, start, stop = column.data, column.indptr[:-1], column.indptr[1:]
        else:
            start, stop = column.start, column.stop
        most = min(len(status), (len(bounds) - 1) * CAPACITY)
        if most > len(self._rows):
            self._rows = np.empty((most, N_COLUMNS), np.int64)
        n_rows = count_tenants(
            bounds, status, prompt_bytes, column.presence, buffer, start, stop, self._slots, self._pool, self._sizes,
            self._n_names, self._seen, self._rows,
        )  # fmt: skip
        return TenantRows(self, self._rows[:n_rows].copy())

    def text(self, tenant: int) -> str:
        """Return a tenant's name: a JSON string's text, any other value as it was written."""
        text = self._texts.get(tenant)
        if text is None:
            token = self._pool[LONGEST_BYTES * tenant :][: self._sizes[tenant]].tobytes().decode()
            quoted = self._tokens and token.startswith('"')
            text = self._texts[tenant] = str(json.loads(token)) if quoted else token
        return text


class TenantTotals:
    """One count's tenants: those taken over with the partition, by name, and those counted since, by number."""

    def __init__(self, carried: Mapping[str, TenantCount] | None = None) -> None:
        self._carried = dict(carried or {})
        self._names: TenantNames | None = None
        self._counts = np.zeros((16, 3), np.int64)

    def add(self, names: TenantNames, rows: Int64s) -> None:
        """Add the rows of one part of a block."""
        self._names = names
        most = int(rows[:, TENANT].max(initial=0))
        if most >= len(self._counts):
            grown = np.zeros((max(most + 1, 2 * len(self._counts)), 3), np.int64)
            grown[: len(self._counts)] = self._counts
            self._counts = grown
        self._counts[rows[:, TENANT]] += rows[:, SCORED:]

    def largest(self, most: int) -> dict[str, TenantCount]:
        """Return the ``most`` tenants with the most events, largest first; OTHER, which is the rest, is left out."""
        counts = dict(self._carried)
        if self._names is not None:
            sizes = self._counts[1:, 0] + self._counts[1:, 1]
            largest = np.argsort(-sizes, kind="stable")[: most + len(counts)] + 1
            for tenant, (scored, dead, size) in zip(largest.tolist(), self._counts[largest].tolist(), strict=True):
                if scored or dead:
                    name = self._names.text(tenant)
                    before = counts.get(name)  # taken over, or the same text with other escapes
                    if before is not None:
                        scored, dead, size = scored + before.scored, dead + before.dead, size + before.prompt_bytes
                    counts[name] = TenantCount(scored, dead, size)
        counts.pop(OTHER, None)
        ranked = sorted(counts.items(), key=lambda item: (-item[1].scored - item[1].dead, item[0]))
        return dict(ranked[:most])


def with_other(tenants: Mapping[str, TenantCount], total: TenantCount) -> dict[str, TenantCount]:
    """Return tenants, with OTHER for the rest of the total if there is any."""
    left = TenantCount(*(whole - sum(column) for whole, column in zip(total, _columns(tenants.values()), strict=True)))
    return {**tenants, OTHER: left} if any(left) else dict(tenants)


def _columns(counts: Iterable[TenantCount]) -> list[tuple[int, ...]]:
    rows = list(counts)
    return list(zip(*rows, strict=True)) if rows else [(), (), ()]


def pack(tenants: Mapping[str, TenantCount], most_chars: int) -> tuple[str, dict[str, TenantCount]]:
    """Write as many tenants as fit, largest first, as ASCII text of at most ``most_chars`` characters.

    Returns
    -------
    The text, which :func:`unpack` reads, and the tenants that fitted.
    """
    kept = dict(tenants)
    while kept:
        body = json.dumps([list(kept), *_columns(kept.values())], separators=(",", ":"))
        text = b85encode(zlib.compress(body.encode(), 6)).decode()
        if len(text) <= most_chars:
            return text, kept
        names = list(kept)[: min(len(kept) * 7 // 8, len(kept) * most_chars // len(text) + 1, len(kept) - 1)]
        kept = {name: kept[name] for name in names}
    return "", {}


def unpack(text: str) -> dict[str, TenantCount]:
    """Read what :func:`pack` wrote. Raises Refused, which is a ValueError, when it is something else."""
    if text == "":
        return {}
    try:
        reader = zlib.decompressobj()
        body = reader.decompress(b85decode(text), _MOST_UNPACKED)
        names, *columns = read_object(b'{"rows":%b}' % body, "list of tenants", most=2 * _MOST_UNPACKED)["rows"]
        counts = [TenantCount(*(whole(n, 2**64) for n in row)) for row in zip(*columns, strict=True)]
        tenants = {name(text): count for text, count in zip(names, counts, strict=True)}
        if len(tenants) < len(counts):
            raise Refused("duplicate", "a tenant appears twice")
        return tenants
    except (ValueError, TypeError, RecursionError, zlib.error) as error:
        raise damaged("tenants", error) from error
