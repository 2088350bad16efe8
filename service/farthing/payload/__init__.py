"""Event bytes to columns and decisions back to bytes. A bad event is a status, never an exception."""

from farthing.payload.columns import parse
from farthing.payload.plan import MAX_DEPTH, CompiledPlan, Field, FieldPlan
from farthing.payload.render import render_scores
from farthing.payload.render_bids import BidTerms, render_bids
from farthing.payload.render_ranking import render_rankings

__all__ = [
    "MAX_DEPTH",
    "BidTerms",
    "CompiledPlan",
    "Field",
    "FieldPlan",
    "parse",
    "render_bids",
    "render_rankings",
    "render_scores",
]
