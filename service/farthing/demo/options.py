"""The flags of ``farthing demo``, and what tests may change beside them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from farthing.commands.flags import within
from farthing.commands.parameters import AsJson, FieldMap

ROUND_BYTES = 256 << 20
"""Source bytes after which the topics are emptied; scores take about twice as many again."""


@dataclass(frozen=True, kw_only=True)
class DemoOptions:
    """What may be said on the command line."""

    task: Annotated[Literal["moderation"], Parameter(help="the task to show")] = "moderation"
    events: Annotated[
        Path | None, Parameter(help="JSON lines to replay, compressed (gzip, zstd) or not; default: made-up comments")
    ] = None
    names: FieldMap = ()
    rate: Annotated[float, Parameter(help="events per second; 0: as fast as possible", validator=within(0))] = 50_000.0
    seconds: Annotated[
        float | None,
        Parameter(help="stop after this many seconds; default: at Ctrl-C", validator=within(0, above=True)),
    ] = None
    as_json: AsJson = False
    round_bytes: Annotated[int, Parameter(parse=False)] = ROUND_BYTES
