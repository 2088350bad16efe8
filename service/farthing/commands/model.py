"""``farthing model show | verify | warm | bench``."""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from farthing.blocks import DecisionInputs, RecordBlock
from farthing.errors import BundleError
from farthing.kernels.jit import watch_compilation
from farthing.local.bid_requests import bid_request_events
from farthing.local.comments import comment_events, ranking_events
from farthing.model.golden import Verification
from farthing.model.scorer import Scorer
from farthing.model.shipped import find_bundle
from farthing.payload import FieldPlan
from farthing.process.first_start import starting
from farthing.process.output import report_console, write_json
from farthing.scoring.bundle import Bundle
from farthing.scoring.column_bundle import is_column_bundle
from farthing.scoring.signature import TrustedKeys
from farthing.serving.metrics import Metrics
from farthing.serving.route import Route, RouteTopics

BENCH_EVENTS = 8_192
BENCH_ROUNDS = 15
BENCH_RANKINGS = 256


Keys = Sequence[str | Path]  # PEM files of public keys, one of which must have signed the bundle; none: no matter


def show(bundle: str, *, trusted_keys: Keys, as_json: bool) -> int:
    """Print what a bundle says about itself."""
    folder = find_bundle(bundle)
    loaded: Bundle | Scorer
    if is_column_bundle(folder):
        loaded = Scorer.load(folder, trusted_keys=trusted_keys)
    else:
        loaded = Bundle.load(folder, trusted=TrustedKeys.read(trusted_keys))
    manifest = loaded.manifest
    facts = {
        "model": loaded.model_id,
        "task": manifest.task,
        "heads": list(manifest.heads),
        "labels": list(manifest.labels),
        "thresholds": dict(manifest.thresholds),
        **({"settings": dict(manifest.settings)} if manifest.settings else {}),
        "features": dict(manifest.feature_spec),
        "fields": dict(manifest.field_plan),
        "quantization": dict(manifest.quantization),
        "training_data": [dict(source) for source in manifest.training_data],
    }
    if as_json:
        write_json(facts)
        return 0
    table = Table(show_header=False, box=None, pad_edge=False)
    for name, value in facts.items():
        shown = value if isinstance(value, str) and value.isprintable() else json.dumps(value)
        table.add_row(name, shown)
    report_console().print(table)
    return 0


def verify(bundle: str, *, trusted_keys: Keys, as_json: bool) -> int:
    """Load with all checks; 1 when one fails."""
    console = Console(stderr=True, markup=False, emoji=False)
    try:
        with starting(console, f"verifying {bundle}"):
            scorer = Scorer.load(bundle, verify=False, trusted_keys=trusted_keys)
            checked = scorer.verify()
    except BundleError as error:
        console.print(f"failed: {error}", style="red", highlight=False)
        if as_json:
            write_json({"ok": False, "error": str(error)})
        return 1
    facts = {
        "ok": True,
        "model": scorer.model_id,
        "signature": "checked" if trusted_keys else "not checked",
        "golden_events": checked.golden_events,
        "plain_score_difference": checked.plain_score_difference,
        "batch_sizes": list(checked.batch_sizes),
        "batch_difference": checked.batch_difference,
    }
    signed = "the signature is right; " if trusted_keys else ""
    console.print(f"{scorer.model_id}: {signed}{_checked(checked)}", highlight=False)
    if as_json:
        write_json(facts)
    return 0


def _checked(checked: Verification) -> str:
    sizes = ", ".join(map(str, checked.batch_sizes))
    if checked.batch_difference:
        batches = f"scores depend on the batch by up to {checked.batch_difference:.1e}, which the manifest allows"
    else:
        batches = "scores do not depend on the batch"
    if not checked.golden_events:  # a model of number columns has none
        return f"operators, inputs and outputs are allowed; {batches} (sizes {sizes})"
    return (
        f"digests match; {checked.golden_events} golden events give the recorded integers bit for bit; scores of the "
        f"whole ONNX model differ by at most {checked.plain_score_difference:.1e}; {batches} (sizes {sizes})"
    )


def warm(bundle: str, *, trusted_keys: Keys, as_json: bool) -> int:
    """Compile every kernel that a worker runs into the folder for compiled kernels; 1 when none can be written.

    It is for images: a start with the same CPU settings and the same folder then compiles nothing, and need not be
    able to write to it.
    """
    from farthing.kernels.cache import writable_folder

    console = Console(stderr=True, markup=False, emoji=False)
    began = time.perf_counter()
    compiled: list[str] = []
    with starting(console, f"warming {bundle}"), watch_compilation(compiled.append):
        # With a tenant, whom a route need not have: all kernels of one without, and those that count tenants.
        stages = Scorer.load(bundle, trusted_keys=trusted_keys).stages
        Route(RouteTopics("source", "sink", "dead-letters"), stages, tenant="tenant").warm()
        Metrics({"source": "model"})
    seconds = time.perf_counter() - began
    folder = writable_folder()
    facts = {"compiled": len(compiled), "seconds": round(seconds, 1), "folder": None if folder is None else str(folder)}
    kept = "not kept, as no folder is writable: set NUMBA_CACHE_DIR" if folder is None else f"kept in {folder}"
    console.print(f"{len(compiled)} kernels compiled in {seconds:.1f} s; {kept}", highlight=False)
    if as_json:
        write_json(facts)
    return 0 if folder is not None else 1


def bench(bundle: str, *, trusted_keys: Keys, as_json: bool) -> int:
    """Time each stage on blocks of made-up events: the median of several rounds, in ns, on one thread.

    Where an event has several rows (rerank: candidates), times are given for a row too.
    """
    with starting(Console(stderr=True, markup=False, emoji=False), f"loading {bundle}"):
        stages = Scorer.load(bundle, trusted_keys=trusted_keys).stages
    rankings = stages.task == "rerank"
    if rankings:
        events = ranking_events(BENCH_RANKINGS)
    elif stages.task == "bidding":
        events = bid_request_events(BENCH_EVENTS)
    else:
        events = comment_events(BENCH_EVENTS) if stages.task == "moderation" else _events_of(stages.field_plan)
    records = RecordBlock.of_values(events)
    inputs = DecisionInputs(records.buffer, records.timestamps_ms)
    times: dict[str, list[float]] = {stage: [] for stage in ("parse", "featurize", "score", "decide", "render")}
    for _ in range(BENCH_ROUNDS):
        marks = [time.perf_counter()]
        columns = stages.parse(records)
        marks.append(time.perf_counter())
        features = stages.prepare(columns, records)
        marks.append(time.perf_counter())
        scores = stages.score(features)
        marks.append(time.perf_counter())
        decisions = stages.decide(columns, scores, inputs)
        marks.append(time.perf_counter())
        stages.render(records, columns, decisions)
        marks.append(time.perf_counter())
        for stage, a, b in zip(times, marks, marks[1:], strict=False):
            times[stage].append((b - a) / len(events) * 1e9)
    medians = {stage: round(statistics.median(values), 1) for stage, values in times.items()}
    rows = len(scores) / len(events)
    per_row = {stage: round(value / rows, 1) for stage, value in medians.items()}
    total = sum(medians.values())
    table = Table("stage", "ns/event", *(["ns/candidate"] if rankings else []), box=None, pad_edge=False)
    for stage, value in medians.items():
        table.add_row(stage, f"{value:,.0f}", *([f"{per_row[stage]:,.0f}"] if rankings else []))
    rate = f"{1e9 * rows / total:,.0f} candidates/s, {rows:,.0f} an event" if rankings else ""
    table.add_row(
        "all", f"{total:,.0f}  ({1e9 / total:,.0f} events/s)", *([f"{total / rows:,.0f}  ({rate})"] if rankings else [])
    )
    report_console(as_json=as_json).print(table)
    if as_json:
        facts = {"model": stages.model_id, "ns_per_event": medians, "rows_per_event": rows, "ns_per_row": per_row}
        write_json(facts)
    return 0


def _events_of(plan: FieldPlan) -> list[bytes]:
    """Make events up that have every field of a plan without an array."""
    comments = [json.loads(event) for event in comment_events(BENCH_EVENTS)]
    events = []
    for k, comment in enumerate(comments):
        event: dict[str, Any] = {}
        for field in plan.fields:
            value = k % 1000 / 8 if field.kind == "number" else comment["text"] if field.kind == "text" else k
            field.parsed.put(event, value)
        events.append(json.dumps(event, ensure_ascii=False).encode())
    return events
