"""``farthing breakeven --ledger``: the traffic of a running ledger, and what is said when there is none."""

import json
import subprocess
import sys
from contextlib import contextmanager
from decimal import Decimal
from types import SimpleNamespace

import pytest

from farthing.__main__ import main
from farthing.breakeven.live import read_live
from farthing.errors import ConfigError, StartError
from farthing.ledger.client import ask
from tests.ledger.cases import mixed


@pytest.fixture
def breakeven(capsys):
    def run(*arguments):
        with pytest.raises(SystemExit) as ended:
            main(["breakeven", *map(str, arguments), "--as-of", "2026-11-24", "--json"])
        out, err = capsys.readouterr()
        found = json.loads(out.splitlines()[-1], parse_float=Decimal) if out else None
        return SimpleNamespace(returncode=ended.value.code or 0, found=found, err=err)

    return run


@contextmanager
def running(rate):
    """A ledger's pages from made-up books at a rate."""
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.ledger.served_page", str(rate), "--still"], stdout=subprocess.PIPE, text=True
    )
    try:
        yield process.stdout.readline().strip()
    finally:
        process.kill()
        process.wait(10)
        process.stdout.close()


@pytest.fixture(scope="module")
def slow():
    with running(100) as address:
        yield address


def test_at_100_events_a_second_the_ledgers_traffic_says_stay_on_the_api(breakeven, slow):
    done = breakeven("--ledger", slow)
    assert done.returncode == 0, done.err
    assert done.found["verdict"] == "api"
    assert done.found["events_per_day"] == 8_640_000
    assert "At 8.64 M events a day (100/s): stay on the API." in done.err
    assert done.found["free_endpoint"]["takes_this_volume"] is True
    said = ask(slow, "/api/statement?window=all")  # the page draws this
    assert said["comparison"]["verdict"] == "api"
    assert said["comparison"]["free_endpoint"]["takes_this_volume"] is True
    without = breakeven("--ledger", slow, "--no-free-endpoint")
    assert without.found["verdict"] == "api"


def test_sizes_and_prices_are_those_of_the_page(breakeven, slow):
    done = breakeven("--ledger", slow)
    (route,) = ask(slow, "/api/statement?window=all")["routes"]
    events = mixed(10_000)
    assert done.found["traffic"]["bytes_per_event"] == pytest.approx(events.prompt_bytes / events.scored, rel=1e-3)
    assert done.found["traffic"]["sampled_events"] == route["scored"]
    assert "of events.moderation, from http://127.0.0.1:" in " ".join(done.err.split())
    assert "volume of the last minute" in " ".join(done.err.split())
    live = read_live(slow)
    assert (live.topic, live.task) == ("events.moderation", "moderation")
    assert live.traffic.prompt_bytes == route["prompt_bytes"]
    opponents = ask(slow, "/api/statement?window=all")["opponents"]
    (model,) = (one for one in done.found["models"] if one["model"] == "openai:gpt-5-nano")
    for one in opponents:
        if one["model"] == "openai:gpt-5-nano" and one["usd_per_million"] is not None:
            assert one["usd_per_million"]["mid"] == pytest.approx(float(model["usd_per_million"][one["mode"]]["mid"]))


def test_another_volume_may_be_asked_for(breakeven, slow):
    done = breakeven("--ledger", slow, "--events-per-day", "300k/s")
    assert (done.found["events_per_day"], done.found["verdict"]) == (25_920_000_000, "tuned")


@pytest.mark.parametrize("flags", [("--payload-bytes", "10"), ("--rows", "2"), ("--sample", "x.jsonl")])
def test_what_the_ledger_measures_is_not_given_beside_it(breakeven, slow, flags):
    done = breakeven("--ledger", slow, *flags)
    assert done.returncode == 2
    assert f"leave out {flags[0]}" in done.err


def test_a_task_that_it_has_not_scored(slow):
    with pytest.raises(ConfigError, match="it has scored moderation, and no rerank"):
        read_live(slow, "rerank")


def test_errors_say_what_to_do(breakeven, slow):
    done = breakeven("--ledger", "http://127.0.0.1:9")
    assert done.returncode == 3
    assert "no ledger answers at http://127.0.0.1:9" in done.err
    with pytest.raises(ConfigError, match="write an address"):
        ask("ftp://somewhere", "/api/statement")
    with pytest.raises(ConfigError, match="returned 404"):
        ask(slow, "/api/none")
    with pytest.raises(ConfigError, match="did not return JSON"):
        ask(slow, "/")
    with pytest.raises(StartError, match="no ledger answers"):
        ask("http://127.0.0.1:9", "/")
