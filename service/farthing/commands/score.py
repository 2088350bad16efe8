"""``farthing score``: JSON lines in, score records out in input order, through the same stages as the stream."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from farthing.blocks import Status
from farthing.errors import DataError
from farthing.files import Source, keep_apart, open_source
from farthing.files.apart import STANDARD_OUTPUT
from farthing.model.scorer import Scorer
from farthing.payload import FieldPlan, hint, naming, needs, parse_pairs
from farthing.payload.field_map import FLAG
from farthing.process.first_start import starting
from farthing.process.output import created, standard_output, write_json
from farthing.tasks.rerank import TEXT_FIELD

BLOCK_EVENTS = 8_192
BLOCK_BYTES = 4 << 20
SHOWN_DEAD = 5
HINT_TRIES = 100


@dataclass(slots=True)
class LineCounts:
    """How a run went."""

    events: int = 0
    scored: int = 0
    dead: int = 0
    seconds: float = 0.0


_ABSENT = (Status.MISSING_FIELD, Status.NULL_FIELD, Status.NO_ROWS)


def score_lines(scorer: Scorer, source: Source, sink: BinaryIO, dead: BinaryIO | None, console: Console) -> LineCounts:
    """Score every line of ``source``; write one line each to ``sink``, refused ones to ``dead`` with their reason.

    A line is an event's value without its line feed (a carriage return before it is dropped too); lines with nothing
    but white space are skipped. A dead line is ``{"line", "reason", "value"}``, the value as text (bytes that are not
    UTF-8 escaped as by Python's ``backslashreplace``).

    Raises
    ------
    DataError
        The input cannot be read to its end; what came before is scored and written.
    """
    totals = LineCounts()
    lacks = _Lacks.of(scorer)
    began = time.perf_counter()
    with Progress(
        TextColumn("scoring"), BarColumn(), TextColumn("{task.fields[note]}"), TimeElapsedColumn(),
        console=console, transient=True, disable=not console.is_terminal,
    ) as progress:  # fmt: skip
        task = progress.add_task("score", total=source.size_bytes or None, note="")
        for numbers, lines in _blocks(source):
            scored = scorer.score_events(lines)
            sink.writelines(value + b"\n" for value in scored.values)
            totals.events += len(lines)
            totals.scored += len(scored.values)
            for at in np.flatnonzero(scored.status):
                reason = Status(int(scored.status[at])).name.lower()
                if totals.dead < SHOWN_DEAD:
                    needed = f" (needed: {lacks.needed})" if scored.status[at] in _ABSENT else ""
                    _tell(console, f"line {numbers[at]}: {reason}{needed}")
                if scored.status[at] in _ABSENT and lacks.hints:
                    _tell(console, lacks.hint(lines[at]))
                totals.dead += 1
                if dead is not None:
                    text = lines[at].decode("utf-8", "backslashreplace")
                    record = {"line": numbers[at], "reason": reason, "value": text}
                    dead.write(json.dumps(record, ensure_ascii=False).encode() + b"\n")
            progress.update(task, completed=source.position_bytes, note=f"{totals.events:,} events")
    totals.seconds = time.perf_counter() - began
    return totals


@dataclass(slots=True)
class _Lacks:
    """What is said of events without a field: which are needed, and once, where the first one may have it."""

    plan: FieldPlan
    own: FieldPlan  # the bundle's, before any map
    also: tuple[str, ...]  # fields that are needed although the plan does not require them
    hints: int = HINT_TRIES  # events that are still looked at for one

    @classmethod
    def of(cls, scorer: Scorer) -> _Lacks:
        also = (TEXT_FIELD,) if scorer.task == "rerank" else ()
        return cls(scorer.field_plan, FieldPlan.from_manifest(scorer.manifest.field_plan), also)

    @property
    def needed(self) -> str:
        return needs(self.plan, self.own, self.also)

    def hint(self, value: bytes) -> str:
        sentence = hint(value, self.plan, self.own, self.also)
        self.hints = 0 if sentence else self.hints - 1
        return sentence


def _tell(console: Console, text: str) -> None:
    if text:
        console.print(text, style="yellow", highlight=False, markup=False, soft_wrap=True)


def run(
    bundle: str,
    file: str,
    *,
    output: Path | None,
    dead: Path | None,
    max_event_bytes: int,
    as_json: bool,
    names: Sequence[str] = (),
    trusted_keys: Sequence[str | Path] = (),
) -> int:
    """Carry out the command; returns the exit code (4 when there were events and none could be scored)."""
    console = Console(stderr=True, markup=False, emoji=False)
    fields = parse_pairs(names)
    keep_apart(
        [("FILE", file)],
        [("--output", STANDARD_OUTPUT if output is None else output), ("--dead", dead)],
    )
    with starting(console, f"loading {bundle}"), naming(FLAG):
        scorer = Scorer.load(bundle, max_event_bytes=max_event_bytes, fields=fields, trusted_keys=trusted_keys)
        scorer.score_events([])  # the kernels that loading does not need
    with ExitStack() as stack:
        source = stack.enter_context(open_source(file))
        sink = standard_output() if output is None else stack.enter_context(created(output, "--output"))
        refused = None if dead is None else stack.enter_context(created(dead, "--dead"))
        totals = score_lines(scorer, source, sink, refused, console)
        sink.flush()
    rate = totals.events / totals.seconds if totals.seconds else 0.0
    console.print(
        f"{totals.scored:,} scored, {totals.dead:,} dead of {totals.events:,} events "
        f"in {totals.seconds:.2f} s ({rate:,.0f}/s) by {scorer.model_id}",
        highlight=False,
    )
    if totals.dead and dead is None:
        console.print("the dead events were not kept; --dead FILE keeps them", style="yellow")
    if as_json:
        report = {
            "events": totals.events,
            "scored": totals.scored,
            "dead": totals.dead,
            "seconds": round(totals.seconds, 3),
            "model": scorer.model_id,
        }
        write_json(report)
    return 4 if totals.events and not totals.scored else 0


def _blocks(source: Source) -> Iterator[tuple[list[int], list[bytes]]]:
    numbers: list[int] = []
    lines: list[bytes] = []
    size = 0
    cut_off = None
    try:
        for number, line in source.lines():
            value = line.rstrip(b"\r\n")
            if not value.strip():
                continue
            numbers.append(number)
            lines.append(value)
            size += len(value)
            if len(lines) >= BLOCK_EVENTS or size >= BLOCK_BYTES:
                yield numbers, lines
                numbers, lines, size = [], [], 0
    except DataError as error:
        cut_off = error
    if lines:
        yield numbers, lines
    if cut_off is not None:
        raise DataError(f"{cut_off}; what came before is scored") from cut_off
