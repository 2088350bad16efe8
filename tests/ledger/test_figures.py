"""Prometheus: names by a golden file and by practice, labels closed, values those of the statement."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from farthing.ledger import figures
from farthing.ledger.figures import Figures
from farthing.ledger.refusals import Refusals
from farthing.ledger.statement import make_statement
from farthing.meter.money import SCENARIOS
from farthing.meter.opponents import MODES
from farthing.meter.untrusted import Refused
from tests.ledger.cases import NOW, MadeUp, beat, book, record

GOLDEN = Path(__file__).with_name("metrics.txt")
TERMS = book()


class Source:
    """Stands in for the running app."""

    def __init__(self, made, *, ready=True):
        self.made, self.ready = made, ready
        self.records, self.broker_silent_s = 17, 1.5
        self.refusals = Refusals()
        for source in ("usage", "heartbeats", "accounts"):
            self.refusals.refuse(source, Refused("syntax", "x"))

    def books(self):
        return self.made.books()


@pytest.fixture(autouse=True)
def clock(monkeypatch):
    monkeypatch.setattr(figures.time, "time_ns", lambda: NOW * 1_000_000)


def scrape(source, terms=TERMS):
    registry = CollectorRegistry()
    registry.register(Figures(source, terms))
    return generate_latest(registry)


def samples(text):
    found = {}
    for family in text_string_to_metric_families(text.decode()):
        for sample in family.samples:
            key = sample.name, tuple(sorted(sample.labels.items()))
            assert key not in found
            found[key] = sample.value
    return found


def test_names_types_and_labels_are_those_of_the_golden_file():
    lines = []
    for family in text_string_to_metric_families(scrape(Source(MadeUp(100, hours=0.1, until_ms=NOW))).decode()):
        labels = {tuple(sorted(sample.labels)) for sample in family.samples}
        assert len(labels) == 1
        name = {sample.name for sample in family.samples}.pop()
        lines.append(f"{name} {family.type} {','.join(labels.pop()) or '-'}")
    assert sorted(lines) == GOLDEN.read_text().splitlines()


def test_names_follow_practice():
    for family in text_string_to_metric_families(scrape(Source(MadeUp(100, hours=0.1, until_ms=NOW))).decode()):
        for sample in family.samples:
            assert re.fullmatch(r"farthing_ledger_[a-z]+(_[a-z]+)*", sample.name)
            assert sample.name.endswith("_total") == (family.type == "counter")
            assert not re.search(r"_(ms|millis|minutes|hours|bytes_total_total)\b", sample.name)
        assert family.documentation.endswith(".")


def test_promtool_finds_nothing():
    tool = shutil.which("promtool")
    if tool is None:
        pytest.skip("promtool is not installed (Debian: prometheus)")
    text = scrape(Source(MadeUp(100, hours=0.1, until_ms=NOW)))
    done = subprocess.run([tool, "check", "metrics"], input=text, capture_output=True, timeout=30, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")


def test_values_are_the_statements():
    made = MadeUp(1_000, hours=1, until_ms=NOW)
    made.ledger.post(record(5, topic="events.n"))
    found = samples(scrape(Source(made)))
    said = make_statement(made.ledger, TERMS, "all", NOW)
    for scenario in SCENARIOS:
        estimate = ("estimate", scenario)
        assert found["farthing_ledger_own_cost_usd", (estimate,)] == float(said.own.usd.at(scenario))
        for model in TERMS.meter.compare_with:
            for mode in MODES:
                labels = tuple(sorted([estimate, ("model", model), ("mode", mode.name)]))
                avoided = said.avoided(model, mode.name)
                assert found["farthing_ledger_avoided_cost_usd", labels] == float(avoided.at(scenario))
                saved = said.saved(model, mode.name)[scenario]
                assert found["farthing_ledger_saved_usd", labels] == float(saved)
    scored = {
        k: v for k, v in found.items() if k[0] == "farthing_ledger_events_total" and ("outcome", "scored") in k[1]
    }
    assert sum(scored.values()) == said.scored
    assert found["farthing_ledger_reserved_core_seconds_total", ()] == made.ledger.reserved_core_ms() / 1000
    assert found["farthing_ledger_cpu_seconds_total", ()] == made.ledger.cpu_ns() / 1e9
    assert found["farthing_ledger_workers", ()] == 2
    assert found["farthing_ledger_records_total", ()] == 17
    assert found["farthing_ledger_refused_records_total", ()] == 2
    assert found["farthing_ledger_refusals_total", (("reason", "syntax"), ("source", "accounts"))] == 1
    assert found["farthing_ledger_refusals_total", (("reason", "nesting"), ("source", "usage"))] == 0
    assert found["farthing_ledger_broker_silent_seconds", ()] == 1.5
    assert found["farthing_ledger_ready", ()] == 1


def test_labels_come_from_settings_and_code_alone():
    """Tenants and workers may be many: neither is a label."""
    made = MadeUp(1_000, hours=0.1, until_ms=NOW)
    few = samples(scrape(Source(made)))
    for n in range(50):
        made.ledger.beat(beat(f"node-{n}/0"))
    made.ledger.post(record(9, partition=77, topic="events.moderation"))
    many = samples(scrape(Source(made)))
    assert few.keys() == many.keys()
    values = {(name, value) for _, labels in many for name, value in labels if name not in ("route",)}
    assert {value for name, value in values if name == "outcome"} == {"scored", "dead"}
    assert {value for name, value in values if name == "estimate"} == set(SCENARIOS)
    assert {value for name, value in values if name == "mode"} == {mode.name for mode in MODES}


def test_before_the_books_are_restored_no_dollars_are_told():
    found = samples(scrape(Source(MadeUp(100, hours=0.1, until_ms=NOW), ready=False)))
    assert found["farthing_ledger_ready", ()] == 0
    assert not any("usd" in name for name, _ in found)


def test_a_form_that_is_not_offered_has_no_series():
    found = samples(scrape(Source(MadeUp(100, hours=0.1, until_ms=NOW)), book(answers_can_wait=False)))
    modes = {dict(labels)["mode"] for name, labels in found if name == "farthing_ledger_saved_usd"}
    assert "batch" not in modes
    assert "naive" in modes
