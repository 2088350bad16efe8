"""Reads labelled rows as columns, to be scored and measured; :mod:`farthing.evaluate.impressions` reads impressions.

::

    moderation   text, label                                   -> LabelledRows
    rerank       qid, query, docid, title, text, label         -> CandidateRows (and a first-stage score)

``names`` maps a name used here to the column with it (``--map text=comment``). A row that cannot be measured raises a
:class:`farthing.errors.DataError` that names file and row and says what to do; nothing is dropped silently.
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
from farthing.evaluate.labels import Labels
from farthing.files import MISSING, Row, read_rows
from farthing.payload import Field, FieldPlan

Floats = NDArray[np.float64]
Int64s = NDArray[np.int64]

LABEL = "label"
POSITIVE_SHARE = 0.5
"""A label between 0 and 1 is a share of annotators; from this share on it counts as positive."""
MAX_SLICES = 100


@dataclass(frozen=True, slots=True)
class LabelledRows:
    """Events with 0/1 labels."""

    sources: tuple[str, ...]  # files, as they were given
    source: Int64s  # (n,) index in sources
    places: tuple[str, ...]  # (n,) file, row and line, for messages
    events: tuple[bytes, ...]  # (n,) values as they would be in Kafka
    labels: NDArray[np.int8]  # (n,) 1: positive
    soft: int  # number of rows whose label is between 0 and 1
    slices: Mapping[str, tuple[str, ...]]  # field -> (n,) its value in each row

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True, slots=True)
class CandidateRows:
    """Candidates of queries; those of one query are together, in random order.

    The order of a file must not help (in some data the first candidate is often the right one), so it is not kept.
    """

    sources: tuple[str, ...]
    source: Int64s  # (n_queries,) index in sources
    qids: tuple[str, ...]  # (n_queries,)
    queries: tuple[str, ...]  # (n_queries,)
    query_indptr: Int64s  # (n_queries+1,) queries -> candidates
    docids: tuple[str, ...]  # (n,)
    titles: tuple[str, ...]  # (n,) empty if there is none
    texts: tuple[str, ...]  # (n,) empty if there is none
    labels: Floats  # (n,) relevance, 0 and up; NaN: not judged
    first_stage: Floats | None  # (n,) higher is better
    left_out: int  # number of rows without a first-stage score, which the first stage did not retrieve
    repeated: int  # number of rows whose document is already a candidate of the query; they stay separate candidates

    def __len__(self) -> int:
        return len(self.docids)


def read_labelled(
    paths: Sequence[Path],
    plan: FieldPlan,
    names: Mapping[str, str],
    *,
    slices: Sequence[str] = (),
    positive: Sequence[str] = (),
    head: str | None = None,
) -> LabelledRows:
    """Read rows that are one event each, with the fields of a bundle's plan and ``label``.

    Labels are 0 or 1, a share of annotators between them, or words, of which ``positive`` count as yes (see
    :mod:`farthing.evaluate.labels`, also for ``head``). In CSV, text and raw fields are strings and number fields are
    numbers; an empty cell of a number field is null.

    Raises
    ------
    ConfigError
        A file cannot be opened or is given twice, the plan has rows in an array, or a slice has over MAX_SLICES values.
    DataError
        A row is invalid, or all rows have the same label.
    """
    if plan.has_array:
        raise ConfigError("the bundle scores several rows per event; it cannot be measured on rows with one label each")
    source, places, events = [], [], []
    column = Labels(LABEL, names, positive=positive, head=head)
    slice_values: dict[str, list[str]] = {name: [] for name in slices}
    for index, row in all_rows(paths):
        column.add(row)
        source.append(index)
        places.append(row.place)
        events.append(_event(row, plan, names))
        for name, values in slice_values.items():
            values.append(slice_value(row, name))
    shares = np.array(column.numbers())
    both_classes(paths, shares >= POSITIVE_SHARE, f"label {POSITIVE_SHARE} or more", f"label under {POSITIVE_SHARE}")
    few_values(slice_values)
    return LabelledRows(
        sources=tuple(map(str, paths)),
        source=np.array(source, np.int64),
        places=tuple(places),
        events=tuple(events),
        labels=(shares >= POSITIVE_SHARE).astype(np.int8),
        soft=int(((shares > 0) & (shares < 1)).sum()),
        slices={name: tuple(values) for name, values in slice_values.items()},
    )


def read_candidates(
    paths: Sequence[Path],
    names: Mapping[str, str],
    *,
    first_stage: str | None = None,
    qrels: Mapping[tuple[str, str], float] | None = None,
    positive_from: float = 1.0,
    seed: int = 0,
) -> CandidateRows:
    """Read rows that are one candidate of a query each: ``qid``, ``query``, ``docid``, ``title``, ``text``, ``label``.

    A null label means that the candidate was not judged. ``first_stage`` names a column with the first stage's score
    (higher is better); rows where it is missing or null are left out and counted. ``title`` may be missing. ``qrels``
    is a separate file of judgements: rows may then lack a label, and must agree with the file if they have one.
    ``positive_from`` is the least label of a relevant candidate; ``seed`` determines the random order of candidates.

    Raises
    ------
    ConfigError
        A file cannot be opened or is given twice.
    DataError
        A row is invalid, a judged document is in a query twice, no row is left, or no label reaches ``positive_from``
        or all do.
    """
    read = _Candidates(names, first_stage, qrels)
    for index, row in all_rows(paths):
        read.add(index, row)
    if not read.docids:
        raise DataError(f"{files(paths)}: no row has a score in {first_stage}; name the column with --first-stage")
    rng = np.random.default_rng(seed)
    order = np.concatenate([rng.permutation(rows) for rows in read.rows_of.values()])
    judged = read.labels()[order]
    both_classes(
        paths, judged >= positive_from, f"label {positive_from:g} or more", f"label under {positive_from:g}",
        "give data that has them, or another --positive-from",
    )  # fmt: skip
    return CandidateRows(
        sources=tuple(map(str, paths)),
        source=np.array([key[0] for key in read.rows_of], np.int64),
        qids=tuple(key[1] for key in read.rows_of),
        queries=tuple(read.queries.values()),
        query_indptr=np.cumsum([0, *(len(rows) for rows in read.rows_of.values())], dtype=np.int64),
        docids=tuple(read.docids[k] for k in order),
        titles=tuple(read.titles[k] for k in order),
        texts=tuple(read.texts[k] for k in order),
        labels=judged,
        first_stage=None if first_stage is None else np.array(read.scores)[order],
        left_out=read.left_out,
        repeated=read.repeated,
    )


class _Candidates:
    """Candidates that are being read, row by row; :func:`read_candidates` explains the parameters."""

    def __init__(
        self, names: Mapping[str, str], first_stage: str | None, qrels: Mapping[tuple[str, str], float] | None
    ) -> None:
        self._names, self._first_stage, self._qrels = names, first_stage, qrels
        self._seen: set[tuple[int, str, str]] = set()
        mend = "write numbers, 0 for what is not relevant"
        self._column = Labels(LABEL, names, high=math.inf, nullable=True, mend=mend)
        self._judged: list[float] = []
        self.rows_of: dict[tuple[int, str], list[int]] = {}  # (file, qid) -> its candidates
        self.queries: dict[tuple[int, str], str] = {}
        self.docids: list[str] = []
        self.titles: list[str] = []
        self.texts: list[str] = []
        self.scores: list[float] = []
        self.left_out = self.repeated = 0

    def add(self, index: int, row: Row) -> None:
        """Add a row of the file ``index``. Raises DataError if it is invalid."""
        names, score = self._names, math.nan
        if self._first_stage is not None:
            score = number(row, self._first_stage, {}, nullable=True, optional=True)
            if math.isnan(score):
                self.left_out += 1
                return
        title, text = string(row, "title", names, optional=True), string(row, "text", names)
        if not (title.strip() or text.strip()):
            row.fail("title and text are both empty; take the row out")
        key = (index, string(row, "qid", names))
        query, docid = string(row, "query", names), string(row, "docid", names)
        first = self.queries.setdefault(key, query)
        if first != query and _letters(first) != _letters(query):  # spellings may differ; the first is used
            row.fail(f"query {key[1]} has another text than in rows before it; give each query an id of its own")
        if (*key, docid) in self._seen:
            if self._qrels is not None:
                row.fail(f"{docid} is a candidate of {key[1]} for the second time; its judgement would count twice")
            self.repeated += 1
        self._seen.add((*key, docid))
        self.rows_of.setdefault(key, []).append(len(self.docids))
        self.docids.append(docid)
        self.titles.append(title)
        self.texts.append(text)
        self.scores.append(score)
        if self._qrels is None:
            self._column.add(row)
        else:
            self._judged.append(_relevance(row, names, self._qrels.get((key[1], docid), math.nan)))

    def labels(self) -> Floats:
        """Return the labels in the order of the rows: their own, or those of the separate judgements."""
        return np.array(self._column.numbers() if self._qrels is None else self._judged)


def _relevance(row: Row, names: Mapping[str, str], judged: float) -> float:
    """Return a candidate's label in the separate judgements, NaN for none; a label in the row must agree."""
    label = number(row, LABEL, names, low=0.0, nullable=True, optional=True)
    if not math.isnan(label) and label != judged:
        judgement = "do not have it" if math.isnan(judged) else f"say {judged:g}"
        row.fail(f"label is {label:g}, the judgements of --qrels {judgement}; give those that belong to the rows")
    return judged


def _letters(text: str) -> str:
    return "".join(c for c in text.lower() if c.isalnum())


def read_qrels(path: Path, names: Mapping[str, str]) -> dict[tuple[str, str], float]:
    """Read judgements, ``qid``, ``docid`` and ``label``: the relevance of each (qid, docid).

    Raises
    ------
    ConfigError
        The file cannot be opened.
    DataError
        A row is invalid, or a document is judged twice.
    """
    judged: dict[tuple[str, str], float] = {}
    for row in read_rows(path):
        key = (string(row, "qid", names), string(row, "docid", names))
        if key in judged:
            row.fail(f"{key[1]} is judged twice for {key[0]}; keep one judgement")
        judged[key] = number(row, LABEL, names, low=0.0)
    return judged


def all_rows(paths: Sequence[Path]) -> Iterator[tuple[int, Row]]:
    """Read the rows of all files, each with its file's index.

    Raises
    ------
    ConfigError
        There are no files, or one is given twice.
    """
    if not paths:
        raise ConfigError("no data: give one or more files of labelled rows")
    if repeated := sorted({str(path) for path in paths if list(paths).count(path) > 1}):
        raise ConfigError(f"{', '.join(repeated)}: given twice; its rows would count double")
    for index, path in enumerate(paths):
        for row in read_rows(path):
            yield index, row


def _event(row: Row, plan: FieldPlan, names: Mapping[str, str]) -> bytes:
    """Make an event's value of the fields that the plan reads."""
    event: dict[str, Any] = {}
    for field in plan.fields:
        value = _field(row, field, names)
        if value is MISSING:
            continue
        field.parsed.put(event, value)
    try:
        return json.dumps(event, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        row.fail(f"{', '.join(event)} hold half of a surrogate pair, which is not text; fix or remove the row")


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


def few_values(slices: Mapping[str, Sequence[str]]) -> None:
    """Raise ConfigError if a field has too many values to be a slice."""
    for name, values in slices.items():
        if len(set(values)) > MAX_SLICES:
            raise ConfigError(
                f"--slice {name}: has {len(set(values)):,} different values, at most {MAX_SLICES} are possible; "
                "choose a field with few values"
            )


def slice_value(row: Row, name: str) -> str:
    """Return a field's value as text."""
    value = row.get(name)
    if value is MISSING:
        row.fail(f"has no {name}; --slice needs a field that every row has")
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def both_classes(
    paths: Sequence[Path], positive: NDArray[np.bool_], yes: str, no: str, mend: str = "give data that has them"
) -> None:
    """Raise DataError if all rows have the same label."""
    if positive.all() or not positive.any():
        raise DataError(
            f"{files(paths)}: all {len(positive):,} rows have {yes if positive.any() else no}; metrics need "
            f"both kinds of rows, so {mend}"
        )


def files(paths: Sequence[Path]) -> str:
    """Return the names of files for a message."""
    return ", ".join(map(str, paths))
