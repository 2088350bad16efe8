"""Which topics a test sends to: the service's settings, and for each task the route that has it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from farthing import config
from farthing.bundles import find_bundle
from farthing.errors import BundleError
from farthing.kafka.settings import KafkaSettings


@dataclass(frozen=True, slots=True)
class Targets:
    """What the settings say: how to reach the broker, and the first route of each task."""

    file: Path
    kafka: KafkaSettings
    routes: dict[str, config.Route]  # by task


def read_targets(path: Path) -> Targets:
    """Read the service's settings.

    Raises
    ------
    ConfigError, BundleError
        The settings or a route's bundle cannot be read.
    """
    settings = config.load(path).settings
    settings.kafka.client_options()  # what cannot be read is said now, not by each user
    routes: dict[str, config.Route] = {}
    for route in settings.route:
        routes.setdefault(_task(route.bundle), route)
    return Targets(path, settings.kafka, routes)


def _task(bundle: str) -> str:
    file = find_bundle(bundle) / "manifest.json"
    try:
        return str(json.loads(file.read_text(encoding="utf-8"))["task"])
    except (OSError, ValueError, KeyError) as error:
        raise BundleError(f"{file}: no task can be read from it ({error})") from error
