"""The demo as a user runs it: counts add up, bad lines are dead letters, Ctrl-C leaves nothing behind."""

import datetime
import gzip
import json
import os
import re
import signal
import subprocess
import sys
import time
import tomllib
import urllib.request
from pathlib import Path

import pytest

from farthing.errors import StartError
from farthing.local.broker import BOOTSTRAP_VARIABLE, Tansu
from farthing.local.comments import comment_events

KEYS = {
    "events_produced", "events_scored", "dead", "lost", "duplicated", "events_per_second", "latency_ms",
    "cpu_ns_per_event", "broker", "rounds", "savings", "savings_note",
}  # fmt: skip
SAVINGS = {
    "own_usd", "own_usd_per_million", "avoided_usd", "model", "mode", "prices_as_of", "verdict", "events_per_day",
    "threshold_events_per_day",
}  # fmt: skip
PAGE = "what it costs and saves: http://127.0.0.1:"
SMALL_ROUNDS = """
import asyncio, sys
from farthing.demo import DemoOptions, run_demo
sys.exit(asyncio.run(run_demo(DemoOptions(seconds=6, rate=20_000, as_json=True, round_bytes=10 << 20))))
"""
WITHOUT_FAUST = """
import sys
sys.modules["faust"] = None
from farthing.__main__ import main
main(sys.argv[1:])
"""


@pytest.fixture(scope="module", autouse=True)
def binary():
    try:
        Tansu().__exit__()
    except StartError as error:
        pytest.skip(str(error))


@pytest.fixture
def environment(tmp_path):
    folder = tmp_path / "temporary"
    folder.mkdir()
    kept = {name: value for name, value in os.environ.items() if name != BOOTSTRAP_VARIABLE}
    return {**kept, "TMPDIR": str(folder)}


def processes_under(folder):
    """Processes whose command line or environment names the demo's temporary folder (Linux)."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            said = (entry / "cmdline").read_bytes() + (entry / "environ").read_bytes()
        except OSError:
            continue
        if str(folder).encode() in said and int(entry.name) != os.getpid():
            found.append(int(entry.name))
    return found


def demo(environment, *arguments, command=("-m", "farthing", "demo")):
    return subprocess.run(
        [sys.executable, *command, *arguments],
        env=environment,
        capture_output=True,
        text=True,
        timeout=150,
        check=False,
    )


def result_of(done):
    assert "Traceback" not in done.stderr
    result = json.loads(done.stdout.splitlines()[-1])
    assert set(result) == KEYS
    return result


def assert_saved(result):
    """The books have every event, and what they say is in words too."""
    assert result["savings_note"] is None
    savings = result["savings"]
    assert set(savings) == SAVINGS
    assert savings["own_usd"] > 0
    assert savings["own_usd_per_million"] == pytest.approx(savings["own_usd"] / result["events_scored"] * 1e6, rel=1e-3)
    assert 0 < savings["avoided_usd"]["low"] < savings["avoided_usd"]["mid"] < savings["avoided_usd"]["high"]
    assert savings["model"] == "openai:gpt-5-nano"
    assert datetime.date.fromisoformat(savings["prices_as_of"]) <= datetime.datetime.now(datetime.UTC).date()
    assert savings["verdict"] in ("api", "tuned", "undecided")


def test_made_up_comments_are_all_scored_once(environment):
    done = demo(environment, "--seconds", "3", "--rate", "10000", "--json")
    assert done.returncode == 0, done.stderr
    result = result_of(done)
    assert 20_000 < result["events_produced"] <= 31_000
    assert result["events_scored"] == result["events_produced"]
    assert (result["dead"], result["lost"], result["duplicated"], result["broker"]) == (0, 0, 0, "tansu")
    assert 0 < result["latency_ms"]["p50"] <= result["latency_ms"]["p99"]
    assert result["cpu_ns_per_event"] > 0
    assert_saved(result)  # by this process: the ledger is hardly up by then
    assert "openai:gpt-5-nano, cheapest pricing mode" in done.stderr
    assert list(Path(environment["TMPDIR"]).iterdir()) == []


def test_a_file_is_replayed_once_and_its_bad_lines_are_dead_letters(environment, tmp_path):
    lines = comment_events(9_500)
    for k in range(500):
        lines.insert(k * 20, (b"not JSON", b'{"id":1}', b'{"id":1,"text":5}', b"[1]", b'{"text":"\xff"}')[k % 5])
    path = tmp_path / "events.jsonl.gz"
    path.write_bytes(gzip.compress(b"\n".join(lines) + b"\n"))
    done = demo(environment, "--events", str(path), "--rate", "0", "--json")
    assert done.returncode == 0, done.stderr
    result = result_of(done)
    assert (result["events_produced"], result["events_scored"], result["dead"]) == (10_000, 9_500, 500)
    assert (result["lost"], result["duplicated"]) == (0, 0)


def test_rounds_bound_the_memory_and_lose_nothing(environment):
    done = demo(environment, command=("-c", SMALL_ROUNDS))
    assert done.returncode == 0, done.stderr
    result = result_of(done)
    assert result["rounds"] >= 2
    assert result["events_scored"] == result["events_produced"] > 60_000
    assert (result["lost"], result["duplicated"]) == (0, 0)
    assert PAGE in done.stderr or "no page: the demo ended before its ledger was ready" in done.stderr
    assert_saved(result)  # a topic that begins anew begins a new count


def at_work(folder):
    """Whether the demo's worker has scored an event, and its ledger keeps the books of it."""
    (file,) = folder.glob("farthing-demo-*/farthing.toml")
    ports = tomllib.loads(file.read_text())
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{ports['http']['port']}/metrics", timeout=5) as answer:
            scored = re.findall(r'^farthing_events_total\{.*"scored".*\} (\S+)', answer.read().decode(), re.M)
        with urllib.request.urlopen(f"http://127.0.0.1:{ports['ledger']['port']}/ready", timeout=5):
            return sum(map(float, scored)) > 0
    except OSError:
        return False


@pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="reads /proc to find processes")
@pytest.mark.parametrize("when", ["starting", "running"])
def test_ctrl_c_leaves_nothing_behind(environment, when, tmp_path):
    folder, errors = Path(environment["TMPDIR"]), tmp_path / "errors"
    with errors.open("w") as stderr, subprocess.Popen(
        [sys.executable, "-m", "farthing", "demo", "--json"], env=environment, stdout=subprocess.PIPE,
        stderr=stderr, text=True, start_new_session=True,
    ) as process:  # fmt: skip
        try:
            deadline = time.monotonic() + 60
            while not list(folder.glob("farthing-demo-*/worker.log")):
                assert time.monotonic() < deadline
                time.sleep(0.1)
            while when == "running" and not (PAGE in errors.read_text() and at_work(folder)):
                assert time.monotonic() < deadline + 120
                time.sleep(0.2)
            os.killpg(process.pid, signal.SIGINT)  # as a terminal does: the whole group
            out, _ = process.communicate(timeout=40)
        finally:
            process.kill()
    err = errors.read_text()
    assert process.returncode == 0, err
    assert "Traceback" not in err
    result = json.loads(out.splitlines()[-1])
    assert (result["events_produced"] > 0) == (when == "running")
    assert (result["lost"], result["duplicated"]) == (0, 0)
    assert (result["savings"] is not None) == (when == "running")
    assert list(folder.iterdir()) == []
    assert processes_under(folder) == []


def test_without_faust_the_demo_goes_on_and_the_ledger_says_so(environment, tmp_path):
    done = demo(environment, "demo", "--seconds", "2", "--rate", "5000", "--json", command=("-c", WITHOUT_FAUST))
    assert done.returncode == 0, done.stderr
    assert "no page: the ledger needs faust-streaming" in done.stderr
    assert_saved(result_of(done))
    path = tmp_path / "farthing.toml"
    path.write_text('[[route]]\nbundle = "moderation"\nsource = "e"\nsink = "s"\ndead_letters = "d"\n')
    done = demo(environment, "ledger", "-c", str(path), command=("-c", WITHOUT_FAUST))
    assert done.returncode == 3
    assert done.stderr.startswith("farthing: the ledger needs faust-streaming")
    assert len(done.stderr.splitlines()) == 1


def test_wrong_options_are_said(environment):
    for arguments in (("--rate", "-1"), ("--seconds", "0"), ("--events", "nowhere.jsonl")):
        done = demo(environment, *arguments)
        assert done.returncode == 2, done.stderr
        assert arguments[0] in done.stderr
        assert "Traceback" not in done.stderr
    assert list(Path(environment["TMPDIR"]).iterdir()) == []
