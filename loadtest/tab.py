"""The tab "Farthing" on Locust's web page: one table of figures, updated along with Locust's own."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from flask import request
from loadtest.connected import NOT_CONNECTED, ServiceState
from loadtest.histogram import percentile_ms

KEY: Final = "farthing"
COLUMNS: Final = [
    {"key": "figure", "title": "Figure"},
    {"key": "value", "title": "Value"},
    {"key": "source", "title": "From"},
]
TABLE: Final = {
    "extended_tabs": [{"title": "Farthing", "key": KEY}],
    "extended_tables": [{"key": KEY, "structure": COLUMNS}],
}


@dataclass(frozen=True, slots=True)
class TabFigures:
    """What the tab shows. ``recent_ms`` None: the score topics are not read."""

    sent: int
    sent_per_s: float
    acked: int
    failed: int
    answered: int
    answered_per_s: float
    recent_ms: Mapping[int, int] | None
    late_ms: Mapping[int, int]
    service: ServiceState


def rows(figures: TabFigures) -> list[dict[str, str]]:
    """Give the table's rows, in order."""
    read = figures.recent_ms is not None
    of = percentile_ms
    topics = "score and dead-letter topics, last 10 s"
    return [
        _row("Events a second, sent", f"{figures.sent_per_s:,.0f}", "the generators, last 10 s"),
        _row("Events a second, answered", f"{figures.answered_per_s:,.0f}" if read else NOT_CONNECTED, topics),
        _row("End to end p50", _ms(of(figures.recent_ms, 0.5)) if read else NOT_CONNECTED, topics),
        _row("End to end p99", _ms(of(figures.recent_ms, 0.99)) if read else NOT_CONNECTED, topics),
        _row(
            "Lag",
            f"{max(figures.acked - figures.answered, 0):,} events" if read else NOT_CONNECTED,
            "acknowledged, less answered",
        ),
        _row("Dead letters", _count(figures.service.dead), "the workers' /metrics, since they started"),
        _row("Saved", _dollars(figures.service.saved_usd), "the ledger, since its books began"),
        _row("Events sent", f"{figures.sent:,}", "this run"),
        _row("Events not delivered", f"{figures.failed:,}", "this run"),
        _row("Batches handed over within, p99", _ms(of(figures.late_ms, 0.99)), "their intended times, this run"),
    ]


def _row(figure: str, value: str, source: str) -> dict[str, str]:
    return {"figure": figure, "value": value, "source": source}


def _ms(value: int | None) -> str:
    return "none yet" if value is None else f"{value:,} ms"


def _count(value: int | str | None) -> str:
    return NOT_CONNECTED if value is None else value if isinstance(value, str) else f"{value:,}"


def _dollars(value: Mapping[str, float] | str | None) -> str:
    if value is None or isinstance(value, str):
        return NOT_CONNECTED if value is None else value
    low, mid, high = (float(value[name]) for name in ("low", "mid", "high"))
    return f"${mid:,.2f} (${low:,.2f} to ${high:,.2f})".replace("$-", "-$")


def add_tab(web_ui: Any, figures: Callable[[], TabFigures]) -> None:
    """Show the tab on Locust's page; its figures come with the answer that the page asks for every two seconds."""
    web_ui.template_args |= TABLE

    @web_ui.app.after_request
    def _with_figures(response: Any) -> Any:
        if request.path.endswith("/stats/requests") and response.is_json:
            body = {**response.get_json(), "extended_stats": [{"key": KEY, "data": rows(figures())}]}
            response.set_data(json.dumps(body))
        return response

    @web_ui.app.get("/farthing")
    def _as_json() -> Any:
        return {"figures": rows(figures())}
