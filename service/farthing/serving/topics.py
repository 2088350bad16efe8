"""Checks before a worker starts that its topics exist and that its sinks have enough partitions."""

from __future__ import annotations

from farthing.config import Settings
from farthing.errors import StartError
from farthing.kafka import Finding, RouteTopicNames, findings, missing_rights, partition_counts


def topics_of(settings: Settings) -> list[RouteTopicNames]:
    """Return each route's topics."""
    return [RouteTopicNames(route.source, route.sink, route.dead_letters, route.pacing) for route in settings.route]


async def look(settings: Settings) -> tuple[list[Finding], dict[str, int]]:
    """Return what is wrong with the topics, and how many partitions each has. Raises BrokerError."""
    routes = topics_of(settings)
    names = [name for route in routes for name in route.all]
    counts = await partition_counts(settings.kafka, names)
    wanted = {name: operation for name, operation in _wanted(routes).items() if name in counts}
    missing = await missing_rights(settings.kafka, wanted) if wanted else {}
    refused = [
        Finding(topic, f"this user lacks the right to {operation}", "allow it what deploy/kafka/acls.sh lists")
        for topic, operation in missing.items()
    ]
    return findings(routes, counts) + refused, counts


def _wanted(routes: list[RouteTopicNames]) -> dict[str, str]:
    """Return the right that a worker needs on each topic."""
    wanted: dict[str, str] = {}
    for route in routes:
        wanted |= {route.source: "READ", route.sink: "WRITE", route.dead_letters: "WRITE"}
        wanted |= {} if route.pacing is None else {route.pacing: "READ"}
    return wanted


async def require(settings: Settings) -> None:
    """Raise StartError unless all topics are as the routes need them, and BrokerError if the broker cannot be asked."""
    problems, _ = await look(settings)
    if problems:
        raise StartError("; ".join(str(finding) for finding in problems))
