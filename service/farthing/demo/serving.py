"""The demo's worker and ledger: ``farthing serve`` and ``farthing ledger`` on one settings file."""

from __future__ import annotations

import asyncio
import http.client
import json
import re
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from farthing.demo.child import LOOK_TIMEOUT_S, Child
from farthing.kafka import KafkaSettings, RouteTopicNames

TABLES: Final = ("accounts", "workers", "minutes")
"""Of the ledger: each has a changelog topic."""

TENANTS: Final = 20
"""Kept apart for each partition: the demo's broker keeps every record of the books in memory."""


@dataclass(frozen=True, slots=True)
class DemoTopics:
    """Every topic of one demo; ``name`` is in all of their names."""

    name: str

    @property
    def route(self) -> RouteTopicNames:
        """Those of the route."""
        return RouteTopicNames(f"demo.{self.name}.events", f"demo.{self.name}.scores", f"demo.{self.name}.dead")

    @property
    def usage(self) -> str:
        """Usage totals."""
        return f"demo.{self.name}.usage"

    @property
    def heartbeats(self) -> str:
        """Heartbeats of the worker."""
        return f"demo.{self.name}.heartbeats"

    @property
    def ledger_app(self) -> str:
        """Faust's app id."""
        return f"demo.{self.name}.ledger"

    @property
    def books(self) -> list[str]:
        """What the worker and the ledger make beside the route's topics."""
        return [self.usage, self.heartbeats, *(f"{self.ledger_app}-{table}-changelog" for table in TABLES)]


@dataclass(frozen=True, slots=True)
class Deployment:
    """Where the demo's processes have their settings and listen."""

    folder: Path
    worker_port: int
    ledger_port: int

    @property
    def config(self) -> Path:
        """The settings file of both."""
        return self.folder / "farthing.toml"

    def write_settings(
        self,
        task: str,
        kafka: KafkaSettings,
        topics: DemoTopics,
        tenant: str | None,
        fields: Mapping[str, str] | None = None,
    ) -> None:
        """Write the settings file: all of ``kafka``, with the worker's group; ``tenant`` is a field of the events.

        ``fields`` says where the model's fields lie in them, where that is not where the bundle says.
        """
        route = topics.route
        told_apart = "" if tenant is None else f'tenant = "{tenant}"\n'
        # JSON's strings are TOML's, but for characters beyond the sixteen bits that an escape of JSON has.
        pairs = [
            f"{json.dumps(n, ensure_ascii=False)} = {json.dumps(p, ensure_ascii=False)}\n"
            for n, p in (fields or {}).items()
        ]
        mapped = "".join(["[route.fields]\n", *pairs]) if pairs else ""
        chosen = kafka.model_dump(mode="json", exclude_defaults=True)
        self.config.write_text(
            "[kafka]\n"
            + "".join(f"{name} = {json.dumps(value)}\n" for name, value in chosen.items())
            + f'[[route]]\nbundle = "{task}"\nsource = "{route.source}"\nsink = "{route.sink}"\n'
            f'dead_letters = "{route.dead_letters}"\n{told_apart}{mapped}[http]\nport = {self.worker_port}\n'
            f'[meter]\nusage_topic = "{topics.usage}"\nheartbeat_topic = "{topics.heartbeats}"\n'
            f"tenants = {TENANTS}\n"
            f'[ledger]\nport = {self.ledger_port}\napp_id = "{topics.ledger_app}"\n'
            f"data_dir = {json.dumps(str(self.folder / 'ledger'))}\n",
            encoding="utf-8",
        )


class Serving(Child):
    """The worker."""

    def __init__(self, deployment: Deployment) -> None:
        super().__init__(
            "worker", ["serve", "-c", str(deployment.config)], deployment.folder / "worker.log",
            f"http://127.0.0.1:{deployment.worker_port}",
        )  # fmt: skip

    async def cpu_seconds_and_events(self) -> tuple[float, float] | None:
        """Give the CPU time that the worker has used and the events that it has done; None when it does not answer."""
        try:
            text = await asyncio.to_thread(self._metrics)
        except (OSError, http.client.HTTPException):
            return None
        cpu = sum(float(value) for value in re.findall(r"^farthing_cpu_seconds_total(?:\{.*\})? (\S+)", text, re.M))
        events = sum(float(value) for value in re.findall(r"^farthing_events_total\{.*\} (\S+)", text, re.M))
        return cpu, events

    def _metrics(self) -> str:
        with urllib.request.urlopen(f"{self.url}/metrics", timeout=LOOK_TIMEOUT_S) as answer:
            return str(answer.read().decode())


class Bookkeeping(Child):
    """The ledger."""

    def __init__(self, deployment: Deployment) -> None:
        super().__init__(
            "ledger", ["ledger", "-c", str(deployment.config)], deployment.folder / "ledger.log",
            f"http://127.0.0.1:{deployment.ledger_port}",
        )  # fmt: skip
