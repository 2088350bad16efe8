"""Counting a block's usage by tenant: names become small numbers in one pass, without an object for an event.

A tenant is what a configured field of the event says. A worker tells the first :data:`CAPACITY` names that it meets
apart; further ones, names over :data:`LONGEST_BYTES`, and events that name nobody or cannot be read, are counted
together as OTHER. So no number of made-up tenants takes more memory or time than this.
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
from farthing.jit import kernel
from farthing.meter.records import OTHER, TenantCount

CAPACITY: Final = 4_096
"""Names that a worker tells apart for each route, OTHER among them."""

LONGEST_BYTES: Final = 64
N_SLOTS: Final = 4 * CAPACITY
PART, TENANT, SCORED, DEAD, PROMPT_BYTES = 0, 1, 2, 3, 4
N_COLUMNS: Final = 5
_MOST_UNPACKED: Final = 1 << 18
_FNV_BASIS: Final = np.uint64(0xCBF29CE484222325)  # FNV-1a, 64 bits
_FNV_PRIME: Final = np.uint64(0x100000001B3)
_PRESENT: Final = int(Presence.PRESENT)


def count_tenants_reference(
    bounds: Int64s, status: Bytes, prompt_bytes: Int64s, presence: Bytes, buffer: Bytes, start: Int64s, stop: Int64s,
    slots: Int32s, pool: Bytes, indptr: Int64s, known: Int64s, seen: Int64s, rows: Int64s,
) -> int:  # fmt: skip
    """Plain form of :func:`count_tenants`; it keeps no index (``slots``, ``seen``)."""
    ids = {pool[indptr[k] : indptr[k + 1]].tobytes(): k for k in range(1, int(known[0]))}
    found: dict[tuple[int, int], int] = {}
    for part in range(len(bounds) - 1):
        for event in range(bounds[part], bounds[part + 1]):
            name = buffer[start[event] : stop[event]].tobytes() if presence[event] == _PRESENT else b""
            tenant = ids.get(name, 0)
            if not tenant and 0 < len(name) <= LONGEST_BYTES and known[0] < CAPACITY:
                tenant = ids[name] = int(known[0])
                pool[indptr[tenant] : indptr[tenant] + len(name)] = np.frombuffer(name, np.uint8)
                indptr[tenant + 1] = indptr[tenant] + len(name)
                known[0] += 1
            at = found.setdefault((part, tenant), len(found))
            rows[at, PART], rows[at, TENANT] = part, tenant
            if status[event]:
                rows[at, DEAD] += 1
            else:
                rows[at, SCORED] += 1
                rows[at, PROMPT_BYTES] += prompt_bytes[event]
    return len(found)


@kernel(reference=count_tenants_reference)
def count_tenants(
    bounds: Int64s, status: Bytes, prompt_bytes: Int64s, presence: Bytes, buffer: Bytes, start: Int64s, stop: Int64s,
    slots: Int32s, pool: Bytes, indptr: Int64s, known: Int64s, seen: Int64s, rows: Int64s,
) -> int:  # fmt: skip
    """Count the events of each part of a block by tenant.

    Parameters
    ----------
    bounds, status, prompt_bytes:
        As :func:`farthing.meter.count.count_usage` has them.
    presence, buffer, start, stop:
        The tenants' names: uint8 (n,) Presence, and int64 (n,) places in a buffer.
    slots, pool, indptr, known:
        The names met so far, added to: an open-addressed index int32 (N_SLOTS,) of their numbers, 0 where free; their
        bytes; int64 (CAPACITY+1,) into those; int64 (1,) how many, OTHER (number 0) among them.
    seen:
        int64 (CAPACITY,): scratch.
    rows:
        int64 (>= rows, N_COLUMNS), zeros: gets one row for each part and tenant: part, tenant, scored, dead, bytes.

    Returns
    -------
    How many rows there are.
    """
    n_rows = 0
    for part in range(len(bounds) - 1):
        first_row = n_rows
        for event in range(bounds[part], bounds[part + 1]):
            tenant = np.int64(0)
            at, end = start[event], stop[event]
            size = end - at
            if presence[event] == _PRESENT and 0 < size <= LONGEST_BYTES:
                hashed = _FNV_BASIS
                for k in range(at, end):
                    hashed = (hashed ^ np.uint64(buffer[k])) * _FNV_PRIME
                slot = np.int64((hashed ^ (hashed >> np.uint64(32))) & np.uint64(N_SLOTS - 1))
                while True:
                    tenant = np.int64(slots[slot])
                    if tenant == 0:
                        if known[0] < CAPACITY:
                            tenant = np.int64(known[0])
                            slots[slot] = np.int32(tenant)
                            for k in range(size):
                                pool[indptr[tenant] + k] = buffer[at + k]
                            indptr[tenant + 1] = indptr[tenant] + size
                            known[0] += 1
                        break
                    k = 0
                    if indptr[tenant + 1] - indptr[tenant] == size:
                        while k < size and pool[indptr[tenant] + k] == buffer[at + k]:
                            k += 1
                    if k == size:
                        break
                    slot = (slot + 1) & (N_SLOTS - 1)
            row = seen[tenant]
            if row < first_row or row >= n_rows or rows[row, TENANT] != tenant:
                row = n_rows
                seen[tenant] = row
                rows[row, PART] = part
                rows[row, TENANT] = tenant
                n_rows += 1
            if status[event] != 0:
                rows[row, DEAD] += 1
            else:
                rows[row, SCORED] += 1
                rows[row, PROMPT_BYTES] += prompt_bytes[event]
    return n_rows


@dataclass(frozen=True, slots=True)
class TenantRows:
    """A block's counts by part and tenant, as :func:`count_tenants` gives them; ``names`` knows the numbers."""

    names: TenantNames
    rows: Int64s  # (n_rows, N_COLUMNS), by part

    def of_part(self, part: int) -> Int64s:
        """Give the rows of one part."""
        first, last = np.searchsorted(self.rows[:, PART], (part, part + 1))
        return self.rows[first:last]


class TenantNames:
    """The names that a route has met, as numbers from 1 on. One thread counts; others may read names at any time."""

    def __init__(self, *, tokens: bool = True) -> None:
        """``tokens``: names are JSON values as they came; else they are texts."""
        self._tokens = tokens
        self._slots = np.zeros(N_SLOTS, np.int32)
        self._pool = np.zeros(CAPACITY * LONGEST_BYTES, np.uint8)
        self._indptr = np.zeros(CAPACITY + 1, np.int64)
        self._known = np.ones(1, np.int64)
        self._seen = np.zeros(CAPACITY, np.int64)
        self._texts: dict[int, str] = {0: OTHER}

    def count(
        self, bounds: Int64s, status: Bytes, prompt_bytes: Int64s, column: RawColumn | TextColumn, buffer: Bytes
    ) -> TenantRows:
        """Count a block; ``buffer`` is that of its records, which a raw column is a view of."""
        if isinstance(column, TextColumn):
            buffer, start, stop = column.data, column.indptr[:-1], column.indptr[1:]
        else:
            start, stop = column.start, column.stop
        most = min(len(status), (len(bounds) - 1) * CAPACITY)
        rows = np.zeros((most, N_COLUMNS), np.int64)
        n_rows = count_tenants(
            bounds, status, prompt_bytes, column.presence, buffer, start, stop, self._slots, self._pool, self._indptr,
            self._known, self._seen, rows,
        )  # fmt: skip
        return TenantRows(self, rows[:n_rows].copy())

    def text(self, tenant: int) -> str:
        """Give a tenant's name: a JSON string's text, any other value as it was written."""
        known = self._texts.get(tenant)
        if known is None:
            token = self._pool[self._indptr[tenant] : self._indptr[tenant + 1]].tobytes().decode()
            quoted = self._tokens and token.startswith('"')
            known = self._texts[tenant] = str(json.loads(token)) if quoted else token
        return known


class TenantTotals:
    """One count's tenants: those that were taken over with it, by name, and those counted since, by number."""

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
        """Give the ``most`` tenants with most events, largest first; OTHER is what is left and not among them."""
        found = dict(self._carried)
        if self._names is not None:
            sizes = self._counts[1:, 0] + self._counts[1:, 1]
            largest = np.argsort(-sizes, kind="stable")[: most + len(found)] + 1
            for tenant, count in zip(largest.tolist(), self._counts[largest].tolist(), strict=True):
                if count[0] or count[1]:
                    name = self._names.text(tenant)
                    found[name] = TenantCount(*map(sum, zip(count, found.get(name, (0, 0, 0)), strict=True)))
        found.pop(OTHER, None)
        ranked = sorted(found.items(), key=lambda item: (-item[1].scored - item[1].dead, item[0]))
        return dict(ranked[:most])


def with_other(tenants: Mapping[str, TenantCount], total: TenantCount) -> dict[str, TenantCount]:
    """Give tenants, and OTHER for what is left of their total, if anything is."""
    left = TenantCount(*(whole - sum(column) for whole, column in zip(total, _columns(tenants.values()), strict=True)))
    return {**tenants, OTHER: left} if any(left) else dict(tenants)


def _columns(counts: Iterable[TenantCount]) -> list[tuple[int, ...]]:
    rows = list(counts)
    return list(zip(*rows, strict=True)) if rows else [(), (), ()]


def pack(tenants: Mapping[str, TenantCount], most_chars: int) -> tuple[str, dict[str, TenantCount]]:
    """Write tenants, largest first, as ASCII text of at most ``most_chars``: as many as fit.

    Returns
    -------
    The text, which :func:`unpack` reads; and those that fitted.
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
    """Read what :func:`pack` wrote. Raises ValueError when it is something else."""
    if not text:
        return {}
    try:
        reader = zlib.decompressobj()
        body = reader.decompress(b85decode(text), _MOST_UNPACKED)
        names, *columns = json.loads(body)
        counts = [TenantCount(*row) for row in zip(*columns, strict=True)]
        if any(type(n) is not int or n < 0 for count in counts for n in count):
            raise ValueError("a count is no whole number")
        return {str(name): count for name, count in zip(names, counts, strict=True)}
    except (ValueError, TypeError, zlib.error) as error:
        raise ValueError(f"damaged tenants ({error})") from error
