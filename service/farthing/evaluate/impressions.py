"""Reads rows of a click log as columns: requests to score, clicks, market prices, another model's probabilities."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from farthing.errors import ConfigError
from farthing.evaluate.cells import absent, named, number
from farthing.evaluate.labels import Labels
from farthing.evaluate.requests import RequestMap, encode, put
from farthing.evaluate.rows import all_rows, both_classes, few_values, slice_value
from farthing.files import MISSING, Row

Floats = NDArray[np.float64]
Int64s = NDArray[np.int64]

CLICK: Final = "click"
MARKET_PRICE: Final = "market_price"
PCTR: Final = "pctr"
"""Name of the rows' own click probabilities; by default they are the one column whose name begins with it."""


@dataclass(frozen=True, slots=True)
class Layout:
    """What there is in each row besides ``click``."""

    requests: RequestMap | None = None  # None: the rows are not to be scored
    whole_requests: bool = False  # each row is itself a BidRequest of one impression
    fields: frozenset[str] = frozenset()  # the fields of ``requests`` that the bundle reads
    pctr: str | None = None  # column with click probabilities


NOTHING_ELSE: Final = Layout()


@dataclass(frozen=True, slots=True)
class ImpressionRows:
    """Impressions with their clicks, in the order of the files, in which a bid stream is replayed."""

    sources: tuple[str, ...]
    source: Int64s  # (n,) index in sources
    places: tuple[str, ...]  # (n,)
    events: tuple[bytes, ...]  # (n,) BidRequests of one impression; empty if the rows are not to be scored
    clicks: NDArray[np.int8]  # (n,)
    market_prices: Floats | None  # (n,) the price to beat and to pay; None if the files have none
    pctr: Floats | None  # (n,) click probabilities from elsewhere; None if the files have none
    pctr_column: str | None  # the column of these probabilities
    slices: Mapping[str, tuple[str, ...]]  # field -> (n,) its value in each row

    def __len__(self) -> int:
        return len(self.clicks)


def layout_of(
    row: Row, requests: RequestMap | None, fields: frozenset[str], names: Mapping[str, str], model: str
) -> Layout:
    """Find out from the first row whether the rows have what the bundle reads, and probabilities.

    Raises
    ------
    ConfigError
        They have neither, or nothing says where columns go in a request.
    """
    pctr = names.get(PCTR)
    if pctr is None:
        like = [name for name in row.values if name.lower().startswith(PCTR)]
        pctr = like[0] if len(like) == 1 else None
    if row.typed and isinstance(row.values.get("imp"), list):
        return Layout(whole_requests=True, pctr=pctr)
    read_columns = [] if requests is None else [c.column for c in requests.columns if c.field in fields]
    if any(row.get(names.get(column, column)) is not MISSING for column in read_columns):
        return Layout(requests=requests, fields=fields, pctr=pctr)
    if pctr is None:
        what = (
            f"{model} does not say where a log's columns go in a BidRequest (build it again), and the row is not one"
            if requests is None
            else f"there is none of the columns {', '.join(read_columns)}, which {model} reads"
        )
        raise ConfigError(
            f"{row.file}: {what}, and no click probabilities; the columns are {', '.join(row.values)}. "
            "Name them with --map, such as --map pctr=COLUMN"
        )
    return Layout(pctr=pctr)


def read_impressions(
    paths: Sequence[Path],
    names: Mapping[str, str],
    layout: Layout | Callable[[Row], Layout] = NOTHING_ELSE,
    *,
    slices: Sequence[str] = (),
    positive: Sequence[str] = (),
) -> ImpressionRows:
    """Read rows that are one impression each: ``click`` (0 or 1), perhaps ``market_price``, and what ``layout`` says.

    ``layout`` may be a function that makes it from the first row. ``positive`` are the words for a click.

    Raises
    ------
    ConfigError
        A file cannot be opened or is given twice, or a slice has too many values.
    DataError
        A row is invalid, only some rows have a market price, or all rows or none have a click.
    """
    settled = layout if isinstance(layout, Layout) else None
    source, places, prices = [], [], []
    column = Labels(CLICK, names, positive=positive, head=CLICK)
    events: list[bytes] = []
    pctr: list[float] = []
    slice_values: dict[str, list[str]] = {name: [] for name in slices}
    for index, row in all_rows(paths):
        if settled is None:
            assert not isinstance(layout, Layout)
            settled = layout(row)
        _click(column.add(row), row, names)
        source.append(index)
        places.append(row.place)
        if row.get(names.get(MARKET_PRICE, MARKET_PRICE)) is not MISSING:
            prices.append(number(row, MARKET_PRICE, names, low=0.0))
        elif prices or MARKET_PRICE in names:
            row.fail(f"has no {named(MARKET_PRICE, names)}; replay files with market prices by themselves")
        if prices and len(prices) < len(source):
            row.fail(f"has {named(MARKET_PRICE, names)}, rows before it have none; replay files with it by themselves")
        if settled.pctr is not None:
            pctr.append(number(row, PCTR, {PCTR: settled.pctr}, low=0.0, high=1.0))
        if settled.whole_requests:
            events.append(_whole(row))
        elif settled.requests is not None:
            events.append(_event(row, settled.requests, settled.fields, names))
        for name, values in slice_values.items():
            values.append(slice_value(row, name))
    clicks = np.array(column.numbers(), np.int8)
    both_classes(paths, clicks == 1, "a click", "no click")
    few_values(slice_values)
    return ImpressionRows(
        sources=tuple(map(str, paths)),
        source=np.array(source, np.int64),
        places=tuple(places),
        events=tuple(events),
        clicks=clicks,
        market_prices=np.array(prices) if prices else None,
        pctr=np.array(pctr) if pctr else None,
        pctr_column=None if settled is None else settled.pctr,
        slices={name: tuple(values) for name, values in slice_values.items()},
    )


def _click(click: float, row: Row, names: Mapping[str, str]) -> None:
    if 0.0 < click < 1.0:
        row.fail(f"{named(CLICK, names)} is {click:g}, expected 0 or 1; count a row with several clicks as 1")


def _whole(row: Row) -> bytes:
    impressions = row.values.get("imp")
    if not isinstance(impressions, list) or len(impressions) != 1:
        row.fail("is no BidRequest with one impression in imp, which rows before it are; one click belongs to each")
    return encode(row.values)


def _event(row: Row, requests: RequestMap, fields: frozenset[str], names: Mapping[str, str]) -> bytes:
    """Lay a row out as a request. It must have the columns that the bundle reads."""
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
