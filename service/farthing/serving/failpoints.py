"""Named places of the loop at which a test can kill the worker: ``FARTHING_FAILPOINT=after_produce:3``.

The third time that the worker passes that place it kills itself with SIGKILL, as a power cut would: nothing is
flushed, no connection closed, no group left. Without the variable a place costs one comparison for each block.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Mapping
from typing import Final

import structlog

from farthing.errors import ConfigError

log = structlog.get_logger()

VARIABLE: Final = "FARTHING_FAILPOINT"
FAILPOINTS: Final = (
    "after_fetch",
    "after_score",
    "after_produce",  # the broker has acknowledged, and the worker has not noted it yet
    "before_commit",
    "after_commit",
    "in_revoke",  # partitions are being given up, and what is in flight there is not finished
)

_left: dict[str, int] = {}  # passes until the worker dies, at each armed place


def arm(environment: Mapping[str, str]) -> None:
    """Read the variable, if it is set.

    Raises
    ------
    ConfigError
        It does not name a place and a number of passes.
    """
    text = environment.get(VARIABLE, "")
    if not text:
        return
    name, _, times = text.partition(":")
    if name not in FAILPOINTS or not times.isascii() or not times.isdigit() or not int(times):
        raise ConfigError(
            f"{VARIABLE} = {text!r}: expected PLACE:N with N of at least 1 and PLACE one of {', '.join(FAILPOINTS)}; "
            "it kills the worker and is for tests: unset it"
        )
    _left[name] = int(times)
    log.warning("failpoint_armed", place=name, passes=int(times), note=f"for tests; unset {VARIABLE}")


def failpoint(name: str) -> None:
    """Pass a place; the process ends here if it is armed and this is the pass."""
    if not _left or name not in _left:
        return
    _left[name] -= 1
    if not _left[name]:
        os.kill(os.getpid(), signal.SIGKILL)
