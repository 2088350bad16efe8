"""Parses events into columns and renders decisions as bytes. A bad event gets a status, never an exception."""

from farthing.payload.columns import parse
from farthing.payload.field_map import naming, parse_pairs
from farthing.payload.missing import hint, needs
from farthing.payload.paths import ABSENT, FieldPath, parse_path
from farthing.payload.plan import MAX_DEPTH, CompiledPlan, Field, FieldPlan
from farthing.payload.render import render_scores
from farthing.payload.render_bids import BidTerms, render_bids
from farthing.payload.render_ranking import render_rankings

__all__ = [
    "ABSENT",
    "MAX_DEPTH",
    "BidTerms",
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
    "render_bids",
    "render_rankings",
    "render_scores",
]
