"""Reads rows of the data files that recipes of any kind name."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from farthing.errors import ConfigError, DataError
from farthing.files import Row, read_rows


def read_data_rows(path: Path) -> Iterator[Row]:
    """Read a file's rows.

    Raises
    ------
    ConfigError
        The file cannot be opened; the message names the flag for the data folder.
    DataError
        A row is invalid, or the file is empty.
    """
    try:
        yield from read_rows(path)
    except ConfigError as error:
        raise ConfigError(f"{error}; --data is the folder that the recipe's paths are relative to") from error


def read_texts(path: Path) -> list[str]:
    """Read the column ``text`` of a file of rows. Raises DataError, which names the row."""
    return [str(column(row.values, "text", f"{path}:{row.line}", "text")) for row in read_data_rows(path)]


def column(row: Mapping[str, Any], name: str, where: str, what: str) -> Any:
    """Return the value of a column: a key, or keys with dots between.

    Raises
    ------
    DataError
        The row has no such key.
    """
    value: Any = row
    if name in row:  # a key may have dots itself
        return row[name]
    for key in name.split("."):
        if not isinstance(value, Mapping) or key not in value:
            raise DataError(
                f"{where}: no column {name!r} for {what}; the row has {', '.join(map(str, row))}. Name another column "
                "in the recipe, or write null where a row has none"
            )
        value = value[key]
    return value
