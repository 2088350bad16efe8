"""The table of metrics: what OPERATIONS.md holds is what the code says, and names do not change unnoticed."""

from pathlib import Path

import pytest

from farthing.commands.metrics_table import rows, table

ROOT = Path(__file__).parents[2]
GOLDEN = Path(__file__).with_name("metrics.txt")


def test_the_committed_table_is_current():
    assert table() in (ROOT / "service" / "OPERATIONS.md").read_text(), "run python -m farthing.commands.metrics_table"


def test_names_types_and_labels_are_those_of_the_golden_file():
    """A name that goes or changes breaks somebody's dashboard: change the file on purpose."""
    assert [str(row) for row in rows()] == GOLDEN.read_text().splitlines()


def test_the_ledgers_golden_file_is_a_part_of_it():
    of_ledger = (Path(__file__).parents[1] / "ledger" / "metrics.txt").read_text().splitlines()
    ours = [f"{r.name} {r.type} {','.join(sorted(r.labels)) or '-'}" for r in rows() if r.by == "ledger"]
    assert ours == of_ledger


@pytest.mark.parametrize("row", rows(), ids=lambda row: row.name)
def test_every_metric_says_what_it_is(row):
    assert row.help.endswith(".")
    assert row.name.startswith("farthing_")
    assert row.name.endswith("_total") == (row.type == "counter")
