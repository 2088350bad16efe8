"""Rows of data files: JSON lines or CSV, gzipped or not, told apart by their content.

A file that begins with ``{`` holds JSON lines; any other is CSV with a header (RFC 4180; tabs instead of commas where
the header has tabs and no commas). UTF-8 throughout; a byte order mark, which spreadsheets write, is skipped. Every
message names the file, the row and what to do.
"""

from __future__ import annotations

import csv
import gzip
import json
import zlib
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, NoReturn, cast

from farthing.errors import ConfigError, DataError
from farthing.payload import ABSENT, parse_path

_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


class _Missing:
    """What :meth:`Row.get` gives where there is no such column (null is a value)."""

    def __repr__(self) -> str:
        return "nothing"


MISSING = _Missing()


@dataclass(frozen=True, slots=True)
class Row:
    """One row of a file: JSON values by key, or strings by column name."""

    file: str
    number: int  # from 1; blank lines and a CSV header do not count
    line: int  # from 1; the line that the row begins on
    values: Mapping[str, Any]
    typed: bool  # JSON has types; everything in CSV is a string

    @property
    def place(self) -> str:
        """Where the row is, for people."""
        return f"{self.file}, row {self.number} (line {self.line})"

    def get(self, name: str) -> object:
        """Give the value of a column, or of a path into nested objects; MISSING where there is none."""
        if name in self.values:
            return self.values[name]
        try:
            found = parse_path(name).find(self.values)
        except ConfigError:  # a column may be called anything
            return MISSING
        return MISSING if found is ABSENT else found

    def fail(self, problem: str) -> NoReturn:
        """Raise a DataError that names this row."""
        raise DataError(f"{self.place}: {problem}")


def read_rows(path: Path) -> Iterator[Row]:
    """Read a file's rows, one after the other.

    Raises
    ------
    ConfigError
        The file cannot be opened.
    DataError
        No rows, not UTF-8, broken gzip, or a row that is not JSON or not CSV.
    """
    with ExitStack() as stack:
        lines = _lines(path, _open(path, stack))
        rows = _rows(path, lines)
        first = next(rows, None)
        if first is None:
            raise DataError(f"{path}: has no rows; give a file with at least one")
        yield first
        yield from rows


def _open(path: Path, stack: ExitStack) -> BinaryIO:
    try:
        with path.open("rb") as probe:
            zipped = probe.read(2) == b"\x1f\x8b"
        if zipped:
            return cast(BinaryIO, stack.enter_context(gzip.open(path, "rb")))
        return stack.enter_context(path.open("rb"))
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror}); give JSON lines or CSV, .gz or not") from error


def _lines(path: Path, file: BinaryIO) -> Iterator[str]:
    number = 0
    try:
        for number, line in enumerate(file, 1):
            yield (line.removeprefix(_BYTE_ORDER_MARK) if number == 1 else line).decode("utf-8")
    except UnicodeDecodeError as error:
        raise DataError(f"{path}, line {number}: not UTF-8 ({error.reason}); save the file as UTF-8") from error
    except (EOFError, OSError, zlib.error) as error:
        raise DataError(f"{path}, after line {number}: cannot be read on ({error}); get the file again") from error


def _rows(path: Path, lines: Iterator[str]) -> Iterator[Row]:
    blank = 0
    for line in lines:
        if line.strip():
            whole = _joined(line, lines)
            return _json_rows(path, whole, blank) if line.lstrip()[0] in "{[" else _csv_rows(path, whole, blank)
        blank += 1
    return iter(())


def _joined(first: str, rest: Iterator[str]) -> Iterator[str]:
    yield first
    yield from rest


def _json_rows(path: Path, lines: Iterator[str], before: int) -> Iterator[Row]:
    number = 0
    for at, line in enumerate(lines, before + 1):
        if not line.strip():
            continue
        number += 1
        row = Row(str(path), number, at, {}, typed=True)
        try:
            values = json.loads(line, parse_constant=_refuse_constant)
        except (ValueError, RecursionError) as error:
            row.fail(f"not JSON ({error}); expected one object a line")
        if not isinstance(values, dict):
            row.fail(f"holds a JSON {_kind(values)}; expected one object a line")
        yield Row(str(path), number, at, values, typed=True)


def _csv_rows(path: Path, lines: Iterator[str], before: int) -> Iterator[Row]:
    header_line = next(lines)
    tabs = "\t" in header_line and "," not in header_line
    reader = csv.reader(_joined(header_line, lines), delimiter="\t" if tabs else ",", strict=True)
    header: list[str] | None = None
    number, begins = 0, 1
    while True:
        place = Row(str(path), number + (header is not None), before + begins, {}, typed=False)
        try:
            cells = next(reader, None)
        except csv.Error as error:
            place.fail(f"not CSV ({error}); quote cells that hold quotes or line ends, or write JSON lines")
        if cells is None:
            return
        begins = reader.line_num + 1
        if not cells:
            continue
        if header is None:
            header = cells
            if repeated := sorted({name for name in cells if cells.count(name) > 1}):
                raise DataError(f"{path}: the header names {', '.join(repeated)} twice; rename one column")
            continue
        number += 1
        if len(cells) != len(header):
            place.fail(f"has {len(cells)} cells, the header {len(header)}; quote cells that hold the separator")
        yield Row(place.file, place.number, place.line, dict(zip(header, cells, strict=True)), typed=False)


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON number")


def _kind(value: object) -> str:
    names = {list: "array", str: "string", bool: "boolean", int: "number", float: "number"}
    return "null" if value is None else names[type(value)]
