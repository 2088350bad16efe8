"""Shows metrics as JSON and as a table."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.table import Table

from farthing.evaluate.measures.bootstrap import CONFIDENCE, Estimate

DIGITS = 6


@dataclass(frozen=True, slots=True)
class Group:
    """Metrics of some of the rows: those of one file, or those with one value of a field."""

    rows: int
    positives: int
    metrics: Mapping[str, Estimate]

    def to_json(self) -> dict[str, Any]:
        """Return the metrics as JSON types, without undefined ones."""
        metrics = {
            name: {key: round(getattr(e, key), DIGITS) for key in ("value", "low", "high")}
            for name, e in self.metrics.items()
            if e.defined
        }
        return {"rows": self.rows, "positives": self.positives, "metrics": metrics}


@dataclass(frozen=True, slots=True)
class Report:
    """Metrics of a model on some data."""

    model: str
    task: str
    facts: Mapping[str, Any]  # what else the metrics depend on: head, cut, rows left out
    whole: Group
    sources: Mapping[str, Group]  # by file
    slices: Mapping[str, Mapping[str, Group]]  # by field, by value
    resamples: int
    seed: int
    compared: Mapping[str, Group] = field(default_factory=dict)  # others on the same rows: a first stage, a given model

    def to_json(self) -> dict[str, Any]:
        """Return the object that ``--json`` prints."""
        return {
            "data": list(self.sources),
            **self.whole.to_json(),
            "model": self.model,
            "task": self.task,
            **self.facts,
            "sources": {name: group.to_json() for name, group in self.sources.items()},
            "slices": {
                name: {value: group.to_json() for value, group in groups.items()}
                for name, groups in self.slices.items()
            },
            **({"compared": {name: g.to_json() for name, g in self.compared.items()}} if self.compared else {}),
            "bootstrap": {"confidence": CONFIDENCE, "resamples": self.resamples, "seed": self.seed},
        }

    def table(self) -> Table:
        """Make a table of all groups, with a line for each metric that is defined."""
        table = Table(
            "data", "rows", "positive", "metric", "value", f"{CONFIDENCE:.0%} interval", box=None, pad_edge=False
        )
        for column in (1, 2, 4, 5):
            table.columns[column].justify = "right"
        table.columns[0].overflow = "fold"
        for name, group in self._groups():
            head = (name, f"{group.rows:,}", f"{group.positives:,}")
            lines = [
                (metric, _shown(e.value), f"{_shown(e.low)} to {_shown(e.high)}")
                for metric, e in group.metrics.items()
                if e.defined
            ]
            for line in lines or [("none is defined", "", "")]:
                table.add_row(*head, *line)
                head = ("", "", "")
        return table

    def _groups(self) -> Iterator[tuple[str, Group]]:
        short = {name: "/".join(Path(name).parts[-2:]) for name in self.sources}
        short = {name: re.sub(r"(\.(jsonl?|ndjson|csv|tsv))?(\.gz)?$", "", last) for name, last in short.items()}
        if len(set(short.values())) < len(short):
            short = {name: name for name in self.sources}
        if len(self.sources) > 1:
            yield "all", self.whole
        yield from ((short[name], group) for name, group in self.sources.items())
        yield from self.compared.items()
        for name, groups in self.slices.items():
            yield from ((f"{name} = {value}", group) for value, group in groups.items())


def _shown(value: float) -> str:
    whole = abs(value) >= 10 or (abs(value) > 1 and value == round(value))  # counts and money
    return f"{value:,.0f}" if whole else f"{value:.4f}"
