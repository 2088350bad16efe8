"""Labelled rows of the three tasks as columns, ready to be scored and measured.

::

    moderation   text, label                                   -> LabelledRows
    rerank       qid, query, docid, title, text, label         -> CandidateRows (and a first-stage score)
    bidding      click, other columns                          -> ImpressionRows (and market prices)

``names`` maps a name used here to the column that holds it (``--map text=comment``). What cannot be measured as it is
stops with a :class:`farthing.errors.DataError` that names file, row and what to do; nothing is dropped in silence.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from farthing.errors import ConfigError, DataError
from farthing.evaluate.cells import absent, named, number, string
from farthing.evaluate.files import MISSING, Row, read_rows
from farthing.payload import Field, FieldPlan

Floats = NDArray[np.float64]
Int64s = NDArray[np.int64]

LABEL = "label"
CLICK = "click"
MARKET_PRICE = "market_price"
POSITIVE_SHARE = 0.5
"""A label between 0 and 1 is a share of annotators: from here on it counts as positive."""
MAX_SLICES = 100


@dataclass(frozen=True, slots=True)
class LabelledRows:
    """Events with 0/1 labels."""

    sources: tuple[str, ...]  # files, as they were given
    source: Int64s  # (n,) index in sources
    places: tuple[str, ...]  # (n,) file, row and line, for messages
    events: tuple[bytes, ...]  # (n,) values as they would lie in Kafka
    labels: NDArray[np.int8]  # (n,) 1: positive
    soft: int  # rows whose label lies between 0 and 1
    slices: Mapping[str, tuple[str, ...]]  # field -> (n,) its value in each row

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True, slots=True)
class CandidateRows:
    """Candidates of queries, those of one query together and in an order drawn at random.

    The order of a file must not help (in some data the first candidate is often the right one), so it is not kept.
    """

    sources: tuple[str, ...]
    source: Int64s  # (n_queries,) index in sources
    qids: tuple[str, ...]  # (n_queries,)
    queries: tuple[str, ...]  # (n_queries,)
    query_indptr: Int64s  # (n_queries+1,) queries -> candidates
    docids: tuple[str, ...]  # (n,)
    titles: tuple[str, ...]  # (n,) empty where there is none
    texts: tuple[str, ...]  # (n,) empty where there is none
    labels: Floats  # (n,) relevance, 0 and up; NaN: not judged
    first_stage: Floats | None  # (n,) higher is better
    left_out: int  # rows with no first-stage score: the first stage had not found them

    def __len__(self) -> int:
        return len(self.docids)


@dataclass(frozen=True, slots=True)
class ImpressionRows:
    """Impressions with their clicks, in the order of the files: a bid stream is replayed in it."""

    sources: tuple[str, ...]
    source: Int64s  # (n,) index in sources
    places: tuple[str, ...]  # (n,)
    clicks: NDArray[np.int8]  # (n,)
    market_prices: Floats | None  # (n,) the price to beat and to pay; None where the files have none
    columns: Mapping[str, tuple[Any, ...]]  # the other columns that were asked for, as they are in the file

    def __len__(self) -> int:
        return len(self.clicks)


def read_labelled(
    paths: Sequence[Path], plan: FieldPlan, names: Mapping[str, str], *, slices: Sequence[str] = ()
) -> LabelledRows:
    """Read rows that are one event each, with the fields of a bundle's plan and ``label``.

    Labels are 0 or 1, or a share of annotators between them. In CSV, text and raw fields are strings, number fields
    numbers; an empty cell of a number field is null.

    Raises
    ------
    ConfigError
        A file cannot be opened or is given twice, the plan has rows in an array, or a slice has over MAX_SLICES values.
    DataError
        A row is not as it must be, or all rows have one label.
    """
    if plan.has_array:
        raise ConfigError("the bundle scores several rows an event; rows of one label each do not fit it")
    source, places, events, labels = [], [], [], []
    found: dict[str, list[str]] = {name: [] for name in slices}
    soft = 0
    for index, row in _all_rows(paths):
        share = number(row, LABEL, names, low=0.0, high=1.0)
        soft += 0.0 < share < 1.0
        source.append(index)
        places.append(row.place)
        events.append(_event(row, plan, names))
        labels.append(share >= POSITIVE_SHARE)
        for name, values in found.items():
            values.append(_slice_value(row, name))
    _both_classes(paths, np.array(labels), f"label {POSITIVE_SHARE} or more", f"label under {POSITIVE_SHARE}")
    for name, values in found.items():
        if len(set(values)) > MAX_SLICES:
            raise ConfigError(
                f"--slice {name}: has {len(set(values)):,} different values, at most {MAX_SLICES} are possible; "
                "choose a field with few values"
            )
    return LabelledRows(
        sources=tuple(map(str, paths)),
        source=np.array(source, np.int64),
        places=tuple(places),
        events=tuple(events),
        labels=np.array(labels, np.int8),
        soft=soft,
        slices={name: tuple(values) for name, values in found.items()},
    )


def read_candidates(
    paths: Sequence[Path],
    names: Mapping[str, str],
    *,
    first_stage: str | None = None,
    positive_from: float = 1.0,
    seed: int = 0,
) -> CandidateRows:
    """Read rows that are one candidate of a query each: ``qid``, ``query``, ``docid``, ``title``, ``text``, ``label``.

    A null label is a candidate that was not judged. ``first_stage`` names a column with the first stage's score
    (higher is better); rows where it is missing or null are left out and counted. ``title`` may be missing.
    ``positive_from`` is the label that a relevant candidate has at least; ``seed`` draws the order of candidates.

    Raises
    ------
    ConfigError
        A file cannot be opened or is given twice.
    DataError
        A row is not as it must be, no row is left, or no label reaches ``positive_from`` or all do.
    """
    found: dict[tuple[int, str], list[int]] = {}
    queries: dict[tuple[int, str], str] = {}
    docids: list[str] = []
    titles, texts, labels, scores = [], [], [], []
    left_out = 0
    for index, row in _all_rows(paths):
        score = math.nan if first_stage is None else number(row, first_stage, {}, nullable=True, optional=True)
        if first_stage is not None and math.isnan(score):
            left_out += 1
            continue
        title, text = string(row, "title", names, optional=True), string(row, "text", names)
        if not (title.strip() or text.strip()):
            row.fail("title and text are both empty; take the row out")
        key = (index, string(row, "qid", names))
        queries.setdefault(key, string(row, "query", names))
        found.setdefault(key, []).append(len(docids))
        docids.append(string(row, "docid", names))
        titles.append(title)
        texts.append(text)
        labels.append(number(row, LABEL, names, low=0.0, nullable=True))
        scores.append(score)
    if not docids:
        raise DataError(f"{_files(paths)}: no row has a score in {first_stage}; name the column with --first-stage")
    rng = np.random.default_rng(seed)
    order = np.concatenate([rng.permutation(rows) for rows in found.values()])
    judged = np.array(labels)[order]
    _both_classes(paths, judged >= positive_from, f"label {positive_from:g} or more", f"label under {positive_from:g}")
    return CandidateRows(
        sources=tuple(map(str, paths)),
        source=np.array([key[0] for key in found], np.int64),
        qids=tuple(key[1] for key in found),
        queries=tuple(queries.values()),
        query_indptr=np.concatenate([[0], np.cumsum([len(rows) for rows in found.values()])]).astype(np.int64),
        docids=tuple(docids[k] for k in order),
        titles=tuple(titles[k] for k in order),
        texts=tuple(texts[k] for k in order),
        labels=judged,
        first_stage=None if first_stage is None else np.array(scores)[order],
        left_out=left_out,
    )


def read_impressions(paths: Sequence[Path], names: Mapping[str, str], *, columns: Sequence[str] = ()) -> ImpressionRows:
    """Read rows that are one impression each: ``click`` (0 or 1), perhaps ``market_price``, and ``columns``.

    Raises
    ------
    ConfigError
        A file cannot be opened or is given twice.
    DataError
        A row is not as it must be, only some rows have a market price, or all rows or none have a click.
    """
    source, places, clicks, prices = [], [], [], []
    kept: dict[str, list[Any]] = {name: [] for name in columns}
    for index, row in _all_rows(paths):
        click = number(row, CLICK, names, low=0.0, high=1.0)
        if click not in (0.0, 1.0):
            row.fail(f"{named(CLICK, names)} is {click:g}, expected 0 or 1; count a row with several clicks as 1")
        source.append(index)
        places.append(row.place)
        clicks.append(click)
        if row.get(names.get(MARKET_PRICE, MARKET_PRICE)) is not MISSING:
            prices.append(number(row, MARKET_PRICE, names, low=0.0))
        elif prices or MARKET_PRICE in names:
            row.fail(f"has no {named(MARKET_PRICE, names)}; replay files with market prices by themselves")
        if prices and len(prices) < len(clicks):
            row.fail(f"has {named(MARKET_PRICE, names)}, rows before it have none; replay files with it by themselves")
        for name, values in kept.items():
            value = row.get(names.get(name, name))
            if value is MISSING:
                row.fail(f"has no {named(name, names)}; name its column with --map {name}=COLUMN")
            values.append(value)
    _both_classes(paths, np.array(clicks) == 1, "a click", "no click")
    return ImpressionRows(
        sources=tuple(map(str, paths)),
        source=np.array(source, np.int64),
        places=tuple(places),
        clicks=np.array(clicks, np.int8),
        market_prices=np.array(prices) if prices else None,
        columns={name: tuple(values) for name, values in kept.items()},
    )


def read_qrels(path: Path, names: Mapping[str, str]) -> dict[tuple[str, str], float]:
    """Read judgements, ``qid``, ``docid`` and ``label``: the relevance of each (qid, docid).

    Raises
    ------
    ConfigError
        The file cannot be opened.
    DataError
        A row is not as it must be, or a document is judged twice.
    """
    judged: dict[tuple[str, str], float] = {}
    for row in read_rows(path):
        key = (string(row, "qid", names), string(row, "docid", names))
        if key in judged:
            row.fail(f"{key[1]} is judged twice for {key[0]}; keep one judgement")
        judged[key] = number(row, LABEL, names, low=0.0)
    return judged


def _all_rows(paths: Sequence[Path]) -> Iterator[tuple[int, Row]]:
    if not paths:
        raise ConfigError("no data: give one or more files of labelled rows")
    if repeated := sorted({str(path) for path in paths if list(paths).count(path) > 1}):
        raise ConfigError(f"{', '.join(repeated)}: given twice; its rows would count double")
    for index, path in enumerate(paths):
        for row in read_rows(path):
            yield index, row


def _event(row: Row, plan: FieldPlan, names: Mapping[str, str]) -> bytes:
    """Lay out the fields that the plan reads as an event's value."""
    event: dict[str, Any] = {}
    for field in plan.fields:
        value = _field(row, field, names)
        if value is MISSING:
            continue
        *above, last = field.path.split(".")
        place = event
        for key in above:
            place = place.setdefault(key, {})
        place[last] = value
    try:
        return json.dumps(event, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        row.fail(f"{', '.join(event)} hold half of a surrogate pair, which is not text; mend or take out the row")


def _field(row: Row, field: Field, names: Mapping[str, str]) -> object:
    value = row.get(names.get(field.path, field.path))
    if value is MISSING or value is None:
        if field.required:
            absent(row, field.path, names, value)
        return value
    if field.kind == "text" and not isinstance(value, str):
        row.fail(f"{named(field.path, names)} is {json.dumps(value)}, expected a string")
    if field.kind == "number":
        return None if value == "" and not row.typed else number(row, field.path, names)
    return value


def _slice_value(row: Row, name: str) -> str:
    value = row.get(name)
    if value is MISSING:
        row.fail(f"has no {name}; --slice needs a field that every row has")
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _both_classes(paths: Sequence[Path], positive: NDArray[np.bool_], yes: str, no: str) -> None:
    if positive.all() or not positive.any():
        raise DataError(
            f"{_files(paths)}: all {len(positive):,} rows have {yes if positive.any() else no}; metrics need "
            "both kinds of rows, so give data that has them"
        )


def _files(paths: Sequence[Path]) -> str:
    return ", ".join(map(str, paths))
