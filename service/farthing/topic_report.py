"""``farthing topics`` and the check at the start of a worker."""

from __future__ import annotations

import json
import sys

from rich.console import Console

from farthing.config import Settings
from farthing.errors import StartError
from farthing.kafka import Finding, RouteTopicNames, create_topics, findings, partition_counts


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


async def check(settings: Settings, *, as_json: bool) -> int:
    """Print what is and what is wrong; returns the exit code."""
    found, counts = await _look(settings)
    console = Console(stderr=as_json)
    for topic, count in counts.items():
        console.print(f"{topic}: {count} partitions", highlight=False)
    for finding in found:
        console.print(f"{finding}", style="red", highlight=False)
    if as_json:
        report = {"partitions": counts, "findings": [str(finding) for finding in found]}
        sys.stdout.write(json.dumps(report) + "\n")
    return 1 if found else 0


async def create(settings: Settings, *, partitions: int | None, replication_factor: int) -> int:
    """Create missing topics; returns the exit code."""
    created = await create_topics(
        settings.kafka,
        _routes(settings),
        partitions=partitions,
        replication_factor=replication_factor,
    )
    console = Console()
    for name in created:
        console.print(f"created {name}", highlight=False)
    if not created:
        console.print("all topics exist", highlight=False)
    return 0
