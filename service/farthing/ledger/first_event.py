"""Makes what a page without data shows: which topics are read, and a command that sends an event to each.

The command is made from the settings, so that it works when it is copied. Where the broker needs no password it is a
short Python script with aiokafka; else it is ``python3 -m farthing.ledger.first_event TOPIC`` with the ledger's
settings file, because the page must not show secrets. The event has the fields that the route's bundle reads.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from farthing import config
from farthing.config import RouteSettings, Settings
from farthing.errors import BrokerError, BundleError, ConfigError, FarthingError
from farthing.kafka import BatchProducer
from farthing.local.bid_requests import bid_request_events
from farthing.model.shipped import find_bundle
from farthing.model.task_table import SPARE_FIELDS
from farthing.payload import Field, FieldPlan
from farthing.scoring.manifest import read_stated
from farthing.wire import encode_records

SEND_TIMEOUT_S: Final = 30.0
_TEXT: Final = FieldPlan((Field("id", "id", "raw"), Field("text", "text", "text")))
_TEXTS: Final = {"query": "how to mend a flat tyre"}

_COMMAND: Final = """\
python3 - <<'END'
import asyncio, aiokafka

async def send():
    async with aiokafka.AIOKafkaProducer(bootstrap_servers={servers!r}) as producer:
        await producer.send_and_wait({topic!r}, {event!r})

asyncio.run(send())
END"""
_COMMAND_WITH_SETTINGS: Final = "FARTHING_CONFIG=farthing.toml python3 -m farthing.ledger.first_event {topic}"


@dataclass(frozen=True, slots=True)
class FirstEvent:
    """A topic that is read, an event that its model can score, and a shell command that sends the event there."""

    topic: str
    sink: str
    bootstrap_servers: tuple[str, ...]
    event: str
    command: str

    def as_dict(self) -> dict[str, Any]:
        """Return it as JSON types."""
        return {
            "topic": self.topic,
            "sink": self.sink,
            "bootstrap_servers": list(self.bootstrap_servers),
            "event": self.event,
            "command": self.command,
        }


def first_events(settings: Settings) -> list[FirstEvent]:
    """Return a first event for each route."""
    servers = tuple(settings.kafka.bootstrap_servers)
    events = []
    for route in settings.route:
        event = sample_event(route)
        plain = settings.kafka.security_protocol == "PLAINTEXT"
        template = _COMMAND if plain else _COMMAND_WITH_SETTINGS
        command = template.format(servers=",".join(servers), topic=route.source, event=event)
        events.append(FirstEvent(route.source, route.sink, servers, event.decode(), command))
    return events


def sample_event(route: RouteSettings) -> bytes:
    """Make an event with the fields that the route's bundle reads; a text if the bundle is not on this machine."""
    try:
        manifest = read_stated(find_bundle(route.bundle))
        if manifest.get("task") == "bidding" and not route.fields:
            return bid_request_events(1)[0]
        plan = FieldPlan.from_manifest(manifest["field_plan"]).mapped(route.fields, spare=SPARE_FIELDS)
    except (BundleError, ConfigError, OSError, ValueError, KeyError, AttributeError, TypeError):
        plan = _TEXT
    return event_of(plan)


def event_of(plan: FieldPlan) -> bytes:
    """Make an event with a plan's fields: a sentence, a number or an id for each, and two rows if it has an array."""
    event: dict[str, Any] = {}
    for field in plan.fields:
        for row in range(2 if field.in_array else 1):
            field.parsed.put(event, _value(field, row), row)
    return json.dumps(event, separators=(",", ":"), ensure_ascii=True).encode()


def _value(field: Field, row: int) -> str | int:
    if field.kind == "text":
        return _TEXTS.get(field.name, "have a nice day" if row == 0 else "how to patch a bicycle tyre")
    return row + 1


async def send(settings: Settings, topic: str) -> bytes:
    """Send the sample event to a topic that the settings read; returns the event.

    Raises
    ------
    ConfigError
        No route reads it.
    BrokerError
        No broker acknowledged it.
    """
    routes = {route.source: route for route in settings.route}
    if topic not in routes:
        raise ConfigError(f"no route reads the topic {topic!r}; one of {', '.join(routes)}")
    event = sample_event(routes[topic])
    indptr, now_ms = np.array([0, len(event)]), np.array([time.time_ns() // 1_000_000])
    producer = BatchProducer(settings.kafka)
    try:
        async with asyncio.timeout(SEND_TIMEOUT_S):
            await producer.start()
            await producer.send([encode_records(topic, 0, np.frombuffer(bytearray(event), np.uint8), indptr, now_ms)])
    except TimeoutError as error:
        raise BrokerError(f"{topic}: no broker acknowledged the event in time", retriable=True) from error
    finally:
        await producer.close(1.0)
    return event


def main(arguments: list[str]) -> int:
    """Send an event to the topic given as the argument, with the settings that FARTHING_CONFIG names."""
    try:
        if len(arguments) != 1:
            raise ConfigError("usage: FARTHING_CONFIG=farthing.toml python3 -m farthing.ledger.first_event TOPIC")
        event = asyncio.run(send(config.load(config.named_file()).settings, arguments[0]))
    except FarthingError as error:
        sys.stderr.write(f"{error}\n")
        return error.exit_code
    sys.stderr.write(f"sent to {arguments[0]}: {event.decode()}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
