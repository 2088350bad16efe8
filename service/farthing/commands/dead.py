"""``farthing dead``: the flags of its commands, which list, show and replay dead letters."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import App, Parameter

from farthing.commands.context import found_settings, run_async
from farthing.commands.flags import within
from farthing.commands.parameters import AsJson, FieldMap, FoundConfigFile

if TYPE_CHECKING:
    from farthing.dead.selection import Selection

app = App(name="dead", help="List, show or replay dead letters: the events that could not be scored.")

Places = Annotated[
    str, Parameter(help="PARTITION:OFFSET of an event in its source, as `farthing dead show` prints it; default: all")
]


def _check_partitions(kind: object, values: Sequence[int] | None) -> None:
    for value in values or ():
        within(0, (1 << 31) - 1)(kind, value)


@dataclass(frozen=True)
class Chosen:
    """The flags that choose letters; those that may be repeated leave more letters in, except --field."""

    route: Annotated[str | None, Parameter(help="source topic of the route; default: every route")] = None
    reason: Annotated[tuple[str, ...], Parameter(negative="", help="such as syntax; may be repeated")] = ()
    partition: Annotated[
        tuple[int, ...], Parameter(negative="", help="may be repeated", validator=_check_partitions)
    ] = ()
    since: Annotated[
        str | None, Parameter(help="written at or after: 2026-11-27T08:30:00Z, or how long ago: 90m, 12h, 7d")
    ] = None
    until: Annotated[str | None, Parameter(help="written before: likewise")] = None
    field: Annotated[
        tuple[str, ...],
        Parameter(
            negative="", help="PATH=VALUE: the event has this value there, as in user.id=42; repeated: all of them"
        ),
    ] = ()

    def selection(self, places: Sequence[str] = ()) -> Selection:
        """Read them. Raises ConfigError."""
        from farthing.dead.selection import make_selection

        return make_selection(
            reasons=self.reason, partitions=self.partition, since=self.since, until=self.until, fields=self.field,
            places=places, now_ms=time.time_ns() // 1_000_000,
        )  # fmt: skip


@app.command(name="list")
def list_(
    *,
    chosen: Annotated[Chosen | None, Parameter(name="*")] = None,
    config_file: FoundConfigFile = None,
    output: Annotated[
        Path | None, Parameter(name=["--output", "-o"], help="also write the counts there, as JSON")
    ] = None,
    as_json: AsJson = False,
) -> int:
    """Count dead letters by route, partition and reason, with the first and last time."""
    from farthing.dead.run import list_letters
    from farthing.process.logs import configure

    configure()

    flags = chosen or Chosen()
    with found_settings(config_file) as loaded:
        return run_async(list_letters(loaded.settings, flags.selection(), flags.route, output=output, as_json=as_json))


@app.command(name="show")
def show_(
    *places: Places,
    chosen: Annotated[Chosen | None, Parameter(name="*")] = None,
    config_file: FoundConfigFile = None,
    limit: Annotated[int, Parameter(help="most letters to show", validator=within(1))] = 10,
    redact: Annotated[
        tuple[str, ...],
        Parameter(negative="", help="path of a field whose value is replaced, besides route.redact; may be repeated"),
    ] = (),
    output: Annotated[
        Path | None, Parameter(name=["--output", "-o"], help="write JSON lines there instead, one for each letter")
    ] = None,
    as_json: AsJson = False,
) -> int:
    """Show dead letters: place, what was said of the event, key, headers and value."""
    from farthing.dead.run import show
    from farthing.process.logs import configure

    configure()

    flags = chosen or Chosen()
    with found_settings(config_file) as loaded:
        return run_async(
            show(
                loaded.settings, flags.selection(places), flags.route, limit=limit, redact=redact, output=output,
                as_json=as_json, given=config_file,
            )
        )  # fmt: skip


@app.command(name="replay")
def replay_(
    *places: Places,
    chosen: Annotated[Chosen | None, Parameter(name="*")] = None,
    config_file: FoundConfigFile = None,
    bundle: Annotated[
        str | None, Parameter(help="score the events here, by this bundle, and write the scores to the sink")
    ] = None,
    map_: FieldMap = (),
    dry_run: Annotated[bool, Parameter(negative="", help="write nothing, and say what would be written")] = False,
    rate: Annotated[
        float | None, Parameter(help="most events a second; default: no limit", validator=within(0, above=True))
    ] = None,
    as_json: AsJson = False,
) -> int:
    """Send the events of dead letters to their source again, each once, however often this is run.

    With --bundle or --map they are scored here instead, and the scores go to the sink.
    """
    from farthing.dead.run import replay
    from farthing.process.logs import configure

    configure()  # to standard error, so that nothing but the report is on standard output

    flags = chosen or Chosen()
    with found_settings(config_file) as loaded:
        return run_async(
            replay(
                loaded.settings, flags.selection(places), flags.route, bundle=bundle, names=map_, dry_run=dry_run,
                per_second=rate, as_json=as_json,
            )
        )  # fmt: skip
