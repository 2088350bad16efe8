"""Reads rows from data files: events, gold labels and teachers' predictions, each checked, with its place.

:mod:`farthing.files` reads the formats. An invalid row ends the run with a sentence that names the file and the row and
says what to do, because skipping it silently would train on other data than the user thinks.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from farthing.distill.data_files import column, read_data_rows
from farthing.distill.texts.recipe import GivenTeacher, Heads, LabelledSource, TextRecipe
from farthing.errors import DataError
from farthing.evaluate.labels import Labels
from farthing.files import Row, file_sha256
from farthing.payload import ABSENT, parse_path

Floats = NDArray[np.float32]

LOGIT_LIMIT = 6.0
"""Logits are clipped to -6..6 (0.0025 to 0.9975), because a hard label or a rounded 1.0 would be infinite."""


@dataclass(frozen=True, slots=True)
class Rows:
    """Rows of one split."""

    events: tuple[bytes, ...]  # (n,) values as they would be in Kafka
    keys: tuple[str, ...]  # (n,) equal for events that are the same in leak checks
    gold: Floats  # (n, n_heads) 0..1; NaN: no label
    given: dict[str, Floats]  # teacher -> (n, n_heads) logits; NaN: none
    source: NDArray[np.int64]  # (n,) index in recipe.source
    places: tuple[str, ...]  # (n,) file:line

    def __len__(self) -> int:
        return len(self.events)

    def take(self, keep: NDArray[np.bool_] | NDArray[np.int64]) -> Rows:
        """Return some rows."""
        places = np.flatnonzero(keep) if keep.dtype == np.bool_ else keep
        return Rows(
            events=tuple(self.events[k] for k in places),
            keys=tuple(self.keys[k] for k in places),
            gold=self.gold[places],
            given={name: values[places] for name, values in self.given.items()},
            source=self.source[places],
            places=tuple(self.places[k] for k in places),
        )


def join(parts: list[Rows]) -> Rows:
    """Concatenate rows; all must have the same teachers."""
    return Rows(
        events=tuple(e for p in parts for e in p.events),
        keys=tuple(k for p in parts for k in p.keys),
        gold=np.concatenate([p.gold for p in parts]),
        given={name: np.concatenate([p.given[name] for p in parts]) for name in parts[0].given},
        source=np.concatenate([p.source for p in parts]),
        places=tuple(place for p in parts for place in p.places),
    )


@dataclass(frozen=True, slots=True)
class DataFile:
    """The contents of one file."""

    path: Path
    rows: Rows
    ids: dict[str, int]  # id -> line
    sha256: str


def read_file(path: Path, recipe: TextRecipe, place: int) -> DataFile:
    """Read a file of the source at ``place`` in the recipe.

    Raises
    ------
    ConfigError
        The file, or a column that the recipe names, is missing.
    DataError
        A row is not as stated, or the file is empty.
    """
    source = recipe.source[place]
    numbers = number_paths(recipe)
    outputs = {t.name: t.output for t in recipe.teacher if isinstance(t, GivenTeacher)}
    heads = recipe.heads
    events, keys, places = [], [], []
    gold = {head: _labels(name, head, source) for head, name in source.gold.items()}
    given: dict[str, list[list[float]]] = {name: [] for name in outputs}
    ids: dict[str, int] = {}
    seen: set[str] = set()  # paths of fields that some event has
    for line, whole in read_rows(path, numbers):
        row, where = whole.values, f"{path}:{line}"
        event = row if source.event is None else column(row, source.event, where, "the event")
        if not isinstance(event, dict):
            raise DataError(
                f"{where}: the event is {_short(event)}, expected an object; fix the row or [[source]] event"
            )
        name = row.get(source.id)
        if name is not None:
            if str(name) in ids:
                raise DataError(f"{where}: id {name!r} is in line {ids[str(name)]} too; give each row its own id")
            ids[str(name)] = line
        seen |= {f.path for f in recipe.field if f.path not in seen and _has(event, f.path)}
        events.append(json.dumps(event, ensure_ascii=False).encode("utf-8", "surrogatepass"))
        keys.append(_key(event, recipe.text_field, recipe))
        for head, labels in gold.items():
            column(row, source.gold[head], where, f"head {head}")
            labels.add(whole)
        for teacher, output in outputs.items():
            answers = _values(row, source.teacher.get(teacher, {}), heads, output, where)
            given[teacher].append([_logit(v, output) for v in answers])
        places.append(where)
    if events:
        _check_fields(recipe, path, seen)
    if not events:
        raise DataError(f"{path}: holds no row; give a file with rows, or leave the split out of [[source]]")
    rows = Rows(
        events=tuple(events),
        keys=tuple(keys),
        gold=_gold(gold, heads, len(events)),
        given={teacher: np.array(values, np.float32) for teacher, values in given.items()},
        source=np.full(len(events), place, np.int64),
        places=tuple(places),
    )
    return DataFile(path, rows, ids, file_sha256(path))


def _has(event: Mapping[str, Any], path: str) -> bool:
    return parse_path(path).find(event) is not ABSENT


def _check_fields(recipe: TextRecipe, path: Path, seen: set[str]) -> None:
    """Refuse a file in which no event has some feature's field, which would then be missing in all of training."""
    for name in sorted(recipe.spec().fields):
        field = next(f for f in recipe.field if f.name == name)
        if field.path not in seen:
            raise DataError(
                f"{path}: no row has {field.path}, which the feature {name} reads; fix [[field]] path in the recipe, "
                "name the event's column in [[source]] event, or take the feature out"
            )


def number_paths(recipe: TextRecipe) -> set[str]:
    """Return the columns of numbers."""
    return {f.path for f in recipe.field if f.kind == "number"}


def read_rows(path: Path, numbers: set[str]) -> Iterator[tuple[int, Row]]:
    """Yield line numbers and rows; in a table, columns in ``numbers`` become floats, or None where a cell is empty.

    Raises
    ------
    ConfigError
        The file cannot be opened.
    DataError
        A row is invalid, or the file is empty; the message names the file and the row.
    """
    for row in read_data_rows(path):
        yield row.line, row if row.typed or not numbers & row.values.keys() else _with_numbers(row, numbers)


def _with_numbers(row: Row, numbers: set[str]) -> Row:
    values = dict(row.values)
    for name in numbers & values.keys():
        text = values[name].strip()
        try:
            values[name] = float(text) if text else None
        except ValueError:
            values[name] = math.nan
        if values[name] is not None and not math.isfinite(values[name]):
            raise DataError(
                f"{row.file}:{row.line}: {name} is {text!r}, expected a finite number; fix the cell, or empty it "
                "where nothing is known"
            )
    return replace(row, values=values)


def _labels(name: str, head: str, source: LabelledSource) -> Labels:
    words = source.positive.get(head, ())
    mend = f'positive = {{ {head} = ["WORD"] }} in [[source]]'
    return Labels(name, {}, positive=words, head=head, nullable=True, mend=mend)


def _gold(gold: Mapping[str, Labels], heads: tuple[str, ...], n: int) -> Floats:
    values = np.full((n, len(heads)), np.nan, np.float32)
    for head, labels in gold.items():
        values[:, heads.index(head)] = labels.numbers()
    return values


def _values(row: Mapping[str, Any], columns: Heads, heads: tuple[str, ...], output: str, where: str) -> list[float]:
    values = [math.nan] * len(heads)
    for head, name in columns.items():
        cell = column(row, name, where, f"head {head}")
        if cell is None or cell == "":
            continue
        try:
            value = float(cell)
        except (TypeError, ValueError) as error:
            raise DataError(f"{where}: {name} is {_short(cell)}, expected a number or null; fix the row") from error
        if not math.isfinite(value):
            raise DataError(f"{where}: {name} is {value}, expected a finite number or null; fix the row")
        if output != "logit" and not 0.0 <= value <= 1.0:
            raise DataError(
                f'{where}: {name} is {value:g}, expected 0 to 1; scale the labels, or say output = "logit" if a '
                "teacher gives logits"
            )
        values[heads.index(head)] = value
    return values


def _logit(value: float, output: str) -> float:
    if math.isnan(value):
        return value
    if output != "logit":
        low = 1 / (1 + math.exp(LOGIT_LIMIT))
        value = min(max(value, low), 1 - low)
        value = math.log(value / (1 - value))
    return min(max(value, -LOGIT_LIMIT), LOGIT_LIMIT)


def _key(event: Mapping[str, Any], text_field: str | None, recipe: TextRecipe) -> str:
    """Return an event's key, equal for the same events: its text's letters and digits, or all fields but the id."""
    if text_field is None or len(recipe.features.get("features", ())) > 1:
        return json.dumps({f.name: event.get(f.path) for f in recipe.field if f.name != "id"}, sort_keys=True)
    path = next((f.path for f in recipe.field if f.name == text_field), text_field)
    text = parse_path(path).find(event)
    return key_of(text if isinstance(text, str) else "")


def key_of(text: str) -> str:
    """Return a text's key for leak checks: its letters and digits in lower case, without a retweet mark.

    The key of a text without letters and digits is the text itself.
    """
    return "".join(c for c in text.lower().removeprefix("rt ") if c.isalnum()) or text


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 40 else text[:37] + "..."


def source_files(source: LabelledSource) -> dict[str, str]:
    """Return the files that a source names, by split."""
    named = {"train": source.train, "dev": source.dev, "test": source.test}
    return {split: name for split, name in named.items() if name is not None}
