"""Where the model's fields lie in the events that the demo is given."""

from __future__ import annotations

from typing import Any

from farthing.demo.options import DemoOptions
from farthing.errors import ConfigError
from farthing.model.shipped import find_bundle
from farthing.model.task_table import SPARE_FIELDS
from farthing.payload import FieldPath, FieldPlan, naming, parse_pairs
from farthing.payload.field_map import FLAG
from farthing.scoring.manifest import read_stated


def manifest_of(task: str) -> dict[str, Any]:
    """Read the manifest of the bundle that is shipped for a task."""
    return read_stated(find_bundle(task))


def field_map(options: DemoOptions) -> dict[str, str]:
    """Read ``--map``; raises ConfigError before anything is started."""
    fields = parse_pairs(options.names)
    if fields and options.events is None:
        raise ConfigError(f"{FLAG} says where fields are in your own events: name them with --events FILE")
    with naming(FLAG):
        text_path(manifest_of(options.task), fields)
    return fields


def text_path(manifest: dict[str, Any], fields: dict[str, str]) -> FieldPath:
    """Give where the model's text lies in the events."""
    plan = FieldPlan.from_manifest(manifest["field_plan"]).mapped(fields, spare=SPARE_FIELDS)
    return next(field.parsed for field in plan.fields if field.kind == "text")
