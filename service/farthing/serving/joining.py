"""Says on /ready what a worker waits for while it joins its group and, after a while, why that takes long."""

from __future__ import annotations

import asyncio
import time
from typing import Final

from farthing.kafka import KafkaSettings, broker_complaints
from farthing.process.probes import Health
from farthing.serving.readiness import SILENT_S

SAY_EVERY_S: Final = 0.5

CONNECTING: Final = "connecting to the brokers"
JOINING: Final = "joining the consumer group"


def what_it_waits_for(step: str, seconds: float, settings: KafkaSettings, complaint: str) -> str:
    """Return the reason for the state ``joining``: the step, and after :data:`SILENT_S` how long and why."""
    if seconds <= SILENT_S:
        return step
    servers = ", ".join(settings.bootstrap_servers)
    why = {
        CONNECTING: f"no broker of kafka.bootstrap_servers = {servers} has answered",
        JOINING: f"the coordinator of the group {settings.group_id} has not let this worker in: it waits for members "
        "that have not come back, at most their kafka.rebalance_timeout_ms or kafka.session_timeout_ms",
    }
    return f"{step} for {seconds:.0f} s: {why[step]}" + (f"; the client says: {complaint}" if complaint else "")


class Joining:
    """Keeps /ready up to date while the worker joins: an asynchronous context."""

    def __init__(self, settings: KafkaSettings, health: Health) -> None:
        self._settings = settings
        self._health = health
        self._step = CONNECTING
        self._since = time.monotonic()

    async def __aenter__(self) -> Joining:
        self._saying = asyncio.create_task(self._keep_saying())
        return self

    async def __aexit__(self, *_: object) -> None:
        self._saying.cancel()
        await asyncio.wait({self._saying})

    def begin(self, step: str) -> None:
        """Note that the next step begins."""
        self._step, self._since = step, time.monotonic()

    async def _keep_saying(self) -> None:
        with broker_complaints() as complaints:
            while True:
                seconds = time.monotonic() - self._since
                last = complaints.last if seconds > SILENT_S else ""
                self._health.set("joining", what_it_waits_for(self._step, seconds, self._settings, last))
                await asyncio.sleep(SAY_EVERY_S)
