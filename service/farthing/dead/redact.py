"""Replaces the values of named fields before an event is shown.

What is not JSON is not shown at all where there are fields to hide: nobody can tell where they are in it.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, Final

from farthing.dead.selection import UNREADABLE, read_json
from farthing.payload.paths import FieldPath

HIDDEN: Final = "(redacted)"
ALL_HIDDEN: Final = "(hidden: not JSON, so the fields that route.redact names cannot be found in it)"


def redacted(value: bytes, paths: Sequence[FieldPath]) -> bytes:
    """Return the event's JSON with the value at every path replaced; the bytes as they are where there is no path."""
    if not paths:
        return value
    event = read_json(value)
    if event is UNREADABLE:
        return ALL_HIDDEN.encode()
    for path in paths:
        _hide(event, path.keys, path.array, 0)
    return json.dumps(event, ensure_ascii=False).encode("utf-8", "backslashreplace")


def _hide(at: Any, keys: tuple[str, ...], array: int, place: int) -> None:
    """Replace what is at ``keys[place:]``; arrays on the way are gone through whether or not the path says so."""
    if isinstance(at, list):
        for element in at:
            _hide(element, keys, array, place)
    elif isinstance(at, dict) and keys[place] in at:
        if place == len(keys) - 1:
            at[keys[place]] = HIDDEN
        else:
            _hide(at[keys[place]], keys, array, place + 1)
