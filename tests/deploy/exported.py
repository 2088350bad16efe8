"""What Farthing exports to Prometheus, and what an expression asks for."""

import asyncio
import re

from prometheus_client.exposition import generate_latest
from prometheus_client.parser import text_string_to_metric_families

from farthing.config import Settings
from farthing.kafka import Moved
from farthing.ledger.figures import Figures
from farthing.serving.metrics import REPORTS, STAGES, STATES, Metrics
from farthing.serving.supervisor import Supervisor

# What Prometheus and its operator put on every series, and what a supervisor puts on its workers'.
TARGET_LABELS = {"job", "instance", "namespace", "pod", "worker"}
LABEL_VALUES = {
    "stage": set(STAGES),
    "farthing_worker_state": set(STATES),
    "outcome": {"scored", "dead", "committed", "not_ours"},
    "report": set(REPORTS),
    "estimate": {"low", "mid", "high"},
    "job": {"farthing-worker", "farthing-ledger", "farthing-.*"},
}
KEYWORDS = {"and", "or", "unless", "bool", "offset", "on", "ignoring", "group_left", "group_right", "by", "without"}
GROUPING = re.compile(r"\b(?:by|without|on|ignoring|group_left|group_right)\s*\(([^)]*)\)")


def worker_metrics():
    """Give every sample name that a worker exports, and its labels, from a registry on which all was counted."""
    metrics = Metrics({"events.m": "moderation@1"})
    metrics.dead.labels("events.m", "syntax").inc()
    metrics.commits.labels("committed").inc()
    metrics.broker_errors.labels("fetch").inc()
    metrics.bid_requests.labels("events.m", "bid", "false").inc()
    metrics.pacing.labels("events.m").set(1)
    metrics.moved(("events.m", 3), Moved(30, 0, "retention", 20, 10))
    metrics.moved(("events.m", 3), Moved(0, 1, "new_log"))
    metrics.pacing_updates.labels("events.m", "accepted").inc()
    found = {}
    for family in text_string_to_metric_families(generate_latest(metrics.registry).decode()):
        assert family.samples, f"{family.name} has no sample: count one here"
        for sample in family.samples:
            if not sample.name.endswith("_created"):
                found.setdefault(sample.name, set()).update(sample.labels)
    return found


def supervisor_metrics():
    """Give the names that a supervisor adds to its workers'."""
    route = {"bundle": "moderation", "source": "a", "sink": "b", "dead_letters": "c"}
    text = asyncio.run(Supervisor(Settings.model_validate({"route": [route]}), [])._metrics()).decode()
    return {f"{f.name}_total" if f.type == "counter" else f.name: set() for f in text_string_to_metric_families(text)}


def ledger_metrics():
    """Give the names that a ledger exports, and their labels."""
    families = Figures(None, None).describe()  # it names them without looking at any books
    return {f"{f.name}_total" if f.type == "counter" else f.name: set(f._labelnames) for f in families}


def exported():
    return {**worker_metrics(), **supervisor_metrics(), **ledger_metrics(), "up": set()}


def asked(expression):
    """Take a PromQL expression apart: metric names, and the label names and (label, value) pairs of its matchers."""
    labels, values = set(), set()
    for label, _, value in re.findall(r'(\w+)\s*(=~|!~|!=|=)\s*"([^"]*)"', expression):
        labels.add(label)
        if "$" not in value:
            values |= {(label, part) for part in value.split("|")}
    rest = re.sub(r"\{[^}]*\}|\[[^\]]*\]", " ", re.sub(r'"[^"]*"', '""', expression))
    for names in GROUPING.findall(rest):
        labels |= {name.strip() for name in names.split(",") if name.strip()}
    rest = GROUPING.sub(" ", rest)
    words = re.findall(r"(?<![\w.])([a-zA-Z_:][\w:]*)(\s*\()?", rest)
    names = {word for word, call in words if not call and word not in KEYWORDS}
    return names, labels, values


def check_expression(expression, known):
    """Fail unless every metric is known (``known``: name -> labels), and every label and value may occur on one."""
    names, labels, values = asked(expression)
    assert names, f"{expression}: names no metric"
    unknown = names - set(known)
    assert not unknown, f"{expression}: nobody exports {sorted(unknown)}"
    possible = TARGET_LABELS.union(*(known[name] for name in names))
    assert labels <= possible | {"le"}, f"{expression}: no metric in it has {sorted(labels - possible)}"
    for label, value in values:
        assert value in LABEL_VALUES[label], f"{expression}: {label} is never {value!r}"
    return names
