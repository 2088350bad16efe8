"""Parses events into columns and renders decisions as bytes. A bad event gets a status, never an exception."""

from typing import TYPE_CHECKING

from farthing.rooms import names_on_demand

if TYPE_CHECKING:
    from farthing.payload.columns import parse
    from farthing.payload.field_map import naming, parse_pairs
    from farthing.payload.missing import hint, needs
    from farthing.payload.paths import ABSENT, FieldPath, parse_path
    from farthing.payload.plan import MAX_DEPTH, CompiledPlan, Field, FieldPlan
    from farthing.payload.render import render_scores
    from farthing.payload.render_ranking import render_rankings

__all__ = [
    "ABSENT",
    "MAX_DEPTH",
    "CompiledPlan",
    "Field",
    "FieldPath",
    "FieldPlan",
    "hint",
    "naming",
    "needs",
    "parse",
    "parse_pairs",
    "parse_path",
    "render_rankings",
    "render_scores",
]

__getattr__ = names_on_demand(
    __name__,
    {
        "columns": "parse",
        "field_map": "naming parse_pairs",
        "missing": "hint needs",
        "paths": "ABSENT FieldPath parse_path",
        "plan": "MAX_DEPTH CompiledPlan Field FieldPlan",
        "render": "render_scores",
        "render_ranking": "render_rankings",
    },
)
