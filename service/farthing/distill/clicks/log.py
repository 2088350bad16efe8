"""Reads click logs as a recipe says: each row becomes a BidRequest with a click or none."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from farthing.distill.clicks.recipe import ClickRecipe
from farthing.distill.data_files import read_data_rows
from farthing.errors import DataError
from farthing.evaluate.cells import string
from farthing.evaluate.labels import Labels
from farthing.evaluate.requests import Value, encode, put
from farthing.files import file_sha256

Floats = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class ClickLog:
    """Requests of one impression each, and their clicks."""

    events: tuple[bytes, ...]
    ids: tuple[str, ...]  # (n,)
    clicks: Floats  # (n,) 0 or 1
    cells: dict[str, tuple[Value, ...]]  # field -> (n,) the value in the request; None: nothing
    folds: NDArray[np.int64]  # (n,) a hash of the row's id, to be reduced modulo the number of folds
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
        It cannot be read as rows, has none or only one class, or a row is invalid; the message names file and row.
    """
    source, requests = recipe.source, recipe.requests()
    required = {source.id, source.click, *(column.column for column in recipe.column)}
    events: list[bytes] = []
    folds: list[int] = []
    labels = Labels(source.click, {}, head="click", mend="write 0 and 1")
    cells: dict[str, list[Value]] = {column.field: [] for column in recipe.column}
    seen: dict[str, int] = {}
    for row in read_data_rows(path):
        place = f"{path}:{row.line}"
        missing = sorted(required - row.values.keys())
        if missing:
            raise DataError(f"{place}: has no columns {missing}; name the log's own in the recipe, or fix the file")
        name = string(row, source.id, {})
        if seen.setdefault(name, row.line) != row.line:
            raise DataError(f"{place}: {source.id} {name!r} is also that of line {seen[name]}; make ids unique")
        if 0.0 < labels.add(row) < 1.0:
            raise DataError(f"{place}: {source.click} is {row.values[source.click]!r}, expected 0 or 1; fix the row")
        folds.append(int.from_bytes(hashlib.sha256(name.encode()).digest()[:6], "big"))
        request = requests.blank(name)
        for column in requests.columns:
            try:
                value = column.value(row.values[column.column], requests.absent)
            except ValueError as error:
                raise DataError(f"{place}: {error}") from error
            cells[column.field].append(value)
            if value is not None:
                put(request, column.path, value)
        events.append(encode(request))
    clicks = np.array(labels.numbers(), np.float32)
    if not 0 < clicks.sum() < len(clicks):
        raise DataError(
            f"{path}: {len(events)} rows, {int(clicks.sum())} of them clicks; give a log with clicks and others"
        )
    return ClickLog(
        events=tuple(events),
        ids=tuple(seen),
        clicks=clicks,
        cells={name: tuple(values) for name, values in cells.items()},
        folds=np.array(folds, np.int64),
        sha256=file_sha256(path),
    )


def golden_events(log: ClickLog, n: int) -> Iterator[bytes]:
    """Return the first requests of a log, and variants of one of them with other outcomes."""
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
