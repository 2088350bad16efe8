"""Rows of a click log as columns: requests to be scored, clicks, market prices, another model's probabilities."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from farthing.errors import ConfigError
from farthing.evaluate.cells import absent, named, number
from farthing.evaluate.files import MISSING, Row, read_rows
from farthing.evaluate.requests import RequestMap, encode, put
from farthing.evaluate.rows import all_rows, both_classes, few_values, slice_value

Floats = NDArray[np.float64]
Int64s = NDArray[np.int64]

CLICK: Final = "click"
MARKET_PRICE: Final = "market_price"
PCTR: Final = "pctr"
"""Click probabilities that stand in the rows; by default the one column whose name begins so."""


@dataclass(frozen=True, slots=True)
class Layout:
    """What there is in each row besides ``click``."""

    requests: RequestMap | None = None  # None: the rows are not to be scored
    whole_requests: bool = False  # each row is a BidRequest of one impression itself
    fields: frozenset[str] = frozenset()  # the fields that are wanted of ``requests``: those that the bundle reads
    pctr: str | None = None  # column with click probabilities


@dataclass(frozen=True, slots=True)
class ImpressionRows:
    """Impressions with their clicks, in the order of the files: a bid stream is replayed in it."""

    sources: tuple[str, ...]
    source: Int64s  # (n,) index in sources
    places: tuple[str, ...]  # (n,)
    events: tuple[bytes, ...]  # (n,) BidRequests of one impression; empty where the rows are not to be scored
    clicks: NDArray[np.int8]  # (n,)
    market_prices: Floats | None  # (n,) the price to beat and to pay; None where the files have none
    pctr: Floats | None  # (n,) click probabilities from elsewhere; None where the files have none
    slices: Mapping[str, tuple[str, ...]]  # field -> (n,) its value in each row

    def __len__(self) -> int:
        return len(self.clicks)


def layout_of(
    path: Path, requests: RequestMap | None, fields: frozenset[str], names: Mapping[str, str], model: str
) -> Layout:
    """Look at a file's first row for what the bundle reads, and for probabilities.

    Raises
    ------
    ConfigError
        There is neither, or nothing says where columns lie in a request.
    """
    row = next(iter(read_rows(path)))
    pctr = names.get(PCTR)
    if pctr is None:
        like = [name for name in row.values if name.lower().startswith(PCTR)]
        pctr = like[0] if len(like) == 1 else None
    if row.typed and isinstance(row.values.get("imp"), list):
        return Layout(whole_requests=True, pctr=pctr)
    wanted = [] if requests is None else [c.column for c in requests.columns if c.field in fields]
    if any(row.get(names.get(column, column)) is not MISSING for column in wanted):
        return Layout(requests=requests, fields=fields, pctr=pctr)
    if pctr is None:
        what = (
            f"{model} does not say how a log's columns lie in a BidRequest (build it again), and the row is none"
            if requests is None
            else f"there is none of the columns {', '.join(wanted)}, which {model} reads"
        )
        raise ConfigError(
            f"{path}: {what}, and no click probabilities; the columns are {', '.join(row.values)}. "
            "Name them with --map, such as --map pctr=COLUMN"
        )
    return Layout(pctr=pctr)


def read_impressions(
    paths: Sequence[Path], names: Mapping[str, str], layout: Layout | None = None, *, slices: Sequence[str] = ()
) -> ImpressionRows:
    """Read rows that are one impression each: ``click`` (0 or 1), perhaps ``market_price``, and what ``layout`` says.

    Raises
    ------
    ConfigError
        A file cannot be opened or is given twice, or a slice has too many values.
    DataError
        A row is not as it must be, only some rows have a market price, or all rows or none have a click.
    """
    layout = Layout() if layout is None else layout
    source, places, clicks, prices = [], [], [], []
    events: list[bytes] = []
    pctr: list[float] = []
    found: dict[str, list[str]] = {name: [] for name in slices}
    for index, row in all_rows(paths):
        clicks.append(_click(row, names))
        source.append(index)
        places.append(row.place)
        if row.get(names.get(MARKET_PRICE, MARKET_PRICE)) is not MISSING:
            prices.append(number(row, MARKET_PRICE, names, low=0.0))
        elif prices or MARKET_PRICE in names:
            row.fail(f"has no {named(MARKET_PRICE, names)}; replay files with market prices by themselves")
        if prices and len(prices) < len(clicks):
            row.fail(f"has {named(MARKET_PRICE, names)}, rows before it have none; replay files with it by themselves")
        if layout.pctr is not None:
            pctr.append(number(row, PCTR, {PCTR: layout.pctr}, low=0.0, high=1.0))
        if layout.whole_requests:
            events.append(_whole(row))
        elif layout.requests is not None:
            events.append(_event(row, layout.requests, layout.fields, names))
        for name, values in found.items():
            values.append(slice_value(row, name))
    both_classes(paths, np.array(clicks) == 1, "a click", "no click")
    few_values(found)
    return ImpressionRows(
        sources=tuple(map(str, paths)),
        source=np.array(source, np.int64),
        places=tuple(places),
        events=tuple(events),
        clicks=np.array(clicks, np.int8),
        market_prices=np.array(prices) if prices else None,
        pctr=np.array(pctr) if pctr else None,
        slices={name: tuple(values) for name, values in found.items()},
    )


def _click(row: Row, names: Mapping[str, str]) -> float:
    click = number(row, CLICK, names, low=0.0, high=1.0)
    if click not in (0.0, 1.0):
        row.fail(f"{named(CLICK, names)} is {click:g}, expected 0 or 1; count a row with several clicks as 1")
    return click


def _whole(row: Row) -> bytes:
    impressions = row.values.get("imp")
    if not isinstance(impressions, list) or len(impressions) != 1:
        row.fail("is no BidRequest with one impression in imp, which rows before it are; one click belongs to each")
    return encode(row.values)


def _event(row: Row, requests: RequestMap, fields: frozenset[str], names: Mapping[str, str]) -> bytes:
    """Lay a row out as a request. The columns that the bundle reads must be there."""
    request: dict[str, Any] = requests.blank(str(row.number))
    for column in requests.columns:
        cell = row.get(names.get(column.column, column.column))
        if cell is MISSING:
            if column.field in fields:
                absent(row, column.column, names, cell)
            continue
        try:
            value = column.value(cell, requests.absent)
        except ValueError as error:
            row.fail(str(error))
        if value is not None:
            put(request, column.path, value)
    return encode(request)
