"""OPERATIONS.md: its figures are computed again, its knobs are settings with these defaults, its commands exist."""

import importlib.util
import json
import os
import re
import signal
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import pytest

from farthing.config import Settings
from farthing.serving.metrics import STATES

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "service" / "OPERATIONS.md").read_text()
FLAT = re.sub(r"\s+", " ", PAGE)
CALCULATOR = ROOT / "deploy" / "capacity.py"


def calculate(*arguments):
    done = subprocess.run([sys.executable, str(CALCULATOR), *arguments], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout


def figures(*arguments):
    return json.loads(calculate(*arguments, "--json"))


BLOCKS = re.findall(r"```console\n\$ python deploy/capacity.py (.*)\n([^`]*)```", PAGE)


@pytest.mark.parametrize(("arguments", "shown"), BLOCKS, ids=[block[0] for block in BLOCKS])
def test_worked_examples_are_what_the_calculator_says(arguments, shown):
    assert calculate(*arguments.split()) == shown


def test_a_reader_who_goes_away_sees_no_traceback():
    """The pipe is closed before anything is written, so it is broken every time."""
    read, write = os.pipe()
    os.close(read)
    try:
        done = subprocess.run(
            [sys.executable, str(CALCULATOR), "1000"], stdout=write, stderr=subprocess.PIPE, timeout=60
        )
    finally:
        os.close(write)
    assert done.stderr == b""
    assert done.returncode == -signal.SIGPIPE


def test_there_is_a_small_and_a_large_example():
    sizes = {int(arguments.split()[0]) for arguments, _ in BLOCKS}
    assert {1_000_000, 50_000_000} <= sizes


def test_the_plan_by_hand():
    """A million a second on average: 3 million at the peak, 15 workers of 200,000."""
    made = figures("1000000", "--zones", "3", "--retention-hours", "24")
    assert (made["workers"], made["worker_cores"], made["broker_cores"], made["ledger_cores"]) == (15, 30, 15, 1)
    assert made["partitions"] == 30
    assert made["cores_usd"] == round(46 * 0.05 * 730)
    kept = Fraction(1_000_000 * 355, 2) * 3 * 86_400 / 10**9
    assert made["stored_gb"] == round(kept)
    moved = Fraction(1_000_000 * 355, 2) * (Fraction(4, 3) + 2) * 3_600 * 730 / 10**9
    assert made["network_usd"] == round(moved * Fraction(2, 100))


@pytest.mark.parametrize(
    ("more", "figure"), [("--zones=1", "network_usd"), ("--retention-hours=0", "stored_gb"), ("--core-hour-usd=0", "cores_usd")]
)  # fmt: skip
def test_what_is_not_used_is_not_paid(more, figure):
    assert figures("100000")[figure] > 0
    assert figures("100000", more)[figure] == 0


def test_plans_grow_with_traffic_and_partitions_are_shared_evenly():
    last = None
    for events in (1, 1_000, 66_000, 67_000, 200_000, 999_999, 5_000_000, 50_000_000):
        made = figures(str(events))
        assert made["workers"] >= 2 and made["partitions"] % made["workers"] == 0
        assert made["partitions"] >= 2 * made["workers"]
        assert made["peak_events_per_s"] <= made["workers"] * 200_000
        if last:
            assert all(made[name] >= last[name] for name in ("workers", "worker_cores", "cores_usd", "stored_gb"))
        last = made


@pytest.mark.parametrize(
    "wrong", [["0"], ["10", "--zones", "0"], ["10", "--peak-to-mean", "0.5"], ["10", "--planned-share", "2"]]
)
def test_impossible_demands_are_refused(wrong):
    done = subprocess.run([sys.executable, str(CALCULATOR), *wrong], capture_output=True, text=True, timeout=60)
    assert done.returncode == 2 and "at least 1" in done.stderr


def test_the_careful_figure_is_below_what_was_measured():
    careful = int(re.search(r"\*\*a worker on two cores scores ([\d,]+)", FLAT)[1].replace(",", ""))
    report = ROOT / re.search(r"`(loadtest/reports/\S+-relay-and-service.md)`", FLAT)[1]
    measured, least, cpu_ns = re.search(
        r"^\| 8/4 \| service \| ([\d,]+) \| ([\d,]+) to [\d,]+ \| ([\d,]+) \|", report.read_text(), re.MULTILINE
    ).groups()
    assert f"{measured}/s (median of five, {least} the lowest)" in FLAT
    assert careful < int(least.replace(",", ""))
    assert float(re.search(r"([\d.]+) us of CPU an event", FLAT)[1]) == round(int(cpu_ns.replace(",", "")) / 1000, 1)
    slower = int(measured.replace(",", "")) / careful
    in_proportion = float(re.search(r"in proportion, an event takes ([\d.]+) us", FLAT)[1])
    assert in_proportion == round(int(cpu_ns.replace(",", "")) / 1000 * slower, 1)
    assert "worker_events_per_s: int = 300_000" in CALCULATOR.read_text() and careful == 300_000


@pytest.mark.skipif(importlib.util.find_spec("farthing.meter") is None, reason="there is no meter")
def test_the_calculators_prices_are_the_meters():
    from farthing.meter.settings import MeterSettings

    meter = MeterSettings()
    text = CALCULATOR.read_text()
    for name in (
        "core_hour_usd",
        "network_usd_per_gb",
        "storage_usd_per_gb_month",
        "broker_cores_per_worker_core",
        "replicas",
    ):
        assert float(re.search(rf"{name}: \w+ = ([\d.]+)", text)[1]) == float(getattr(meter, name)), name


KNOBS = re.findall(r"^\| `(\w+)\.(\w+)` \| (\S+) \| (.+) \|$", PAGE, re.M)


@pytest.mark.parametrize(("section", "name", "default", "when"), KNOBS, ids=[f"{k[0]}.{k[1]}" for k in KNOBS])
def test_knobs_are_settings_with_these_defaults(section, name, default, when):
    fields = Settings.model_fields[section].annotation.model_fields
    assert name in fields
    value = fields[name].get_default(call_default_factory=True)
    assert default == ("null" if value is None else str(value))
    assert len(when) > 20


def test_enough_knobs_are_told_of():
    assert len(KNOBS) > 12


def test_settings_and_states_that_are_named_exist():
    for section, name in set(re.findall(r"`(kafka|worker|http|ledger|route)\.(\w+)", PAGE)):
        annotation = Settings.model_fields[section].annotation
        model = annotation if section != "route" else annotation.__args__[0]
        assert name in model.model_fields, f"{section}.{name}"
    section = re.search(r"### FarthingWorkerNotRunning(.*?)###", PAGE, re.S)[1]
    states = re.findall(r"`(\w+)`", section)
    assert {"starting", "joining", "stalled", "failed"} <= set(states) <= set(STATES)


def test_paths_that_are_named_exist():
    for name in set(re.findall(r"(?:deploy|loadtest|service)/[\w./-]+\w", PAGE)):
        assert (ROOT / name).exists() or name == "deploy/requirements.txt", name


@pytest.mark.parametrize(
    "words", sorted(set(re.findall(r"`?farthing ((?:config|topics|model) \w+|serve|evaluate)", FLAT)))
)
def test_commands_exist(words):
    done = subprocess.run(
        [sys.executable, "-m", "farthing", *words.split(), "--help"], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
