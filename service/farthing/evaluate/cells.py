"""Cells of a row as text and numbers, and the names of columns: every refusal names file, row and what to do."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import NoReturn

from farthing.errors import ConfigError
from farthing.files import MISSING, Row


def parse_names(pairs: Sequence[str], known: Sequence[str]) -> dict[str, str]:
    """Read ``--map NEW=OLD``: each name of ``known`` to the column that holds it.

    Raises
    ------
    ConfigError
        Not of that form, an unknown name, or one given twice.
    """
    names: dict[str, str] = {}
    for pair in pairs:
        new, equals, old = pair.partition("=")
        if not (new and equals and old):
            raise ConfigError(f"--map {pair}: expected NEW=OLD, such as --map text=comment")
        if new not in known:
            raise ConfigError(f"--map {pair}: nothing is called {new!r} here; known are {', '.join(known)}")
        if new in names:
            raise ConfigError(f"--map {pair}: {new} is mapped to {names[new]} already")
        names[new] = old
    return names


def string(row: Row, name: str, names: Mapping[str, str], *, optional: bool = False) -> str:
    """Read text; an identifier may be an integer in JSON."""
    value = row.get(names.get(name, name))
    if (value is MISSING or value is None) and optional:
        return ""
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    if not isinstance(value, str):
        if value is MISSING or value is None:
            absent(row, name, names, value)
        row.fail(f"{named(name, names)} is {json.dumps(value)}, expected a string")
    return value


def number(
    row: Row,
    name: str,
    names: Mapping[str, str],
    *,
    low: float = -math.inf,
    high: float = math.inf,
    nullable: bool = False,
    optional: bool = False,
) -> float:
    """Read a finite number from ``low`` to ``high``; NaN for a null (CSV: empty) one where that is possible."""
    value = row.get(names.get(name, name))
    if value == "" and not row.typed:
        value = None
    if (value is None and nullable) or (value is MISSING and optional):
        return math.nan
    if value is MISSING or value is None:
        absent(row, name, names, value)
    try:
        if isinstance(value, str) == row.typed or not isinstance(value, str | int | float):
            raise ValueError
        found = float(value)
    except (ValueError, OverflowError):
        row.fail(f"{named(name, names)} is {json.dumps(value, ensure_ascii=False)}, expected a number")
    if not math.isfinite(found):
        row.fail(f"{named(name, names)} is {found}, expected a finite number; mend or take out the row")
    if not low <= found <= high:
        bounds = f"a number from {low:g} to {high:g}" if high < math.inf else f"{low:g} or more"
        row.fail(f"{named(name, names)} is {found:g}, expected {bounds}; mend it, or name another column")
    return found


def absent(row: Row, name: str, names: Mapping[str, str], value: object) -> NoReturn:
    """Refuse a row whose ``value`` is MISSING or null."""
    if value is MISSING:
        columns = ", ".join(row.values) or "none"
        row.fail(f"has no {named(name, names)}, its columns are {columns}; name the right one with --map {name}=COLUMN")
    row.fail(f"{named(name, names)} is null; mend or take out the row")


def named(name: str, names: Mapping[str, str]) -> str:
    """Call a column by the name used here, and by its own where that is another."""
    return f"{name} (column {names[name]})" if name in names else name
