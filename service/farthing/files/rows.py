"""Reads rows of JSON lines, CSV or TSV one after another, each with its place in the file.

The first character that is not white space decides the format: ``{`` or ``[`` begins JSON lines, anything else is a
table with a header (RFC 4180). Cells are separated by tabs if the header has one, by semicolons if it has those and no
comma, else by commas. All text is UTF-8.
"""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, NoReturn

from farthing.errors import ConfigError, DataError
from farthing.files.source import Source, open_source
from farthing.limits import MAX_EVENT_BYTES
from farthing.payload.paths import ABSENT, parse_path

_UTF_16: Final = (b"\xff\xfe", b"\xfe\xff")
_QUOTED: Final = re.compile(r'"(?:[^"]|"")*(?:"|$)')


class _Missing:
    """What :meth:`Row.get` returns where there is no such column (null is a value)."""

    def __repr__(self) -> str:
        return "nothing"


MISSING = _Missing()


@dataclass(frozen=True, slots=True)
class Row:
    """One row of a file: JSON values by key, or strings by column name."""

    file: str
    number: int  # from 1; blank lines and a header do not count
    line: int  # from 1; the line that the row begins on
    values: Mapping[str, Any]
    typed: bool  # True for JSON, which has types; in a table everything is a string

    @property
    def place(self) -> str:
        """The row's place in the file, for messages."""
        return f"{self.file}, row {self.number} (line {self.line})"

    def get(self, name: str) -> object:
        """Return the value of a column, or of a path into nested objects; MISSING where there is none."""
        if name in self.values:
            return self.values[name]
        try:
            value = parse_path(name).find(self.values)
        except ConfigError:  # a column may have any name, even one that is not a valid path
            return MISSING
        return MISSING if value is ABSENT else value

    def fail(self, problem: str) -> NoReturn:
        """Raise a DataError that names this row."""
        raise DataError(f"{self.place}: {problem}")


def read_rows(file: str | Path) -> Iterator[Row]:
    """Yield a file's rows one after another.

    Raises
    ------
    ConfigError
        The file cannot be opened.
    DataError
        No rows, not UTF-8, damaged, two columns with one name, or a row that is not JSON or does not fit the header.
    """
    with open_source(file) as source:
        rows = _rows(source.name, _text(source))
        first = next(rows, None)
        if first is None:
            raise DataError(f"{source.name}: has no rows; give a file with at least one")
        yield first
        yield from rows


def _text(source: Source) -> Iterator[str]:
    for number, line in source.lines():
        if number == 1 and line.startswith(_UTF_16):
            raise DataError(f"{source.name}: is UTF-16; save the file as UTF-8")
        try:
            yield line.decode("utf-8")
        except UnicodeDecodeError as error:
            raise DataError(
                f"{source.name}, line {number}: not UTF-8 ({error.reason}); save the file as UTF-8"
            ) from error


def _rows(name: str, lines: Iterator[str]) -> Iterator[Row]:
    blank = 0
    for line in lines:
        if line.strip():
            whole = _joined(line, lines)
            return _json_rows(name, whole, blank) if line.lstrip()[0] in "{[" else _table_rows(name, whole, blank)
        blank += 1
    return iter(())


def _joined(first: str, rest: Iterator[str]) -> Iterator[str]:
    yield first
    yield from rest


def _json_rows(name: str, lines: Iterator[str], before: int) -> Iterator[Row]:
    number = 0
    outermost: list[tuple[str, Any]] = []

    def gather(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        nonlocal outermost
        outermost = pairs  # the outermost object is finished last
        return dict(pairs)

    for at, line in enumerate(lines, before + 1):
        if not line.strip():
            continue
        number += 1
        row = Row(name, number, at, {}, typed=True)
        try:
            values = json.loads(line, parse_constant=_refuse_constant, object_pairs_hook=gather)
        except (ValueError, RecursionError) as error:
            row.fail(f"not JSON ({error}); expected one object a line")
        if not isinstance(values, dict):
            row.fail(f"holds a JSON {_kind(values)}; expected one object a line")
        if len(values) < len(outermost):
            row.fail(f"has {_repeated([key for key, _ in outermost])} twice; keep one of each")
        yield Row(name, number, at, values, typed=True)


def _table_rows(name: str, lines: Iterator[str], before: int) -> Iterator[Row]:
    header_line = next(lines)
    separator = _separator(header_line)
    csv.field_size_limit(MAX_EVENT_BYTES)
    taken: list[str] = []  # the lines of the row that is being read
    reader = csv.reader(_noted(_joined(header_line, lines), taken), delimiter=separator, strict=True)
    header: list[str] | None = None
    quoted_header = False
    number, begins = 0, 1
    while True:
        place = Row(name, number + (header is not None), before + begins, {}, typed=False)
        taken.clear()
        try:
            cells = next(reader, None)
        except csv.Error as error:
            place.fail(_csv_problem(error, before + reader.line_num))
        if cells is None:
            return
        begins = reader.line_num + 1
        if not cells:
            continue
        if header is None:
            header, quoted_header = cells, '"' in header_line
            if len(set(cells)) < len(cells):
                raise DataError(f"{name}: the header names {_repeated(cells)} twice; rename or remove one of the two")
            continue
        number += 1
        if len(cells) != len(header):
            place.fail(f"has {len(cells)} cells, the header {len(header)}; quote cells that hold the separator")
        if len(taken) > 1 and separator == "\t" and not quoted_header and _fit(taken, separator, len(header)):
            place.fail(
                f"a cell begins with a quotation mark that is closed in line {before + reader.line_num} only, but each "
                "of these lines is a whole row as well; write the mark twice in a cell in quotation marks where it is "
                "part of the text, or write JSON lines"
            )
        yield Row(name, place.number, place.line, dict(zip(header, cells, strict=True)), typed=False)


def _noted(lines: Iterator[str], taken: list[str]) -> Iterator[str]:
    for line in lines:
        taken.append(line)
        yield line


def _fit(lines: list[str], separator: str, n_columns: int) -> bool:
    """Whether each line by itself has as many cells as there are columns, with quotation marks taken as text."""
    return n_columns > 1 and all(line.count(separator) == n_columns - 1 for line in lines)


def _separator(header_line: str) -> str:
    bare = _QUOTED.sub("", header_line)
    if "\t" in bare:
        return "\t"
    return ";" if ";" in bare and "," not in bare else ","


def _csv_problem(error: csv.Error, line: int) -> str:
    if "field limit" in str(error):
        return (
            f"a cell is longer than {MAX_EVENT_BYTES:,} characters (line {line}), the limit of an event in bytes; "
            "shorten it, or close its quotation mark"
        )
    return (
        f"not CSV ({error}, line {line}); quote cells that hold quotes or line ends and write their quotation marks "
        "twice, or write JSON lines"
    )


def _repeated(names: list[str]) -> str:
    return ", ".join(name or "'' (no name)" for name in sorted({name for name in names if names.count(name) > 1}))


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a JSON number")


def _kind(value: object) -> str:
    names = {list: "array", str: "string", bool: "boolean", int: "number", float: "number"}
    return "null" if value is None else names[type(value)]
