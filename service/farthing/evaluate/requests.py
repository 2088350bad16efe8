"""Turns rows of a click log into BidRequests of one impression each, by the map that a bundle was trained with.

Both training and evaluation use this module, so that values that are compared as JSON text are the same text in both. A
bundle's manifest has the map in its training data (``columns``).
"""

from __future__ import annotations

import json
import math
from collections.abc import Collection, Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final, Literal

from farthing.errors import BundleError

Value = str | float | int | None

_KEY: Final = "columns"  # in an entry of the manifest's training_data


@dataclass(frozen=True, slots=True)
class LogColumn:
    """One column of a log, and the path in a BidRequest where its value goes."""

    column: str
    path: str
    kind: Literal["text", "number"]
    field: str  # its name in the field plan
    values: Mapping[str, str | float]  # what a value becomes; empty: it stays

    def value(self, cell: object, absent: Collection[str]) -> Value:
        """Return the value that goes into the request, or None for nothing.

        Raises
        ------
        ValueError
            The map does not have the value, or it is not a number but should be; the message says what to do.
        """
        text = "" if cell is None else cell if isinstance(cell, str) else json.dumps(cell, ensure_ascii=False)
        if text in absent or cell is None:
            return None
        if self.values:
            if text not in self.values:
                raise ValueError(f"{self.column} is {text!r}, which [[column]] values does not map; add it")
            return self.values[text]
        if self.kind == "text":
            return text
        try:
            number = float(text)
        except ValueError:
            number = math.nan
        if not math.isfinite(number):
            raise ValueError(f"{self.column} is {text!r}, expected a number; or list it in source.absent")
        return int(number) if number.is_integer() and abs(number) < 1e15 else number


@dataclass(frozen=True, slots=True)
class RequestMap:
    """How the columns of a log are laid out in a BidRequest."""

    id: str  # column that names a row
    click: str  # column of 0 and 1
    absent: tuple[str, ...]  # values that mean that a cell is empty
    columns: tuple[LogColumn, ...]
    constants: tuple[tuple[str, Any], ...]  # path and value: what every request of the log has in common

    def blank(self, name: str) -> dict[str, Any]:
        """Return a request with only the constants."""
        request: dict[str, Any] = {"id": name, "imp": [{"id": "1"}]}
        for path, value in self.constants:
            put(request, path, value)
        return request

    def to_manifest(self) -> dict[str, Any]:
        """Return the map as JSON types."""
        return {_KEY: {**asdict(self), "constants": [list(pair) for pair in self.constants]}}

    @classmethod
    def from_manifest(cls, training_data: Iterable[Mapping[str, Any]]) -> RequestMap | None:
        """Read the map in a manifest's training data; None if there is none.

        Raises
        ------
        BundleError
            It is not of the form that this Farthing writes.
        """
        entry = next((source[_KEY] for source in training_data if _KEY in source), None)
        if entry is None:
            return None
        try:
            return cls(
                id=entry["id"],
                click=entry["click"],
                absent=tuple(entry["absent"]),
                columns=tuple(LogColumn(**column) for column in entry["columns"]),
                constants=tuple((path, value) for path, value in entry["constants"]),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise BundleError(
                f"the manifest's training data: {_KEY} cannot be read ({error!r}); build the bundle again"
            ) from error


def put(request: dict[str, Any], path: str, value: object) -> None:
    """Put a value into a request; ``imp[*]`` is its one impression."""
    at: Any = request
    *parents, last = path.split(".")
    for key in parents:
        name = key.removesuffix("[*]")
        if name == key:
            at = at.setdefault(name, {})
        else:
            at = at.setdefault(name, [{}])[0]
    at[last] = value


def encode(request: Mapping[str, Any]) -> bytes:
    """Return a request as it would be in Kafka."""
    return json.dumps(request, ensure_ascii=False, separators=(",", ":")).encode()
