"""Explains to people why an event's field was not found: where it was looked for, and what is there instead."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final

from farthing.payload.field_map import FLAG
from farthing.payload.paths import FieldPath
from farthing.payload.plan import Field, FieldPlan

SHOWN_KEYS: Final = 8
SHOWN_CHARACTERS: Final = 40


def needs(plan: FieldPlan, own: FieldPlan, also: Sequence[str] = ()) -> str:
    """List where a plan's required fields, and those named in ``also``, are looked for.

    ``own`` is the bundle's own plan: for a field that was mapped to another place both paths are given.
    """
    return ", ".join(
        f.path if f.path == _own_path(f, own) else f"{_own_path(f, own)} at {f.path}" for f in _needed(plan, also)
    )


def hint(value: bytes, plan: FieldPlan, own: FieldPlan, also: Sequence[str] = ()) -> str:
    """Say what an event has in place of the first needed field that it lacks, and how to map the right one.

    Empty when the event is not JSON, or lacks no field that could have another name.
    """
    try:
        event = json.loads(value)
    except (ValueError, RecursionError):
        return ""
    for field in _needed(plan, also):
        keys, array = field.parsed.keys, field.parsed.array
        at = event
        for place, key in enumerate(keys):
            if not isinstance(at, Mapping):
                return ""  # not missing: something else is in its place
            if key not in at:
                return _instead(at, field, FieldPath(keys[:place], array if array < place else -1), own)
            at = at[key]
            if place == array:
                at = at[0] if isinstance(at, list) and at else None
    return ""


def _instead(at: Mapping[str, Any], field: Field, above: FieldPath, own: FieldPlan) -> str:
    """Say which keys there are at ``above``, the last part of the field's path that exists."""
    rest, name = field.parsed.keys[len(above.keys) :], _own_path(field, own)
    dotted = ".".join(rest)
    if len(rest) > 1 and dotted in at:
        there = FieldPath((*above.keys, dotted), above.array)
        return (
            f"the event has a key {_shown(dotted)}, with a dot in its name; a dot in a path goes one level down, so "
            f"escape it: {FLAG} '{name}={there}'"
        )
    where = str(above) if above.keys else "the event"
    keys = [_shown(key) for key in list(at)[:SHOWN_KEYS]] + ["..."] * (len(at) > SHOWN_KEYS)
    here = str(FieldPath((*above.keys, "KEY"), above.array))
    path = f"{here}[*].KEY" if field.in_array and above.array < 0 else here
    return (
        f"{where} has {', '.join(keys) or 'no keys'}, but no {_shown(rest[0])}; if {name} lies elsewhere, say where: "
        f"{FLAG} {name}={path}"
    )


def _needed(plan: FieldPlan, also: Sequence[str]) -> list[Field]:
    return [f for f in plan.fields if f.required or f.name in also]


def _own_path(field: Field, own: FieldPlan) -> str:
    return next((f.path for f in own.fields if f.name == field.name), field.name)


def _shown(key: str) -> str:
    """Return a key that is safe to print: short, on one line, without characters that a terminal would act on."""
    cut = key if len(key) <= SHOWN_CHARACTERS else key[:SHOWN_CHARACTERS] + "..."
    return cut if cut.isprintable() and " " not in cut else json.dumps(cut)
