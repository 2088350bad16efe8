"""A real run, scraped by a real Prometheus: what that answers is what the ledger's books say."""

import random

import pytest

from farthing.local.comments import comment_events

from ..loadtest.stand import agree, standing, statement
from ..serving.conftest import make_service  # noqa: F401 (a fixture)
from .prometheus import require_prometheus

pytestmark = pytest.mark.kafka
EVENTS, DEAD = 20_000, 300


async def test_prometheus_answers_what_the_ledger_has_in_its_books(apache_kafka, make_service, tmp_path):  # noqa: F811
    require_prometheus()
    events = [*comment_events(EVENTS - DEAD, seed=9), *[b"{"] * DEAD]
    random.Random(9).shuffle(events)
    async with standing(apache_kafka, make_service, tmp_path) as (service, ledger, prometheus):
        await service.send(events)
        await agree(service, ledger, prometheus, {"scored": EVENTS - DEAD, "dead": DEAD})
        assert prometheus.known(f'sum(farthing_dead_events_total{{route="{service.source}"}})') == DEAD
        # Dollars of counts move with counts alone, so the two are the same.
        models = statement(ledger)["models"]
        for model in models:
            for mode in ("naive", "packed"):
                said = statement(ledger, model=model, mode=mode)
                if said["avoided_usd"] is None:
                    continue
                for estimate, usd in said["avoided_usd"].items():
                    labels = f'{{model="{model}", mode="{mode}", estimate="{estimate}"}}'
                    answered = prometheus.known(f"farthing_ledger_avoided_cost_usd{labels}")
                    assert round(answered, 9) == usd > 0  # the statement has whole billionths of a dollar
        # What clocks move lies between two looks at it.
        before = statement(ledger)["own"]["usd"]["mid"]
        seen = prometheus.known('farthing_ledger_own_cost_usd{estimate="mid"}')
        after = statement(ledger)["own"]["usd"]["mid"]
        assert 0 < seen <= after and seen > before * 0.5
        assert prometheus.known("farthing_ledger_refused_records_total") == 0
        assert prometheus.known("farthing_ledger_workers") == 1
