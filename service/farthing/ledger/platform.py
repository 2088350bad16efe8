"""Checks whether this machine can run the ledger: its stream processor, Faust, has wheels for some platforms only."""

from __future__ import annotations

import importlib.util
import sys
from typing import Final

from farthing.errors import StartError

WHY_NOT: Final = (
    "the ledger needs faust-streaming, which has no wheels for this platform (there are some for Linux on x86-64 and "
    "for macOS); workers need no ledger here: run it on another machine, on the same topics"
)


def has_faust() -> bool:
    """Return whether Faust is installed; it is not imported."""
    if "faust" in sys.modules:  # Faust replaces itself with a module that has no spec, on which find_spec raises
        return sys.modules["faust"] is not None
    return importlib.util.find_spec("faust") is not None


def require_faust() -> None:
    """Raise StartError unless Faust is installed."""
    if not has_faust():
        raise StartError(WHY_NOT)
