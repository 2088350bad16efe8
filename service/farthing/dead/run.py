"""Carries out ``farthing dead list``, ``show`` and ``replay``, and says what came of it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, aclosing
from pathlib import Path

from rich.table import Table

from farthing.config import RouteSettings, Settings, with_file
from farthing.dead.listing import Listing
from farthing.dead.reading import chosen_routes, letters_of, worker_limits
from farthing.dead.replay import Replay
from farthing.dead.selection import Selection
from farthing.dead.showing import as_lines, as_object
from farthing.errors import ConfigError
from farthing.model.scorer import Scorer
from farthing.payload import naming, parse_pairs
from farthing.payload.field_map import FLAG
from farthing.payload.paths import parse_path
from farthing.process.output import created, report_console, safe, write_json


async def list_letters(
    settings: Settings, selection: Selection, source: str | None, *, output: Path | None, as_json: bool
) -> int:
    """Count letters by route, partition and reason; returns the exit code."""
    listing = Listing()
    for route in chosen_routes(settings.route, source):
        async for letter in letters_of(settings.kafka, route, worker_limits(settings, route)):
            if selection.takes(letter):
                listing.add(route.source, letter)
    rows = listing.rows()
    report = {"letters": sum(row["letters"] for row in rows), "groups": rows}
    if output is not None:
        with created(output, "--output") as file:
            file.write(json.dumps(report).encode() + b"\n")
    table = Table("route", "partition", "reason", "letters", "first", "last", box=None)
    for row in rows:
        table.add_row(*(safe(str(row[name])) for name in ("route", "partition", "reason", "letters", "first", "last")))
    console = report_console(as_json=as_json)
    if rows:
        console.print(table, markup=False, highlight=False)
    console.print(f"{report['letters']:,} dead letters", highlight=False)
    if as_json:
        write_json(report)
    return 0


async def show(
    settings: Settings, selection: Selection, source: str | None, *, limit: int, redact: Sequence[str],
    output: Path | None, as_json: bool, given: Path | None = None,
) -> int:  # fmt: skip
    """Show letters, at most ``limit``; returns the exit code: 1 if none was found.

    ``given`` is the settings file that hints are to name.
    """
    shown, more = 0, False
    listed: list[dict[str, object]] = []
    console = report_console(as_json=as_json)
    with ExitStack() as stack:
        file = None if output is None else stack.enter_context(created(output, "--output"))
        for route in chosen_routes(settings.route, source):
            hidden = [parse_path(path) for path in (*route.redact, *redact)]
            async with aclosing(letters_of(settings.kafka, route, worker_limits(settings, route))) as letters:
                async for letter in letters:
                    if not selection.takes(letter):
                        continue
                    if shown == limit:
                        more = True
                        break
                    shown += 1
                    found = as_object(letter, route.source, hidden)
                    if file is not None:
                        file.write(json.dumps(found).encode() + b"\n")
                    elif as_json:
                        listed.append(found)
                    else:
                        for line in as_lines(found):
                            console.print(line, markup=False, highlight=False, soft_wrap=True)
            if more:
                break
    if more:
        console.print(f"there are more than {limit:,}; --limit shows more of them", highlight=False)
    if not shown:
        hint = with_file("no dead letter is like that; `farthing dead list` shows what there is", given)
        console.print(hint, markup=False, highlight=False, soft_wrap=True)
    if as_json:
        write_json({"letters": listed, "more": more})
    return 0 if shown else 1


async def replay(
    settings: Settings, selection: Selection, source: str | None, *, bundle: str | None, names: Sequence[str],
    dry_run: bool, per_second: float | None, as_json: bool,
) -> int:  # fmt: skip
    """Replay letters; returns the exit code: 1 if some cannot be replayed or are still dead."""
    console = report_console(as_json=as_json)

    def tell(sentence: str) -> None:
        console.print(sentence, style="yellow", markup=False, highlight=False, soft_wrap=True)

    routes = chosen_routes(settings.route, source)
    if (bundle or names) and len(routes) > 1:
        raise ConfigError("--bundle and --map score the events of one route: name it with --route SOURCE")
    reports, code = [], 0
    for route in routes:
        scorer = _scorer(route, bundle, names) if bundle or names else None
        shared = sum(one.dead_letters == route.dead_letters for one in settings.route) > 1
        job = Replay(
            settings.kafka, route, selection, scorer=scorer, dry_run=dry_run, per_second=per_second, tell=tell,
            shared=shared, limits=worker_limits(settings, route),
        )  # fmt: skip
        summary = await job.run()
        still, refused = summary.still_dead.total(), summary.refused.total()
        report = {
            "route": route.source, "target": job.target, "dry_run": dry_run, "letters": summary.letters,
            "replayed": summary.replayed, "already": summary.already, "repeats": summary.repeats,
            "still_dead": dict(summary.still_dead), "refused": dict(summary.refused),
        }  # fmt: skip
        reports.append(report)
        verb = "would be replayed" if dry_run else "replayed"
        parts = [f"{summary.replayed:,} of {summary.letters:,} letters {verb} to {job.target}"]
        parts += [f"{summary.already:,} were there already"] if summary.already else []
        parts += [f"{summary.repeats:,} repeat another letter"] if summary.repeats else []
        parts += [f"{still:,} are still dead ({_counts(summary.still_dead)})"] if still else []
        parts += [f"{refused:,} cannot be replayed ({_counts(summary.refused)})"] if refused else []
        console.print("; ".join(parts), highlight=False, markup=False, soft_wrap=True)
        code = max(code, int(bool(still or refused)))
    if as_json:
        write_json({"routes": reports})
    return code


def _counts(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{name}: {count:,}" for name, count in sorted(counts.items()))


def _scorer(route: RouteSettings, bundle: str | None, names: Sequence[str]) -> Scorer:
    """Load the bundle that scores here: the one that is given, or the route's; a map replaces the route's."""
    fields = {**route.fields, **parse_pairs(names)}
    with naming(FLAG):
        scorer = Scorer.load(bundle or route.bundle, max_event_bytes=route.max_event_bytes, fields=fields)
    if scorer.task == "bidding":
        raise ConfigError(
            f"{bundle or route.bundle}: bids are made from the time and the campaign's pacing, so they are not made "
            "here; replay to the source instead, without --bundle and --map"
        )
    return scorer
