"""``farthing topics`` and the check at the start of a worker."""

from __future__ import annotations

from pathlib import Path

from farthing.config import Settings, with_file
from farthing.errors import StartError
from farthing.kafka import Finding, RouteTopicNames, create_topics, findings, partition_counts
from farthing.process.output import report_console, write_json


def _routes(settings: Settings) -> list[RouteTopicNames]:
    return [RouteTopicNames(route.source, route.sink, route.dead_letters, route.pacing) for route in settings.route]


async def _look(settings: Settings) -> tuple[list[Finding], dict[str, int]]:
    routes = _routes(settings)
    names = [name for route in routes for name in route.all]
    counts = await partition_counts(settings.kafka, names)
    return findings(routes, counts), counts


async def require(settings: Settings) -> None:
    """Raise StartError unless all topics are as the routes need them. BrokerError when nobody can tell."""
    found, _ = await _look(settings)
    if found:
        raise StartError("; ".join(str(finding) for finding in found))


async def check(settings: Settings, *, as_json: bool, given: Path | None = None) -> int:
    """Print what is and what is wrong; returns the exit code. ``given`` is the settings file that hints are to name."""
    found, counts = await _look(settings)
    console = report_console(as_json=as_json)
    for topic, count in counts.items():
        console.print(f"{topic}: {count} partitions", highlight=False)
    told = [with_file(str(finding), given) for finding in found]
    for finding in told:
        console.print(finding, style="red", highlight=False, markup=False)
    if as_json:
        report = {"partitions": counts, "findings": told}
        write_json(report)
    return 1 if found else 0


async def create(settings: Settings, *, partitions: int | None, replication_factor: int) -> int:
    """Create missing topics; returns the exit code."""
    created = await create_topics(
        settings.kafka,
        _routes(settings),
        partitions=partitions,
        replication_factor=replication_factor,
    )
    console = report_console()
    for name in created:
        console.print(f"created {name}", highlight=False)
    if not created:
        console.print("all topics exist", highlight=False)
    return 0
