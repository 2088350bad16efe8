"""Micro-benchmarks of the kernels: their time, how far that is from the memory-copy limit, and from the budget.

    python -m loadtest.micro [--events any|real|made-up] [--block 20000] [--rounds 15] [--json] [--compile]

Every stage is first compared with its references. Then all cases are timed in turn, warm calls only, by the thread's
CPU time: median, least, and spread (half the distance of the quartiles) over the rounds. ``copy`` is the rate of a
NumPy copy of eight megabytes here, bytes read plus bytes written. The ceiling is the rate at which as many bytes
as the kernel must read and write could be copied. The budget is the design's. With ``--compile`` kernels are compiled
again, in an empty cache, and the time of each is shown.

Variants that were tried and not kept are in ``loadtest/reports/2026-11-24-kernels.md`` with their figures, those of the
embedding bag in ``scoring.py``.
"""

import argparse
import importlib.metadata
import json
import os
import platform
import re
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def machine():
    """What this ran on."""
    model = platform.processor() or platform.machine()
    if Path("/proc/cpuinfo").exists():
        model = re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text())[1]
    packages = ("numba", "numpy", "onnxruntime")
    asked = subprocess.run(["git", "rev-parse", "--short=10", "HEAD"], cwd=ROOT, capture_output=True, text=True)
    changed = subprocess.run(["git", "status", "--porcelain", "service"], cwd=ROOT, capture_output=True, text=True)
    return {
        "machine": {"cpu": model, "cores": os.cpu_count(), "system": platform.platform()},
        "versions": {"python": platform.python_version(), **{p: importlib.metadata.version(p) for p in packages}},
        "commit": asked.stdout.strip() + ("+changes" if changed.stdout.strip() else "") or "unknown",
    }


def measure(options):
    """Check, time, and give everything as one object."""
    from loadtest.micro import cases, texts, timing

    from farthing.process.memory import keep_freed_memory

    keep_freed_memory()  # as the worker does
    values, what = texts.events_of(options.events, options.block)
    with timing.compilation() as compiled:  # empty when all kernels are in the cache
        stages = cases.load(options.bundle)
        cases.check(stages, values)
        timed_cases, block = cases.cases_of(stages, values)
        for case in timed_cases:
            case.call()
    copy, copy_bytes = timing.copying()
    calls = [copy, *(case.call for case in timed_cases)]
    copied, *times = timing.rounds_ns(calls, rounds=options.rounds, seconds=options.seconds)
    copy_rate = copy_bytes / timing.summary(copied)["median"]  # bytes a nanosecond are GB/s
    rows = []
    for case, ns in zip(timed_cases, times, strict=True):
        seen = timing.summary(ns)
        per_event = seen["median"] / block["events"]
        rows.append(
            {
                "stage": case.stage, "kernel": case.kernel or "(stage)", "ns_per_event": per_event,
                "least_ns_per_event": seen["least"] / block["events"], "spread": seen["spread"],
                "bytes_per_event": case.bytes_per_event, "gb_per_second": case.bytes_per_event / per_event,
                "ceiling_events_per_second": copy_rate / case.bytes_per_event * 1e9,
                "times_ceiling": per_event * copy_rate / case.bytes_per_event,
                "budget_ns": case.budget_ns, "of_budget": case.budget_ns and per_event / case.budget_ns,
            }
        )  # fmt: skip
    return {
        "kernels": rows, "copy_gb_per_second": copy_rate, "rounds": options.rounds, "texts": what, "block": block,
        "compilation_s": dict(compiled), **machine(),
    }  # fmt: skip


COLUMNS = (
    "stage", "kernel", "ns/event", "least", "spread", "bytes", "GB/s", "ceiling, M/s", "times ceiling", "budget",
    "of it",
)  # fmt: skip


def table(report):
    """Lay the rows out as a Markdown table."""
    lines = [COLUMNS, ("---",) * len(COLUMNS)]
    for row in report["kernels"]:
        budget = ("", "") if row["budget_ns"] is None else (f"{row['budget_ns']}", f"{row['of_budget']:.2f}")
        lines.append(
            (
                row["stage"], row["kernel"], f"{row['ns_per_event']:.1f}", f"{row['least_ns_per_event']:.1f}",
                f"{row['spread']:.0%}", f"{row['bytes_per_event']:.0f}", f"{row['gb_per_second']:.1f}",
                f"{row['ceiling_events_per_second'] / 1e6:.1f}", f"{row['times_ceiling']:.1f}", *budget,
            )
        )  # fmt: skip
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def words(report):
    """Say what was measured and on what."""
    machine = report["machine"]
    lines = [
        f"{report['texts']}: {report['block']}",
        f"{machine['cpu']}, {machine['cores']} cores, {machine['system']}; {report['versions']}; {report['commit']}",
        f"copy {report['copy_gb_per_second']:.1f} GB/s; {report['rounds']} rounds",
    ]
    if report["compilation_s"]:
        slowest = sorted(report["compilation_s"].items(), key=lambda entry: -entry[1])
        lines.append(f"compiled in {sum(report['compilation_s'].values()):.1f} s:")
        lines += [f"  {name} {seconds:.2f} s" for name, seconds in slowest]
    return "\n".join([*lines, ""])


def main():
    """Read the arguments, measure, print."""
    parser = argparse.ArgumentParser(prog="python -m loadtest.micro", description=__doc__.partition("\n")[0])
    parser.add_argument("--events", choices=("any", "real", "made-up"), default="any")
    parser.add_argument("--block", type=int, default=20_000, help="events in the block")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--seconds", type=float, default=0.02, help="time for one case in one round")
    parser.add_argument("--bundle", default="moderation")
    parser.add_argument("--compile", action="store_true", help="compile all kernels again, in an empty cache")
    parser.add_argument("--json", action="store_true", help="print one object on the last line")
    options = parser.parse_args()
    if options.compile and "FARTHING_MICRO_CACHE" not in os.environ:
        with tempfile.TemporaryDirectory() as cache:  # numba reads its folder when it is imported
            environment = {**os.environ, "NUMBA_CACHE_DIR": cache, "FARTHING_MICRO_CACHE": cache}
            raise SystemExit(subprocess.call([sys.executable, "-m", "loadtest.micro", *sys.argv[1:]], env=environment))
    report = measure(options)
    print(words(report), file=sys.stderr)
    print(table(report), file=sys.stderr if options.json else sys.stdout)
    if options.json:
        print(json.dumps(report))


if __name__ == "__main__":
    main()
