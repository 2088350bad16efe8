"""Reads cells of a row as text or numbers, under the names that columns have here; errors name file and row."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import NoReturn

from farthing.errors import ConfigError
from farthing.files import MISSING, Row
from farthing.payload import naming, parse_pairs, parse_path
from farthing.payload.field_map import FLAG, unknown


def parse_names(
    pairs: Sequence[str], allowed: Sequence[str], fields: Mapping[str, str] | None = None
) -> dict[str, str]:
    """Read ``--map NEW=OLD``: from each name in ``allowed`` to the column with it, or to the path of a JSON value.

    ``fields`` are other names for some of them: the field plan's names for what is otherwise called by its path.

    Raises
    ------
    ConfigError
        A pair has another form, or a name that is unknown or given twice.
    """
    names: dict[str, str] = {}
    for new, old in parse_pairs(pairs).items():
        name = new if new in allowed else (fields or {}).get(new)
        if name is None:
            raise ConfigError(f"{FLAG} {new}={old}: {unknown(new, allowed)}")
        if name in names:
            raise ConfigError(f"{FLAG} {new}={old}: {name} is mapped to {names[name]} already; give each name once")
        names[name] = old
    return names


def string(row: Row, name: str, names: Mapping[str, str], *, optional: bool = False) -> str:
    """Read a text; in JSON an identifier may be an integer."""
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
    """Read a finite number from ``low`` to ``high``; NaN for null (in CSV: empty) where that is allowed."""
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
        parsed = float(value)
    except (ValueError, OverflowError):
        row.fail(f"{named(name, names)} is {json.dumps(value, ensure_ascii=False)}, expected a number")
    if not math.isfinite(parsed):
        row.fail(f"{named(name, names)} is {parsed}, expected a finite number; fix or remove the row")
    if not low <= parsed <= high:
        bounds = f"a number from {low:g} to {high:g}" if high < math.inf else f"{low:g} or more"
        row.fail(f"{named(name, names)} is {parsed:g}, expected {bounds}; fix it, or name another column")
    return parsed


def absent(row: Row, name: str, names: Mapping[str, str], value: object) -> NoReturn:
    """Refuse a row whose ``value`` is MISSING or null; raises ConfigError if it was mapped to an invalid path."""
    if value is MISSING:
        if name in names:
            with naming(f"{FLAG} {name}={names[name]}:"):
                if parse_path(names[name]).array >= 0:
                    message = f"{name} has one value per row, but a path through an array has one per element"
                    raise ConfigError(message)
        columns = ", ".join(row.values) or "none"
        row.fail(f"has no {named(name, names)}, its columns are {columns}; name the right one with --map {name}=COLUMN")
    row.fail(f"{named(name, names)} is null; fix or remove the row")


def named(name: str, names: Mapping[str, str]) -> str:
    """Return the name that a column has here, and its own name if that is different."""
    return f"{name} (column {names[name]})" if name in names else name
