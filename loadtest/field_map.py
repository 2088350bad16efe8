"""Made-up events laid out as the service reads them: its fields may lie elsewhere (``[route.fields]``, ``--map``)."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from farthing.errors import ConfigError
from farthing.model.task_table import SPARE_FIELDS
from farthing.payload import ABSENT, FieldPath, FieldPlan, naming
from farthing.payload.field_map import FLAG, unknown


def layout_of(plan: FieldPlan, fields: Mapping[str, str]) -> Callable[[bytes], bytes] | None:
    """Give what lays an event of ``plan`` out with its fields where ``fields`` says; None where all lie there already.

    Whatever else is in an event stays where it is. Raises ConfigError, as :meth:`farthing.payload.FieldPlan.mapped`.
    """
    mapped = plan.mapped(fields, spare=SPARE_FIELDS)
    own = {f.name: f.parsed for f in (*SPARE_FIELDS, *plan.fields)}
    pairs = [(own[f.name], f.parsed) for f in mapped.fields]
    moves = [(old, new) for old, new in pairs if old != new]
    if not moves:
        return None
    of_event = [(old, new) for old, new in moves if old.array < 0]
    of_row = [(_below(old), _below(new)) for old, new in moves if old.array >= 0]
    arrays = {(_array(old), _array(new)) for old, new in moves if old.array >= 0}

    def lay_out(value: bytes) -> bytes:
        event = json.loads(value)
        for old, new in arrays:  # one, or none
            _move(event, [(old, new)])
            rows = new.find(event)
            for row in rows if isinstance(rows, list) else []:
                _move(row, of_row)
        _move(event, of_event)
        return json.dumps(event, ensure_ascii=False, separators=(",", ":")).encode()

    return lay_out


def _array(path: FieldPath) -> FieldPath:
    return FieldPath(path.keys[: path.array + 1])


def _below(path: FieldPath) -> FieldPath:
    return FieldPath(path.keys[path.array + 1 :])


def _move(event: dict[str, Any], moves: Sequence[tuple[FieldPath, FieldPath]]) -> None:
    """Take values out of an object, then put them where they are to lie: two may change places."""
    taken = [(new, old.find(event)) for old, new in moves]
    for old, _ in moves:
        *above, last = old.keys
        at: Any = event
        for key in above:
            at = at.get(key, {})
        at.pop(last, None)
    for new, value in taken:
        if value is ABSENT:
            continue
        try:
            new.put(event, value)
        except (AttributeError, TypeError) as error:
            raise ConfigError(f"{FLAG}: a made-up event has a value on the way to {new} that is no object") from error


def of_task(plans: Mapping[str, FieldPlan], fields: Mapping[str, str]) -> dict[str, dict[str, str]]:
    """Part ``--map`` by task: each pair goes to the tasks whose plan has the name.

    Raises
    ------
    ConfigError
        No plan has a name.
    """
    names = {task: {n for f in (*plan.fields, *SPARE_FIELDS) for n in (f.name, f.path)} for task, plan in plans.items()}
    for new, old in fields.items():
        if not any(new in of_plan for of_plan in names.values()):
            raise ConfigError(f"{FLAG} {new}={old}: {unknown(new, sorted(set().union(*names.values())))}")
    parted = {task: {new: old for new, old in fields.items() if new in of_plan} for task, of_plan in names.items()}
    for task, plan in plans.items():
        with naming(FLAG):
            plan.mapped(parted[task], spare=SPARE_FIELDS)
    return parted
