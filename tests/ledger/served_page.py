"""The page from made-up books, without Kafka: ``python -m tests.ledger.served_page EVENTS_PER_S [--still]``.

Prints the address. With ``--still`` the books and the clock stand where they are, so that what was read from the JSON
and from the page can be compared.
"""

import argparse
import asyncio
import time

from farthing.config import Settings
from farthing.ledger import web
from farthing.ledger.first_event import first_events
from farthing.ledger.web import Pages
from farthing.meter.usage import SizeCount, UsageTotals, size_class
from tests.ledger.cases import HOUR, MadeUp, book, now_ms, record


class StandingClock:
    """``time`` for the pages, at noon of today's UTC: no window has just begun."""

    def __init__(self):
        self.ns = (now_ms() // (24 * HOUR) * 24 * HOUR + 12 * HOUR + 1_825_000) * 1_000_000

    def time_ns(self):
        return self.ns


async def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("rate", type=int)
    parser.add_argument("--still", action="store_true")
    parser.add_argument("--tenant")
    parser.add_argument("--large", action="store_true", help="one more event, too large for a model")
    parser.add_argument("--port", type=int, default=0)
    asked = parser.parse_args()
    clock = time
    if asked.still:
        clock = web.time = StandingClock()
    made = MadeUp(asked.rate, until_ms=clock.time_ns() // 1_000_000, tenant=asked.tenant)
    if asked.large:
        used = UsageTotals(1, 0, 1, 600_000, {size_class(600_000): SizeCount(1, 600_000)})
        made.ledger.post(record(0, clock.time_ns() // 1_000_000, topic="events.large", used=used))
    settings = Settings(
        kafka={"bootstrap_servers": ["localhost:9092"]},
        route=[{"bundle": "moderation", "source": "events.moderation", "sink": "s", "dead_letters": "d"}],
    )
    pages = Pages(
        made.books, book(), ready=lambda: (True, "ok"), metrics=lambda: b"", first_events=first_events(settings)
    )
    host, port = await pages.listen("127.0.0.1", asked.port)
    print(f"http://{host}:{port}", flush=True)
    while True:
        await asyncio.sleep(1)
        if not asked.still:
            made.run_to(now_ms())
            made.ledger.note_moment(now_ms())
            made.history.note(made.ledger, now_ms())


if __name__ == "__main__":
    asyncio.run(main())
