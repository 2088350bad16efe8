"""Which topics a test sends to: the service's settings, and the route for each task."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from loadtest.field_map import of_task

from farthing import config
from farthing.errors import BundleError, ConfigError
from farthing.kafka.settings import KafkaSettings
from farthing.model.shipped import find_bundle
from farthing.payload import FieldPlan, parse_pairs


@dataclass(frozen=True, slots=True)
class Targets:
    """What the settings say: how to reach the broker, and the first route of each task."""

    file: Path
    kafka: KafkaSettings
    routes: dict[str, config.RouteSettings]  # by task
    plans: dict[str, FieldPlan]  # by task: the bundle's own, before any map

    def fields(self, task: str, pairs: Sequence[str]) -> dict[str, str]:
        """Say where the fields of a task's events are to lie: as ``--map`` says of them, or else the route's settings.

        Raises ConfigError where ``--map`` names what no bundle reads, or a path that cannot be.
        """
        return of_task(self.plans, parse_pairs(pairs))[task] or dict(self.routes[task].fields)


def read_targets(path: Path) -> Targets:
    """Read the service's settings.

    Raises
    ------
    ConfigError, BundleError
        The settings or a route's bundle cannot be read.
    """
    settings = config.load(path).settings
    settings.kafka.client_options()  # what cannot be read is said now, not by each user
    routes: dict[str, config.RouteSettings] = {}
    plans: dict[str, FieldPlan] = {}
    for route in settings.route:
        task, plan = _manifest(route.bundle)
        if task not in routes:
            routes[task], plans[task] = route, plan
    return Targets(path, settings.kafka, routes, plans)


def _manifest(bundle: str) -> tuple[str, FieldPlan]:
    file = find_bundle(bundle) / "manifest.json"
    try:
        manifest = json.loads(file.read_text(encoding="utf-8"))
        return str(manifest["task"]), FieldPlan.from_manifest(manifest["field_plan"])
    except (OSError, ValueError, KeyError, ConfigError) as error:
        raise BundleError(f"{file}: its task and fields cannot be read ({error})") from error
