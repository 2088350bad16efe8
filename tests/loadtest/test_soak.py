"""The verdict of a soak, case by case."""

import dataclasses
import os
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
from loadtest.soak import Look, look_at, percentile_ms, slope_a_minute, start, verdict, write_worker_settings

from farthing.kafka import RouteTopicNames


def looks(n=100, **grows):
    """A look every 12 s; what grows does so by this much a look, after the warm-up too."""
    base = {"rss_mib": 300.0, "descriptors": 30, "threads": 12, "tasks": 20, "p99_ms": 80.0}
    return [Look(at_s=12.0 * k, lag=0.0, **{name: value + grows.get(name, 0) * k for name, value in base.items()}) for k in range(n)]  # fmt: skip


def test_a_worker_that_stays_as_it_is():
    assert verdict(looks(), 1_000, 1_000) == []
    assert verdict(looks(rss_mib=0.19), 1_000, 1_000) == []  # 0.95 MiB a minute


@pytest.mark.parametrize(
    ("grows", "said"),
    [
        ({"rss_mib": 0.21}, "memory grows by 1.05 MiB a minute"),
        ({"descriptors": 1}, "descriptors: at most 49 in the warm-up"),
        ({"threads": 1}, "threads: "),
        ({"tasks": 1}, "tasks: "),
        ({"p99_ms": 10}, "p99 rose from "),
    ],
)
def test_what_grows(grows, said):
    (wrong,) = verdict(looks(**grows), 10, 10)
    assert said in wrong


def test_what_grows_only_in_the_warm_up():
    warm = [dataclasses.replace(look, rss_mib=100.0 + 10 * k) for k, look in enumerate(looks(20))]
    assert verdict([*warm, *(dataclasses.replace(look, at_s=look.at_s + 240) for look in looks(80))], 1, 1) == []


def test_events_without_an_answer_and_too_few_looks():
    assert verdict(looks(), 1_000, 999) == ["1 of 1,000 events have no answer"]
    assert verdict(looks(4), 1, 1) == ["too short: there are too few looks"]


def test_slopes_and_percentiles():
    assert slope_a_minute(looks(rss_mib=1)) == pytest.approx(5.0)
    assert percentile_ms({0.1: 98, 0.25: 99, 1.0: 100, float("inf"): 100}, 0.99) == 250
    assert percentile_ms({}, 0.99) == 0


METRICS = """\
farthing_event_latency_seconds_bucket{route="t",le="0.1"} 90.0
farthing_event_latency_seconds_bucket{route="t",le="0.25"} 99.0
farthing_event_latency_seconds_bucket{route="t",le="+Inf"} 100.0
farthing_lag_events{route="t"} 7.0
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_look_at_a_process(tmp_path):
    class Answer(BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.end_headers()
            self.wfile.write(METRICS.encode())

        def log_message(self, *_):
            pass

    tasks = tmp_path / "tasks"
    tasks.write_text("5")
    with HTTPServer(("127.0.0.1", 0), Answer) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        look, buckets = look_at(os.getpid(), server.server_port, tasks, time.monotonic(), {})
        server.shutdown()
    assert (look.tasks, look.lag, look.p99_ms) == (5, 7.0, 250.0)
    assert look.rss_mib > 10 and look.descriptors > 3 and look.threads >= 1
    assert buckets[float("inf")] == 100


def test_the_worker_counts_its_tasks(tmp_path):
    """Against no broker, it ends with the worker's own sentence; until then it counts."""
    config, tasks = tmp_path / "s.toml", tmp_path / "tasks"
    names = RouteTopicNames("a", "b", "c")
    write_worker_settings(config, "127.0.0.1:1", names, 0)
    with (tmp_path / "log").open("wb") as log:
        worker = start(config, tasks, log)
        assert worker.wait(120) == 3
    assert int(tasks.read_text()) >= 1
    assert b"127.0.0.1:1" in (tmp_path / "log").read_bytes()
