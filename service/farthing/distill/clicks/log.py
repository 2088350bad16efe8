"""Click logs: rows of a CSV file as BidRequests with a click each, as a recipe says."""

from __future__ import annotations

import csv
import gzip
import hashlib
import io
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from farthing.distill.clicks.recipe import ClickRecipe
from farthing.errors import ConfigError, DataError
from farthing.evaluate.requests import Value, encode, put

Floats = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class ClickLog:
    """Requests of one impression each."""

    events: tuple[bytes, ...]
    ids: tuple[str, ...]  # (n,)
    clicks: Floats  # (n,) 0 or 1
    cells: dict[str, tuple[Value, ...]]  # field -> (n,) what went into the request; None: nothing
    folds: NDArray[np.int64]  # (n,) a hash of the row's id, to be taken modulo the number of folds
    sha256: str

    def __len__(self) -> int:
        return len(self.events)


def read_clicks(path: Path, recipe: ClickRecipe) -> ClickLog:
    """Read a log.

    Raises
    ------
    ConfigError
        The file is missing.
    DataError
        It is no such CSV, has no rows or one class only, or a row is not as stated: file, row and mend are named.
    """
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise ConfigError(f"{path}: the log cannot be read ({error}); give --data the folder that has it") from error
    try:
        text = (gzip.decompress(raw) if raw[:2] == b"\x1f\x8b" else raw).decode("utf-8")
    except (OSError, EOFError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: the log cannot be read ({error}); copy or export it again, in UTF-8") from error
    source, requests = recipe.source, recipe.requests()
    reader = csv.DictReader(io.StringIO(text))
    wanted = {source.id, source.click, *(column.column for column in recipe.column)}
    missing = sorted(wanted - set(reader.fieldnames or ()))
    if missing:
        raise DataError(f"{path}: has no columns {missing}; name the log's own in the recipe, or mend the file")
    rows = list(reader)
    for number, row in enumerate(rows, 2):
        if None in row or None in row.values():
            raise DataError(f"{path}:{number}: its cells do not fit the header's; mend the row's commas or quotes")
    events: list[bytes] = []
    clicks = np.zeros(len(rows), np.float32)
    folds = np.zeros(len(rows), np.int64)
    cells: dict[str, list[Value]] = {column.field: [] for column in recipe.column}
    seen: dict[str, int] = {}
    for number, row in enumerate(rows, 2):
        place = f"{path}:{number}"
        name = row[source.id]
        if seen.setdefault(name, number) != number:
            raise DataError(f"{place}: {source.id} {name!r} is also that of row {seen[name]}; make ids unique")
        if row[source.click] not in ("0", "1"):
            raise DataError(f"{place}: {source.click} is {row[source.click]!r}, expected 0 or 1; mend the row")
        clicks[number - 2] = float(row[source.click])
        folds[number - 2] = int.from_bytes(hashlib.sha256(name.encode()).digest()[:6], "big")
        request = requests.blank(name)
        for column in requests.columns:
            try:
                value = column.value(row[column.column], requests.absent)
            except ValueError as error:
                raise DataError(f"{place}: {error}") from error
            cells[column.field].append(value)
            if value is not None:
                put(request, column.path, value)
        events.append(encode(request))
    if not rows:
        raise DataError(f"{path}: holds no row; give a log with rows in it")
    if not 0 < clicks.sum() < len(clicks):
        raise DataError(
            f"{path}: {len(rows)} rows, {int(clicks.sum())} of them clicks; both kinds are needed: give a log with both"
        )
    return ClickLog(
        events=tuple(events),
        ids=tuple(seen),
        clicks=clicks,
        cells={name: tuple(values) for name, values in cells.items()},
        folds=folds,
        sha256=hashlib.sha256(raw).hexdigest(),
    )


def golden_events(log: ClickLog, n: int) -> Iterator[bytes]:
    """Give the first requests of a log and variants of one of them that the task refuses or answers otherwise."""
    yield from log.events[:n]
    base = json.loads(log.events[0])
    imp = base["imp"][0]
    variants: list[dict[str, Any]] = [
        {"test": 1},
        {"tmax": 120},
        {"cur": ["XXX"]},
        {"imp": [{**imp, "bidfloor": 1e5}]},
        {"imp": [{**imp, "bidfloor": "free"}]},
        {"imp": [{**imp, "bidfloor": 0.01, "bidfloorcur": "XXX"}]},
        {"imp": [{k: v for k, v in imp.items() if k != "id"}]},
        {"imp": [{**imp, "pmp": {"private_auction": 1}}]},
        {"imp": [{**imp, "id": f"é{k}"} for k in range(5)]},
        {"imp": []},
        {"id": 7},
        {"id": None},
    ]
    for change in variants:
        yield json.dumps({**base, **change}, ensure_ascii=False).encode()
    yield from (b"", b"{", b"[1]", b"\xff", b'{"id":"x"}', b'{"id":"x","imp":{}}')
