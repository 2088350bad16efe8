"""How long a score takes: events come at a fixed rate, and each one's score is awaited by another consumer.

``python loadtest/latency.py --rate 10000 --seconds 15 --json`` starts Apache Kafka (or uses FARTHING_KAFKA_BOOTSTRAP,
without login or encryption) and ``farthing serve`` at its default settings, warms both up at the same rate, and then
measures, for each event, from the time at which it was to be sent until its score could be read
(:mod:`loadtest.open_loop`, :mod:`loadtest.watching`). The *floor*, measured in the same run, is a consumer of the
source topic: until the event itself could be read. ``--rate 0`` measures the CPU of a worker without events.

A run is void if the generator was late (:mod:`loadtest.latency_report` has the rule), and fails if an event has no
score; then the exit code is 1 and the reasons are printed. ``--json`` prints one object on the last line, ``--picture``
draws the histograms. CPU is that of the processes over the measured seconds, in cores. Settings without a flag here can
be given to the worker in its environment, such as FARTHING_WORKER__COMMIT_INTERVAL_MS=5000; the report names them.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import os
import re
import select
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
import uuid
from contextlib import ExitStack, closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))  # it runs from anywhere

# ruff: noqa: E402
from loadtest.blocking import leaders_of
from loadtest.cpu import cpu_s_of, family_of, going_first
from loadtest.latency_report import (
    WORDS,
    answers_of,
    check_picture,
    counts_ns,
    draw,
    failures,
    first_ns,
    milliseconds,
    why_void,
    words_of,
)
from loadtest.micro.__main__ import machine as machine_and_commit
from loadtest.open_loop import Plan, due_ticks, partitions_of, plan_line, pool_of
from loadtest.targets import read_targets
from loadtest.throughput import machine, write_settings
from loadtest.watching import NEVER, Watch, scored_offsets

from farthing.commands.flags import argument, within
from farthing.errors import ConfigError, FarthingError, StartError
from farthing.kafka import KafkaSettings, RouteTopicNames, create_topics, delete_topics
from farthing.local.broker import ApacheKafka, external_broker
from farthing.local.process import free_port
from farthing.process.first_start import Patience, cpu_ticks

QUIET_S = 120.0  # a start without progress; a first one compiles kernels
DRAIN_S = 30.0  # without another score: what is missing then is lost
LIMIT_NS = 600 * 1_000_000_000  # for the end of sending, and again for the last scores
STOP_S = 30.0
SETTING = re.compile("FARTHING_[A-Z]+__")  # a variable of the environment that the worker reads
GENERATOR = [sys.executable, "-m", "loadtest.open_loop"]


@contextmanager
def started(command, log, **options):
    """Run a process; it is asked to end afterwards, and killed if it does not."""
    with log.open("wb") as errors:
        process = subprocess.Popen(command, stderr=errors, **options)
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(STOP_S)


def end_of(log):
    """Give the last lines of what a process logged."""
    return "\n".join(log.read_text(errors="replace").splitlines()[-5:])


def wait_until_ready(worker, port, log):
    """Wait until the worker says on its port that it is ready. Raises StartError."""
    patience = Patience(QUIET_S)
    while True:
        if worker.poll() is not None:
            raise StartError(f"the worker exited with {worker.returncode}; the end of its log:\n{end_of(log)}")
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/ready", timeout=5):
                return
        except (urllib.error.URLError, OSError):
            pass
        if patience.ends(cpu_ticks(worker.pid)):
            raise StartError(f"the worker was not ready {patience}; the end of its log:\n{end_of(log)}")
        time.sleep(0.1)


class GeneratorProcess:
    """The generator (:mod:`loadtest.open_loop`) as a child; each wait has a limit. Methods raise StartError."""

    def __init__(self, process, log, plan):
        self._process = process
        self._log = log
        self._tell(plan_line(plan))

    def _tell(self, line):
        try:
            self._process.stdin.write(line.encode())
            self._process.stdin.flush()
        except OSError as error:
            raise StartError(f"the generator ended too early; it said:\n{end_of(self._log)}") from error

    def begin(self):
        """Have it begin to send."""
        self._tell("\n")

    def has_said(self):
        """Whether there is a line to read, or it has ended."""
        return bool(select.select([self._process.stdout], [], [], 0)[0])

    def said(self):
        """Read a line, for which it may take as long as it makes progress."""
        patience = Patience(QUIET_S)
        while not select.select([self._process.stdout], [], [], 0.2)[0]:
            if patience.ends(cpu_ticks(self._process.pid)):
                raise StartError(f"the generator said nothing {patience}")
        line = self._process.stdout.readline()
        if not line:
            raise StartError(f"the generator ended too early; it said:\n{end_of(self._log)}")
        return json.loads(line)


def watch_all(watch, names, plan, generator, families):
    """Watch a whole run; gives what the generator did, and the cores that each family used while it was measured."""
    gc.collect()
    gc.freeze()
    gc.disable()
    generator.begin()
    watch.until(time.monotonic_ns() + LIMIT_NS + round(plan.warm_up_s * 1e9), generator.has_said)
    begin_ns = generator.said()["begin_ns"]
    used = []
    for at_ns in (begin_ns, begin_ns + (plan.ticks - plan.first_tick) * plan.tick_ns):
        watch.until(at_ns)
        used.append({name: cpu_s_of(pids) for name, pids in families.items()} | {"readers": time.process_time()})
    watch.until(time.monotonic_ns() + LIMIT_NS, generator.has_said)
    done = generator.said()
    counts, since_ns = (0, 0), time.monotonic_ns()

    def is_over():
        nonlocal counts, since_ns
        now = watch.records(names.source), watch.records(names.sink)
        if now != counts:
            counts, since_ns = now, time.monotonic_ns()
        return min(now) >= done["sent"] or time.monotonic_ns() - since_ns > DRAIN_S * 1e9

    watch.until(time.monotonic_ns() + LIMIT_NS, is_over)
    gc.enable()
    before, after = used
    cores = {
        name: None if now is None or before[name] is None else (now - before[name]) / plan.seconds
        for name, now in after.items()
    }
    return done | {"begin_ns": begin_ns}, cores | {"generator": done["cpu_s"] / plan.seconds}


def latencies(plan, seen, names, offsets, begin_ns):
    """Give the counts of both latencies by microsecond, and what became of all events."""
    ticks, partitions = due_ticks(plan), partitions_of(plan, pool_of(plan))
    ns = {"floor": [], "scores": []}
    sent, sources = {}, {}
    for partition in range(plan.partitions):
        mine = ticks[partitions == partition]
        intended_ns = begin_ns + (mine - plan.first_tick) * plan.tick_ns
        none = np.zeros(0, np.int64)
        at, of = offsets.get(partition, (none, none))
        seen_ns = seen[names.sink][partition].of(at)
        scored_ns = first_ns(len(mine), of[seen_ns < NEVER], seen_ns[seen_ns < NEVER])
        both = {"floor": seen[names.source][partition].of(np.arange(len(mine))), "scores": scored_ns}
        for name, read_ns in both.items():
            ours = (mine >= plan.first_tick) & (read_ns < NEVER)
            ns[name].append((read_ns - intended_ns)[ours])
        sent[partition], sources[partition] = len(mine), of[seen_ns < NEVER]
    return {name: counts_ns(np.concatenate(parts)) for name, parts in ns.items()}, answers_of(sent, sources)


def measure(servers, broker_pid, options, folder):
    """Start the worker, send, watch; gives the report."""
    unique = uuid.uuid4().hex[:8]
    names = RouteTopicNames(f"events.{unique}", f"scores.{unique}", f"dead.{unique}")
    settings = KafkaSettings(bootstrap_servers=servers)
    asyncio.run(create_topics(settings, [names], partitions=options.partitions, replication_factor=1))
    config, port = folder / f"{unique}.toml", free_port()
    write_settings(config, servers, names, port, options, (None, options.delivery))
    leaders = leaders_of(settings.bootstrap_servers, [names.source, names.sink], options.partitions)
    (task,) = read_targets(config).routes
    plan = Plan(
        names.source, task, options.rate, options.warm_up_s, options.seconds, options.partitions,
        leaders[names.source], options.tick_ms, options.heat_requests,
    )  # fmt: skip
    serve = [sys.executable, "-m", "farthing", "serve", "-c", str(config), "--workers", str(options.workers)]
    logs = {name: folder / f"{name}.log" for name in ("worker", "generator")}
    load = round(os.getloadavg()[0], 2)
    with ExitStack() as stack:
        worker = stack.enter_context(
            started(serve, logs["worker"], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        )
        sending = stack.enter_context(
            started(GENERATOR, logs["generator"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0, cwd=ROOT)
        )
        generator = GeneratorProcess(sending, logs["generator"], plan)
        wait_until_ready(worker, port, logs["worker"])
        generator.said()
        watch = stack.enter_context(closing(Watch(leaders)))
        families = {"worker": family_of(worker.pid), "broker": family_of(broker_pid)}
        with going_first() as raised:  # but not worker and broker, which have been started
            done, cores = watch_all(watch, names, plan, generator, families)
        if worker.poll() is not None:
            raise StartError(f"the worker exited with {worker.returncode}; its log ends:\n{end_of(logs['worker'])}")
        changed = family_of(worker.pid) != families["worker"]
    offsets = asyncio.run(scored_offsets(settings, names.sink))
    counts, answers = latencies(plan, watch.seen, names, offsets, done["begin_ns"])
    asyncio.run(delete_topics(settings, sorted(names.all)))
    counts["late"] = {us: n for us, n in done["late_us"]}
    return report_of(options, plan, done, cores, counts, answers, changed) | {
        "raised_priority": raised, "load_before": load,
    }  # fmt: skip


def report_of(options, plan, done, cores, counts, answers, changed):
    """Put figures, verdict and circumstances together."""
    reasons = failures(answers, DRAIN_S) + ([done["wrong"]] if done["wrong"] else [])
    if changed:
        reasons.append("processes of the worker came or went during the run: its CPU is not known")
        cores["worker"] = None
    void = []
    events_per_second = plan.measured_events / max(done["sending_s"], plan.seconds)
    if plan.rate:
        void = why_void(counts["late"], counts["floor"], events_per_second, plan.rate)
    figures = {name: milliseconds(one) for name, one in counts.items()}
    floor, scores = (figures[name]["p99"] for name in ("floor", "scores"))
    return {
        "passed": not reasons and not void, "void": bool(void), "reasons": reasons + void,
        "rate": plan.rate, "seconds": plan.seconds, "warm_up_s": plan.warm_up_s,
        "events_per_second": round(events_per_second),
        "events": {
            "sent": done["sent"], "measured": plan.measured_events, "scored": answers.scored,
            "missing": answers.missing, "repeated": answers.repeated,
        },
        "latency_ms": {name: figures[name] for name in ("floor", "scores")},
        "p99_ratio": round(scores / floor, 3) if floor and scores else None,
        "late_ms": figures["late"],
        "cpu_cores": {name: None if used is None else round(used, 4) for name, used in cores.items()},
        "tick_ms": plan.tick_ms, "partitions": plan.partitions, "workers": options.workers, "bundle": options.bundle,
        "delivery": options.delivery or "default",
        "settings": {name: value for name, value in sorted(os.environ.items()) if SETTING.match(name)},
        "histograms_us": {name: sorted(one.items()) for name, one in counts.items()},
    }  # fmt: skip


def title_of(report):
    """Say in two lines what a picture shows."""
    ratio = "" if report["p99_ratio"] is None else f", p99 {report['p99_ratio']:.2f} times the floor's"
    return (
        f"{report['rate']:,} events/s for {report['seconds']:g} s, {report['partitions']} partitions{ratio}"
        f"{' (VOID)' if report['void'] else ''}\n"
        f"{report['machine']['cpu']}, {report['machine']['cores']} cores, broker: {report['broker']}; "
        f"commit {report['commit']}"
    )


def parsed(arguments=None):
    """Read the arguments."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    count = argument(int, within(1))
    parser.add_argument("--rate", type=argument(int, within(0, 1_000_000)), default=10_000, help="events a second")
    parser.add_argument("--seconds", type=argument(float, within(1, 3_600)), default=15.0, help="to measure")
    parser.add_argument("--warm-up-s", type=argument(float, within(1, 600)), default=10.0, help="before, not counted")
    parser.add_argument(
        "--heat-requests", type=argument(int, within(0, 1_000_000)), default=10_000,
        help="sent as fast as they are answered, before that, for a broker that has just started; default: %(default)s",
    )  # fmt: skip
    parser.add_argument(
        "--tick-ms", type=argument(int, within(1, 1_000)), default=5,
        help="ms between two sends; default: %(default)s, as a producer's linger.ms",
    )  # fmt: skip
    parser.add_argument("--partitions", type=argument(int, within(1, 1_000)), default=4)
    parser.add_argument("--workers", type=count, default=1)
    parser.add_argument("--bundle", default="moderation")
    parser.add_argument("--delivery", choices=("at_least_once", "exactly_once"), help="default: the setting's")
    parser.add_argument("--picture", type=Path, metavar="FILE", help="draw the histograms into a PNG file")
    parser.add_argument("--json", action="store_true")
    return parser.parse_args(arguments)


def run(options):
    """Check, measure, print; gives the exit code. Raises FarthingError."""
    if options.picture is not None:
        if not options.rate:
            raise ConfigError("--picture draws latencies, and with --rate 0 there are none: leave one of them out")
        check_picture(options.picture)
    with tempfile.TemporaryDirectory() as name, external_broker() or ApacheKafka() as broker:
        pid = broker.process.pid if isinstance(broker, ApacheKafka) else None
        report = measure(broker.bootstrap_servers, pid, options, Path(name))
    report |= {
        "broker": broker.name, "at": datetime.now(UTC).isoformat(timespec="seconds"), **machine(),
        "commit": machine_and_commit()["commit"],
    }  # fmt: skip
    for line in words_of(report):
        print(line, file=sys.stderr)
    if options.picture is not None and report["latency_ms"]["scores"]["max"] is not None:
        draw(options.picture, {name: dict(report["histograms_us"][name]) for name in WORDS}, title_of(report))
    if options.json:
        print(json.dumps(report))
    return 0 if report["passed"] else 1


def main():
    """Run; what is wrong is one sentence."""
    try:
        sys.exit(run(parsed()))
    except FarthingError as error:
        sys.stderr.write(f"latency: {error}\n")
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()
