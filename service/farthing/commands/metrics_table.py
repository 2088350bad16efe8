"""All Prometheus metrics in one table, made from the code: ``python -m farthing.commands.metrics_table``.

``service/OPERATIONS.md`` holds what this prints; a test compares.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

from farthing.__main__ import run
from farthing.ledger.figures import families
from farthing.process.output import write_text
from farthing.serving.metrics import Metrics
from farthing.serving.supervisor import OWN_METRICS

By = Literal["worker", "supervisor", "ledger"]


@dataclass(frozen=True, slots=True)
class Row:
    """One metric, as its samples are named (a histogram's without its suffixes)."""

    name: str
    type: str
    labels: tuple[str, ...]
    by: By
    help: str

    def __str__(self) -> str:
        return f"{self.name} {self.type} {','.join(self.labels) or '-'} {self.by}"


def rows() -> list[Row]:
    """List the metrics of a worker, of a supervisor with several, and of the ledger, each by name."""
    return [
        *sorted(_of_worker(), key=lambda row: row.name),
        *sorted((Row(own.name, own.type, own.labels, "supervisor", own.help) for own in OWN_METRICS), key=str),
        *sorted((_row(family, "ledger", family._labelnames) for family in families().values()), key=str),
    ]


def _of_worker() -> Iterator[Row]:
    metrics = Metrics({"route": "model"})
    named = {one._name: one for one in vars(metrics).values() if hasattr(one, "_labelnames")}
    for family in metrics.registry.collect():
        # The library tells the labels of metrics without samples by this private name only.
        yield _row(family, "worker", getattr(named.get(family.name, family), "_labelnames", ()))


def _row(family: Any, by: By, labels: tuple[str, ...]) -> Row:
    """Name a family as its samples are: an Enum is a gauge with a label of its own name, an Info one with its keys."""
    name, kind = family.name, family.type
    if kind == "stateset":
        kind, labels = "gauge", (*labels, name)
    elif kind == "info":
        name, kind, labels = f"{name}_info", "gauge", (*labels, "model")
    elif kind == "counter":
        name = f"{name}_total"
    return Row(name, kind, tuple(labels), by, family.documentation)


def table() -> str:
    """Give the table as Markdown."""
    lines = ["| name | type | labels | by | what |", "| --- | --- | --- | --- | --- |"]
    lines += [f"| `{row.name}` | {row.type} | {', '.join(row.labels)} | {row.by} | {row.help} |" for row in rows()]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    run(lambda: write_text(table()))
