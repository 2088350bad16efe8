"""What the demo cost and saved: asked of the ledger, or worked out here from the same records where that does not run.

A ledger that is not ready when the demo ends is not waited for: the books are made from what the worker published, by
the same code, without Faust.
"""

from __future__ import annotations

import asyncio
import datetime
import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from farthing import config
from farthing.demo.serving import Bookkeeping, DemoTopics
from farthing.errors import BrokerError, ConfigError, StartError
from farthing.kafka import KafkaSettings, TopicReader
from farthing.ledger.client import ask
from farthing.ledger.ledger import Ledger
from farthing.ledger.price_book import load_book
from farthing.ledger.statement import make_statement
from farthing.ledger.statement_json import CHEAPEST, statement_body
from farthing.meter.money import json_text
from farthing.meter.records import Heartbeat, UsageRecord
from farthing.wire import Arena, decode_whole

COMPLETE_WITHIN_S: Final = 6.0  # workers publish their totals once a second
LOOK_AGAIN_S: Final = 0.2


async def find_savings(
    kafka: KafkaSettings, topics: DemoTopics, settings_file: Path, ledger: Bookkeeping | None, events: int
) -> tuple[dict[str, Any] | None, str | None]:
    """Give the savings of a demo that has answered ``events`` events, and a note about them.

    Returns
    -------
    What ``--json`` gives as ``savings``, and a sentence: why there is none, or what is not as it should be.
    """
    if not events:
        return None, "nothing was scored, so nothing was saved"
    deadline = time.monotonic() + COMPLETE_WITHIN_S
    try:
        while True:
            is_up = await asyncio.to_thread(_is_up, ledger)
            statement = await (_ask(ledger) if is_up else _make(kafka, topics, settings_file))
            counted = statement["events"]["scored"] + statement["events"]["dead"]
            if counted == events or time.monotonic() > deadline:
                break
            await asyncio.sleep(LOOK_AGAIN_S)
    except (BrokerError, ConfigError, StartError) as error:
        return None, f"the savings are unknown: {error}"
    note = None if counted == events else f"the books have {counted:,} of the {events:,} events"
    return summary(statement), note


def summary(statement: Mapping[str, Any]) -> dict[str, Any] | None:
    """Take a demo's savings from a statement of all time, as ``/api/statement`` gives it; None before any score."""
    comparison, avoided = statement["comparison"], statement["avoided_usd"]
    if comparison is None or avoided is None or statement["own"]["usd_per_million"] is None:
        return None
    prices = next(one for one in statement["routes"][0]["prices"] if one["model"] == statement["model"])
    return {
        "own_usd": statement["own"]["usd"]["mid"],
        "own_usd_per_million": statement["own"]["usd_per_million"]["mid"],
        "avoided_usd": avoided,
        "model": statement["model"],
        "mode": prices["cheapest_mode"] if statement["mode"] == CHEAPEST else statement["mode"],
        "prices_as_of": prices["as_of"],
        "verdict": comparison["verdict"],
        "events_per_day": comparison["events_per_day"],
        "threshold_events_per_day": comparison["threshold_events_per_day"],
    }


def _is_up(ledger: Bookkeeping | None) -> bool:
    return ledger is not None and ledger.pid is not None and ledger.look()[0]


async def _ask(ledger: Bookkeeping | None) -> dict[str, Any]:
    assert ledger is not None
    return dict(await asyncio.to_thread(ask, ledger.url, f"/api/statement?window=all&mode={CHEAPEST}"))


async def _make(kafka: KafkaSettings, topics: DemoTopics, settings_file: Path) -> dict[str, Any]:
    """Make the books from the topics, and their statement."""
    ledger = Ledger()
    reader = TopicReader(kafka, [topics.usage, topics.heartbeats])
    arena = Arena()
    try:
        await reader.start()
        async for part in reader.read():
            for records in decode_whole(part, arena):
                for start, stop in zip(records.value_start.tolist(), records.value_stop.tolist(), strict=True):
                    value = records.buffer[start:stop].tobytes()
                    if part.topic == topics.usage:
                        ledger.post(UsageRecord.decode(value))
                    else:
                        ledger.beat(Heartbeat.decode(value))
    finally:
        await reader.close()
    settings = config.load(settings_file, environment=False).settings
    book = load_book(settings, datetime.datetime.now(datetime.UTC).date())
    statement = make_statement(ledger, book, "all", time.time_ns() // 1_000_000)
    return dict(json.loads(json_text(statement_body(ledger, statement, None, CHEAPEST, settings.meter.compare_with))))
