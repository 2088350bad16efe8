"""A real Prometheus scrapes made-up workers and a made-up ledger with our rules; every panel gets an answer."""

import http.server
import re
import subprocess
import sys
import threading

import numpy as np
import pytest
from prometheus_client.exposition import generate_latest

from farthing.blocks import Outcome, Status
from farthing.serving.metrics import STAGES, BlockStats, Metrics
from farthing.serving.supervisor import merge_metrics

from .exported import ledger_metrics
from .prometheus import Prometheus, require_prometheus
from .test_dashboards import EXPRESSIONS, GRAFANA
from .test_prometheus import RECORDED

ROUTE, MODEL = "events.moderation", "moderation@1a2b3c4d"
BIDDING = "bids.requests"
START_TIMEOUT_S, FILL_TIMEOUT_S = 60, 90


class Workers:
    """Two workers behind a supervisor; each look at them finds 1,000 events and 10 bid requests more."""

    def __init__(self):
        self.metrics = [Metrics({ROUTE: MODEL, BIDDING: "bidding@5e6f7a8b"}) for _ in range(2)]
        self.going = True
        self.events = 0
        for metrics in self.metrics:
            metrics.state.state("running")
            metrics.partitions.set(6)
            metrics.took_over((ROUTE, 0))
            metrics.set_rebalances(1, 0.5)
            metrics.broker_errors.labels("fetch").inc()

    def export(self):
        for metrics in self.metrics if self.going else ():
            counts = np.zeros(len(Status), np.int64)
            counts[Status.OK], counts[Status.SYNTAX] = 990, 10
            seconds = dict.fromkeys(STAGES, 0.001)
            metrics.record(BlockStats(ROUTE, counts, 990, 60_000, 138_000, 200_000, seconds))
            answered, bids = np.zeros(len(Status), np.int64), np.zeros((2, len(Outcome)), np.int64)
            answered[Status.OK], bids[0, Outcome.BID], bids[1, Outcome.EXPIRED] = 10, 9, 1
            metrics.record(BlockStats(BIDDING, answered, 10, 6_000, 12_000, 9_000, bid_counts=bids))
            metrics.pacing_updates.labels(BIDDING, "applied").inc()
            metrics.pacing.labels(BIDDING).set(0.8)
            metrics.latency.add(ROUTE, np.zeros(990, np.int64), 40, np.zeros(990, np.uint8))
            metrics.commits.labels("committed").inc()
            metrics.lag.labels(ROUTE).set(500)
            metrics.unreadable.labels(ROUTE).set(20)
            self.events += 1_010
        texts = [(i, generate_latest(metrics.registry).decode()) for i, metrics in enumerate(self.metrics)]
        own = 'farthing_workers 2\nfarthing_worker_restarts_total{worker="0"} 0\n'
        return merge_metrics(texts) + own.encode()


class Ledger:
    """A ledger whose every figure grows at each look."""

    def __init__(self):
        self.looks = 0
        values = {
            "route": [ROUTE],
            "model": ["openai:gpt-5-nano"],
            "mode": ["packed"],
            "estimate": ["low", "mid", "high"],
        }
        self.series = []
        for name, labels in ledger_metrics().items():
            many = [{}]
            for label in sorted(labels):
                many = [{**one, label: value} for one in many for value in values.get(label, ["scored"])]
            self.series += [(name, one) for one in many]

    def export(self):
        self.looks += 1
        lines = []
        for name, labels in self.series:
            value = 1 if name == "farthing_ledger_ready" else 2 if name == "farthing_ledger_workers" else self.looks
            matchers = ",".join(f'{label}="{text}"' for label, text in labels.items())
            lines.append(f"{name}{{{matchers}}} {value}\n")
        return "".join(lines).encode()


def serve(target):
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            body = target.export()
            self.send_response(200)
            self.send_header("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server


@pytest.fixture(scope="module")
def stand(tmp_path_factory):
    """A Prometheus with our rules and its two targets; gives a function that asks it, and the workers."""
    require_prometheus()
    folder = tmp_path_factory.mktemp("prometheus")
    workers = Workers()
    servers = {"farthing-worker": serve(workers), "farthing-ledger": serve(Ledger())}
    targets = {name: [server.server_address[1]] for name, server in servers.items()}
    try:
        with Prometheus(folder, targets) as prometheus:
            prometheus.until(lambda: len(prometheus.ask("up == 1")) == 2, START_TIMEOUT_S)
            prometheus.until(lambda: len(prometheus.ask("count_over_time(up[1m]) >= 5")) == 2, FILL_TIMEOUT_S)
            yield prometheus, workers
    finally:
        for server in servers.values():
            server.shutdown()
            server.server_close()


CHOSEN = {"__rate_interval": "1m", "namespace": ".*", "route": ".*", "model": "openai:gpt-5-nano", "mode": "packed"}


def as_grafana_asks(expression):
    return re.sub(r"\$(\w+)", lambda match: CHOSEN[match[1]], expression)


def test_every_panel_gets_an_answer(stand):
    ask = stand[0].ask
    silent = [expression for expression in EXPRESSIONS if not ask(as_grafana_asks(expression))]
    assert not silent


def test_every_recording_rule_gives_something(stand):
    ask, until = stand[0].ask, stand[0].until
    until(lambda: all(ask(name) for name in RECORDED), FILL_TIMEOUT_S)
    (ratio,) = ask(f'route:farthing_dead_events:ratio_rate5m{{route="{ROUTE}"}}')
    assert abs(float(ratio["value"][1]) - 0.01) < 1e-6
    assert len(ask("worker:farthing_scoring_thread_busy:ratio_rate5m")) == 2


@pytest.mark.parametrize("dashboard", ["operations", "savings"])
def test_the_picture_of_a_dashboard_has_no_panel_without_data(stand, dashboard, tmp_path):
    command = [
        sys.executable, str(GRAFANA / "picture.py"), dashboard, str(tmp_path / "out.png"), "--prometheus", stand[0].url,
        "--minutes", "1", "--rate-interval", "10s",
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "out.png").read_bytes().startswith(b"\x89PNG")
    wrong = subprocess.run([*command, "--mode", "telepathy"], capture_output=True, text=True, timeout=120)
    assert (wrong.returncode, "no data: Saved" in wrong.stderr) == ((1, True) if dashboard == "savings" else (0, False))


def test_nothing_fires_when_all_is_well(stand):
    ask = stand[0].ask
    names = {alert["metric"]["alertname"] for alert in ask('ALERTS{alertstate="firing"}')}
    assert names <= {"FarthingLedgerRefusesRecords"}  # the made-up ledger does refuse some


def test_prometheus_counts_what_the_workers_counted(stand):
    prometheus, workers = stand
    ask, until = prometheus.ask, prometheus.until
    workers.going = False
    until(lambda: float(ask("sum(farthing_events_total)")[0]["value"][1]) == workers.events, 30)
    assert float(ask('sum(farthing_dead_events_total{reason="syntax"})')[0]["value"][1]) == workers.events // 101
    (worst,) = ask("histogram_quantile(1, sum by (le) (farthing_event_latency_seconds_bucket))")
    assert float(worst["value"][1]) == pytest.approx(0.064)
