"""A service with its ledger and a real Prometheus that scrapes both; and whether all that they count agrees."""

import asyncio
import contextlib
import json

from ..deploy.prometheus import Prometheus
from ..ledger.running import RunningLedger
from ..serving.running import eventually

OUTCOMES = ("scored", "dead")


@contextlib.asynccontextmanager
async def standing(kafka, make_service, folder, **options):
    """Start all three; gives (service, ledger, prometheus)."""
    ledger = RunningLedger(kafka, folder)
    await ledger.create_topics()
    extra = f'[meter]\nusage_topic = "{ledger.usage}"\nheartbeat_topic = "{ledger.heartbeats}"\n'
    service = make_service(kafka, extra=extra, **options)
    await service.create_topics()
    try:
        ledger.start()
        service.start()
        with Prometheus(folder, {"farthing-worker": [service.port], "farthing-ledger": [ledger.port]}) as prometheus:
            await asyncio.gather(ledger.ready(120), service.ready())
            await asyncio.to_thread(prometheus.until, lambda: len(prometheus.ask("up == 1")) == 2, 60)
            yield service, ledger, prometheus
    finally:
        ledger.stop()


def statement(ledger, **query):
    words = "&".join(f"{name}={value}" for name, value in {"window": "all", **query}.items())
    status, text = ledger.get(f"/api/statement?{words}")
    assert status == 200, text
    return json.loads(text)


async def agree(service, ledger, prometheus, told):
    """Wait until worker, ledger and Prometheus have counted ``told`` (outcome -> events); they count no more."""

    def counts():
        books = ledger.books() or {}
        ours = [(scored, dead) for (topic, *_), (_, scored, dead, _) in books.items() if topic == service.source]
        by_ledger = tuple(sum(column) for column in zip(*ours, strict=True)) if ours else None
        route = f'route="{service.source}"'
        return {
            "worker": tuple(service.metric("farthing_events_total", outcome=o) for o in OUTCOMES),
            "ledger": by_ledger,
            "prometheus of the worker": tuple(
                prometheus.value(f'sum(farthing_events_total{{{route}, outcome="{o}"}})') for o in OUTCOMES
            ),
            "prometheus of the ledger": tuple(
                prometheus.value(f'sum(farthing_ledger_events_total{{{route}, outcome="{o}"}})') for o in OUTCOMES
            ),
        }

    wanted = tuple(told[outcome] for outcome in OUTCOMES)
    await eventually(lambda: set(counts().values()) == {wanted}, 60, lambda: f"wanted {wanted}, found {counts()}")
    await asyncio.sleep(1.5)  # a scrape and a usage record later nothing has moved
    assert set(counts().values()) == {wanted}
    return counts()
