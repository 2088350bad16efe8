"""What the tab shows, and what it takes from the service's own pages."""

import http.server
import json
import socket
import threading

import pytest
from prometheus_client.exposition import generate_latest

from farthing.serving.metrics import Metrics

pytest.importorskip("flask", reason="Locust is not installed: pip install -e '.[loadtest]'")

from loadtest.connected import ServiceState, look
from loadtest.tab import TabFigures, rows

from loadtest import connected


def figures(**changes):
    fields = {
        "sent": 120_000, "sent_per_s": 12_000.4, "acked": 119_000, "failed": 3, "answered": 110_000,
        "answered_per_s": 11_000.0, "recent_ms": {4: 99, 250: 1}, "late_ms": {1: 100}, "service": ServiceState(),
    }  # fmt: skip
    return {row["figure"]: row["value"] for row in rows(TabFigures(**{**fields, **changes}))}


def test_what_is_known_is_shown_with_units():
    service = ServiceState(dead=1_250, scored=100, saved_usd={"low": 1.5, "mid": 1234.567, "high": 2_000})
    assert figures(service=service) == {
        "Events a second, sent": "12,000",
        "Events a second, answered": "11,000",
        "End to end p50": "4 ms",
        "End to end p99": "4 ms",
        "Lag": "9,000 events",
        "Dead letters": "1,250",
        "Saved": "$1,234.57 ($1.50 to $2,000.00)",
        "Events sent": "120,000",
        "Events not delivered": "3",
        "Batches handed over within, p99": "1 ms",
    }


def test_what_is_not_connected_is_said_so():
    found = figures()
    assert found["Dead letters"] == found["Saved"] == "not connected"
    found = figures(recent_ms=None)
    assert {found[name] for name in ("End to end p50", "End to end p99", "Lag", "Events a second, answered")} == {
        "not connected"
    }


def test_losses_have_their_sign_before_the_dollar():
    assert (
        figures(service=ServiceState(saved_usd={"low": -3, "mid": -1, "high": 0.5}))["Saved"]
        == "-$1.00 (-$3.00 to $0.50)"
    )


@pytest.fixture
def service():
    """A worker's metrics and a ledger's statement at one address."""
    metrics = Metrics({"events.m": "moderation@1", "events.other": "moderation@1"})
    metrics.events.labels("events.m", "scored").inc(90)
    metrics.events.labels("events.m", "dead").inc(7)
    metrics.events.labels("events.other", "dead").inc(1_000)
    pages = {
        "/metrics": generate_latest(metrics.registry),
        "/api/statement?window=all": json.dumps({"saved_usd": {"low": 1, "mid": 2, "high": 3}}).encode(),
    }

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            found = pages.get(self.path)
            self.send_response(200 if found else 503)
            self.end_headers()
            self.wfile.write(found or b"")

        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}", pages
    server.shutdown()
    server.server_close()


def test_workers_are_added_up_over_the_routes_of_the_test(service):
    url, _ = service
    assert look([f"{url}/metrics"] * 2, url + "/", ["events.m"]) == ServiceState(
        14, 180, {"low": 1, "mid": 2, "high": 3}
    )


def test_a_name_with_two_addresses_stands_for_two_workers(service, monkeypatch):
    url, _ = service
    port = url.rsplit(":", 1)[1]
    monkeypatch.setattr(socket, "gethostbyname_ex", lambda name: (name, [], ["127.0.0.1", "127.0.0.2"]))
    asked = []
    monkeypatch.setattr(connected, "_get", lambda one: asked.append(one) or "")
    look([f"http://worker:{port}/metrics"], None, ["events.m"])
    assert asked == [f"http://127.0.0.{k}:{port}/metrics" for k in (1, 2)]


def test_nobody_is_asked_without_an_address():
    assert look([], None, ["events.m"]) == ServiceState()


def test_no_answer_is_said_with_its_reason(service):
    url, pages = service
    pages["/api/statement?window=all"] = b""
    told = look(["http://127.0.0.1:9/metrics"], url, ["events.m"])
    assert told.dead.startswith("no answer: ") and "503" in told.saved_usd
    assert figures(service=told)["Dead letters"].startswith("no answer")
    pages["/api/statement?window=all"] = b'{"saved_usd":null}'
    assert look([], url, []).saved_usd == "no events"
    assert "write http://" in look(["ftp://x"], None, []).dead
