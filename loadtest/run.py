"""A run from its beginning to its verdict, on Locust's events. Each part runs in these processes::

                     sends (Generator)    reads the scores, judges (Run)
    one process      yes                  yes
    master           no                   yes
    worker           yes                  no

A master stops its workers with a message and waits until each has reported what it sent. So the counts are exact, and
the verdict is known before Locust writes its reports.
"""

from __future__ import annotations

import json
import logging
import os
import signal
import sys
import time
from collections import deque
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import gevent
import locust.stats
from loadtest.connected import EVERY_S, ServiceState, look
from loadtest.generator import Generator
from loadtest.histogram import added, summary_ms
from loadtest.locust_stats import add_latencies
from loadtest.scores import Scores
from loadtest.tab import TabFigures, add_tab
from loadtest.targets import Targets, read_targets
from loadtest.totals import SentTotals
from loadtest.verdict import Limits, reasons
from locust.runners import MasterRunner, WorkerRunner

from farthing.errors import FarthingError
from farthing.files import keep_apart

STOP, STOPPED = "loadtest-stop", "loadtest-stopped"
STOPPED_TIMEOUT_S: Final = 90.0
GONE_AFTER_S: Final = 10.0
RATE_OVER_S: Final = 10
LAST_LOOK_S: Final = 0.5  # after the last answer: a repeat may follow
CSV_MARGIN_S: Final = 0.1
log = logging.getLogger("farthing.loadtest")


class LoadTest:
    """What is kept at ``environment.loadtest``."""

    def __init__(self, environment: Any) -> None:
        self.environment = environment
        self.options = environment.parsed_options
        given = {name: value or None for name, value in vars(self.options).items() if name in ("events", "summary")}
        keep_apart(
            [("--farthing-config", self.options.farthing_config), ("--events", given.get("events"))],
            [("--summary", given.get("summary"))],
        )
        self.targets: Targets = read_targets(Path(self.options.farthing_config))
        for task, route in self.targets.routes.items():
            log.info("%s: events to %s, scores from %s", self.targets.file, route.source, route.sink)
            fields = self.targets.fields(task, self.options.map)
            if fields != route.fields:
                log.warning(
                    "%s: --map puts fields at %s, but the service's [route.fields] say %s: it would not find them",
                    route.source, fields, route.fields,
                )  # fmt: skip
        self.generator: Generator | None = None
        self.is_worker = isinstance(environment.runner, WorkerRunner)
        self.is_master = isinstance(environment.runner, MasterRunner)
        self._began_s: float | None = None  # by the monotonic clock
        self._reports: dict[str, Mapping[str, Any]] = {}  # by worker: what it sent
        self._final: set[str] = set()  # workers whose report is the last
        self._clients: set[str] = set()  # workers that were there at the start
        self._active = False
        self._scores: Scores | None = None
        self._service = ServiceState()
        self._past: deque[tuple[float, int, int]] = deque(maxlen=RATE_OVER_S + 1)
        if self.is_worker:
            environment.runner.register_message(STOP, self._on_stop, concurrent=True)
            environment.events.report_to_master.add_listener(self._report)
        else:
            self._use_what_is_routed()
            if self.is_master:
                environment.runner.register_message(STOPPED, self._on_stopped)
                environment.events.worker_report.add_listener(self._on_report)
            if not self.options.no_scores:
                sources = [route.source for route in self.targets.routes.values()]
                self._scores = Scores(self.targets.file, sources, self._on_answers)
                self._scores.wait_until_ready()
            gevent.spawn(self._keep_looking)
        events = environment.events
        events.test_start.add_listener(self._on_test_start)
        events.test_stop.add_listener(self._on_test_stop)
        events.quitting.add_listener(self._on_quitting)
        if self.options.headless and not self.is_worker:
            # Until the shape has ended Locust minds Ctrl-C alone.
            gevent.signal_handler(signal.SIGTERM, os.kill, os.getpid(), signal.SIGINT)
        if environment.web_ui is not None:
            add_tab(environment.web_ui, self.figures)

    def _use_what_is_routed(self) -> None:
        """Leave out the user classes for which there is no route."""
        environment = self.environment
        routed = [cls for cls in environment.user_classes if cls.event_task in self.targets.routes]
        if not routed:
            classes = ", ".join(sorted(cls.__name__ for cls in environment.user_classes))
            raise SystemExit(f"no route of {self.targets.file} has a bundle for any of: {classes}")
        environment.user_classes[:] = routed

    # ------------------------------------------------------------------------------------------------- sending side

    def _on_test_start(self, environment: Any, **_: Any) -> None:
        self._began_s = None
        if not self.is_master:
            self.targets = read_targets(Path(self.options.farthing_config))  # a worker's options are the master's now
            if self.generator is not None:
                self.generator.close()
            classes = [cls for cls in environment.user_classes if cls.event_task in self.targets.routes]
            self.generator = Generator(environment, self.targets, [cls.plan(self.options) for cls in classes])
        if not self.is_worker:
            self._begin()

    def _report(self, client_id: str, data: dict[str, Any]) -> None:
        if self.generator is not None:
            data["loadtest"] = self.generator.plain()

    def _on_stop(self, environment: Any, msg: Any) -> None:
        """On a worker: end the users, which wait for their batches, and report the totals."""
        runner = environment.runner
        runner.stop_users(runner.user_classes_count)
        runner.send_message(STOPPED, None if self.generator is None else self.generator.plain())

    # ------------------------------------------------------------------------------------------------- judging side

    def _begin(self) -> None:
        self._reports.clear()
        self._final.clear()
        self._clients = set(self.environment.runner.clients) if self.is_master else set()
        self._past.clear()
        if self._scores is not None:
            try:
                self._scores.begin()
            except FarthingError as error:
                log.error("%s", error)
                if self.options.headless:  # nobody is there to fix it: a run of nothing helps no one
                    self.environment.process_exit_code = 1
                    gevent.spawn(self.environment.runner.quit)
        self._active = True

    def elapsed_s(self) -> float:
        """Give the seconds since the first users were there: by then scores are read and events are made."""
        if self._active and self._began_s is None and self.environment.runner.user_count:
            self._began_s = time.monotonic()
        return 0.0 if self._began_s is None else time.monotonic() - self._began_s

    def _on_report(self, client_id: str, data: Mapping[str, Any]) -> None:
        if "loadtest" in data and client_id not in self._final:
            self._reports[client_id] = data["loadtest"]

    def _on_stopped(self, environment: Any, msg: Any) -> None:
        self._reports[msg.node_id] = msg.data or {"cpu_s": 0.0, "totals": {}}
        self._final.add(msg.node_id)

    def _on_answers(self, source: str, kind: str, counts: Mapping[int, int], n_bytes: int) -> None:
        route = next(route for route in self.targets.routes.values() if route.source == source)
        name = route.sink if kind == "score" else route.dead_letters
        add_latencies(self.environment.stats, kind, name, counts, n_bytes)

    def sent(self) -> dict[str, SentTotals]:
        """Give what was sent, all generator processes together, by source topic."""
        if not self.is_master:
            return {} if self.generator is None else self.generator.totals
        reports = [report["totals"] for report in self._reports.values()]
        return {
            source: SentTotals.of(totals[source] for totals in reports if source in totals)
            for source in sorted({source for totals in reports for source in totals})
        }

    def _keep_looking(self) -> None:
        """Sample the rates every second, and ask the service from time to time."""
        urls = [url for url in self.options.worker_metrics.split(",") if url]
        sources = [route.source for route in self.targets.routes.values()]
        asked_s = 0.0
        while True:
            answered = 0 if self._scores is None else self._scores.answered
            self._past.append((time.monotonic(), sum(one.sent for one in self.sent().values()), answered))
            if time.monotonic() - asked_s >= EVERY_S and self.environment.web_ui is not None:
                asked_s = time.monotonic()
                self._service = look(urls, self.options.ledger or None, sources)
            gevent.sleep(1)

    def figures(self) -> TabFigures:
        """Give what the tab shows."""
        sent = self.sent().values()
        (then_s, sent_then, answered_then), (now_s, sent_now, answered_now) = (
            (self._past[0], self._past[-1]) if self._past else ((0.0, 0, 0), (0.0, 0, 0))
        )
        over_s = max(now_s - then_s, 1e-9)
        return TabFigures(
            sent=sum(one.sent for one in sent),
            sent_per_s=(sent_now - sent_then) / over_s,
            acked=sum(one.acked for one in sent),
            failed=sum(one.failed for one in sent),
            answered=answered_now,
            answered_per_s=(answered_now - answered_then) / over_s,
            recent_ms=None if self._scores is None else self._scores.recent_ms,
            late_ms=added(*(one.late_ms for one in sent)),
            service=self._service,
        )

    def _on_test_stop(self, environment: Any, **_: Any) -> None:
        if self.is_worker or not self._active:
            return
        self._active = False
        silent = self._stop_workers() if self.is_master else []
        self._drain()
        limits = Limits(self.options.late_ms, self.options.drain_s, self.options.target_p99_ms or None)
        scores = self._scores
        failures = reasons(
            limits, self.sent(), None if scores is None else scores.routes,
            {} if scores is None else scores.latency_ms, silent=silent,
            reader_ended=scores is not None and not scores.alive,
        )  # fmt: skip
        for reason in failures:
            log.error("%s", reason)
        if failures:
            environment.process_exit_code = 1
        summary = self._summary(failures)
        log.info("%s", json.dumps({**summary, "reasons": len(failures)}))
        if self.options.summary:
            Path(self.options.summary).write_text(json.dumps(summary, indent=1) + "\n", encoding="utf-8")
        if self.options.csv_prefix:
            # Locust writes the rows once in an interval and not again at the end: the last batches would be missing.
            gevent.sleep(locust.stats.CSV_STATS_INTERVAL_SEC + CSV_MARGIN_S)

    def _stop_workers(self) -> list[str]:
        """Have every worker end its users; gives those that did not report what they sent."""
        runner = self.environment.runner
        expected = self._clients | set(self._reports)
        asked: set[str] = set()
        began_s = time.monotonic()
        while expected - self._final and time.monotonic() - began_s < STOPPED_TIMEOUT_S:
            # Locust forgets a worker that it has stopped until that says that it is ready again.
            for client in (expected - asked) & set(runner.clients):
                runner.send_message(STOP, client_id=client)
                asked.add(client)
            if time.monotonic() - began_s > GONE_AFTER_S and not asked - self._final:
                break
            gevent.sleep(0.05)
        return sorted(expected - self._final)

    def _drain(self) -> None:
        """Wait for the answers to all that was acknowledged, as long as some come."""
        if self._scores is None:
            return
        acked = sum(one.acked for one in self.sent().values())
        since_s, answered = time.monotonic(), -1
        while self._scores.alive and self._scores.answered < acked:
            if self._scores.answered != answered:
                since_s, answered = time.monotonic(), self._scores.answered
            elif time.monotonic() - since_s > self.options.drain_s:
                return
            gevent.sleep(0.05)
        gevent.sleep(LAST_LOOK_S)

    def _summary(self, failures: list[str]) -> dict[str, Any]:
        sent, scores = self.sent(), self._scores
        firsts = [one.first_s for one in sent.values() if one.first_s is not None]
        lasts = [one.last_s for one in sent.values() if one.last_s is not None]
        seconds = max(lasts) - min(firsts) if firsts else 0.0
        events = sum(one.sent for one in sent.values())
        cpu_s = (
            sum(report["cpu_s"] for report in self._reports.values())
            if self.is_master
            else self.generator.plain()["cpu_s"] if self.generator is not None else 0.0
        )  # fmt: skip
        routes = {}
        for source, one in sent.items():
            counts = None if scores is None else scores.routes.get(source, {})
            names = ("scored", "dead", "repeated", "foreign")
            routes[source] = {
                **{name: getattr(one, name) for name in ("batches", "sent", "acked", "failed", "value_bytes")},
                **{name: None if counts is None else counts.get(name, 0) for name in names},
            }
        return {
            "passed": not failures,
            "reasons": failures,
            "shape": self.options.shape,
            "seconds": round(seconds, 2),
            "events": events,
            "events_per_second": round(events / seconds) if seconds > 0 else 0,
            "generator_processes": max(len(self._reports), 1) if self.is_master else 1,
            "generator_cpu_us_per_event": round(cpu_s / events * 1e6, 3) if events else None,
            "handed_over_late_ms": summary_ms(added(*(one.late_ms for one in sent.values()))),
            "end_to_end_ms": None if scores is None else summary_ms(scores.latency_ms),
            "routes": routes,
        }

    def _on_quitting(self, environment: Any, **_: Any) -> None:
        if self._active:  # interrupted: what was sent is judged all the same
            environment.runner.stop()
        if self._scores is not None:
            self._scores.close()


def install(environment: Any, **_: Any) -> None:
    """Set the load test up when Locust has its runner. What is wrong is one line, and the exit code Farthing's."""
    try:
        environment.loadtest = LoadTest(environment)
    except FarthingError as error:
        sys.stderr.write(f"{error}\n")
        sys.exit(error.exit_code)
